import Core
import NIOPosix
import Synchronization

/// Blocking work on a bounded number of threads of its own, first come, first served. Threads of its own,
/// because a store that hangs blocks them all: what runs elsewhere must not wait for them.
///
/// Work that was handed over runs to its end even if the calling task is cancelled: a system call
/// cannot be called back, and its caller has to learn what it did.
package final class ThreadWorkPool: WorkPool {
    private let threads: NIOThreadPool

    /// - Parameter threadCount: how many pieces of work run at once; the others wait in order.
    package init(threadCount: Int = 8) {
        precondition(threadCount > 0)
        threads = NIOThreadPool(numberOfThreads: threadCount)
        threads.start()
    }

    deinit { threads.shutdownGracefully { _ in } }

    package func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            threads.submit { _ in continuation.resume(with: Result(catching: body)) }
        }
    }

    package func runAbandonably<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        let outcome = FirstOutcome<T>()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                outcome.wait(continuation)
                threads.submit { _ in outcome.be(Result(catching: body)) }
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
