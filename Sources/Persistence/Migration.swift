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
    case olderSchema(missing: Int)
    case noSchema
    case renamed(version: Int, found: String, expected: String)

    package var description: String {
        switch self {
        case .newerSchema(let found, let known):
            "the database has schema version \(found), this program knows others, up to \(known): "
                + "start the newer program, or restore a backup from before the upgrade"
        case .olderSchema(let missing):
            "the database lacks schema version \(missing), which this program needs: start the server once, "
                + "it brings the database up to date"
        case .noSchema:
            "the database holds nothing of this program: start the server once, it sets the database up"
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
        let found = try await appliedMigrations()
        // Before anything is changed: an older program must leave a newer one's database as it is.
        try Self.requireKnown(found, among: ordered)
        for migration in ordered {
            if let name = found[migration.version], name != migration.name {
                throw MigrationError.renamed(version: migration.version, found: name, expected: migration.name)
            }
        }
        let missing = ordered.filter { found[$0.version] == nil }
        if missing.isEmpty { return [] }
        _ = try await write { db in
            try db.execute(
                """
                CREATE TABLE IF NOT EXISTS schema_migrations (
                    version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)
                """)
        }
        var applied: [Int] = []
        for migration in missing where try await apply(migration, at: timeMicroseconds) {
            applied.append(migration.version)
        }
        return applied
    }

    /// Checks that the schema is exactly that of `migrations`, and changes nothing: for programs that work on
    /// a database beside the server it belongs to.
    /// - Throws: `MigrationError`, `SQLError`.
    package func requireSchema(_ migrations: [Migration]) async throws {
        let applied = try await appliedMigrations()
        if applied.isEmpty { throw MigrationError.noSchema }
        try Self.requireKnown(applied, among: migrations)
        for migration in migrations.sorted(by: { $0.version < $1.version }) {
            guard let name = applied[migration.version] else {
                throw MigrationError.olderSchema(missing: migration.version)
            }
            guard name == migration.name else {
                throw MigrationError.renamed(version: migration.version, found: name, expected: migration.name)
            }
        }
    }

    /// Each part of the program numbers its steps in a range of its own, so a newer step need not be the last.
    private static func requireKnown(_ applied: [Int: String], among migrations: [Migration]) throws {
        let known = Set(migrations.map(\.version))
        if let newer = applied.keys.filter({ !known.contains($0) }).max() {
            throw MigrationError.newerSchema(found: newer, known: known.max() ?? 0)
        }
    }

    /// The steps that were applied, by version; none in a database without the table of them.
    private func appliedMigrations() async throws -> [Int: String] {
        do {
            return try await read { db in
                let rows = try db.query("SELECT version, name FROM schema_migrations") {
                    (try $0.get(0, as: Int.self), try $0.get(1, as: String.self))
                }
                return Dictionary(uniqueKeysWithValues: rows)
            }
        } catch let error as SQLError where error.code == .statement {
            return [:]
        }
    }

    /// - Returns: false if another process was quicker.
    private func apply(_ migration: Migration, at timeMicroseconds: Int64) async throws -> Bool {
        try await write { db in
            let isThere = try db.first(
                "SELECT 1 FROM schema_migrations WHERE version = $1", migration.version, row: { _ in true })
            if isThere ?? false { return false }
            for statement in migration.statements {
                try db.execute(statement)
            }
            try db.execute(
                "INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1, $2, $3)",
                migration.version, migration.name, timeMicroseconds)
            return true
        }
    }
}
