import Glibc

extension MasterKeys {
    /// Changes the file of keys: reads it, and puts what `change` makes of it in its place, at once or not at
    /// all. Whoever else does that meanwhile, in this process or another, waits and sees the result: no key gets
    /// lost between two that add one.
    /// - Parameter change: nil leaves the file as it is.
    /// - Returns: what is in the file then, as read from it.
    /// - Throws: `Failure`, and what `change` throws.
    @discardableResult
    package static func update(path: String, _ change: (MasterKeys) throws -> MasterKeys?) throws -> MasterKeys {
        let lock = try lock(path)
        defer { close(lock) }
        let before = try load(path: path)
        guard let after = try change(before) else { return before }
        try after.replace(path: path)
        return try load(path: path)
    }

    /// Locks the file itself (flock(2)), so that no other file is needed. It is replaced while it is locked: who
    /// waited has the lock of one that is gone then, and begins again.
    private static func lock(_ path: String) throws(Failure) -> Int32 {
        while true {
            let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
            guard file >= 0 else {
                throw errno == ENOENT ? .missing(path: path) : .unreadable(path: path, reason: "open: \(reason)")
            }
            while flock(file, LOCK_EX) != 0 {
                guard errno == EINTR else {
                    let failure = Failure.unreadable(path: path, reason: "lock: \(reason)")
                    close(file)
                    throw failure
                }
            }
            var locked = stat()
            var named = stat()
            if fstat(file, &locked) == 0, stat(path, &named) == 0, locked.st_ino == named.st_ino,
                locked.st_dev == named.st_dev
            {
                return file
            }
            close(file)
        }
    }

    private static var reason: String { String(cString: strerror(errno)) }
}
