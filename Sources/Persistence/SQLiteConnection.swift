import GRDB

/// GRDB's connection as the shared dialect sees it.
struct SQLiteConnection: SQLConnection {
    let db: Database

    func execute(_ sql: String, _ arguments: [any SQLBindable]) throws -> Int {
        do {
            let statement = try db.cachedStatement(sql: sql)
            try statement.execute(arguments: StatementArguments(arguments.map(\.sqlValue.databaseValue)))
            return db.changesCount
        } catch {
            throw SQLError(sqlite: error, operation: sql)
        }
    }

    func forEachRow(_ sql: String, _ arguments: [any SQLBindable], _ row: (any SQLRow) throws -> Void) throws {
        do {
            let statement = try db.cachedStatement(sql: sql)
            let rows = try Row.fetchCursor(
                statement, arguments: StatementArguments(arguments.map(\.sqlValue.databaseValue)))
            while let current = try rows.next() {
                try row(SQLiteRow(row: current))
            }
        } catch {
            throw SQLError.wrapping(error, operation: sql)
        }
    }
}

private struct SQLiteRow: SQLRow {
    let row: Row

    func value(_ column: Int) -> SQLValue {
        let stored: DatabaseValue = row[column]
        switch stored.storage {
        case .null: return .null
        case .int64(let value): return .integer(value)
        case .string(let value): return .text(value)
        case .blob(let value): return .bytes([UInt8](value))
        case .double(let value): return Int64(exactly: value).map { .integer($0) } ?? .text("\(value)")
        }
    }
}

extension SQLValue {
    fileprivate var databaseValue: DatabaseValue {
        switch self {
        case .null: .null
        case .integer(let value): value.databaseValue
        case .text(let value): value.databaseValue
        case .bytes(let value): DataValue.make(value)
        }
    }
}

extension SQLError {
    /// A driver's error becomes ours; any other error (the body's own) stays what it is.
    static func wrapping(_ error: any Error, operation: String) -> any Error {
        error is DatabaseError ? SQLError(sqlite: error, operation: operation) : error
    }

    init(sqlite error: any Error, operation: String) {
        if let already = error as? SQLError {
            self = already
            return
        }
        guard let error = error as? DatabaseError else {
            self.init(code: .unavailable, operation: operation, message: "\(error)")
            return
        }
        let code: Code =
            switch error.extendedResultCode {
            case .SQLITE_CONSTRAINT_UNIQUE, .SQLITE_CONSTRAINT_PRIMARYKEY, .SQLITE_CONSTRAINT_ROWID: .unique
            case .SQLITE_CONSTRAINT_FOREIGNKEY: .foreignKey
            default:
                switch error.resultCode {
                case .SQLITE_BUSY, .SQLITE_LOCKED: .serialization
                case .SQLITE_CONSTRAINT: .check
                case .SQLITE_FULL: .full
                case .SQLITE_CORRUPT, .SQLITE_NOTADB: .corrupt
                case .SQLITE_IOERR, .SQLITE_CANTOPEN, .SQLITE_READONLY, .SQLITE_NOMEM, .SQLITE_INTERRUPT: .unavailable
                default: .statement
                }
            }
        // `message` is SQLite's text; the statement's parameters are never part of it.
        self.init(code: code, operation: operation, message: error.message ?? "result code \(error.resultCode)")
    }
}
