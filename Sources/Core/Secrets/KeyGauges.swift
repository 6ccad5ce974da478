import Metrics
import Persistence

/// How many keys there are.
package struct KeyCounts: Sendable, Equatable {
    /// Neither deleted nor expired and found by the reconciler.
    package let secrets: Int64
    /// In quarantine.
    package let deleted: Int64
    /// In quarantine longer than their time, because something needs them: an operator should know.
    package let heldPastTime: Int64

    /// Deleted ones included: with a condition, every row would be read, payload and all.
    package static let allSQL = "SELECT COUNT(*) FROM secrets"
    package static let deletedSQL = "SELECT COUNT(*) FROM secrets WHERE quarantined_until IS NOT NULL"
    package static let heldPastTimeSQL =
        "SELECT COUNT(*) FROM secrets s WHERE s.quarantined_until <= $1 AND \(KeyGraph.isHeldSQL)"

    static func read(now: Timestamp, in db: any SQLConnection) throws -> KeyCounts {
        func number(_ sql: String, _ arguments: any SQLBindable...) throws -> Int64 {
            try db.query(sql, arguments) { try $0.get(0, as: Int64.self) }.first ?? 0
        }
        let deleted = try number(deletedSQL)
        return KeyCounts(
            secrets: try number(allSQL) - deleted, deleted: deleted, heldPastTime: try number(heldPastTimeSQL, now))
    }
}

/// Keys as numbers to watch. To be recorded where the reconciler records what it has (`ImageGauges`); each query
/// reads an index.
package struct KeyGauges: Sendable {
    private let database: any SQLDatabase
    private let clock: any WallClock

    package init(database: any SQLDatabase, clock: any WallClock) {
        self.database = database
        self.clock = clock
    }

    /// - Throws: `SQLError`.
    package func record() async throws {
        let now = clock.now
        let counts = try await database.read { db in try KeyCounts.read(now: now, in: db) }
        Gauge(label: "ambrotype_keys").record(counts.secrets)
        Gauge(label: "ambrotype_keys_deleted").record(counts.deleted)
        Gauge(label: "ambrotype_keys_held_past_time").record(counts.heldPastTime)
    }
}
