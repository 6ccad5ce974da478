import CSQLite

/// A connection through SQLite's own interface, for tests of what lies under it.
final class SQLiteProbe {
    struct Failure: Error, CustomStringConvertible {
        let code: Int32
        let message: String
        var description: String { "SQLite \(code): \(message)" }
    }

    private var connection: OpaquePointer?
    private var prepared: [String: OpaquePointer] = [:]

    init(_ path: String, setup: [String] = []) throws {
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
        let code = sqlite3_open_v2(path, &connection, flags, nil)
        do {
            guard code == SQLITE_OK else { throw failure(code) }
            sqlite3_extended_result_codes(connection, 1)
            for statement in setup { try execute(statement) }
        } catch {
            close()
            throw error
        }
    }

    deinit { close() }

    func close() {
        for statement in prepared.values { sqlite3_finalize(statement) }
        prepared = [:]
        sqlite3_close_v2(connection)
        connection = nil
    }

    private func failure(_ code: Int32) -> Failure {
        Failure(code: code, message: sqlite3_errmsg(connection).map { String(cString: $0) } ?? "")
    }

    @discardableResult
    func execute(_ sql: String, _ arguments: Int64...) throws -> [[String]] {
        let statement: OpaquePointer?
        if let known = prepared[sql] {
            statement = known
        } else {
            var made: OpaquePointer?
            let code = sqlite3_prepare_v2(connection, sql, -1, &made, nil)
            guard code == SQLITE_OK else { throw failure(code) }
            prepared[sql] = made
            statement = made
        }
        defer { sqlite3_reset(statement) }
        for (index, argument) in arguments.enumerated() { sqlite3_bind_int64(statement, Int32(index + 1), argument) }
        var rows: [[String]] = []
        while true {
            let code = sqlite3_step(statement)
            if code == SQLITE_DONE { return rows }
            guard code == SQLITE_ROW else { throw failure(code) }
            rows.append(
                (0..<sqlite3_column_count(statement)).map { column in
                    sqlite3_column_text(statement, column).map { String(cString: $0) } ?? "NULL"
                })
        }
    }

    func integers(_ sql: String) throws -> [Int64] { try execute(sql).map { Int64($0[0]) ?? -1 } }

    var isInTransaction: Bool { sqlite3_get_autocommit(connection) == 0 }
}
