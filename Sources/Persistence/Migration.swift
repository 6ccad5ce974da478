/// One step of the schema. Steps are only ever added; a released step is never edited.
package struct Migration: Sendable {
    package let version: Int
    package let name: String
    package let statements: [String]

    package init(_ version: Int, _ name: String, _ statements: [String]) {
        self.version = version
        self.name = name
        self.statements = statements
    }
}

/// Why a database cannot be used with this program.
package enum MigrationError: Error, CustomStringConvertible {
    case newerSchema(found: Int, known: Int)
    case olderSchema(missing: Int, name: String)
    case renamed(version: Int, found: String, expected: String)
    case noSchema

    package var description: String {
        switch self {
        case .newerSchema(let found, let known):
            "the database has schema version \(found), this program knows versions up to \(known): "
                + "start the newer program, or restore a backup from before the upgrade"
        case .olderSchema(let missing, let name):
            "the database lacks schema version \(missing) ('\(name)') of this program: start the server once, "
                + "which brings it up to date, or use the program it was last started with"
        case .noSchema:
            "it has no schema: this is not a database of this program"
        case .renamed(let version, let found, let expected):
            "schema version \(version) of the database is '\(found)', expected '\(expected)': "
                + "this is not a database of this program"
        }
    }
}

extension SQLDatabase {
    /// Brings the schema to the newest of `migrations`, one transaction a step.
    /// - Returns: the versions applied now.
    /// - Throws: `MigrationError`, `SQLError`.
    @discardableResult
    package func migrate(_ migrations: [Migration], at timeMicroseconds: Int64) async throws -> [Int] {
        let ordered = migrations.sorted { $0.version < $1.version }
        precondition(Set(ordered.map(\.version)).count == ordered.count, "two migrations have one version")
        _ = try await write { db in
            try db.execute(
                """
                CREATE TABLE IF NOT EXISTS schema_migrations (
                    version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)
                """)
        }
        // Before anything is changed: an older program must leave a newer one's database as it is.
        let newest = try await read { db in
            try db.first("SELECT MAX(version) FROM schema_migrations") { try $0.get(0, as: Int?.self) }
        }
        let known = ordered.last?.version ?? 0
        if let found = newest ?? nil, found > known {
            throw MigrationError.newerSchema(found: found, known: known)
        }
        var applied: [Int] = []
        for migration in ordered {
            let isNew = try await write { db in
                let found = try db.first(
                    "SELECT name FROM schema_migrations WHERE version = $1", migration.version
                ) { try $0.get(0, as: String.self) }
                if let found {
                    guard found == migration.name else {
                        throw MigrationError.renamed(
                            version: migration.version, found: found, expected: migration.name)
                    }
                    return false
                }
                for statement in migration.statements {
                    try db.execute(statement)
                }
                try db.execute(
                    "INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1, $2, $3)",
                    migration.version, migration.name, timeMicroseconds)
                return true
            }
            if isNew { applied.append(migration.version) }
        }
        return applied
    }
}

extension SQLDatabase {
    /// That the schema is the newest of `migrations`, for those who must not change it.
    /// - Throws: `MigrationError`, `SQLError`.
    package func requireSchema(_ migrations: [Migration]) async throws {
        let found = try await read { db in
            do {
                return try db.query("SELECT version, name FROM schema_migrations") {
                    (try $0.get(0, as: Int.self), try $0.get(1, as: String.self))
                }
            } catch let error as SQLError where error.code == .statement {
                throw MigrationError.noSchema
            }
        }
        let names = Dictionary(uniqueKeysWithValues: found)
        let ordered = migrations.sorted { $0.version < $1.version }
        let known = ordered.last?.version ?? 0
        if let newest = names.keys.max(), newest > known {
            throw MigrationError.newerSchema(found: newest, known: known)
        }
        for migration in ordered {
            guard let name = names[migration.version] else {
                throw MigrationError.olderSchema(missing: migration.version, name: migration.name)
            }
            guard name == migration.name else {
                throw MigrationError.renamed(version: migration.version, found: name, expected: migration.name)
            }
        }
    }
}
