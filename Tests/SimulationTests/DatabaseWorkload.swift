import Simulation

/// Transactions against a database on a simulated disk, and what must be found of them later:
/// transaction `k` writes `rows(k)` rows with its number, so that a part of one can be told.
struct DatabaseWorkload {
    static let path = "/x.db"
    let synchronous: String
    var acknowledged: Set<Int64> = []
    /// Began, and nobody was told that they succeeded.
    var uncertain: Set<Int64> = []
    private var next: Int64 = 1

    init(synchronous: String) { self.synchronous = synchronous }

    static func rows(_ transaction: Int64) -> Int64 { transaction % 5 + 1 }

    func connect(_ mount: Mount) throws -> SQLiteProbe {
        try SQLiteProbe(
            mount.databasePath(Self.path),
            setup: [
                "PRAGMA journal_mode=WAL", "PRAGMA synchronous=\(synchronous)", "PRAGMA wal_autocheckpoint=20",
                "PRAGMA cache_size=5",
                "CREATE TABLE IF NOT EXISTS t(k INTEGER, part INTEGER, filler, PRIMARY KEY(k, part)) WITHOUT ROWID",
            ])
    }

    mutating func commitOne(_ probe: SQLiteProbe) throws {
        let number = next
        next += 1
        uncertain.insert(number)
        do {
            try probe.execute("BEGIN IMMEDIATE")
            for part in 0..<Self.rows(number) {
                try probe.execute("INSERT INTO t VALUES(?1, ?2, zeroblob(100 + ?1 * 37 % 900))", number, part)
            }
            try probe.execute("COMMIT")
        } catch {
            if probe.isInTransaction { _ = try? probe.execute("ROLLBACK") }
            throw error
        }
        uncertain.remove(number)
        acknowledged.insert(number)
    }

    /// What is wrong with the database; empty if all is well. What is found of the uncertain is
    /// certain from then on.
    mutating func problems(_ probe: SQLiteProbe) -> [String] {
        do {
            var problems: [String] = []
            let verdict = try probe.execute("PRAGMA integrity_check").map { $0[0] }
            if verdict != ["ok"] { problems.append("integrity: \(verdict.prefix(3))") }
            var found: Set<Int64> = []
            for row in try probe.execute("SELECT k, count(*) FROM t GROUP BY k") {
                let number = Int64(row[0]) ?? -1
                found.insert(number)
                if Int64(row[1]) != Self.rows(number) { problems.append("a part of \(number)") }
                if !acknowledged.contains(number), !uncertain.contains(number) { problems.append("\(number) undead") }
            }
            let lost = acknowledged.subtracting(found)
            if !lost.isEmpty { problems.append("lost \(lost.count): \(lost.sorted().prefix(5))") }
            acknowledged = found
            uncertain = []
            return problems
        } catch {
            return ["\(error)"]
        }
    }
}
