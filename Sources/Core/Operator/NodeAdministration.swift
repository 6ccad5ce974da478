import Persistence

/// What the database knows of the nodes that share it, as an operator sees and changes it.
package struct NodeAdministration: Sendable {
    /// What a node has cached.
    package struct Cache: Sendable, Equatable {
        package let images: Int
        package let bytes: Int64
    }

    private let database: any SQLDatabase

    package init(database: any SQLDatabase) { self.database = database }

    /// By node; none of those that have cached nothing.
    /// - Throws: `SQLError`.
    package func caches() async throws -> [String: Cache] {
        let found = try await database.read { db in
            try db.query(
                """
                SELECT node, COUNT(*), COALESCE(SUM(size_bytes), 0) FROM image_cache WHERE state = 'cached'
                GROUP BY node ORDER BY node
                """
            ) { (try $0.get(0, as: String.self), Cache(images: try $0.get(1), bytes: try $0.get(2))) }
        }
        return Dictionary(uniqueKeysWithValues: found)
    }

    /// Those that the database knows anything of.
    /// - Throws: `SQLError`.
    package func names() async throws -> Set<String> {
        let tables = Self.tables.map { "SELECT node FROM \($0)" }
        return Set(
            try await database.read { db in
                try db.query(tables.joined(separator: " UNION ") + " ORDER BY node") { try $0.get(0, as: String.self) }
            })
    }

    private static let tables = ["image_cache", "image_cache_doomed", "instances"]

    /// Forgets a node that does not come back, and its cache: what it was at the others undo or finish. The files of its
    /// cache are whoever's who takes its disk.
    /// - Parameter node: one of which no process is left.
    /// - Throws: `SQLError`.
    package func forget(_ node: String) async throws {
        try await database.write { db in
            for table in Self.tables {
                try db.execute("DELETE FROM \(table) WHERE node = $1", node)
            }
        }
    }
}
