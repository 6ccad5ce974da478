import CSQLite

/// One connection to SQLite, through its C interface. Whoever uses it sees to it that one thread does at a time.
final class SQLiteHandle: @unchecked Sendable {
    let pointer: OpaquePointer
    private let statements: KnownStatements
    private let begin: SQLiteStatement
    private let commit: SQLiteStatement

    /// How long a lock of another process is waited for.
    private static let busyMilliseconds: Int32 = 10_000

    /// Once a process, before SQLite is used.
    private static let prepareLibrary: Void = {
        _ = ambrotype_sqlite_counts_no_memory()
    }()

    /// - Parameters:
    ///   - isReader: a connection that cannot write, and whose transactions only keep a snapshot.
    ///   - cacheKiB: how much of the database it keeps in memory at most.
    /// - Throws: `SQLError`.
    init(path: String, isReader: Bool, cacheKiB: Int) throws {
        Self.prepareLibrary
        var opened: OpaquePointer?
        let access = isReader ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
        let code = sqlite3_open_v2(path, &opened, access | SQLITE_OPEN_NOMUTEX, nil)
        guard code == SQLITE_OK, let opened else {
            let error = SQLError(
                sqlite: code, message: String(cString: sqlite3_errstr(code)), operation: "open database")
            sqlite3_close_v2(opened)
            throw error
        }
        do {
            sqlite3_extended_result_codes(opened, 1)
            sqlite3_busy_timeout(opened, Self.busyMilliseconds)
            ambrotype_sqlite_quotes_only_names(opened)
            let statements = KnownStatements(opened)
            try statements.run("PRAGMA foreign_keys = ON")
            try statements.run("PRAGMA cache_size = -\(cacheKiB)")
            // Pages are read where the kernel has them, without a call and a copy each. SQLite takes as much of it as it
            // was built to (2 GiB), and nothing where the file system is not the kernel's.
            try statements.run("PRAGMA mmap_size = 1099511627776")
            if !isReader {
                let mode = try statements.run("PRAGMA journal_mode = WAL") { $0.text(0) }
                guard mode == "wal" else {
                    throw SQLError(
                        code: .statement, operation: "open database",
                        message: "SQLite runs with journal_mode=\(mode ?? "?"), wal is needed")
                }
            }
            // The first look at the file: that it is a database.
            try statements.run("SELECT * FROM sqlite_master LIMIT 1") { _ in true }
            self.statements = statements
            begin = try SQLiteStatement(isReader ? "BEGIN DEFERRED" : "BEGIN IMMEDIATE", opened, isKept: true)
            commit = try SQLiteStatement("COMMIT", opened, isKept: true)
        } catch {
            sqlite3_close_v2(opened)
            throw error
        }
        pointer = opened
    }

    deinit {
        // What is prepared goes with its owners; the connection waits for it.
        sqlite3_close_v2(pointer)
    }

    /// False as well when the engine has rolled a transaction back by itself (SQLITE_FULL, SQLITE_IOERR, …).
    var isInsideTransaction: Bool { sqlite3_get_autocommit(pointer) == 0 }

    var changesCount: Int { Int(sqlite3_changes64(pointer)) }

    /// How many steps of SQLite's virtual machine its kept statements have made: what a query visits, as a number.
    var stepCount: Int { statements.stepCount }

    func beginTransaction() throws { try begin.run() }
    func commitTransaction() throws { try commit.run() }
    func rollbackTransaction() throws { try statements.run("ROLLBACK") }

    /// A statement ready to be bound; prepared once.
    func statement(_ sql: String) throws -> SQLiteStatement { try statements.statement(sql) }

    /// Runs a statement without parameters.
    /// - Returns: what `row` makes of the first row, if there is one.
    @discardableResult
    func run<T>(_ sql: String, row: (SQLiteRow) -> T?) throws -> T? { try statements.run(sql, row: row) }
    func run(_ sql: String) throws { try statements.run(sql) }
}

/// The statements one connection keeps prepared.
///
/// Their number is bounded: lists are put together from what a request filters by, and a client could otherwise fill
/// the memory with combinations.
final class KnownStatements {
    private static let limit = 500
    /// A longer statement is put together for one request and not kept.
    private static let longestKept = 8192

    private let connection: OpaquePointer
    private var kept: [String: SQLiteStatement] = [:]

    init(_ connection: OpaquePointer) { self.connection = connection }

    var stepCount: Int { kept.values.reduce(0) { $0 + $1.stepCount } }

    func statement(_ sql: String) throws -> SQLiteStatement {
        if let known = kept[sql] { return known }
        let isKept = sql.utf8.count <= Self.longestKept
        let statement = try SQLiteStatement(sql, connection, isKept: isKept)
        if isKept {
            if kept.count >= Self.limit { kept.removeAll(keepingCapacity: true) }
            kept[sql] = statement
        }
        return statement
    }

    @discardableResult
    func run<T>(_ sql: String, row: (SQLiteRow) -> T?) throws -> T? {
        let statement = try SQLiteStatement(sql, connection, isKept: false)
        var result: T?
        try statement.forEachRow { if result == nil { result = row($0) } }
        return result
    }

    func run(_ sql: String) throws { try run(sql) { _ in Optional<Never>.none } }
}
