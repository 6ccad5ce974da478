import Glibc

/// A lock between processes (flock(2)), let go when the object goes and when its process ends, however it ends.
package final class FileLock: Sendable {
    package enum Mode: Sendable {
        /// With others that share it.
        case shared
        /// With nobody.
        case exclusive

        fileprivate var operation: Int32 { self == .shared ? LOCK_SH : LOCK_EX }
    }

    private let path: String
    private let descriptor: Int32

    /// Opens what is there, or makes a file (mode 0600); nothing is locked yet.
    /// - Parameters:
    ///   - path: a file, or a directory that is there.
    ///   - mayCreate: whether a file is made when there is none.
    /// - Throws: `Failure`: what open(2) failed with.
    package init(path: String, mayCreate: Bool = true) throws(Failure) {
        self.path = path
        descriptor = try SharedFile.open(path, mayCreate: mayCreate)
    }

    /// What a system call on a file that processes share failed with.
    package struct Failure: Error, CustomStringConvertible {
        package let path: String
        /// `errno`
        package let code: Int32

        package var description: String { "\(path): \(String(cString: strerror(code)))" }
    }

    deinit {
        // Closing alone would leave it to a child that is about to begin another program, and has a copy until then.
        letGo()
        close(descriptor)
    }

    /// Takes the lock, or changes its mode, if that can be done without waiting. A change is not atomic: another may come
    /// in between, and then nothing is held.
    /// - Throws: `Failure`.
    package func take(_ mode: Mode) throws(Failure) -> Bool {
        while flock(descriptor, mode.operation | LOCK_NB) != 0 {
            switch errno {
            case EINTR: continue
            case EWOULDBLOCK: return false
            default: throw Failure(path: path, code: errno)
            }
        }
        return true
    }

    /// Whether the file is still the one at its path: who took it away may have done so before it was locked.
    package var isStillThere: Bool {
        var own = stat()
        var there = stat()
        guard fstat(descriptor, &own) == 0, stat(path, &there) == 0 else { return false }
        return own.st_dev == there.st_dev && own.st_ino == there.st_ino
    }

    package func letGo() { flock(descriptor, LOCK_UN) }

    /// Writes a line into the file, in the place of what it held: who has the lock.
    /// - Throws: `Failure`.
    package func write(line: String) throws(Failure) {
        let line = line + "\n"
        guard ftruncate(descriptor, 0) == 0, pwrite(descriptor, line, line.utf8.count, 0) == line.utf8.count else {
            throw Failure(path: path, code: errno)
        }
    }
}
