import Dispatch
import GRDB
import Logging
import Metrics
import NIOPosix
import Synchronization

/// The embedded database: SQLite in WAL mode, every commit synced (`synchronous=FULL`).
///
/// Writers share commits. Each write is a savepoint in a transaction that one thread runs for all
/// writes waiting at that moment, so a sync of the disk is paid once a group and not once a write;
/// a write returns only after the sync that covers it. Readers have their own connections and see
/// the last commit.
package final class SQLiteDatabase: SQLDatabase, @unchecked Sendable {
    /// How many writes one commit may cover: bounds the time the first of a group waits.
    private static let groupLimit = 256
    /// How often a write is tried when another process keeps winning.
    private static let attemptLimit = 3

    private let writer: DatabaseQueue
    private let statements = KnownStatements()
    private let readers: ReaderPool
    private let runWriter: WriterQueue
    private let waiting = Mutex(WaitingWrites())
    private let writeWait = Metrics.Timer(label: "ambrotype_database_write_wait_seconds")
    private let groupSize = Metrics.Recorder(label: "ambrotype_database_group_writes")

    private struct WaitingWrites {
        var writes: [any PendingWrite] = []
        var isDraining = false
    }

    /// Runs work soon, one piece after the other, and does not wait for it.
    package typealias WriterQueue = @Sendable (@escaping @Sendable () -> Void) -> Void

    /// A thread that nothing else can keep busy.
    private static func thread() -> WriterQueue {
        let thread = WriterThread()
        return { work in thread.run(work) }
    }

    private final class WriterThread: Sendable {
        private let pool = NIOThreadPool(numberOfThreads: 1)

        init() { pool.start() }
        deinit { pool.shutdownGracefully { _ in } }
        func run(_ work: @escaping @Sendable () -> Void) { pool.submit { _ in work() } }
    }

    /// Opens or creates the database.
    /// - Parameters:
    ///   - path: the main file; SQLite keeps `-wal` and `-shm` beside it.
    ///   - readerCount: how many reads may run at once; a further read waits.
    ///   - writerQueue: where writes are run, one piece of work after the other.
    /// - Throws: `SQLError`; `.statement` if the engine did not take the durability asked for.
    package init(path: String, readerCount: Int = 4, writerQueue: WriterQueue? = nil) throws {
        precondition(readerCount > 0)
        runWriter = writerQueue ?? Self.thread()
        do {
            var configuration = Configuration()
            configuration.journalMode = .wal
            configuration.busyMode = .timeout(10)
            configuration.label = "ambrotype.sqlite"
            configuration.foreignKeysEnabled = true
            writer = try DatabaseQueue(path: path, configuration: configuration)
            // GRDB sets synchronous=NORMAL when it opens a WAL database, whatever was asked before:
            // a commit would then survive a crash of the process but not of the machine.
            try writer.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA synchronous = FULL")
                // What is deleted is overwritten in the pages that change anyway: an erased key's wrapping is gone.
                _ = try Int.fetchOne(db, sql: "PRAGMA secure_delete = FAST")
                try db.execute(sql: "PRAGMA journal_size_limit = 67108864")
                let mode = try String.fetchOne(db, sql: "PRAGMA journal_mode")
                let level = try Int.fetchOne(db, sql: "PRAGMA synchronous")
                guard mode == "wal", level == 2 else {
                    throw SQLError(
                        code: .statement, operation: "open",
                        message: "SQLite runs with journal_mode=\(mode ?? "?") synchronous=\(level ?? -1), "
                            + "wal and 2 (FULL) are needed")
                }
            }
            configuration.readonly = true
            let readerConfiguration = configuration
            readers = ReaderPool(
                try (0..<readerCount).map { _ in
                    Reader(queue: try DatabaseQueue(path: path, configuration: readerConfiguration))
                })
        } catch {
            throw SQLError(sqlite: error, operation: "open database")
        }
    }

    /// The durability the writer runs with, as `PRAGMA synchronous` reports it: 2 is FULL.
    package func synchronousLevel() throws -> Int {
        try writer.read { try Int.fetchOne($0, sql: "PRAGMA synchronous") } ?? -1
    }

    package func read<T: Sendable>(_ body: @Sendable (any SQLConnection) throws -> T) async throws -> T {
        let reader = await readers.take()
        defer { readers.giveBack(reader) }
        return try Self.snapshot(of: reader, body)
    }

    /// On the caller's thread: a point read takes microseconds, a hop to another thread as long.
    private static func snapshot<T>(
        of reader: Reader, _ body: @Sendable (any SQLConnection) throws -> T
    ) throws -> T {
        do {
            return try reader.queue.read { try body(SQLiteConnection(db: $0, statements: reader.statements)) }
        } catch {
            throw SQLError.wrapping(error, operation: "read")
        }
    }

    package func write<T: Sendable>(
        _ body: @escaping @Sendable (any SQLConnection) throws -> T
    ) async throws -> T {
        let start = DispatchTime.now()
        defer { writeWait.recordNanoseconds(Int64(DispatchTime.now().uptimeNanoseconds - start.uptimeNanoseconds)) }
        return try await withCheckedThrowingContinuation { continuation in
            let write = Write(body: body, statements: statements, continuation: continuation)
            let mustStart = waiting.withLock { waiting in
                waiting.writes.append(write)
                if waiting.isDraining { return false }
                waiting.isDraining = true
                return true
            }
            if mustStart {
                runWriter { self.drain() }
            }
        }
    }

    /// Runs on the writer's thread until nobody waits.
    private func drain() {
        while true {
            let group = waiting.withLock { waiting -> [any PendingWrite] in
                let group = Array(waiting.writes.prefix(Self.groupLimit))
                waiting.writes.removeFirst(group.count)
                if group.isEmpty { waiting.isDraining = false }
                return group
            }
            if group.isEmpty { return }
            groupSize.record(group.count)
            commit(group)
        }
    }

    /// One transaction for the whole group; if it cannot be had, each write alone, so that one
    /// write's trouble (a full disk in the middle, say) is never told to another.
    private func commit(_ group: [any PendingWrite], attempt: Int = 1) {
        var hasBegun = false
        do {
            try writer.writeWithoutTransaction { db in
                try db.execute(sql: "BEGIN IMMEDIATE")
                hasBegun = true
                do {
                    for write in group {
                        try write.run(in: db, alone: group.count == 1)
                        guard db.isInsideTransaction else { throw GroupLost() }
                    }
                    try db.execute(sql: "COMMIT")
                } catch {
                    if db.isInsideTransaction { try? db.execute(sql: "ROLLBACK") }
                    throw error
                }
            }
            for write in group { write.finish() }
        } catch {
            let cause = SQLError(sqlite: error, operation: "commit")
            if cause.isRetryable, attempt < Self.attemptLimit {
                // Another process holds the write lock: SQLite has already waited its busy timeout.
                commit(group, attempt: attempt + 1)
            } else if hasBegun, group.count > 1 {
                for write in group { commit([write]) }
            } else {
                for write in group { write.fail(cause) }
            }
        }
    }
}

/// The engine rolled the transaction back by itself (SQLITE_FULL, SQLITE_IOERR, …).
private struct GroupLost: Error {}

private protocol PendingWrite: Sendable {
    /// Runs the body and keeps its outcome. Throws only if the shared transaction is lost, or,
    /// alone, if the body failed: then the transaction must be rolled back.
    func run(in db: Database, alone: Bool) throws
    /// Tells the caller the outcome of the last run.
    func finish()
    /// Tells the caller that the transaction failed; a body's own error goes first.
    func fail(_ error: SQLError)
}

/// Only the writer's thread touches `outcome`, and only it resumes the continuation.
private final class Write<T: Sendable>: PendingWrite, @unchecked Sendable {
    private let body: @Sendable (any SQLConnection) throws -> T
    private let statements: KnownStatements
    private let continuation: CheckedContinuation<T, any Error>
    private var outcome: Result<T, any Error>?

    init(
        body: @escaping @Sendable (any SQLConnection) throws -> T, statements: KnownStatements,
        continuation: CheckedContinuation<T, any Error>
    ) {
        self.body = body
        self.statements = statements
        self.continuation = continuation
    }

    func run(in db: Database, alone: Bool) throws {
        outcome = nil
        if alone {
            do {
                outcome = .success(try body(SQLiteConnection(db: db, statements: statements)))
            } catch {
                outcome = .failure(error)
                throw error
            }
            return
        }
        try db.cachedStatement(sql: "SAVEPOINT w").execute()
        do {
            outcome = .success(try body(SQLiteConnection(db: db, statements: statements)))
            try db.cachedStatement(sql: "RELEASE w").execute()
        } catch {
            guard db.isInsideTransaction else {
                outcome = nil
                throw GroupLost()
            }
            try db.execute(sql: "ROLLBACK TO w")
            try db.cachedStatement(sql: "RELEASE w").execute()
            outcome = .failure(error)
        }
    }

    func finish() {
        switch outcome {
        case .success(let value): continuation.resume(returning: value)
        case .failure(let error): continuation.resume(throwing: SQLError.wrapping(error, operation: "write"))
        case nil: fail(SQLError(code: .unavailable, operation: "write", message: "the write was not run"))
        }
    }

    func fail(_ error: SQLError) {
        if case .failure(let own) = outcome {
            continuation.resume(throwing: SQLError.wrapping(own, operation: "write"))
        } else {
            continuation.resume(throwing: error)
        }
    }
}

/// A connection for reading, and what it has prepared.
private struct Reader: Sendable {
    let queue: DatabaseQueue
    let statements = KnownStatements()
}

/// Readers wait in order for one of a fixed number of connections.
private final class ReaderPool: Sendable {
    private struct State {
        var idle: [Reader]
        var waiting: [CheckedContinuation<Reader, Never>] = []
    }
    private let state: Mutex<State>
    private let readWait = Metrics.Timer(label: "ambrotype_database_read_wait_seconds")

    init(_ connections: [Reader]) {
        state = Mutex(State(idle: connections))
    }

    func take() async -> Reader {
        if let free = state.withLock({ $0.idle.popLast() }) { return free }
        let start = DispatchTime.now()
        defer { readWait.recordNanoseconds(Int64(DispatchTime.now().uptimeNanoseconds - start.uptimeNanoseconds)) }
        return await withCheckedContinuation { continuation in
            let free = state.withLock { state -> Reader? in
                if let free = state.idle.popLast() { return free }
                state.waiting.append(continuation)
                return nil
            }
            if let free { continuation.resume(returning: free) }
        }
    }

    func giveBack(_ connection: Reader) {
        let next = state.withLock { state -> CheckedContinuation<Reader, Never>? in
            if state.waiting.isEmpty {
                state.idle.append(connection)
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume(returning: connection)
    }
}
