import Glibc

/// How many files and sockets the process may have open (getrlimit(2)).
enum DescriptorLimit {
    /// What the database, the log, the listeners and the reconciler need.
    private static let reserved = 64
    private static let mostConnections = 16_384

    /// Takes all that the system's hard limit allows; the usual soft limit is 1024.
    static func raise() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// How many connections each listener may have. A connection may need a file beside its socket.
    /// Beyond the limit a listener lets clients wait; without one it would fail for want of descriptors.
    static func connections(listeners: Int) -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 256 }
        let available = Int(clamping: limit.rlim_cur) - reserved
        return max(8, min(mostConnections, available / 2) / listeners)
    }
}
