import Persistence

extension Metadefs {
    /// `GET …/{namespace}/objects`.
    /// - Throws: `ServiceError.notFound`, also for the marker.
    package func objects(
        in name: String, _ query: MetadefContentQuery, as caller: Caller
    ) async throws -> [MetadefObject] {
        try await database.read { db in
            let namespace = try namespace(name, .getObjects, caller, in: db)
            return try db.metadefObjects(in: namespace.id, query, name)
        }
    }

    /// `GET …/{namespace}/objects/{object}`.
    /// - Throws: `ServiceError.notFound`.
    package func object(_ object: String, in name: String, as caller: Caller) async throws -> MetadefObject {
        try await database.read { db in
            try db.metadefObject(object, in: try namespace(name, .getObject, caller, in: db))
        }
    }

    /// `POST …/{namespace}/objects`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`, `.conflict`.
    package func addObject(
        _ draft: MetadefObjectDraft, to name: String, as caller: Caller
    ) async throws -> MetadefObject {
        let now = now
        return try await database.write { db in
            let namespace = try namespace(name, .addObject, caller, in: db)
            guard try db.insertObjects([draft], into: namespace.id, at: now).isEmpty else {
                throw ServiceError.twice("object", draft.name, name)
            }
            return try db.metadefObject(draft.name, in: namespace)
        }
    }

    /// `PUT …/{namespace}/objects/{object}`: the whole object, and the name.
    /// - Throws: `ServiceError.notFound`, `.forbidden`, `.conflict`.
    package func replaceObject(
        _ old: String, with draft: MetadefObjectDraft, in name: String, as caller: Caller
    ) async throws -> MetadefObject {
        let now = now
        return try await database.write { db in
            let namespace = try namespace(name, .modifyObject, caller, in: db)
            try db.requireRenamable(old, to: draft.name, "object", in: "metadef_objects", of: namespace)
            try db.updateObject(old, to: draft, in: namespace.id, at: now)
            return try db.metadefObject(draft.name, in: namespace)
        }
    }

    /// `DELETE …/{namespace}/objects/{object}`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func deleteObject(_ object: String, from name: String, as caller: Caller) async throws {
        try await database.write { db in
            let namespace = try namespace(name, .deleteObject, caller, in: db)
            try db.removeMetadef(object, "object", from: "metadef_objects", of: namespace)
        }
    }

    /// `DELETE …/{namespace}/objects`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func deleteObjects(from name: String, as caller: Caller) async throws {
        try await database.write { db in
            let namespace = try unprotectedNamespace(name, .deleteNamespace, caller, in: db)
            try db.execute("DELETE FROM metadef_objects WHERE namespace_id = $1", namespace.id)
        }
    }
}

private enum MetadefObjectRow {
    static let columns = "name, description, required, properties, created_at, updated_at"

    static func read(_ row: any SQLRow) throws -> MetadefObject {
        MetadefObject(
            name: try row.get(0), description: try row.get(1),
            required: try row.get(2, as: JSONColumn.self).value.arrayValue?.compactMap(\.stringValue) ?? [],
            properties: try row.get(3, as: JSONColumn.self).value.objectValue ?? [:], createdAt: try row.get(4),
            updatedAt: try row.get(5))
    }
}

extension MetadefObjectDraft {
    fileprivate var requiredColumn: JSONColumn { JSONColumn(.array(required.map { .string($0) })) }
    fileprivate var propertiesColumn: JSONColumn { JSONColumn(.object(properties)) }
}

extension SQLConnection {
    /// - Returns: those whose names the namespace had already.
    func insertObjects(
        _ drafts: [MetadefObjectDraft], into id: MetadefNamespaceID, at now: Timestamp
    ) throws -> [MetadefObjectDraft] {
        if drafts.isEmpty { return [] }
        var present: [MetadefObjectDraft] = []
        let position = try nextPosition(in: "metadef_objects", of: id)
        for (index, draft) in drafts.enumerated() {
            let inserted = try execute(
                """
                INSERT INTO metadef_objects
                    (namespace_id, name, position, description, required, properties, created_at, updated_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (namespace_id, name) DO NOTHING
                """,
                id, draft.name, position + index, draft.description, draft.requiredColumn, draft.propertiesColumn, now)
            if inserted == 0 { present.append(draft) }
        }
        return present
    }

    func updateObject(
        _ old: String, to draft: MetadefObjectDraft, in id: MetadefNamespaceID, at now: Timestamp
    ) throws {
        try execute(
            """
            UPDATE metadef_objects
            SET name = $1, description = $2, required = $3, properties = $4, updated_at = $5
            WHERE namespace_id = $6 AND name = $7
            """,
            draft.name, draft.description, draft.requiredColumn, draft.propertiesColumn, now, id, old)
    }

    fileprivate func metadefObject(_ object: String, in namespace: MetadefNamespace) throws -> MetadefObject {
        let found = try first(
            "SELECT \(MetadefObjectRow.columns) FROM metadef_objects WHERE namespace_id = $1 AND name = $2",
            namespace.id, object, row: MetadefObjectRow.read)
        guard let found else { throw ServiceError.noMetadef("object", object, namespace.name) }
        return found
    }

    /// - Throws: `ServiceError.notFound` for the marker.
    func metadefObjects(
        in id: MetadefNamespaceID, _ query: MetadefContentQuery, _ namespace: String = ""
    ) throws -> [MetadefObject] {
        let statement = try ListStatement.contents(
            MetadefObjectRow.columns, from: "metadef_objects", in: id, query, in: self)
        guard let statement else { throw ServiceError.noMetadef("object", query.marker ?? "", namespace) }
        return try self.query(statement.sql, statement.arguments, row: MetadefObjectRow.read)
    }
}
