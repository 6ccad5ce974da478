import Core

/// How metadata definitions look on the wire. What is not set is not there.
enum MetadefJSON {
    static let base = "/v2/metadefs/namespaces"

    /// A namespace in a list, or after a change: its attributes, and what it is associated with.
    static func write(
        _ namespace: MetadefNamespace, _ associations: [MetadefAssociation] = [], to json: inout JSONWriter
    ) {
        json.object { attributes(of: namespace, associations, &$0) }
    }

    /// A namespace with all that is in it.
    static func write(_ detail: MetadefNamespaceDetail, to json: inout JSONWriter) {
        json.object { json in
            attributes(of: detail.namespace, detail.associations, &json)
            if !detail.properties.isEmpty { write(detail.properties, to: &json) }
            if !detail.objects.isEmpty {
                json.member(
                    "objects",
                    array: { json in
                        for object in detail.objects { write(object, in: detail.namespace.name, to: &json) }
                    })
            }
            if !detail.tags.isEmpty { write(detail.tags.map(\.name), to: &json) }
        }
    }

    private static func attributes(
        of namespace: MetadefNamespace, _ associations: [MetadefAssociation], _ json: inout JSONWriter
    ) {
        json.member("namespace", namespace.name)
        if let text = namespace.displayName { json.member("display_name", text) }
        if let text = namespace.description { json.member("description", text) }
        json.member("visibility", namespace.visibility.rawValue)
        json.member("protected", namespace.isProtected)
        json.member("owner", namespace.owner.rawValue)
        json.member("created_at", namespace.createdAt.iso8601)
        json.member("updated_at", namespace.updatedAt.iso8601)
        json.member("self", path(namespace.name))
        json.member("schema", "/v2/schemas/metadefs/namespace")
        if !associations.isEmpty { write(associations, to: &json) }
    }

    /// The member `resource_type_associations` of an object.
    static func write(_ associations: [MetadefAssociation], to json: inout JSONWriter) {
        json.member(
            "resource_type_associations",
            array: { json in for association in associations { write(association, to: &json) } })
    }

    static func write(_ association: MetadefAssociation, to json: inout JSONWriter) {
        json.object { json in
            json.member("name", association.name)
            if let prefix = association.prefix { json.member("prefix", prefix) }
            if let target = association.propertiesTarget { json.member("properties_target", target) }
            json.member("created_at", association.createdAt.iso8601)
            json.member("updated_at", association.updatedAt.iso8601)
        }
    }

    static func write(_ type: MetadefResourceType, to json: inout JSONWriter) {
        json.object { json in
            json.member("name", type.name)
            json.member("created_at", type.createdAt.iso8601)
            json.member("updated_at", type.updatedAt.iso8601)
        }
    }

    /// The member `properties` of an object: a map, by name.
    static func write(_ properties: [MetadefProperty], to json: inout JSONWriter) {
        json.member(
            "properties",
            object: { json in for property in properties { json.member(property.name, .object(property.definition)) } })
    }

    /// A property by itself: its name is one of its members.
    static func write(_ property: MetadefProperty, to json: inout JSONWriter) {
        json.value(.object(property.definition.merging(["name": .string(property.name)]) { $1 }))
    }

    static func write(_ object: MetadefObject, in namespace: String, to json: inout JSONWriter) {
        json.object { json in
            json.member("name", object.name)
            if let text = object.description { json.member("description", text) }
            json.member("required", .array(object.required.map { .string($0) }))
            json.member("properties", .object(object.properties))
            json.member("created_at", object.createdAt.iso8601)
            json.member("updated_at", object.updatedAt.iso8601)
            json.member("self", path(namespace, "objects", object.name))
            json.member("schema", "/v2/schemas/metadefs/object")
        }
    }

    static func write(_ tag: MetadefTag, to json: inout JSONWriter) {
        json.object { json in
            json.member("name", tag.name)
            json.member("created_at", tag.createdAt.iso8601)
            json.member("updated_at", tag.updatedAt.iso8601)
        }
    }

    /// The member `tags` of an object: in lists, tags have nothing but names.
    static func write(_ tags: [String], to json: inout JSONWriter) {
        json.member(
            "tags", array: { json in for tag in tags { json.object { json in json.member("name", tag) } } })
    }

    /// A namespace's address, or that of something in it. Colons stay: almost every namespace has them in its
    /// name, and a path may (RFC 3986, section 3.3).
    static func path(_ segments: String...) -> String {
        ([base] + segments.map { Percent.encode($0).replacing("%3A", with: ":") }).joined(separator: "/")
    }
}

extension Exchange {
    var namespace: String { parameter("namespace") }
}
