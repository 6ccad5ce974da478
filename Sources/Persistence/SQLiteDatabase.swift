import Dispatch
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
    /// What each connection may keep of the database in memory.
    private static let cacheKiB = 4096
    /// How often a write is tried when another process keeps winning.
    private static let attemptLimit = 3

    /// Used on the writer's thread alone, once opened.
    private let writer: SQLiteHandle
    private let readers: ReaderPool
    private let level: Int
    private let runWriter: WriterQueue
    private let turn: WriteTurn?
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
    ///   - turn: shared by the processes that write to it; nil when this is the only one.
    ///   - writerQueue: where writes are run, one piece of work after the other.
    /// - Throws: `SQLError`; `.statement` if the engine did not take the durability asked for.
    package init(path: String, readerCount: Int = 4, turn: WriteTurn? = nil, writerQueue: WriterQueue? = nil) throws {
        precondition(readerCount > 0)
        runWriter = writerQueue ?? Self.thread()
        self.turn = turn
        writer = try SQLiteHandle(path: path, isReader: false, cacheKiB: Self.cacheKiB)
        try writer.run("PRAGMA synchronous = FULL")
        // What is deleted is overwritten in the pages that change anyway: an erased key's wrapping is gone, from the log of
        // changes as well once the log begins anew (after 16 MiB of changes, and when the last server stops).
        try writer.run("PRAGMA secure_delete = FAST")
        try writer.run("PRAGMA journal_size_limit = 67108864")
        // What each write of a group would be undone with: pages of one write, in a file two calls a page otherwise.
        try writer.run("PRAGMA temp_store = MEMORY")
        // In pages: what many commits change is copied into the main file once.
        try writer.run("PRAGMA wal_autocheckpoint = 4096")
        level = try writer.run("PRAGMA synchronous") { $0.value(0) } == .integer(2) ? 2 : -1
        guard level == 2 else {
            throw SQLError(
                code: .statement, operation: "open database",
                message: "SQLite does not sync every commit, though it was told to")
        }
        readers = ReaderPool(
            try (0..<readerCount).map { _ in
                try SQLiteHandle(path: path, isReader: true, cacheKiB: Self.cacheKiB)
            })
    }

    /// The durability the writer runs with, as `PRAGMA synchronous` reported it: 2 is FULL.
    package func synchronousLevel() throws -> Int { level }

    package func read<T: Sendable>(_ body: @Sendable (any SQLConnection) throws -> T) async throws -> T {
        let reader = await readers.take()
        defer { readers.giveBack(reader) }
        return try Self.snapshot(of: reader, body)
    }

    package func readAtOnce<T>(_ body: (any SQLConnection) throws -> T) throws -> T? {
        guard let reader = readers.takeIdle() else { return nil }
        defer { readers.giveBack(reader) }
        return try Self.snapshot(of: reader, body)
    }

    /// As `read`, and how many steps of SQLite's virtual machine it took: what it visited, whatever the machine's load.
    package func measuredRead<T: Sendable>(
        _ body: @Sendable (any SQLConnection) throws -> T
    ) async throws -> (result: T, steps: Int) {
        let reader = await readers.take()
        defer { readers.giveBack(reader) }
        let before = reader.stepCount
        let result = try Self.snapshot(of: reader, body)
        return (result, reader.stepCount - before)
    }

    /// On the caller's thread: a point read takes microseconds, a hop to another thread as long.
    private static func snapshot<T>(of reader: SQLiteHandle, _ body: (any SQLConnection) throws -> T) throws -> T {
        try reader.beginTransaction()
        do {
            let result = try body(SQLiteConnection(handle: reader))
            try reader.commitTransaction()
            return result
        } catch {
            if reader.isInsideTransaction { try? reader.rollbackTransaction() }
            throw error
        }
    }

    package func write<T: Sendable>(
        _ body: @escaping @Sendable (any SQLConnection) throws -> T
    ) async throws -> T {
        let start = DispatchTime.now()
        defer { writeWait.recordNanoseconds(Int64(DispatchTime.now().uptimeNanoseconds - start.uptimeNanoseconds)) }
        return try await withCheckedThrowingContinuation { continuation in
            let write = Write(body: body, continuation: continuation)
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
            turn?.take()
            commit(group)
            turn?.giveBack()
        }
    }

    /// One transaction for the whole group; if it cannot be had, each write alone, so that one
    /// write's trouble (a full disk in the middle, say) is never told to another.
    private func commit(_ group: [any PendingWrite], attempt: Int = 1) {
        var hasBegun = false
        do {
            try writer.beginTransaction()
            hasBegun = true
            do {
                for write in group {
                    try write.run(in: writer, alone: group.count == 1)
                    guard writer.isInsideTransaction else { throw GroupLost() }
                }
                try writer.commitTransaction()
            } catch {
                if writer.isInsideTransaction { try? writer.rollbackTransaction() }
                throw error
            }
            for write in group { write.finish() }
        } catch {
            let cause = SQLError.unexpected(error, operation: "commit")
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

extension SQLError {
    /// What is no error of the driver's (a body's own) stays what it is, as the cause of one.
    fileprivate static func unexpected(_ error: any Error, operation: String) -> SQLError {
        error as? SQLError ?? SQLError(code: .unavailable, operation: operation, message: "\(error)")
    }
}

/// The engine rolled the transaction back by itself (SQLITE_FULL, SQLITE_IOERR, …).
private struct GroupLost: Error {}

private protocol PendingWrite: Sendable {
    /// Runs the body and keeps its outcome. Throws only if the shared transaction is lost, or,
    /// alone, if the body failed: then the transaction must be rolled back.
    func run(in handle: SQLiteHandle, alone: Bool) throws
    /// Tells the caller the outcome of the last run.
    func finish()
    /// Tells the caller that the transaction failed; a body's own error goes first.
    func fail(_ error: SQLError)
}

/// Only the writer's thread touches `outcome`, and only it resumes the continuation.
private final class Write<T: Sendable>: PendingWrite, @unchecked Sendable {
    private let body: @Sendable (any SQLConnection) throws -> T
    private let continuation: CheckedContinuation<T, any Error>
    private var outcome: Result<T, any Error>?

    init(
        body: @escaping @Sendable (any SQLConnection) throws -> T, continuation: CheckedContinuation<T, any Error>
    ) {
        self.body = body
        self.continuation = continuation
    }

    func run(in handle: SQLiteHandle, alone: Bool) throws {
        outcome = nil
        if alone {
            do {
                outcome = .success(try body(SQLiteConnection(handle: handle)))
            } catch {
                outcome = .failure(error)
                throw error
            }
            return
        }
        try handle.statement("SAVEPOINT w").run()
        do {
            outcome = .success(try body(SQLiteConnection(handle: handle)))
            try handle.statement("RELEASE w").run()
        } catch {
            guard handle.isInsideTransaction else {
                outcome = nil
                throw GroupLost()
            }
            try handle.statement("ROLLBACK TO w").run()
            try handle.statement("RELEASE w").run()
            outcome = .failure(error)
        }
    }

    func finish() {
        switch outcome {
        case .success(let value): continuation.resume(returning: value)
        case .failure(let error): continuation.resume(throwing: error)
        case nil: fail(SQLError(code: .unavailable, operation: "write", message: "the write was not run"))
        }
    }

    func fail(_ error: SQLError) {
        if case .failure(let own) = outcome {
            continuation.resume(throwing: own)
        } else {
            continuation.resume(throwing: error)
        }
    }
}

/// Readers wait in order for one of a fixed number of connections.
private final class ReaderPool: Sendable {
    private struct State {
        var idle: [SQLiteHandle]
        var waiting: [CheckedContinuation<SQLiteHandle, Never>] = []
    }
    private let state: Mutex<State>
    private let readWait = Metrics.Timer(label: "ambrotype_database_read_wait_seconds")

    init(_ connections: [SQLiteHandle]) {
        state = Mutex(State(idle: connections))
    }

    func takeIdle() -> SQLiteHandle? { state.withLock { $0.idle.popLast() } }

    func take() async -> SQLiteHandle {
        if let free = takeIdle() { return free }
        let start = DispatchTime.now()
        defer { readWait.recordNanoseconds(Int64(DispatchTime.now().uptimeNanoseconds - start.uptimeNanoseconds)) }
        return await withCheckedContinuation { continuation in
            let free = state.withLock { state -> SQLiteHandle? in
                if let free = state.idle.popLast() { return free }
                state.waiting.append(continuation)
                return nil
            }
            if let free { continuation.resume(returning: free) }
        }
    }

    func giveBack(_ connection: SQLiteHandle) {
        let next = state.withLock { state -> CheckedContinuation<SQLiteHandle, Never>? in
            if state.waiting.isEmpty {
                state.idle.append(connection)
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume(returning: connection)
    }
}
