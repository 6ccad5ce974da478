import Glibc
import NIOCore

/// The system calls a file store makes: this machine's (`PosixDisk`), or those of a simulated disk that
/// fails, fills up and loses power (`Simulation`). As in POSIX, nothing is durable before it is synced,
/// the contents of a file and the names in a directory each by themselves.
///
/// Every call is told where in the program it stands, so that an error can name the place, and a test
/// can make each place fail in turn. All throw `SystemCallError` and block.
package protocol Disk: Sendable {
    func open(_ path: String, _ mode: OpenMode, at site: CallSite) throws -> any DiskFile
    /// Nil when there is no such name.
    func status(_ path: String, at site: CallSite) throws -> FileStatus?
    /// Fails with `EEXIST` if the name exists.
    func makeDirectory(_ path: String, at site: CallSite) throws
    /// Fails with `ENOENT` if there is no such name.
    func unlink(_ path: String, at site: CallSite) throws
    /// Gives a file another name in one step; fails with `EEXIST` if that name exists, and with `EINVAL`
    /// where the file system has no such call.
    func renameWithoutReplacing(_ path: String, to newPath: String, at site: CallSite) throws
    /// Gives a file a second name.
    func link(_ path: String, to newPath: String, at site: CallSite) throws
    /// The names in a directory, sorted, without `.` and `..`.
    func names(in path: String, at site: CallSite) throws -> [String]
    /// That this process may read, write and search the directory.
    func checkAccess(_ path: String, at site: CallSite) throws
    /// What there is, and what is free for a user who is not root.
    func space(_ path: String, at site: CallSite) throws -> DiskSpace
}

/// An open file or directory, closed when the last reference goes, and only then.
package protocol DiskFile: AnyObject, Sendable {
    func status(at site: CallSite) throws -> FileStatus
    /// Writes the pieces one after the other from `offset` on.
    /// - Returns: how many bytes were written: at least one, perhaps not all.
    func write(_ pieces: ArraySlice<UnsafeRawBufferPointer>, offset: Int64, at site: CallSite) throws -> Int
    /// - Returns: how many bytes were read: 0 only at the end of the file.
    func read(into space: UnsafeMutableRawBufferPointer, offset: Int64, at site: CallSite) throws -> Int
    /// Waits until the contents, or a directory's names, are on the disk.
    func sync(at site: CallSite) throws
    func truncate(sizeBytes: Int64, at site: CallSite) throws
    /// Claims space on the disk, where the file system can; the file's size stays.
    func reserve(sizeBytes: Int64, at site: CallSite) throws
    /// Sets the disk to work on a range and does not wait, where the file system can.
    func startWriteback(offset: Int64, sizeBytes: Int64, at site: CallSite) throws
    /// For sending the first `sizeBytes` of the file without reading them; nil where the kernel cannot.
    func sendSource(sizeBytes: Int64, at site: CallSite) -> (any SendSource)?
}

extension DiskFile {
    package func sendSource(sizeBytes: Int64, at site: CallSite) -> (any SendSource)? { nil }
}

/// A file that the kernel sends by itself (sendfile(2)), on one connection at a time. It stays open as long as
/// this lives.
package protocol SendSource: AnyObject, Sendable {
    var handle: NIOFileHandle { get }
    /// Whether a range is there and in memory, as far as that can be told. Does not block.
    func isInMemory(offset: Int64, count: Int) -> Bool
    /// Sets the disk to work on a range that will be wanted. May block.
    func announceReading(offset: Int64, count: Int64)
    /// Brings a range into memory. Blocks.
    /// - Returns: how many of its bytes there are: fewer only at the end of the file.
    /// - Throws: `SystemCallError`.
    func load(offset: Int64, count: Int, at site: CallSite) throws -> Int
    /// Reads a range into an empty buffer, fewer bytes only at the end of the file. Blocks if it is not in memory.
    /// - Throws: `SystemCallError`.
    func read(offset: Int64, count: Int, into buffer: inout ByteBuffer, at site: CallSite) throws
}

package enum OpenMode: Sendable, Hashable {
    case read
    /// A new file, for writing, of mode 0600; `EEXIST` if the name exists.
    case create
    /// A new or emptied file, for writing, of mode 0600.
    case replace
    case directory
}

package struct FileStatus: Sendable, Equatable {
    package enum Kind: Sendable { case file, directory, other }
    package let kind: Kind
    package let sizeBytes: Int64

    package init(kind: Kind, sizeBytes: Int64) {
        self.kind = kind
        self.sizeBytes = sizeBytes
    }
}

package struct DiskSpace: Sendable, Equatable {
    package let totalBytes: Int64
    package let freeBytes: Int64

    package init(totalBytes: Int64, freeBytes: Int64) {
        self.totalBytes = totalBytes
        self.freeBytes = freeBytes
    }
}

/// A place in the program: `Blobs/FileBlobStore.swift:96`.
package struct CallSite: Sendable, Hashable, CustomStringConvertible {
    package let file: StaticString
    package let line: UInt

    package init(_ file: StaticString, _ line: UInt) {
        self.file = file
        self.line = line
    }

    package var description: String { "\(file):\(line)" }
    package static func == (a: CallSite, b: CallSite) -> Bool {
        a.line == b.line && a.file.description == b.file.description
    }
    package func hash(into hasher: inout Hasher) { hasher.combine(line) }
}

/// A system call that failed.
package struct SystemCallError: Error, Sendable {
    package let call: String
    package let path: String
    /// `errno`
    package let code: Int32
    package let site: CallSite

    package init(call: String, path: String, code: Int32, at site: CallSite) {
        self.call = call
        self.path = path
        self.code = code
        self.site = site
    }

    var text: String { "\(call) \(path): \(String(cString: strerror(code))) (\(site))" }
}

// What stores call: whole operations, each at the caller's place.
extension SendSource {
    func load(offset: Int64, count: Int, file: StaticString = #fileID, line: UInt = #line) throws -> Int {
        try load(offset: offset, count: count, at: CallSite(file, line))
    }

    func read(
        offset: Int64, count: Int, into buffer: inout ByteBuffer, file: StaticString = #fileID, line: UInt = #line
    ) throws {
        try read(offset: offset, count: count, into: &buffer, at: CallSite(file, line))
    }
}

extension Disk {
    func open(
        _ path: String, _ mode: OpenMode, file: StaticString = #fileID, line: UInt = #line
    ) throws -> any DiskFile {
        try open(path, mode, at: CallSite(file, line))
    }

    func status(_ path: String, file: StaticString = #fileID, line: UInt = #line) throws -> FileStatus? {
        try status(path, at: CallSite(file, line))
    }

    /// - Returns: whether it was made now.
    @discardableResult
    func makeDirectory(_ path: String, file: StaticString = #fileID, line: UInt = #line) throws -> Bool {
        do {
            try makeDirectory(path, at: CallSite(file, line))
            return true
        } catch let error as SystemCallError where error.code == EEXIST {
            return false
        }
    }

    /// Makes a directory's names durable.
    func syncDirectory(_ path: String, file: StaticString = #fileID, line: UInt = #line) throws {
        let site = CallSite(file, line)
        do {
            try open(path, .directory, at: site).sync(at: site)
        } catch let error as SystemCallError where error.call == "fsync" && error.code == EINVAL {
            // Some network file systems write names through and have no sync for a directory.
        }
    }

    /// - Returns: whether there was such a name.
    @discardableResult
    func removeName(_ path: String, file: StaticString = #fileID, line: UInt = #line) throws -> Bool {
        do {
            try unlink(path, at: CallSite(file, line))
            return true
        } catch let error as SystemCallError where error.code == ENOENT {
            return false
        }
    }

    /// Renames, and fails with `EEXIST` if the new name exists.
    /// - Parameter named: called as soon as the new name is there, even if an error follows.
    func move(
        _ path: String, to newPath: String, file: StaticString = #fileID, line: UInt = #line, named: () -> Void = {}
    ) throws {
        let site = CallSite(file, line)
        do {
            try renameWithoutReplacing(path, to: newPath, at: site)
            named()
        } catch let error as SystemCallError where [EINVAL, ENOSYS, EOPNOTSUPP].contains(error.code) {
            // The file system cannot do it in one step; a second name and then only that one is as
            // good: a crash between leaves both, and `erase` takes both.
            try link(path, to: newPath, at: site)
            named()
            try removeName(path, file: file, line: line)
        }
    }

    func names(in path: String, file: StaticString = #fileID, line: UInt = #line) throws -> [String] {
        try names(in: path, at: CallSite(file, line))
    }

    func checkAccess(_ path: String, file: StaticString = #fileID, line: UInt = #line) throws {
        try checkAccess(path, at: CallSite(file, line))
    }

    func space(_ path: String, file: StaticString = #fileID, line: UInt = #line) throws -> DiskSpace {
        try space(path, at: CallSite(file, line))
    }
}

extension DiskFile {
    func status(file: StaticString = #fileID, line: UInt = #line) throws -> FileStatus {
        try status(at: CallSite(file, line))
    }

    func sync(file: StaticString = #fileID, line: UInt = #line) throws { try sync(at: CallSite(file, line)) }

    func truncate(sizeBytes: Int64, file: StaticString = #fileID, line: UInt = #line) throws {
        try truncate(sizeBytes: sizeBytes, at: CallSite(file, line))
    }

    func reserve(sizeBytes: Int64, file: StaticString = #fileID, line: UInt = #line) throws {
        try reserve(sizeBytes: sizeBytes, at: CallSite(file, line))
    }

    func startWriteback(offset: Int64, sizeBytes: Int64, file: StaticString = #fileID, line: UInt = #line) throws {
        try startWriteback(offset: offset, sizeBytes: sizeBytes, at: CallSite(file, line))
    }

    func sendSource(
        sizeBytes: Int64, file: StaticString = #fileID, line: UInt = #line
    ) -> (any SendSource)? {
        sendSource(sizeBytes: sizeBytes, at: CallSite(file, line))
    }

    /// Writes all of the buffers one after the other from `offset` on, without copying them.
    func write(_ buffers: [ByteBuffer], offset: Int64, file: StaticString = #fileID, line: UInt = #line) throws {
        let site = CallSite(file, line)
        var offset = offset
        var owners: [Unmanaged<AnyObject>] = []
        defer { for owner in owners { owner.release() } }
        var pieces: [UnsafeRawBufferPointer] = []
        for buffer in buffers where buffer.readableBytes > 0 {
            // The storage stays where it is as long as it is retained.
            buffer.withUnsafeReadableBytesWithStorageManagement { bytes, owner in
                owners.append(owner.retain())
                pieces.append(bytes)
            }
        }
        var rest = pieces[...]
        while !rest.isEmpty {
            var written = try write(rest, offset: offset, at: site)
            precondition(written > 0)
            offset += Int64(written)
            while written > 0, let first = rest.first {
                let taken = min(written, first.count)
                written -= taken
                if taken == first.count {
                    rest.removeFirst()
                } else {
                    rest[rest.startIndex] = UnsafeRawBufferPointer(rebasing: first[taken...])
                }
            }
        }
    }

    /// Reads `count` bytes, fewer only at the end of the file.
    func read(offset: Int64, count: Int, file: StaticString = #fileID, line: UInt = #line) throws -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: count)
        try read(offset: offset, count: count, into: &buffer, at: CallSite(file, line))
        return buffer
    }

    /// Reads `count` bytes into an empty buffer, fewer only at the end of the file.
    func read(offset: Int64, count: Int, into buffer: inout ByteBuffer, at site: CallSite) throws {
        while buffer.readableBytes < count {
            let missing = count - buffer.readableBytes
            let position = offset + Int64(buffer.readableBytes)
            let got = try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: missing) { space in
                try read(into: UnsafeMutableRawBufferPointer(rebasing: space[..<missing]), offset: position, at: site)
            }
            if got == 0 { break }
        }
    }
}
