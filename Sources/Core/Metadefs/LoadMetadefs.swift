import Persistence

/// A namespace as a file has it, and which file that is.
package struct MetadefDocument: Sendable {
    package let source: String
    package let draft: MetadefNamespaceDraft

    /// - Throws: `ServiceError` whose message begins with the source.
    package init(source: String, json: JSONValue) throws {
        self.source = source
        do {
            draft = try MetadefNamespaceDraft(json: json)
        } catch let error as ServiceError {
            throw ServiceError.badRequest("\(source): \(error.message)")
        }
    }
}

/// What becomes of a namespace that is in the catalogue already.
package enum MetadefLoadMode: Sendable {
    /// It stays as it is.
    case skip
    /// It gains what it lacks; what it has stays.
    case merge
    /// It gains what it lacks; of what both have, the file's is taken.
    case mergePreferringNew
    /// It goes, with all that is in it, and the file's takes its place.
    case replace
}

/// What was done with each namespace, by name.
package struct MetadefLoadOutcome: Sendable, Equatable {
    package internal(set) var added: [String] = []
    package internal(set) var merged: [String] = []
    package internal(set) var replaced: [String] = []
    package internal(set) var skipped: [String] = []
}

extension Metadefs {
    /// Owner of what comes from files that name none: those of Glance say so too.
    private static let standardOwner: ProjectID = "admin"

    /// `ambrotype metadefs load`: all documents or none. Whoever may write the database's file may do anything
    /// with it, so nobody is asked, and protection keeps nothing.
    /// - Throws: `ServiceError.conflict` for a namespace that two documents have, or a name that stands twice
    ///   in one.
    package func load(_ documents: [MetadefDocument], _ mode: MetadefLoadMode) async throws -> MetadefLoadOutcome {
        var sources: [String: String] = [:]
        for document in documents {
            if let other = sources.updateValue(document.source, forKey: document.draft.name) {
                throw ServiceError.conflict(
                    "\(document.source): namespace \(document.draft.name) is in \(other) as well.")
            }
        }
        let now = now
        let new = documents.map { document in
            (
                document.draft,
                document.draft.namespace(
                    MetadefNamespaceID(surroundings.uuid()), owner: Self.standardOwner, at: now)
            )
        }
        return try await database.write { db in
            var outcome = MetadefLoadOutcome()
            for (draft, namespace) in new {
                if let old = try db.namespace(named: draft.name) {
                    try db.load(draft, over: old, with: namespace, mode, &outcome)
                } else {
                    try db.insertWhole(draft, as: namespace)
                    outcome.added.append(draft.name)
                }
            }
            return outcome
        }
    }

    /// `ambrotype metadefs export`: the namespaces by name, whoever owns them.
    /// - Parameter name: only this one.
    /// - Throws: `ServiceError.notFound` when there is none of the name.
    package func allNamespaces(named name: String? = nil) async throws -> [MetadefNamespaceDetail] {
        try await database.read { db in
            var conditions = Conditions()
            conditions.equal("n.name", name)
            let found = try db.query(
                "SELECT \(MetadefNamespaceRow.columns) FROM metadef_namespaces n\(conditions.sql) ORDER BY n.name",
                conditions.arguments, row: MetadefNamespaceRow.read)
            if let name, found.isEmpty { throw ServiceError.noNamespace(name) }
            return try found.map { try db.namespaceDetail($0) }
        }
    }
}

extension MetadefNamespaceDetail {
    /// The namespace as a file has it. Times are the catalogue's own; an owner stands there only if it is not
    /// what loading would say anyway.
    package var document: JSONValue {
        var members: [String: JSONValue] = [
            "namespace": .string(namespace.name), "visibility": .string(namespace.visibility.rawValue),
            "protected": .bool(namespace.isProtected),
        ]
        if let text = namespace.displayName { members["display_name"] = .string(text) }
        if let text = namespace.description { members["description"] = .string(text) }
        if namespace.owner != "admin" { members["owner"] = .string(namespace.owner.rawValue) }
        members["resource_type_associations"] = .array(
            associations.map { association in
                var members: [String: JSONValue] = ["name": .string(association.name)]
                if let prefix = association.prefix { members["prefix"] = .string(prefix) }
                if let target = association.propertiesTarget { members["properties_target"] = .string(target) }
                return .object(members)
            })
        members["properties"] = .object(
            Dictionary(properties.map { ($0.name, .object($0.definition)) }, uniquingKeysWith: { $1 }))
        members["objects"] = .array(
            objects.map { object in
                var members: [String: JSONValue] = [
                    "name": .string(object.name), "properties": .object(object.properties),
                ]
                if let text = object.description { members["description"] = .string(text) }
                if !object.required.isEmpty { members["required"] = .array(object.required.map { .string($0) }) }
                return .object(members)
            })
        members["tags"] = .array(tags.map { ["name": .string($0.name)] })
        return .object(members)
    }
}

extension SQLConnection {
    fileprivate func insertWhole(_ draft: MetadefNamespaceDraft, as namespace: MetadefNamespace) throws {
        guard try insertNamespace(namespace) else {
            preconditionFailure("the transaction has seen that there is no such namespace")
        }
        try insertContents(of: draft, into: namespace, at: namespace.createdAt)
    }

    fileprivate func load(
        _ draft: MetadefNamespaceDraft, over old: MetadefNamespace, with new: MetadefNamespace,
        _ mode: MetadefLoadMode, _ outcome: inout MetadefLoadOutcome
    ) throws {
        switch mode {
        case .skip:
            outcome.skipped.append(draft.name)
        case .replace:
            try deleteNamespace(old.id)
            try insertWhole(draft, as: new)
            outcome.replaced.append(draft.name)
        case .merge:
            try merge(draft, into: old.id, isNewPreferred: false, at: new.createdAt)
            outcome.merged.append(draft.name)
        case .mergePreferringNew:
            var changed = draft.namespace(old.id, owner: old.owner, at: old.createdAt)
            changed.updatedAt = new.createdAt
            guard try updateNamespace(changed) else {
                preconditionFailure("a namespace that keeps its name loses it to nobody")
            }
            try merge(draft, into: old.id, isNewPreferred: true, at: new.createdAt)
            outcome.merged.append(draft.name)
        }
    }

    private func merge(
        _ draft: MetadefNamespaceDraft, into id: MetadefNamespaceID, isNewPreferred: Bool, at now: Timestamp
    ) throws {
        for association in draft.associations
        where try !insertAssociation(association, into: id, at: now) && isNewPreferred {
            try execute(
                """
                UPDATE metadef_associations SET prefix = $1, properties_target = $2, updated_at = $3
                WHERE namespace_id = $4 AND resource_type = $5
                """, association.prefix, association.propertiesTarget, now, id, association.name)
        }
        for property in draft.properties where try !insertProperty(property, into: id) && isNewPreferred {
            try execute(
                "UPDATE metadef_properties SET definition = $1 WHERE namespace_id = $2 AND name = $3",
                JSONColumn(.object(property.definition)), id, property.name)
        }
        for object in try insertObjects(draft.objects, into: id, at: now) where isNewPreferred {
            try updateObject(object.name, to: object, in: id, at: now)
        }
        _ = try insertTags(draft.tags, into: id, at: now)
    }
}
