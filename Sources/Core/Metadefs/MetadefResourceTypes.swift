import Persistence

extension Metadefs {
    /// `GET /v2/metadefs/resource_types`: the types there are, by name.
    /// - Throws: `ServiceError.forbidden`.
    package func resourceTypes(as caller: Caller) async throws -> [MetadefResourceType] {
        try MetadefPolicy.require(.listResourceTypes, caller)
        return try await database.read { db in
            try db.query("SELECT name, created_at, updated_at FROM metadef_resource_types ORDER BY name") { row in
                MetadefResourceType(name: try row.get(0), createdAt: try row.get(1), updatedAt: try row.get(2))
            }
        }
    }

    /// `GET …/{namespace}/resource_types`, by name.
    /// - Throws: `ServiceError.notFound`.
    package func associations(in name: String, as caller: Caller) async throws -> [MetadefAssociation] {
        try await database.read { db in
            try db.associations(in: try namespace(name, .listResourceTypes, caller, in: db).id)
        }
    }

    /// `POST …/{namespace}/resource_types`. A type that nobody has named before is made.
    /// - Throws: `ServiceError.notFound`, `.forbidden`, `.conflict`.
    package func associate(
        _ draft: MetadefAssociationDraft, with name: String, as caller: Caller
    ) async throws -> MetadefAssociation {
        let now = now
        try await database.write { db in
            let namespace = try namespace(name, .addAssociation, caller, in: db)
            guard try db.insertAssociation(draft, into: namespace.id, at: now) else {
                throw ServiceError.twice("resource type association", draft.name, name)
            }
        }
        return MetadefAssociation(
            name: draft.name, prefix: draft.prefix, propertiesTarget: draft.propertiesTarget, createdAt: now,
            updatedAt: now)
    }

    /// `DELETE …/{namespace}/resource_types/{type}`. The type stays.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func dissociate(_ resourceType: String, from name: String, as caller: Caller) async throws {
        try await database.write { db in
            let namespace = try namespace(name, .removeAssociation, caller, in: db)
            let removed = try db.execute(
                "DELETE FROM metadef_associations WHERE namespace_id = $1 AND resource_type = $2", namespace.id,
                resourceType)
            guard removed == 1 else {
                throw ServiceError.noMetadef("resource type association", resourceType, name)
            }
            if namespace.isProtected { throw ServiceError.protectedNamespace(name) }
        }
    }
}

extension SQLConnection {
    /// - Returns: false if the namespace is associated with the type.
    func insertAssociation(
        _ draft: MetadefAssociationDraft, into id: MetadefNamespaceID, at now: Timestamp
    ) throws -> Bool {
        try execute(
            """
            INSERT INTO metadef_resource_types (name, created_at, updated_at) VALUES ($1, $2, $2)
            ON CONFLICT (name) DO NOTHING
            """, draft.name, now)
        return try execute(
            """
            INSERT INTO metadef_associations
                (namespace_id, resource_type, prefix, properties_target, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (namespace_id, resource_type) DO NOTHING
            """, id, draft.name, draft.prefix, draft.propertiesTarget, now) == 1
    }

    func associations(in id: MetadefNamespaceID) throws -> [MetadefAssociation] {
        try query(
            """
            SELECT resource_type, prefix, properties_target, created_at, updated_at FROM metadef_associations
            WHERE namespace_id = $1 ORDER BY resource_type
            """, id
        ) { row in
            MetadefAssociation(
                name: try row.get(0), prefix: try row.get(1), propertiesTarget: try row.get(2),
                createdAt: try row.get(3), updatedAt: try row.get(4))
        }
    }
}
