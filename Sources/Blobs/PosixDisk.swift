import CLinuxIO
import Glibc
import NIOCore

/// The disks of this machine.
package struct PosixDisk: Disk {
    package init() {}

    package func open(_ path: String, _ mode: OpenMode, at site: CallSite) throws -> any DiskFile {
        let flags =
            switch mode {
            case .read: O_RDONLY | O_NOFOLLOW
            case .create: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW
            case .replace: O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW
            case .directory: O_RDONLY | O_DIRECTORY
            }
        return try PosixFile(path, flags: flags, mode: 0o600, at: site)
    }

    package func status(_ path: String, at site: CallSite) throws -> FileStatus? {
        var status = stat()
        do {
            try systemCall("lstat", path, site) { lstat(path, &status) }
            return FileStatus(status)
        } catch let error as SystemCallError where error.code == ENOENT {
            return nil
        }
    }

    package func makeDirectory(_ path: String, at site: CallSite) throws {
        try systemCall("mkdir", path, site) { mkdir(path, 0o700) }
    }

    package func unlink(_ path: String, at site: CallSite) throws {
        try systemCall("unlink", path, site) { Glibc.unlink(path) }
    }

    package func renameWithoutReplacing(_ path: String, to newPath: String, at site: CallSite) throws {
        try linuxCall("rename", newPath, site) { clinuxio_rename_noreplace(path, newPath) }
    }

    package func link(_ path: String, to newPath: String, at site: CallSite) throws {
        try systemCall("link", newPath, site) { Glibc.link(path, newPath) }
    }

    package func names(in path: String, at site: CallSite) throws -> [String] {
        guard let stream = opendir(path) else {
            throw SystemCallError(call: "opendir", path: path, code: errno, at: site)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                let code = errno
                guard code == 0 else { throw SystemCallError(call: "readdir", path: path, code: code, at: site) }
                return names.sorted()
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: entry.pointee.d_name)) {
                    String(cString: $0)
                }
            }
            if name != ".", name != ".." { names.append(name) }
        }
    }

    package func checkAccess(_ path: String, at site: CallSite) throws {
        try systemCall("access", path, site) { access(path, R_OK | W_OK | X_OK) }
    }

    package func space(_ path: String, at site: CallSite) throws -> DiskSpace {
        var status = statvfs()
        try systemCall("statvfs", path, site) { statvfs(path, &status) }
        let unit = Int64(status.f_frsize)
        return DiskSpace(totalBytes: Int64(status.f_blocks) * unit, freeBytes: Int64(status.f_bavail) * unit)
    }
}

/// A descriptor with an owner: a number can never be used after it was given to another file.
private final class PosixFile: DiskFile {
    private let number: Int32
    private let path: String

    init(_ path: String, flags: Int32, mode: mode_t, at site: CallSite) throws {
        self.path = path
        number = try systemCall("open", path, site) { Glibc.open(path, flags | O_CLOEXEC, mode) }
    }

    deinit {
        // Nothing rests on the result: what must last was synced before.
        _ = close(number)
    }

    func status(at site: CallSite) throws -> FileStatus {
        var status = stat()
        try systemCall("fstat", path, site) { fstat(number, &status) }
        return FileStatus(status)
    }

    func sync(at site: CallSite) throws {
        try systemCall("fsync", path, site) { fsync(number) }
    }

    func truncate(sizeBytes: Int64, at site: CallSite) throws {
        try systemCall("ftruncate", path, site) { ftruncate(number, off_t(sizeBytes)) }
    }

    func reserve(sizeBytes: Int64, at site: CallSite) throws {
        try linuxCall("fallocate", path, site, unsupported: [EOPNOTSUPP, ENOSYS]) {
            clinuxio_reserve(number, sizeBytes)
        }
    }

    func startWriteback(offset: Int64, sizeBytes: Int64, at site: CallSite) throws {
        try linuxCall("sync_file_range", path, site, unsupported: [EOPNOTSUPP, ENOSYS, EINVAL]) {
            clinuxio_start_writeback(number, offset, sizeBytes)
        }
    }

    /// Linux takes at most `IOV_MAX` (1024) pieces in one call.
    private static let piecesAtOnce = 1024

    func write(_ pieces: ArraySlice<UnsafeRawBufferPointer>, offset: Int64, at site: CallSite) throws -> Int {
        let vectors = pieces.prefix(Self.piecesAtOnce).map {
            iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count)
        }
        let written = try systemCall("pwritev", path, site) {
            pwritev(number, vectors, Int32(vectors.count), off_t(offset))
        }
        guard written > 0 else { throw SystemCallError(call: "pwritev", path: path, code: EIO, at: site) }
        return written
    }

    func read(into space: UnsafeMutableRawBufferPointer, offset: Int64, at site: CallSite) throws -> Int {
        try systemCall("pread", path, site) { pread(number, space.baseAddress, space.count, off_t(offset)) }
    }

    func sendSource(sizeBytes: Int64, at site: CallSite) -> (any SendSource)? {
        PosixSendSource(self, number, sizeBytes: sizeBytes)
    }
}

/// A file of this machine, and which of its pages are in memory.
private final class PosixSendSource: SendSource {
    /// What is read at once only to have it in memory: small enough for the processor's cache.
    private static let scratchBytes = 128 << 10

    let handle: NIOFileHandle
    private let file: PosixFile
    private let number: Int32
    // Written once, in `init`; the C functions only read what is behind it.
    nonisolated(unsafe) private let view: OpaquePointer?

    init(_ file: PosixFile, _ number: Int32, sizeBytes: Int64) {
        self.file = file
        self.number = number
        // A second owner of the descriptor, who never closes it (see `deinit`): the file does.
        handle = NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: number)
        view = clinuxio_view_open(number, sizeBytes)
    }

    deinit {
        _ = try? handle.takeDescriptorOwnership()
        if let view { clinuxio_view_close(view) }
    }

    func isInMemory(offset: Int64, count: Int) -> Bool {
        guard let view else { return false }
        return clinuxio_view_has(view, offset, Int64(count))
    }

    func announceReading(offset: Int64, count: Int64) {
        // Only advice: what it fails to bring in, `load` does.
        _ = posix_fadvise(number, off_t(offset), off_t(count), POSIX_FADV_WILLNEED)
    }

    func load(offset: Int64, count: Int, at site: CallSite) throws -> Int {
        try withUnsafeTemporaryAllocation(byteCount: Self.scratchBytes, alignment: 64) { scratch in
            var loaded = 0
            while loaded < count {
                let part = UnsafeMutableRawBufferPointer(rebasing: scratch[..<min(scratch.count, count - loaded)])
                let got = try file.read(into: part, offset: offset + Int64(loaded), at: site)
                if got == 0 { break }
                loaded += got
            }
            return loaded
        }
    }

    func read(offset: Int64, count: Int, into buffer: inout ByteBuffer, at site: CallSite) throws {
        try file.read(offset: offset, count: count, into: &buffer, at: site)
    }
}

extension FileStatus {
    fileprivate init(_ status: stat) {
        let kind: Kind =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .file
            case S_IFDIR: .directory
            default: .other
            }
        self.init(kind: kind, sizeBytes: Int64(status.st_size))
    }
}

/// Repeats a call that a signal interrupted.
/// - Parameter body: returns -1 and sets `errno` on failure.
@discardableResult
private func systemCall<R: FixedWidthInteger>(
    _ call: String, _ path: String, _ site: CallSite, _ body: () -> R
) throws -> R {
    while true {
        let result = body()
        if result != -1 { return result }
        let code = errno
        if code != EINTR { throw SystemCallError(call: call, path: path, code: code, at: site) }
    }
}

/// The same for calls that return their error number and may be left out where they are not supported.
private func linuxCall(
    _ call: String, _ path: String, _ site: CallSite, unsupported: [Int32] = [], _ body: () -> Int32
) throws {
    while true {
        let code = body()
        if code == 0 || unsupported.contains(code) { return }
        if code != EINTR { throw SystemCallError(call: call, path: path, code: code, at: site) }
    }
}
