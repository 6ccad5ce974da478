import GRDB
import Synchronization

/// GRDB's connection as the shared dialect sees it.
struct SQLiteConnection: SQLConnection {
    let db: Database
    let statements: KnownStatements

    func execute(_ sql: String, _ arguments: [any SQLBindable]) throws -> Int {
        do {
            let (statement, bound) = try prepare(sql, arguments)
            try statement.execute(arguments: bound)
            return db.changesCount
        } catch {
            throw SQLError(sqlite: error, operation: sql)
        }
    }

    func forEachRow(_ sql: String, _ arguments: [any SQLBindable], _ row: (any SQLRow) throws -> Void) throws {
        do {
            let (statement, bound) = try prepare(sql, arguments)
            let rows = try Row.fetchCursor(statement, arguments: bound)
            while let current = try rows.next() {
                try row(SQLiteRow(row: current))
            }
        } catch {
            throw SQLError.wrapping(error, operation: sql)
        }
    }

    private func prepare(_ sql: String, _ arguments: [any SQLBindable]) throws -> (Statement, StatementArguments) {
        let order = statements.parameterOrder(of: sql, in: db)
        guard order.count == arguments.count, order.allSatisfy({ (1...arguments.count).contains($0) }) else {
            throw SQLError(
                code: .statement, operation: sql,
                message: "\(arguments.count) arguments for the parameters \(order.map { "$\($0)" })")
        }
        let values = try order.map { number in
            let value = arguments[number - 1].sqlValue
            // SQLite's interface ends a text there, without an error; PostgreSQL has no such text.
            if case .text(let text) = value, text.utf8.contains(0) {
                throw SQLError(code: .check, operation: sql, message: "a text holds U+0000")
            }
            return value.databaseValue
        }
        let isKept = sql.utf8.count <= KnownStatements.longestKept
        let statement = isKept ? try db.cachedStatement(sql: sql) : try db.makeStatement(sql: sql)
        return (statement, StatementArguments(values))
    }
}

/// The statements one connection keeps prepared, and which argument each of their parameters takes.
///
/// SQLite numbers `$n` by first appearance, whatever `n` is; the order kept here puts that right. The
/// number of statements is bounded: lists are put together from what a request filters by, and a
/// client could otherwise fill the memory with combinations.
final class KnownStatements: Sendable {
    private static let limit = 500
    /// A longer statement is put together for one request and not kept.
    static let longestKept = 8192
    private let orders = Mutex<[String: [Int]]>([:])

    /// The numbers of the parameters of `sql`, each once, in the order of their first appearance.
    func parameterOrder(of sql: String, in db: Database) -> [Int] {
        guard sql.utf8.count <= Self.longestKept else { return Self.parameters(of: sql) }
        return orders.withLock { orders in
            if let known = orders[sql] { return known }
            if orders.count >= Self.limit {
                orders.removeAll(keepingCapacity: true)
                // Also drops the prepared statements.
                db.clearSchemaCache()
            }
            let order = Self.parameters(of: sql)
            orders[sql] = order
            return order
        }
    }

    /// Skips what is quoted (`'…'`, `"…"`; a doubled quote ends and begins again) and `--` comments.
    private static func parameters(of sql: String) -> [Int] {
        var found: [Int] = []
        var seen: Set<Int> = []
        var rest = Substring(sql).utf8
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "'"), UInt8(ascii: "\""):
                while let next = rest.popFirst(), next != byte {}
            case UInt8(ascii: "-") where rest.first == UInt8(ascii: "-"):
                while let next = rest.popFirst(), next != UInt8(ascii: "\n") {}
            case UInt8(ascii: "$"):
                let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
                rest = rest.dropFirst(digits.count)
                if let number = Int(Substring(digits)), seen.insert(number).inserted { found.append(number) }
            default:
                break
            }
        }
        return found
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
            // The shared-memory file could not grow: on a full disk this often comes first.
            case .SQLITE_IOERR_SHMSIZE: .full
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
        self.init(
            code: code, operation: operation,
            message: "\(error.message ?? "no text") (SQLite \(error.extendedResultCode.rawValue))")
    }
}
