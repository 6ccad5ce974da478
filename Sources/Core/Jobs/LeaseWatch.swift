import Synchronization

/// Tells which leases are no longer renewed. A lease counts as late when its end has not moved for its
/// length, by the watcher's own clock: the ends that others wrote are only compared with themselves, so
/// that servers whose clocks differ do not take each other's leases. After a start nothing is late until
/// it was watched for that long.
final class LeaseWatch: Sendable {
    private struct Seen {
        let until: Timestamp
        let since: Timestamp
    }
    private let leaseSeconds: Int64
    private let seen = Mutex<[String: Seen]>([:])

    init(leaseSeconds: Int64) { self.leaseSeconds = leaseSeconds }

    /// - Parameter leases: all that others hold now, by names of their own, with their ends.
    /// - Returns: the names of those that are late.
    func late(of leases: [(name: String, until: Timestamp)], now: Timestamp) -> Set<String> {
        seen.withLock { seen in
            var late: Set<String> = []
            var next: [String: Seen] = [:]
            for (name, until) in leases {
                var watched = Seen(until: until, since: now)
                // A clock that was put back starts the watch anew.
                if let known = seen[name], known.until == until, known.since <= now { watched = known }
                next[name] = watched
                if watched.since.adding(seconds: leaseSeconds) < now { late.insert(name) }
            }
            seen = next
            return late
        }
    }
}
