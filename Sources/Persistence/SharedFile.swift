import Glibc

/// Files beside a database that the processes which use it share.
enum SharedFile {
    /// Opens what is there, or makes an empty file (mode 0600). One that root makes, in a command beside a server of
    /// another user, belongs to whom the directory belongs to: the server has to open it.
    /// - Throws: `FileLock.Failure`.
    static func open(_ path: String, mayCreate: Bool) throws(FileLock.Failure) -> Int32 {
        while true {
            var descriptor = Glibc.open(path, O_RDWR | O_CLOEXEC)
            if descriptor < 0, errno == EISDIR { descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
            if descriptor < 0, errno == ENOENT, mayCreate {
                descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
                // Another made it meanwhile.
                if descriptor < 0, errno == EEXIST { continue }
                if descriptor >= 0 { giveToOwner(descriptor, path) }
            }
            guard descriptor >= 0 else { throw FileLock.Failure(path: path, code: errno) }
            return descriptor
        }
    }

    private static func giveToOwner(_ descriptor: Int32, _ path: String) {
        guard geteuid() == 0, let end = path.lastIndex(of: "/") else { return }
        var directory = stat()
        guard stat(String(path[...end]), &directory) == 0 else { return }
        _ = fchown(descriptor, directory.st_uid, directory.st_gid)
    }
}
