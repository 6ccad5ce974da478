import Persistence

/// Deleted keys that can still be had back (rule K2). To everyone but the operator they are gone.
package struct Quarantine: Sendable {
    static let batch = 100

    /// Why a key is there.
    package enum Reason: String, Sendable, CaseIterable {
        case deleted, forced, expired
        case withImage = "with its last image"
        case projectDeleted = "project deleted"
    }

    private let database: any SQLDatabase
    private let clock: any WallClock
    private let settings: SecretSettings

    package init(database: any SQLDatabase, clock: any WallClock, settings: SecretSettings) {
        self.database = database
        self.clock = clock
        self.settings = settings
    }

    /// A deleted key.
    package struct Entry: Sendable, Equatable {
        package let id: SecretID
        package let project: ProjectID
        package let name: String?
        package let type: SecretType
        package let deletedAt: Timestamp
        package let reason: Reason
        /// When it may be erased.
        package let quarantinedUntil: Timestamp
        /// Whether something needs it: then it is not erased, however late it is.
        package let isHeld: Bool
    }

    /// A step of the deletion.
    func add(_ id: SecretID, _ reason: Reason, now: Timestamp, in db: any SQLConnection) throws {
        try db.execute(
            """
            UPDATE secrets SET deleted_at = $1, quarantined_until = $2, deletion_reason = $3
            WHERE id = $4 AND deleted_at IS NULL
            """,
            now, now.adding(seconds: settings.retentionSeconds), reason.rawValue, id)
    }

    /// All keys of a project that is deleted, except what others need.
    func addAll(of project: ProjectID, now: Timestamp, in db: any SQLConnection) throws {
        let ids = try db.query(
            """
            SELECT s.id FROM secrets s
            WHERE s.project = $1 AND s.deleted_at IS NULL AND NOT EXISTS (
                SELECT 1 FROM key_edges e
                WHERE e.secret_id = s.id AND e.holds = 1 AND e.state IN ('held', 'releasing')
                    AND COALESCE(e.project, '') <> s.project)
            ORDER BY s.id
            """, project
        ) { try $0.get(0, as: SecretID.self) }
        for id in ids { try add(id, .projectDeleted, now: now, in: db) }
    }

    /// What is in quarantine, the next to go first.
    /// - Throws: `SQLError`.
    package func entries(_ page: PageRequest = PageRequest()) async throws -> Page<Entry> {
        let statement = Self.statement(page)
        let found = try await database.read { db in
            try db.query(statement.sql, statement.arguments) { row in
                guard let type = SecretType(rawValue: try row.get(3)), let reason = Reason(rawValue: try row.get(5))
                else { throw SQLError(code: .corrupt, operation: "read secret", message: "unknown type or reason") }
                return Entry(
                    id: try row.get(0), project: try row.get(1), name: try row.get(2), type: type,
                    deletedAt: try row.get(4), reason: reason, quarantinedUntil: try row.get(6),
                    isHeld: try row.get(7))
            }
        }
        return Page(found, page) { PageMarker($0.quarantinedUntil, $0.id.rawValue) }
    }

    package static func statement(_ page: PageRequest) -> ListStatement {
        var statement = ListStatement(
            """
            SELECT s.id, s.project, s.name, s.secret_type, s.deleted_at, s.deletion_reason, s.quarantined_until,
                CASE WHEN \(KeyGraph.isHeldSQL) THEN 1 ELSE 0 END
            FROM secrets s
            """)
        statement.condition("s.quarantined_until IS NOT NULL")
        statement.page(page, by: ["s.quarantined_until", "s.id"], after: page.after.map { [$0.time, $0.id] })
        return statement
    }

    /// Brings a deleted key back as it was. One that had expired does not expire again.
    /// - Throws: `ServiceError.notFound` when it is not in quarantine.
    package func undelete(_ id: SecretID) async throws {
        let now = clock.now
        try await database.write { db in
            let changed = try db.execute(
                """
                UPDATE secrets SET deleted_at = NULL, quarantined_until = NULL, deletion_reason = NULL,
                    updated_at = $1, expires_at = CASE WHEN expires_at <= $1 THEN NULL ELSE expires_at END
                WHERE id = $2 AND deleted_at IS NOT NULL
                """, now, id)
            guard changed == 1 else { throw Self.notThere(id) }
        }
    }

    /// Erases a deleted key now: nothing brings it back.
    /// - Throws: `ServiceError`: `.notFound`, `.conflict` (something needs it).
    package func erase(_ id: SecretID) async throws {
        try await database.write { db in
            let isHeld = try db.first(
                """
                SELECT CASE WHEN \(KeyGraph.isHeldSQL) THEN 1 ELSE 0 END FROM secrets s
                WHERE s.id = $1 AND s.deleted_at IS NOT NULL
                """, id
            ) { try $0.get(0, as: Bool.self) }
            guard let isHeld else { throw Self.notThere(id) }
            guard !isHeld else {
                throw ServiceError.conflict(
                    "Secret \(id) is still needed: `ambrotype keys graph \(id)` shows by what.")
            }
            try Self.erase(id, in: db)
        }
    }

    /// Hides what has expired: it goes the same way as what is deleted.
    /// - Returns: how many there were.
    func addExpired() async throws -> Int {
        let now = clock.now
        let due = try await database.read { db in
            try db.query(
                """
                SELECT id FROM secrets WHERE deleted_at IS NULL AND expires_at <= $1 ORDER BY expires_at, id LIMIT $2
                """, now, Self.batch
            ) { try $0.get(0, as: SecretID.self) }
        }
        if due.isEmpty { return 0 }
        try await database.write { db in
            for id in due {
                let isDue = try db.first(
                    "SELECT 1 FROM secrets WHERE id = $1 AND deleted_at IS NULL AND expires_at <= $2", id, now
                ) { _ in true }
                if isDue ?? false { try add(id, .expired, now: now, in: db) }
            }
        }
        return due.count
    }

    package static let dueSQL = """
        SELECT s.id FROM secrets s WHERE s.quarantined_until <= $1 AND NOT \(KeyGraph.isHeldSQL)
        ORDER BY s.quarantined_until, s.id LIMIT $2
        """

    /// Erases what was there for its time and what nothing needs (rule K3).
    /// - Returns: how many there were.
    func eraseDue() async throws -> Int {
        let now = clock.now
        let due = try await database.read { db in
            try db.query(Self.dueSQL, now, Self.batch) { try $0.get(0, as: SecretID.self) }
        }
        if due.isEmpty { return 0 }
        return try await database.write { db in
            // Asked again in this transaction: it may have been brought back, or be needed by now.
            let still = try db.query(Self.dueSQL, now, Self.batch) { try $0.get(0, as: SecretID.self) }
            for id in still { try Self.erase(id, in: db) }
            return still.count
        }
    }

    /// Keys whose time is over and that something needs: an operator should know.
    /// - Throws: `SQLError`.
    package func heldPastTime() async throws -> Int64 {
        try await counts().heldPastTime
    }

    /// - Throws: `SQLError`.
    package func counts() async throws -> KeyCounts {
        let now = clock.now
        return try await database.read { db in try KeyCounts.read(now: now, in: db) }
    }

    /// The row has the only wrapping of the key that the payload was sealed with: without it nothing opens it.
    private static func erase(_ id: SecretID, in db: any SQLConnection) throws {
        try db.execute("DELETE FROM secret_metadata WHERE secret_id = $1", id)
        try db.execute("DELETE FROM secret_acl_users WHERE resource_id = $1", id)
        try db.execute("DELETE FROM secret_acls WHERE resource_id = $1", id)
        try db.execute("DELETE FROM secret_container_members WHERE secret_id = $1", id)
        try db.execute("DELETE FROM key_edges WHERE secret_id = $1 AND via = 'consumer'", id)
        try db.execute("DELETE FROM secrets WHERE id = $1", id)
    }

    private static func notThere(_ id: SecretID) -> ServiceError {
        .notFound("Secret \(id) is not among the deleted keys.")
    }
}

extension Secrets {
    /// Hides what has expired and erases what was deleted long enough ago; more than a few batches wait for the
    /// next pass.
    package func keepHouse() async throws {
        for _ in 0..<20 where try await quarantine.addExpired() < Quarantine.batch { break }
        for _ in 0..<20 where try await quarantine.eraseDue() < Quarantine.batch { break }
    }
}
