import Glibc

/// A small file for its owner alone (mode 0600) that is there whole or not at all, whatever crashes.
///
/// It is written beside its name, as `NAME.<16 hex digits>.new`, and gets the name when it is on the disk. A
/// crash may leave such a draft behind; nobody reads it, and it may be removed.
enum PrivateFile {
    /// More is none of ours and is not read.
    static let maxSizeBytes = 1 << 20

    enum Failure: Error, CustomStringConvertible {
        case missing
        /// The group or others have a right to it.
        case tooOpen
        /// Says which step failed, and what the system said.
        case failed(String)

        var description: String {
            switch self {
            case .missing: "it does not exist"
            case .tooOpen: "others have rights to it"
            case .failed(let reason): reason
            }
        }

        /// For what just failed and left its number in `errno`.
        fileprivate static func system(_ step: String) -> Failure {
            .failed("\(step): \(String(cString: strerror(errno)))")
        }
    }

    static func read(_ path: String) throws(Failure) -> SecretBytes {
        // Without O_NONBLOCK, opening a named pipe would wait for somebody to write into it.
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { throw errno == ENOENT ? .missing : .system("open") }
        defer { close(file) }
        // Asked of the open file: what the name stands for may change.
        var status = stat()
        guard fstat(file, &status) == 0 else { throw .system("stat") }
        guard status.st_mode & S_IFMT == S_IFREG else { throw .failed("it is not a file") }
        guard status.st_mode & 0o077 == 0 else { throw .tooOpen }
        guard status.st_size <= maxSizeBytes else { throw .failed("it is longer than \(maxSizeBytes) bytes") }
        do {
            return try SecretBytes(count: Int(status.st_size)) { bytes in
                try transfer(bytes, "read") { Glibc.read(file, $0.baseAddress, $0.count) }
            }
        } catch {
            throw error as? Failure ?? .failed("read")
        }
    }

    /// Unless there is one already: of several that come at once, the first one's stays, and nobody is told.
    static func create(_ path: String, holding contents: SecretBytes) throws(Failure) {
        let draft = try write(contents, beside: path)
        defer { unlink(draft) }
        guard link(draft, path) == 0 || errno == EEXIST else { throw .system("link") }
        try syncDirectory(of: path)
    }

    /// In place of the one there is, which keeps its owner, or as a new one. When the last step fails, to sync
    /// the directory, the new one is in place, but a power failure could bring the old one back.
    static func replace(_ path: String, holding contents: SecretBytes) throws(Failure) {
        let draft = try write(contents, beside: path)
        defer { unlink(draft) }
        guard rename(draft, path) == 0 else { throw .system("rename") }
        try syncDirectory(of: path)
    }

    /// - Returns: the draft's path; its bytes are on the disk. It is gone if this throws.
    private static func write(_ contents: SecretBytes, beside path: String) throws(Failure) -> String {
        // Two writers must not meet in one draft, not even two threads of one process.
        let draft = SecretBytes.random(8).withUnsafeBytes { "\(path).\(Hex.encode($0)).new" }
        let file = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw .system("create") }
        var failure: Failure?
        do {
            // The administrator may replace what belongs to the service's user.
            var status = stat()
            if stat(path, &status) == 0, status.st_uid != geteuid(), fchown(file, status.st_uid, status.st_gid) != 0 {
                throw Failure.system("keep its owner")
            }
            try contents.withUnsafeBytes { bytes in
                try transfer(UnsafeMutableRawBufferPointer(mutating: bytes), "write") {
                    Glibc.write(file, $0.baseAddress, $0.count)
                }
            }
            guard fsync(file) == 0 else { throw Failure.system("sync") }
        } catch {
            failure = error as? Failure ?? .failed("write")
        }
        if close(file) != 0, failure == nil { failure = .system("close") }
        guard let failure else { return draft }
        unlink(draft)
        throw failure
    }

    /// Reads or writes all of `bytes`, in as many calls as the system wants.
    private static func transfer(
        _ bytes: UnsafeMutableRawBufferPointer, _ step: String, by call: (UnsafeMutableRawBufferPointer) -> Int
    ) throws(Failure) {
        var done = 0
        while done < bytes.count {
            let count = call(UnsafeMutableRawBufferPointer(rebasing: bytes[done...]))
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .system(step) }
            guard count > 0 else { throw .failed("\(step): it ended early") }
            done += count
        }
    }

    private static func syncDirectory(of path: String) throws(Failure) {
        let slash = path.lastIndex(of: "/")
        let directory = open(
            slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? ".", O_RDONLY | O_CLOEXEC)
        guard directory >= 0 else { throw .system("open directory") }
        defer { close(directory) }
        guard fsync(directory) == 0 else { throw .system("sync directory") }
    }
}
