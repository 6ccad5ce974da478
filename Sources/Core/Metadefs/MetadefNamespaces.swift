import Logging
import Persistence

extension Metadefs {
    /// `POST /v2/metadefs/namespaces`, with whatever the draft has in it: all of it or nothing.
    /// - Throws: `ServiceError.forbidden`, `.conflict` (the name is taken, or a name within stands twice).
    package func createNamespace(
        _ draft: MetadefNamespaceDraft, as caller: Caller
    ) async throws -> MetadefNamespaceDetail {
        let project = try MetadefPolicy.require(.addNamespace, caller)
        let namespace = draft.namespace(MetadefNamespaceID(surroundings.uuid()), owner: project, at: now)
        let detail = try await database.write { db in
            guard try db.insertNamespace(namespace) else { throw Self.taken(draft.name) }
            try db.insertContents(of: draft, into: namespace, at: namespace.createdAt)
            return try db.namespaceDetail(namespace)
        }
        caller.logger.info("metadata namespace created", metadata: ["namespace": "\(draft.name)"])
        return detail
    }

    /// `GET /v2/metadefs/namespaces/{namespace}`.
    /// - Parameter resourceType: names carry the prefix they have on resources of this type.
    /// - Throws: `ServiceError.notFound`.
    package func namespace(
        _ name: String, for resourceType: String? = nil, as caller: Caller
    ) async throws -> MetadefNamespaceDetail {
        try await database.read { db in
            let detail = try db.namespaceDetail(try namespace(name, .getNamespace, caller, in: db))
            return resourceType.map { detail.prefixed(for: $0) } ?? detail
        }
    }

    /// `PUT /v2/metadefs/namespaces/{namespace}`: replaces its attributes, the name included, and leaves its
    /// contents. What the draft does not name becomes the default.
    /// - Throws: `ServiceError.notFound`, `.forbidden`, `.conflict`.
    package func replaceNamespace(
        _ name: String, with draft: MetadefNamespaceDraft, as caller: Caller
    ) async throws -> MetadefNamespace {
        let now = now
        let replaced = try await database.write { db in
            let old = try namespace(name, .modifyNamespace, caller, in: db)
            let project = try MetadefPolicy.require(.modifyNamespace, caller)
            var new = draft.namespace(old.id, owner: project, at: old.createdAt)
            new.updatedAt = now
            guard try db.updateNamespace(new) else { throw Self.taken(draft.name) }
            return new
        }
        caller.logger.info(
            "metadata namespace replaced", metadata: ["namespace": "\(name)", "name": "\(replaced.name)"])
        return replaced
    }

    /// `DELETE /v2/metadefs/namespaces/{namespace}`, with all that is in it.
    /// - Throws: `ServiceError.notFound`, `.forbidden` (policy, protected).
    package func deleteNamespace(_ name: String, as caller: Caller) async throws {
        try await database.write { db in
            let namespace = try unprotectedNamespace(name, .deleteNamespace, caller, in: db)
            try db.deleteNamespace(namespace.id)
        }
        caller.logger.info("metadata namespace deleted", metadata: ["namespace": "\(name)"])
    }

    private static func taken(_ name: String) -> ServiceError {
        .conflict("The metadata definition namespace=\(name) already exists.")
    }

    /// The namespace, for an action the caller may take on it.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    func namespace(
        _ name: String, _ action: MetadefAction, _ caller: Caller, in db: any SQLConnection
    ) throws -> MetadefNamespace {
        guard let found = try db.namespace(named: name) else { throw ServiceError.noNamespace(name) }
        try MetadefPolicy.require(action, caller, on: found)
        return found
    }

    /// The same for an action that takes something away.
    func unprotectedNamespace(
        _ name: String, _ action: MetadefAction, _ caller: Caller, in db: any SQLConnection
    ) throws -> MetadefNamespace {
        let found = try namespace(name, action, caller, in: db)
        if found.isProtected { throw ServiceError.protectedNamespace(name) }
        return found
    }
}

enum MetadefNamespaceRow {
    static let columns =
        "n.id, n.name, n.display_name, n.description, n.visibility, n.protected, n.owner, n.created_at, n.updated_at"

    static func read(_ row: any SQLRow) throws -> MetadefNamespace {
        guard let visibility = MetadefNamespace.Visibility(rawValue: try row.get(4)) else {
            throw SQLError(code: .corrupt, operation: "read metadata namespace", message: "unknown visibility")
        }
        return MetadefNamespace(
            id: try row.get(0), name: try row.get(1), displayName: try row.get(2), description: try row.get(3),
            visibility: visibility, isProtected: try row.get(5), owner: try row.get(6), createdAt: try row.get(7),
            updatedAt: try row.get(8))
    }
}

extension SQLConnection {
    func namespace(named name: String) throws -> MetadefNamespace? {
        try first(
            "SELECT \(MetadefNamespaceRow.columns) FROM metadef_namespaces n WHERE n.name = $1", name,
            row: MetadefNamespaceRow.read)
    }

    /// - Returns: false if the name is taken.
    func insertNamespace(_ namespace: MetadefNamespace) throws -> Bool {
        try execute(
            """
            INSERT INTO metadef_namespaces
                (id, name, display_name, description, visibility, protected, owner, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (name) DO NOTHING
            """,
            namespace.id, namespace.name, namespace.displayName, namespace.description,
            namespace.visibility.rawValue, namespace.isProtected, namespace.owner, namespace.createdAt,
            namespace.updatedAt) == 1
    }

    /// - Returns: false if another one has the name.
    func updateNamespace(_ namespace: MetadefNamespace) throws -> Bool {
        try execute(
            """
            UPDATE metadef_namespaces SET name = $1, display_name = $2, description = $3, visibility = $4,
                protected = $5, owner = $6, updated_at = $7
            WHERE id = $8 AND NOT EXISTS (SELECT 1 FROM metadef_namespaces o WHERE o.name = $9 AND o.id <> $10)
            """,
            namespace.name, namespace.displayName, namespace.description, namespace.visibility.rawValue,
            namespace.isProtected, namespace.owner, namespace.updatedAt, namespace.id, namespace.name, namespace.id)
            == 1
    }

    func deleteNamespace(_ id: MetadefNamespaceID) throws {
        for table in ["metadef_properties", "metadef_objects", "metadef_tags", "metadef_associations"] {
            try execute("DELETE FROM \(table) WHERE namespace_id = $1", id)
        }
        try execute("DELETE FROM metadef_namespaces WHERE id = $1", id)
    }

    func namespaceDetail(_ namespace: MetadefNamespace) throws -> MetadefNamespaceDetail {
        MetadefNamespaceDetail(
            namespace: namespace, associations: try associations(in: namespace.id),
            properties: try metadefProperties(in: namespace.id),
            objects: try metadefObjects(in: namespace.id, .inOrder), tags: try metadefTags(in: namespace.id, .inOrder))
    }

    /// - Throws: `ServiceError.conflict` for what stands twice in the draft.
    func insertContents(
        of draft: MetadefNamespaceDraft, into namespace: MetadefNamespace, at now: Timestamp
    ) throws {
        for association in draft.associations {
            guard try insertAssociation(association, into: namespace.id, at: now) else {
                throw ServiceError.twice("resource type association", association.name, namespace.name)
            }
        }
        for property in draft.properties {
            guard try insertProperty(property, into: namespace.id) else {
                throw ServiceError.twice("property", property.name, namespace.name)
            }
        }
        if let object = try insertObjects(draft.objects, into: namespace.id, at: now).first {
            throw ServiceError.twice("object", object.name, namespace.name)
        }
        if let tag = try insertTags(draft.tags, into: namespace.id, at: now).first {
            throw ServiceError.twice("tag", tag, namespace.name)
        }
    }
}

extension ServiceError {
    /// - Parameter kind: what it is: property, object, ….
    static func twice(_ kind: String, _ name: String, _ namespace: String) -> ServiceError {
        .conflict("The metadata definition \(kind) \(name) already exists in namespace=\(namespace).")
    }

    static func noMetadef(_ kind: String, _ name: String, _ namespace: String) -> ServiceError {
        .notFound("The metadata definition \(kind) \(name) was not found in namespace=\(namespace).")
    }
}
