import CSQLite
import Glibc

/// A prepared statement and which argument each of its parameters takes.
final class SQLiteStatement {
    private let pointer: OpaquePointer
    private let connection: OpaquePointer
    private let sql: String
    /// SQLite numbers `$n` by first appearance, whatever `n` is: the n of each of its parameters.
    private let parameters: [Int]

    /// SQLite copies what it is given.
    private static var transient: sqlite3_destructor_type { unsafeBitCast(-1, to: sqlite3_destructor_type.self) }

    /// - Parameter isKept: whether it will be run many times.
    /// - Throws: `SQLError`.
    init(_ sql: String, _ connection: OpaquePointer, isKept: Bool) throws {
        self.sql = sql
        self.connection = connection
        var text = sql
        let prepared = try text.withUTF8 { bytes -> OpaquePointer? in
            var prepared: OpaquePointer?
            var rest: UnsafePointer<CChar>?
            let flags = isKept ? UInt32(SQLITE_PREPARE_PERSISTENT) : 0
            try bytes.withMemoryRebound(to: CChar.self) { bytes in
                let code = sqlite3_prepare_v3(
                    connection, bytes.baseAddress, Int32(bytes.count), flags, &prepared, &rest)
                guard code == SQLITE_OK else { throw SQLError(code, of: connection, operation: sql) }
                guard let base = bytes.baseAddress, let rest else { return }
                let left = bytes[(rest - base)...]
                guard left.allSatisfy({ isspace(Int32($0)) != 0 || $0 == CChar(UInt8(ascii: ";")) }) else {
                    sqlite3_finalize(prepared)
                    throw SQLError(code: .statement, operation: sql, message: "more than one statement")
                }
            }
            return prepared
        }
        guard let prepared else { throw SQLError(code: .statement, operation: sql, message: "no statement") }
        pointer = prepared
        parameters = (0..<sqlite3_bind_parameter_count(prepared)).map { index in
            guard let name = sqlite3_bind_parameter_name(prepared, index + 1), name[0] == CChar(UInt8(ascii: "$"))
            else {
                return 0
            }
            return Int(String(cString: name + 1)) ?? 0
        }
    }

    deinit { sqlite3_finalize(pointer) }

    var stepCount: Int { Int(sqlite3_stmt_status(pointer, SQLITE_STMTSTATUS_VM_STEP, 0)) }

    /// - Throws: `SQLError` with code `.statement` when there are not as many arguments as parameters, `.check` for a
    ///   text that cannot be stored.
    func bind(_ arguments: [any SQLBindable]) throws {
        guard parameters.count == arguments.count, parameters.allSatisfy({ (1...arguments.count).contains($0) }) else {
            throw SQLError(
                code: .statement, operation: sql,
                message: "\(arguments.count) arguments for the parameters \(parameters.map { "$\($0)" })")
        }
        for (index, number) in parameters.enumerated() {
            try bind(arguments[number - 1].sqlValue, to: Int32(index + 1))
        }
    }

    private func bind(_ value: SQLValue, to place: Int32) throws {
        let code: Int32
        switch value {
        case .null:
            code = sqlite3_bind_null(pointer, place)
        case .integer(let number):
            code = sqlite3_bind_int64(pointer, place, number)
        case .text(var text):
            code = try text.withUTF8 { bytes -> Int32 in
                // An empty text may have no address, and would then be NULL.
                guard let base = bytes.baseAddress, !bytes.isEmpty else {
                    return sqlite3_bind_text(pointer, place, "", 0, Self.transient)
                }
                // SQLite's interface ends a text there, without an error; PostgreSQL has no such text.
                if memchr(base, 0, bytes.count) != nil {
                    throw SQLError(code: .check, operation: sql, message: "a text holds U+0000")
                }
                return base.withMemoryRebound(to: CChar.self, capacity: bytes.count) {
                    sqlite3_bind_text(pointer, place, $0, Int32(bytes.count), Self.transient)
                }
            }
        case .bytes(let bytes):
            code = bytes.withUnsafeBytes { bytes -> Int32 in
                guard let base = bytes.baseAddress, bytes.count > 0 else {
                    return sqlite3_bind_zeroblob(pointer, place, 0)
                }
                return sqlite3_bind_blob(pointer, place, base, Int32(bytes.count), Self.transient)
            }
        }
        guard code == SQLITE_OK else { throw SQLError(code, of: connection, operation: sql) }
    }

    /// Runs it to its end.
    /// - Throws: `SQLError`.
    func run() throws { try forEachRow { _ in } }

    /// - Throws: `SQLError`, and what `row` throws.
    func forEachRow(_ row: (SQLiteRow) throws -> Void) throws {
        // The result of a reset is the error of the last step again.
        defer { sqlite3_reset(pointer) }
        while true {
            let code = sqlite3_step(pointer)
            switch code {
            case SQLITE_ROW: try row(SQLiteRow(statement: pointer))
            case SQLITE_DONE: return
            default: throw SQLError(code, of: connection, operation: sql)
            }
        }
    }
}

struct SQLiteRow: SQLRow {
    let statement: OpaquePointer

    func value(_ column: Int) -> SQLValue {
        let column = Int32(column)
        switch sqlite3_column_type(statement, column) {
        case SQLITE_INTEGER: return .integer(sqlite3_column_int64(statement, column))
        case SQLITE_TEXT: return .text(string(column))
        case SQLITE_BLOB:
            let count = Int(sqlite3_column_bytes(statement, column))
            guard count > 0, let bytes = sqlite3_column_blob(statement, column) else { return .bytes([]) }
            return .bytes([UInt8](UnsafeRawBufferPointer(start: bytes, count: count)))
        case SQLITE_FLOAT:
            let value = sqlite3_column_double(statement, column)
            return Int64(exactly: value).map { .integer($0) } ?? .text("\(value)")
        default: return .null
        }
    }

    func text(_ column: Int) -> String? {
        let column = Int32(column)
        return sqlite3_column_type(statement, column) == SQLITE_TEXT ? string(column) : nil
    }

    func integer(_ column: Int) -> Int64? {
        let column = Int32(column)
        return sqlite3_column_type(statement, column) == SQLITE_INTEGER
            ? sqlite3_column_int64(statement, column) : nil
    }

    private func string(_ column: Int32) -> String {
        guard let bytes = sqlite3_column_text(statement, column) else { return "" }
        let count = Int(sqlite3_column_bytes(statement, column))
        return String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    }
}

extension SQLError {
    /// What a call on a connection failed with. SQLite's text never holds a parameter of a statement.
    init(_ code: Int32, of connection: OpaquePointer, operation: String) {
        let extended = sqlite3_extended_errcode(connection)
        // The connection may have failed in another way since.
        let isItsOwn = extended & 0xff == code & 0xff
        let message = isItsOwn ? String(cString: sqlite3_errmsg(connection)) : String(cString: sqlite3_errstr(code))
        self.init(sqlite: isItsOwn ? extended : code, message: message, operation: operation)
    }

    /// - Parameter extended: SQLite's extended result code.
    init(sqlite extended: Int32, message: String, operation: String) {
        let code: Code =
            switch (extended & 0xff, extended >> 8) {
            // UNIQUE, PRIMARY KEY, ROWID; then FOREIGN KEY. The names of extended codes are macros that Swift cannot see.
            case (SQLITE_CONSTRAINT, 8), (SQLITE_CONSTRAINT, 6), (SQLITE_CONSTRAINT, 10): .unique
            case (SQLITE_CONSTRAINT, 3): .foreignKey
            case (SQLITE_CONSTRAINT, _): .check
            // SHMSIZE: the shared-memory file could not grow; on a full disk this often comes first.
            case (SQLITE_IOERR, 19), (SQLITE_FULL, _): .full
            case (SQLITE_BUSY, _), (SQLITE_LOCKED, _): .serialization
            case (SQLITE_CORRUPT, _), (SQLITE_NOTADB, _): .corrupt
            case (SQLITE_IOERR, _), (SQLITE_CANTOPEN, _), (SQLITE_READONLY, _), (SQLITE_NOMEM, _),
                (SQLITE_INTERRUPT, _):
                .unavailable
            default: .statement
            }
        self.init(code: code, operation: operation, message: "\(message) (SQLite \(extended))")
    }
}
