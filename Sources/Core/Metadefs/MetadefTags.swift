import Persistence

extension Metadefs {
    /// `GET …/{namespace}/tags`.
    /// - Throws: `ServiceError.notFound`, also for the marker.
    package func tags(in name: String, _ query: MetadefContentQuery, as caller: Caller) async throws -> [MetadefTag] {
        try await database.read { db in
            let namespace = try namespace(name, .getTags, caller, in: db)
            return try db.metadefTags(in: namespace.id, query, name)
        }
    }

    /// `GET …/{namespace}/tags/{tag}`.
    /// - Throws: `ServiceError.notFound`.
    package func tag(_ tag: String, in name: String, as caller: Caller) async throws -> MetadefTag {
        try await database.read { db in
            try db.metadefTag(tag, in: try namespace(name, .getTag, caller, in: db))
        }
    }

    /// `POST …/{namespace}/tags/{tag}`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`, `.conflict`.
    package func addTag(_ tag: String, to name: String, as caller: Caller) async throws -> MetadefTag {
        let now = now
        return try await database.write { db in
            let namespace = try namespace(name, .addTag, caller, in: db)
            guard try db.insertTags([tag], into: namespace.id, at: now).isEmpty else {
                throw ServiceError.twice("tag", tag, name)
            }
            return try db.metadefTag(tag, in: namespace)
        }
    }

    /// `POST …/{namespace}/tags`: in place of the tags there are, or beside them. None at all changes nothing.
    /// - Throws: `ServiceError.notFound`, `.forbidden`, `.conflict` (a tag that stands twice or is there).
    package func addTags(_ tags: [String], to name: String, isAppending: Bool, as caller: Caller) async throws {
        let now = now
        try await database.write { db in
            let namespace = try namespace(name, .addTags, caller, in: db)
            if tags.isEmpty { return }
            if !isAppending { try db.execute("DELETE FROM metadef_tags WHERE namespace_id = $1", namespace.id) }
            if let twice = try db.insertTags(tags, into: namespace.id, at: now).first {
                throw ServiceError.twice("tag", twice, name)
            }
        }
    }

    /// `PUT …/{namespace}/tags/{tag}`: its new name.
    /// - Throws: `ServiceError.notFound`, `.forbidden`, `.conflict`.
    package func renameTag(_ old: String, to tag: String, in name: String, as caller: Caller) async throws -> MetadefTag
    {
        let now = now
        return try await database.write { db in
            let namespace = try namespace(name, .modifyTag, caller, in: db)
            try db.requireRenamable(old, to: tag, "tag", in: "metadef_tags", of: namespace)
            try db.execute(
                "UPDATE metadef_tags SET name = $1, updated_at = $2 WHERE namespace_id = $3 AND name = $4",
                tag, now, namespace.id, old)
            return try db.metadefTag(tag, in: namespace)
        }
    }

    /// `DELETE …/{namespace}/tags/{tag}`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func deleteTag(_ tag: String, from name: String, as caller: Caller) async throws {
        try await database.write { db in
            let namespace = try namespace(name, .deleteTag, caller, in: db)
            try db.removeMetadef(tag, "tag", from: "metadef_tags", of: namespace)
        }
    }

    /// `DELETE …/{namespace}/tags`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func deleteTags(from name: String, as caller: Caller) async throws {
        try await database.write { db in
            let namespace = try unprotectedNamespace(name, .deleteTags, caller, in: db)
            try db.execute("DELETE FROM metadef_tags WHERE namespace_id = $1", namespace.id)
        }
    }
}

private enum MetadefTagRow {
    static let columns = "name, created_at, updated_at"

    static func read(_ row: any SQLRow) throws -> MetadefTag {
        MetadefTag(name: try row.get(0), createdAt: try row.get(1), updatedAt: try row.get(2))
    }
}

extension SQLConnection {
    /// - Returns: those that the namespace had already.
    func insertTags(_ tags: [String], into id: MetadefNamespaceID, at now: Timestamp) throws -> [String] {
        if tags.isEmpty { return [] }
        var present: [String] = []
        let position = try nextPosition(in: "metadef_tags", of: id)
        for (index, tag) in tags.enumerated() {
            let inserted = try execute(
                """
                INSERT INTO metadef_tags (namespace_id, name, position, created_at, updated_at)
                VALUES ($1, $2, $3, $4, $4) ON CONFLICT (namespace_id, name) DO NOTHING
                """, id, tag, position + index, now)
            if inserted == 0 { present.append(tag) }
        }
        return present
    }

    fileprivate func metadefTag(_ tag: String, in namespace: MetadefNamespace) throws -> MetadefTag {
        let found = try first(
            "SELECT \(MetadefTagRow.columns) FROM metadef_tags WHERE namespace_id = $1 AND name = $2",
            namespace.id, tag, row: MetadefTagRow.read)
        guard let found else { throw ServiceError.noMetadef("tag", tag, namespace.name) }
        return found
    }

    /// - Throws: `ServiceError.notFound` for the marker.
    func metadefTags(
        in id: MetadefNamespaceID, _ query: MetadefContentQuery, _ namespace: String = ""
    ) throws -> [MetadefTag] {
        let statement = try ListStatement.contents(
            MetadefTagRow.columns, from: "metadef_tags", in: id, query, in: self)
        guard let statement else { throw ServiceError.noMetadef("tag", query.marker ?? "", namespace) }
        return try self.query(statement.sql, statement.arguments, row: MetadefTagRow.read)
    }
}
