import Glibc

/// Why the server cannot start. The description is one line for the operator.
package struct StartProblem: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// The directory everything is kept under, held for this process alone as long as the object lives.
///
///     DIR/lock             who has the directory; locked (flock(2)) while the server runs
///     DIR/ambrotype.db     the database, with SQLite's -wal and -shm beside it
///     DIR/token-keys.pem   the keys that sign tokens (mode 0600)
///     DIR/record-key       the key that seals what was verified of images (mode 0600)
///     DIR/master-keys      the keys that wrap the keys of projects (mode 0600), unless they are elsewhere
///     DIR/clouds.yaml      credentials for clients (mode 0600)
///     DIR/disable          if there, /healthcheck answers 503
///     DIR/scratch          files without names, of imports that are converted
///     DIR/stores/local     image data, unless other stores are configured
package final class DataDirectory: Sendable {
    private static let neededBytes: UInt64 = 16 << 20

    package let path: String
    private let lock: Int32

    package var database: String { path + "/ambrotype.db" }
    package var tokenKeys: String { path + "/token-keys.pem" }
    package var recordKey: String { path + "/record-key" }
    package var clouds: String { path + "/clouds.yaml" }
    package var scratch: String { path + "/scratch" }
    package var disableSwitch: String { path + "/disable" }

    /// Makes the directory if it is missing (mode 0700), and takes it.
    /// - Throws: `StartProblem`.
    package init(path: String) throws {
        self.path = path
        do {
            try Self.make(path)
        } catch {
            throw StartProblem("data_dir: \(error); choose another with --data-dir")
        }
        let lockPath = path + "/lock"
        let descriptor = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw StartProblem("data_dir: \(FileProblem("written to", path))") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            guard code == EWOULDBLOCK else {
                throw StartProblem("data_dir: \(FileProblem("locked", path, code: code))")
            }
            let owner = SmallFile.text(lockPath)?.split(whereSeparator: \.isNewline).first
            throw StartProblem(
                "data_dir: \(path) is in use by another ambrotype server" + (owner.map { " (process \($0))" } ?? ""))
        }
        lock = descriptor
        let owner = "\(getpid())\n"
        guard ftruncate(descriptor, 0) == 0, pwrite(descriptor, owner, owner.utf8.count, 0) == owner.utf8.count else {
            throw StartProblem("data_dir: \(FileProblem("written", lockPath))")
        }
        try checkSpace()
    }

    deinit { close(lock) }

    private func checkSpace() throws {
        var status = statvfs()
        guard statvfs(path, &status) == 0 else { throw StartProblem("data_dir: \(FileProblem("measured", path))") }
        let free = UInt64(status.f_bavail) * UInt64(status.f_frsize)
        guard free >= Self.neededBytes else {
            throw StartProblem("data_dir: only \(free) bytes are free under \(path); \(Self.neededBytes) are needed")
        }
    }

    /// Makes what is missing of the path, and its names durable, whoever made them: a start that was cut off
    /// before may not have come to that, and a loss of power would take the directory with all in it.
    private static func make(_ path: String) throws {
        var prefix = ""
        for component in path.split(separator: "/") {
            let parent = prefix.isEmpty ? "/" : prefix
            prefix += "/" + component
            let isLast = prefix == path
            if mkdir(prefix, isLast ? 0o700 : 0o755) != 0, errno != EEXIST, !isDirectory(prefix) {
                throw FileProblem("created", prefix)
            }
            try sync(parent)
        }
        guard isDirectory(path) else { throw FileProblem("opened", path, code: ENOTDIR) }
    }

    private static func isDirectory(_ path: String) -> Bool {
        let code = errno
        defer { errno = code }
        return access(path + "/.", X_OK) == 0
    }

    private static func sync(_ path: String) throws {
        let directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        // One that may only be passed through was made by its owner, long ago.
        guard directory >= 0 else { return }
        defer { close(directory) }
        // Some network file systems write names through and have no sync for a directory.
        guard fsync(directory) == 0 || errno == EINVAL || errno == EROFS else { throw FileProblem("synced", path) }
    }
}
