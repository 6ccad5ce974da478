import Core
import NIOPosix

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
}
