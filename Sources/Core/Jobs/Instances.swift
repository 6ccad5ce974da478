import Persistence

/// What is known of the processes of a node.
package enum NodeLife: Sendable {
    case lives
    /// No process of it is left.
    case gone
    /// Nobody can tell: time has to.
    case unknown
}

/// The processes that work on a database. One that is gone has no row, and only then can what it held
/// be taken for good: a lease that ran out says that its owner is late, not that it will never wake up
/// and write again.
struct Instances: Sendable {
    /// A process that was not seen for so long does not come back.
    private static let forgottenAfterSeconds: Int64 = 24 * 3600
    private static let seenEverySeconds: Int64 = 60

    let database: any SQLDatabase
    let clock: any WallClock
    let instance: InstanceID
    /// Where processes run one at a time: a new one there means that the earlier are gone.
    let node: String
    let lifeOfNode: @Sendable (String) -> NodeLife

    /// Says that this process runs, and that all others of its node are gone.
    func register() async throws {
        let now = clock.now
        try await database.write { db in
            try db.execute("DELETE FROM instances WHERE node = $1", node)
            try db.execute(
                "INSERT INTO instances (id, node, started_at, seen_at) VALUES ($1, $2, $3, $3)", instance, node, now)
        }
    }

    /// Forgets processes of other nodes that are known to have ended.
    /// - Returns: whether there was one.
    func forgetGone() async throws -> Bool {
        let others = try await database.read { db in
            try db.query("SELECT id, node FROM instances WHERE node <> $1 ORDER BY id", node) {
                (id: try $0.get(0, as: InstanceID.self), node: try $0.get(1, as: String.self))
            }
        }
        // The node is looked at after its row was read: what started there meanwhile has another.
        let gone = others.filter { lifeOfNode($0.node) == .gone }
        if gone.isEmpty { return false }
        try await database.write { db in
            for process in gone { try db.execute("DELETE FROM instances WHERE id = $1", process.id) }
        }
        return true
    }

    /// Says now and then that this process still runs, and forgets those that do not.
    func keepSeen() async throws {
        let now = clock.now
        let forgotten = now.adding(seconds: -Self.forgottenAfterSeconds)
        let (isDue, unseen) = try await database.read { db in
            let seen = try db.first("SELECT seen_at FROM instances WHERE id = $1", instance) {
                try $0.get(0, as: Timestamp.self)
            }
            let unseen = try db.query(
                "SELECT id, node FROM instances WHERE seen_at < $1 AND id <> $2 ORDER BY id", forgotten, instance
            ) { (id: try $0.get(0, as: InstanceID.self), node: try $0.get(1, as: String.self)) }
            return (seen.map { $0.adding(seconds: Self.seenEverySeconds) <= now } ?? true, unseen)
        }
        guard isDue else { return }
        // A clock that was put forward makes nobody old who is known to live.
        let gone = unseen.filter { lifeOfNode($0.node) != .lives }
        try await database.write { db in
            try db.execute(
                """
                INSERT INTO instances (id, node, started_at, seen_at) VALUES ($1, $2, $3, $3)
                ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
                """, instance, node, now)
            for process in gone {
                try db.execute("DELETE FROM instances WHERE id = $1 AND seen_at < $2", process.id, forgotten)
            }
        }
    }
}
