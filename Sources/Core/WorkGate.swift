import Synchronization

/// Lets few pieces of expensive work run at once: a password's hash takes 64 MiB, a key pair seconds of a
/// core, and a flood of either must not take all there is. Others wait in order; past the bound they are told
/// to come back.
final class WorkGate: Sendable {
    private struct State {
        var running = 0
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let work: any WorkPool
    private let concurrency: Int
    private let queueLimit: Int
    private let refusal: String
    private let state = Mutex(State())

    /// - Parameter refusal: what is said past the bound.
    init(work: any WorkPool, concurrency: Int, queueLimit: Int, refusal: String) {
        precondition(concurrency > 0)
        self.work = work
        self.concurrency = concurrency
        self.queueLimit = queueLimit
        self.refusal = refusal
    }

    /// Runs `body` on the pool of threads that may block.
    /// - Throws: `ServiceError.unavailable` when too many wait.
    func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        try await whileHeld { try await $0.run(body) }
    }

    /// Holds one of the places while `body` runs; work inside it goes to the pool it is given.
    /// - Throws: `ServiceError.unavailable` when too many wait; what `body` throws.
    func whileHeld<T: Sendable>(_ body: (any WorkPool) async throws -> T) async throws -> T {
        try await enter()
        defer { leave() }
        return try await body(work)
    }

    private func enter() async throws {
        let isFull = state.withLock { $0.running >= concurrency && $0.waiting.count >= queueLimit }
        guard !isFull else { throw ServiceError.unavailable(refusal) }
        await withCheckedContinuation { continuation in
            let mayEnter = state.withLock { state in
                if state.running < concurrency {
                    state.running += 1
                    return true
                }
                state.waiting.append(continuation)
                return false
            }
            if mayEnter { continuation.resume() }
        }
    }

    /// The place goes to whoever waits longest.
    private func leave() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if state.waiting.isEmpty {
                state.running -= 1
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}
