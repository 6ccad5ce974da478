import Persistence

/// What a request, or a file of definitions, says of a namespace.
package struct MetadefNamespaceDraft: Sendable {
    package let name: String
    package let displayName: String?
    package let description: String?
    package let visibility: MetadefNamespace.Visibility
    package let isProtected: Bool
    /// Nil: the caller's project.
    package let owner: ProjectID?
    package let associations: [MetadefAssociationDraft]
    package let properties: [MetadefProperty]
    package let objects: [MetadefObjectDraft]
    package let tags: [String]

    /// - Throws: `ServiceError.badRequest` for what the schema forbids, `.forbidden` for what only the server
    ///   sets.
    package init(json: JSONValue) throws {
        let members = try MetadefDraft.members(
            of: json, readOnly: ["self", "schema", "created_at", "updated_at"], MetadefSchemas.namespace)
        name = members["namespace"]?.stringValue ?? ""
        displayName = members["display_name"]?.stringValue
        description = members["description"]?.stringValue
        visibility = members["visibility"]?.stringValue.flatMap(MetadefNamespace.Visibility.init(rawValue:)) ?? .private
        isProtected = members["protected"]?.boolValue ?? false
        owner = members["owner"]?.stringValue.map { ProjectID($0) }
        associations = (members["resource_type_associations"]?.arrayValue ?? []).map {
            MetadefAssociationDraft(checked: $0)
        }
        properties = try MetadefDraft.definitions(members["properties"], "namespace")
            .sorted { $0.key < $1.key }.map { MetadefProperty(name: $0.key, definition: $0.value.objectValue ?? [:]) }
        objects = try (members["objects"]?.arrayValue ?? []).map { try MetadefObjectDraft(checked: $0) }
        tags = MetadefDraft.names(members["tags"])
    }

    func namespace(_ id: MetadefNamespaceID, owner other: ProjectID, at time: Timestamp) -> MetadefNamespace {
        MetadefNamespace(
            id: id, name: name, displayName: displayName, description: description, visibility: visibility,
            isProtected: isProtected, owner: owner ?? other, createdAt: time, updatedAt: time)
    }
}

package struct MetadefObjectDraft: Sendable {
    package let name: String
    package let description: String?
    package let required: [String]
    package let properties: [String: JSONValue]

    /// - Throws: `ServiceError.badRequest`, `.forbidden`.
    package init(json: JSONValue) throws {
        try self.init(
            checked: .object(
                try MetadefDraft.members(
                    of: json, readOnly: ["self", "schema", "created_at", "updated_at"], MetadefSchemas.object)))
    }

    /// From what a schema has let through.
    fileprivate init(checked json: JSONValue) throws {
        name = json["name"]?.stringValue ?? ""
        description = json["description"]?.stringValue
        required = (json["required"]?.arrayValue ?? []).compactMap(\.stringValue)
        properties = try MetadefDraft.definitions(json["properties"], "object")
    }
}

package struct MetadefAssociationDraft: Sendable {
    package let name: String
    package let prefix: String?
    package let propertiesTarget: String?

    /// - Throws: `ServiceError.badRequest`, `.forbidden`.
    package init(json: JSONValue) throws {
        self.init(
            checked: .object(
                try MetadefDraft.members(
                    of: json, readOnly: ["created_at", "updated_at"], MetadefSchemas.resourceType)))
    }

    fileprivate init(checked json: JSONValue) {
        name = json["name"]?.stringValue ?? ""
        prefix = json["prefix"]?.stringValue
        propertiesTarget = json["properties_target"]?.stringValue
    }
}

extension MetadefProperty {
    /// - Throws: `ServiceError.badRequest`, `.forbidden`.
    package init(json: JSONValue) throws {
        var members = try MetadefDraft.members(
            of: json, readOnly: ["created_at", "updated_at"], MetadefSchemas.property)
        let name = members.removeValue(forKey: "name")?.stringValue ?? ""
        self.init(name: name, definition: members)
    }
}

extension MetadefTag {
    /// The name that a body gives a tag.
    /// - Throws: `ServiceError.badRequest`, `.forbidden`.
    package static func name(json: JSONValue) throws -> String {
        let members = try MetadefDraft.members(of: json, readOnly: ["created_at", "updated_at"], MetadefSchemas.tag)
        return members["name"]?.stringValue ?? ""
    }

    /// The names in a body of several tags.
    /// - Throws: `ServiceError.badRequest`, `.forbidden`.
    package static func names(json: JSONValue) throws -> [String] {
        let members = try MetadefDraft.members(
            of: json, readOnly: ["created_at", "updated_at"], MetadefSchemas.tagList)
        return MetadefDraft.names(members["tags"])
    }
}

/// What all drafts are read with.
private enum MetadefDraft {
    /// - Throws: `ServiceError.badRequest`, `.forbidden`.
    static func members(
        of json: JSONValue, readOnly: [String], _ schema: JSONValue
    ) throws -> [String: JSONValue] {
        guard let members = json.objectValue else {
            throw ServiceError.badRequest("The body must be a JSON object, not \(json.kind).")
        }
        for name in readOnly where members[name] != nil {
            throw ServiceError.forbidden("Attribute '\(name)' is read-only.")
        }
        if let problem = SchemaCheck(schema).problem(with: json) {
            throw mismatch(schema["name"]?.stringValue ?? "", problem)
        }
        return members
    }

    /// Definitions by name. The names become names of their own, so they are held to what those may be; one
    /// that stands in a definition as well is left out.
    static func definitions(_ json: JSONValue?, _ schema: String) throws -> [String: JSONValue] {
        var result: [String: JSONValue] = [:]
        for (name, definition) in json?.objectValue ?? [:] {
            guard (1...80).contains(name.unicodeScalars.count) else {
                throw mismatch(schema, "properties: a name is of 1 to 80 characters")
            }
            var members = definition.objectValue ?? [:]
            members["name"] = nil
            result[name] = .object(members)
        }
        return result
    }

    static func names(_ json: JSONValue?) -> [String] {
        (json?.arrayValue ?? []).compactMap { $0["name"]?.stringValue }
    }

    private static func mismatch(_ schema: String, _ problem: String) -> ServiceError {
        .badRequest("Provided object does not match schema '\(schema)': \(problem).")
    }
}
