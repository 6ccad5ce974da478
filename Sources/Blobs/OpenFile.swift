import CLinuxIO
import Glibc
import NIOCore

/// A system call that failed.
struct SystemCallError: Error {
    let call: String
    let path: String
    /// `errno`
    let code: Int32

    var text: String { "\(call) \(path): \(String(cString: strerror(code)))" }
}

/// Repeats a call that a signal interrupted.
/// - Parameter body: returns -1 and sets `errno` on failure.
@discardableResult
func systemCall<R: FixedWidthInteger>(_ call: String, _ path: String, _ body: () -> R) throws -> R {
    while true {
        let result = body()
        if result != -1 { return result }
        let code = errno
        if code != EINTR { throw SystemCallError(call: call, path: path, code: code) }
    }
}

/// An open file or directory. It is closed when the last reference goes, and only then, so a number
/// can never be used after it was given to another file.
final class OpenFile: Sendable {
    private let number: Int32
    let path: String

    init(_ path: String, flags: Int32, mode: mode_t = 0) throws {
        self.path = path
        number = try systemCall("open", path) { open(path, flags | O_CLOEXEC, mode) }
    }

    deinit {
        // Nothing rests on the result: what must last was synced before.
        _ = close(number)
    }

    var status: stat {
        get throws {
            var status = stat()
            try systemCall("fstat", path) { fstat(number, &status) }
            return status
        }
    }

    /// Waits until the contents (or the directory's entries) are on the disk.
    func sync() throws {
        try systemCall("fsync", path) { fsync(number) }
    }

    func truncate(sizeBytes: Int64) throws {
        try systemCall("ftruncate", path) { ftruncate(number, off_t(sizeBytes)) }
    }

    /// Claims space on the disk, where the file system can.
    func reserve(sizeBytes: Int64) throws {
        try call("fallocate", unsupported: [EOPNOTSUPP, ENOSYS]) { clinuxio_reserve(number, sizeBytes) }
    }

    func startWriteback(offset: Int64, sizeBytes: Int64) throws {
        try call("sync_file_range", unsupported: [EOPNOTSUPP, ENOSYS, EINVAL]) {
            clinuxio_start_writeback(number, offset, sizeBytes)
        }
    }

    /// For calls that return their error number and may be left out where they are not supported.
    private func call(_ name: String, unsupported: [Int32], _ body: () -> Int32) throws {
        while true {
            let code = body()
            if code == 0 || unsupported.contains(code) { return }
            if code != EINTR { throw SystemCallError(call: name, path: path, code: code) }
        }
    }

    /// Writes all of the buffers one after the other from `offset` on, without copying them.
    func write(_ buffers: [ByteBuffer], offset: Int64) throws {
        var offset = offset
        var owners: [Unmanaged<AnyObject>] = []
        defer { for owner in owners { owner.release() } }
        var pieces: [iovec] = []
        for buffer in buffers where buffer.readableBytes > 0 {
            // The storage stays where it is as long as it is retained.
            buffer.withUnsafeReadableBytesWithStorageManagement { bytes, owner in
                owners.append(owner.retain())
                pieces.append(
                    iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count))
            }
        }
        var first = 0
        while first < pieces.count {
            let count = min(pieces.count - first, Self.piecesAtOnce)
            var written = try pieces.withUnsafeBufferPointer { all in
                try systemCall("pwritev", path) {
                    pwritev(number, all.baseAddress! + first, Int32(count), off_t(offset))
                }
            }
            guard written > 0 else { throw SystemCallError(call: "pwritev", path: path, code: EIO) }
            offset += Int64(written)
            while written > 0 {
                let whole = pieces[first].iov_len
                if written < whole {
                    pieces[first].iov_base += written
                    pieces[first].iov_len -= written
                    written = 0
                } else {
                    written -= whole
                    first += 1
                }
            }
        }
    }

    /// Linux takes at most `IOV_MAX` (1024) pieces in one call.
    private static let piecesAtOnce = 1024

    /// Reads `count` bytes, fewer only at the end of the file.
    func read(offset: Int64, count: Int) throws -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: count)
        while buffer.readableBytes < count {
            let missing = count - buffer.readableBytes
            let position = offset + Int64(buffer.readableBytes)
            let got = try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: missing) { space in
                try systemCall("pread", path) { pread(number, space.baseAddress, missing, off_t(position)) }
            }
            if got == 0 { break }
        }
        return buffer
    }
}

/// Names in directories.
enum Directory {
    /// - Returns: whether it was made now.
    @discardableResult
    static func make(_ path: String) throws -> Bool {
        do {
            try systemCall("mkdir", path) { mkdir(path, 0o700) }
            return true
        } catch let error as SystemCallError where error.code == EEXIST {
            return false
        }
    }

    /// Makes a directory's entries durable.
    static func sync(_ path: String) throws {
        do {
            try OpenFile(path, flags: O_RDONLY | O_DIRECTORY).sync()
        } catch let error as SystemCallError where error.call == "fsync" && error.code == EINVAL {
            // Some network file systems write entries through and have no sync for a directory.
        }
    }

    /// - Returns: whether there was such a name.
    @discardableResult
    static func unlink(_ path: String) throws -> Bool {
        do {
            try systemCall("unlink", path) { Glibc.unlink(path) }
            return true
        } catch let error as SystemCallError where error.code == ENOENT {
            return false
        }
    }

    static func exists(_ path: String) throws -> Bool {
        var status = stat()
        do {
            try systemCall("lstat", path) { lstat(path, &status) }
            return true
        } catch let error as SystemCallError where error.code == ENOENT {
            return false
        }
    }

    /// Renames, and fails with `EEXIST` if the new name exists.
    /// - Parameter named: called as soon as the new name is there, even if an error follows.
    static func renameWithoutReplacing(_ from: String, to: String, named: () -> Void = {}) throws {
        while true {
            switch clinuxio_rename_noreplace(from, to) {
            case 0:
                named()
                return
            case EINTR: continue
            case EINVAL, ENOSYS, EOPNOTSUPP:
                // The file system cannot do it in one step; a second name and then only that one
                // is as good: a crash between leaves both, and `erase` takes both.
                try systemCall("link", to) { link(from, to) }
                named()
                try unlink(from)
                return
            case let code: throw SystemCallError(call: "rename", path: to, code: code)
            }
        }
    }

    /// The names in a directory, sorted, without `.` and `..`.
    static func names(in path: String) throws -> [String] {
        guard let stream = opendir(path) else { throw SystemCallError(call: "opendir", path: path, code: errno) }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                let code = errno
                guard code == 0 else { throw SystemCallError(call: "readdir", path: path, code: code) }
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
}
