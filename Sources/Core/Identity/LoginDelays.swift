import Synchronization
import Trust

/// How long the answer to a wrong password waits: longer with each failure under one name, whether
/// or not a user of that name exists. In memory, of this process alone; the lock-out itself is a fact of
/// the user's row.
final class LoginDelays: Sendable {
    private static let limit = 10_000
    private static let maxSeconds = 2.0

    private struct Failures {
        var count: Int
        var last: Timestamp
    }

    private let windowSeconds: Int64
    private let failures = Mutex<[[UInt8]: Failures]>([:])

    init(windowSeconds: Int64) { self.windowSeconds = windowSeconds }

    /// Notes a failure and says how many seconds its answer should wait: 0.1, 0.2, 0.4, …
    func noteFailure(of login: String, at now: Timestamp) -> Double {
        let key = Digest.of(Array(login.utf8), .sha256)
        let count = failures.withLock { failures in
            if failures.count >= Self.limit, failures[key] == nil {
                let oldest = now.adding(seconds: -windowSeconds)
                failures = failures.filter { $0.value.last > oldest }
                // All are recent: an attack with many names. Forgetting them costs only their delays.
                if failures.count >= Self.limit { failures.removeAll(keepingCapacity: true) }
            }
            var entry = failures[key] ?? Failures(count: 0, last: now)
            if entry.last < now.adding(seconds: -windowSeconds) { entry.count = 0 }
            entry.count += 1
            entry.last = now
            failures[key] = entry
            return entry.count
        }
        var seconds = 0.1
        for _ in 1..<min(count, 8) { seconds *= 2 }
        return min(seconds, Self.maxSeconds)
    }

    func forget(_ login: String) {
        let key = Digest.of(Array(login.utf8), .sha256)
        failures.withLock { _ = $0.removeValue(forKey: key) }
    }
}
