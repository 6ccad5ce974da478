/// One value bound to a statement or read from a row: what SQLite and PostgreSQL share.
package enum SQLValue: Sendable, Hashable {
    case null
    case integer(Int64)
    case text(String)
    case bytes([UInt8])
}

/// A type that can stand as a parameter of a statement.
package protocol SQLBindable: Sendable {
    var sqlValue: SQLValue { get }
}

/// A type that can be read from a column. Returns nil when the stored value has another type.
package protocol SQLReadable: Sendable {
    init?(sqlValue: SQLValue)
}

extension SQLValue: SQLBindable, SQLReadable {
    package var sqlValue: SQLValue { self }
    package init?(sqlValue: SQLValue) { self = sqlValue }
}

extension String: SQLBindable, SQLReadable {
    package var sqlValue: SQLValue { .text(self) }
    package init?(sqlValue: SQLValue) {
        guard case .text(let value) = sqlValue else { return nil }
        self = value
    }
}

extension Int64: SQLBindable, SQLReadable {
    package var sqlValue: SQLValue { .integer(self) }
    package init?(sqlValue: SQLValue) {
        guard case .integer(let value) = sqlValue else { return nil }
        self = value
    }
}

extension Int: SQLBindable, SQLReadable {
    package var sqlValue: SQLValue { .integer(Int64(self)) }
    package init?(sqlValue: SQLValue) {
        guard case .integer(let value) = sqlValue else { return nil }
        self = Int(value)
    }
}

/// Truth is stored as 0 or 1, which both engines can index and compare.
extension Bool: SQLBindable, SQLReadable {
    package var sqlValue: SQLValue { .integer(self ? 1 : 0) }
    package init?(sqlValue: SQLValue) {
        guard case .integer(let value) = sqlValue, value == 0 || value == 1 else { return nil }
        self = value == 1
    }
}

extension Array: SQLBindable where Element == UInt8 {
    package var sqlValue: SQLValue { .bytes(self) }
}

extension Array: SQLReadable where Element == UInt8 {
    package init?(sqlValue: SQLValue) {
        guard case .bytes(let value) = sqlValue else { return nil }
        self = value
    }
}

extension Optional: SQLBindable where Wrapped: SQLBindable {
    package var sqlValue: SQLValue { self?.sqlValue ?? .null }
}

extension Optional: SQLReadable where Wrapped: SQLReadable {
    package init?(sqlValue: SQLValue) {
        if sqlValue == .null {
            self = .none
        } else if let value = Wrapped(sqlValue: sqlValue) {
            self = .some(value)
        } else {
            return nil
        }
    }
}

/// The current row of a query. Valid only inside the closure it is handed to.
package protocol SQLRow {
    /// The value in the column with this index, counted from 0 in the order of the SELECT.
    func value(_ column: Int) -> SQLValue

    /// The same for a column that is a text or a number, without the detour; nil for every other value.
    func text(_ column: Int) -> String?
    func integer(_ column: Int) -> Int64?
}

extension SQLRow {
    /// Reads a column as a type; the row's shape is ours, so a mismatch is a corrupt database.
    /// - Throws: `SQLError` with code `.corrupt`.
    package func get<T: SQLReadable>(_ column: Int, as type: T.Type = T.self) throws -> T {
        let value = value(column)
        guard let result = T(sqlValue: value) else {
            throw SQLError(code: .corrupt, operation: "read column \(column)", message: "expected \(T.self)")
        }
        return result
    }
}

/// What a driver throws, and nothing else.
package struct SQLError: Error, Sendable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        /// Another transaction won; the same body may simply be run again.
        case serialization
        /// A UNIQUE or PRIMARY KEY constraint.
        case unique
        /// A FOREIGN KEY constraint.
        case foreignKey
        /// A CHECK or NOT NULL constraint.
        case check
        /// The disk (or the quota) under the database is full.
        case full
        /// The engine could not be reached or read; the cause may pass.
        case unavailable
        /// The stored data contradicts the schema.
        case corrupt
        /// A mistake in the statement: ours.
        case statement
    }

    package let code: Code
    /// What was being done: a phrase or the statement, never its parameters.
    package let operation: String
    package let message: String

    package init(code: Code, operation: String, message: String) {
        self.code = code
        self.operation = operation
        self.message = message
    }

    package var isRetryable: Bool { code == .serialization }
    package var description: String { "\(code) in \(operation): \(message)" }
}

/// A connection inside a transaction. Synchronous: a transaction's body depends on the database's
/// state and its captured arguments alone, because it may be run again.
///
/// Statements are written once, in what SQLite and PostgreSQL share: parameters are `$1`, `$2`, …,
/// each used at least once; truth is 0/1; times are integer microseconds UTC; binary columns are
/// declared BYTEA; no text holds U+0000 (`.check`). A body whose statement failed must throw, since
/// PostgreSQL has given the transaction up by then: what may fail is asked first, or left to
/// `ON CONFLICT`.
package protocol SQLConnection {
    /// Runs a statement.
    /// - Returns: the number of rows inserted, changed or deleted.
    /// - Throws: `SQLError`.
    @discardableResult
    func execute(_ sql: String, _ arguments: [any SQLBindable]) throws -> Int

    /// Runs a query and hands each row, in order, to `row`, which must not use the connection.
    /// - Throws: `SQLError`, and what `row` throws.
    func forEachRow(_ sql: String, _ arguments: [any SQLBindable], _ row: (any SQLRow) throws -> Void) throws
}

extension SQLConnection {
    @discardableResult
    package func execute(_ sql: String, _ arguments: any SQLBindable...) throws -> Int {
        try execute(sql, arguments)
    }

    package func query<T>(
        _ sql: String, _ arguments: any SQLBindable..., row: (any SQLRow) throws -> T
    ) throws -> [T] {
        try query(sql, arguments, row: row)
    }

    package func query<T>(
        _ sql: String, _ arguments: [any SQLBindable], row: (any SQLRow) throws -> T
    ) throws -> [T] {
        var result: [T] = []
        try forEachRow(sql, arguments) { result.append(try row($0)) }
        return result
    }

    /// The first row, if there is one.
    package func first<T>(
        _ sql: String, _ arguments: any SQLBindable..., row: (any SQLRow) throws -> T
    ) throws -> T? {
        try query(sql, arguments, row: row).first
    }
}

/// A database: where facts live. Every implementation passes `DatabaseContract` (Tests/ContractTests).
package protocol SQLDatabase: Sendable {
    /// Runs `body` on one consistent snapshot. It must not write.
    /// - Throws: `SQLError`, and what `body` throws.
    func read<T: Sendable>(_ body: @Sendable (any SQLConnection) throws -> T) async throws -> T

    /// As `read`, on the caller's thread and without waiting: nil when that cannot be. For what reads a few pages.
    /// - Throws: `SQLError`, and what `body` throws.
    func readAtOnce<T>(_ body: (any SQLConnection) throws -> T) throws -> T?

    /// Runs `body` as a serializable transaction and returns once it is durable.
    ///
    /// All of the body's effects happen or none. If `body` throws, nothing has happened and the
    /// error is passed on. The body may be run several times (a lost race is retried by the
    /// driver), so it must have no effect outside the connection. Cancellation of the calling
    /// task is ignored once the body is queued: the caller learns the outcome.
    /// - Throws: `SQLError`, and what `body` throws.
    func write<T: Sendable>(_ body: @escaping @Sendable (any SQLConnection) throws -> T) async throws -> T
}

extension SQLDatabase {
    package func readAtOnce<T>(_ body: (any SQLConnection) throws -> T) throws -> T? { nil }
}
