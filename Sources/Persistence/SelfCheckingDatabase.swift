/// A database that can look whether its own structures are whole. An engine that sees to that by itself
/// has nothing to say here.
package protocol SelfCheckingDatabase: SQLDatabase {
    /// What is wrong, a line each; nothing when all is well. Reads the whole database.
    /// - Throws: `SQLError` when it cannot be read at all.
    func integrityProblems() async throws -> [String]
}

extension SQLiteDatabase: SelfCheckingDatabase {
    /// How many problems of a kind are told: one is enough to know that a backup is needed.
    private static let problemLimit = 100

    package func integrityProblems() async throws -> [String] {
        do {
            return try await read { db in
                let damage = try db.query("PRAGMA integrity_check(\(Self.problemLimit))") {
                    try $0.get(0, as: String.self)
                }
                let orphans = try db.query("PRAGMA foreign_key_check") { row in
                    let number = try row.get(1, as: Int64?.self).map { " \($0)" } ?? ""
                    return "row\(number) of \(try row.get(0, as: String.self)) refers to a row of "
                        + "\(try row.get(2, as: String.self)) that is not there"
                }
                return damage.filter { $0 != "ok" } + orphans.prefix(Self.problemLimit)
            }
        } catch let error as SQLError where error.code == .corrupt {
            return [error.message]
        }
    }
}
