import Core
import Dispatch
import Synchronization

/// Blocking work on a bounded number of threads, first come, first served.
///
/// Work that was handed over runs to its end even if the calling task is cancelled: a system call
/// cannot be called back, and its caller has to learn what it did.
package struct ThreadWorkPool: WorkPool {
    private let threads: Threads

    /// - Parameter threadCount: how many pieces of work run at once; the others wait in order.
    package init(threadCount: Int = 8) {
        precondition(threadCount > 0)
        threads = Threads(limit: threadCount)
    }

    package func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            threads.add { continuation.resume(with: Result(catching: body)) }
        }
    }

    package func runAbandonably<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        let outcome = FirstOutcome<T>()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                outcome.wait(continuation)
                threads.add { outcome.be(Result(catching: body)) }
            }
        } onCancel: {
            outcome.be(.failure(CancellationError()))
        }
    }
}

/// What comes first counts: the work's outcome or the end of the wait for it.
private final class FirstOutcome<T: Sendable>: Sendable {
    private enum State {
        case open(CheckedContinuation<T, any Error>?)
        case decided(Result<T, any Error>)
    }
    private let state = Mutex(State.open(nil))

    func wait(_ continuation: CheckedContinuation<T, any Error>) {
        let known = state.withLock { state -> Result<T, any Error>? in
            if case .decided(let result) = state { return result }
            state = .open(continuation)
            return nil
        }
        if let known { continuation.resume(with: known) }
    }

    func be(_ result: Result<T, any Error>) {
        let waiter = state.withLock { state -> CheckedContinuation<T, any Error>? in
            guard case .open(let waiter) = state else { return nil }
            state = .decided(result)
            return waiter
        }
        waiter?.resume(with: result)
    }
}

private final class Threads: Sendable {
    private struct State {
        var running = 0
        var waiting: [@Sendable () -> Void] = []
        /// Where `waiting` begins: what stands before was run.
        var head = 0

        mutating func next() -> (@Sendable () -> Void)? {
            guard head < waiting.count else {
                running -= 1
                waiting.removeAll(keepingCapacity: true)
                head = 0
                return nil
            }
            defer { head += 1 }
            if head >= 256 {
                waiting.removeFirst(head)
                head = 0
            }
            return waiting[head]
        }
    }

    private let limit: Int
    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "ambrotype.work", attributes: .concurrent)

    init(limit: Int) { self.limit = limit }

    func add(_ work: @escaping @Sendable () -> Void) {
        let mustStart = state.withLock { state in
            state.waiting.append(work)
            guard state.running < limit else { return false }
            state.running += 1
            return true
        }
        if mustStart {
            queue.async { self.drain() }
        }
    }

    private func drain() {
        while let work = state.withLock({ $0.next() }) { work() }
    }
}
