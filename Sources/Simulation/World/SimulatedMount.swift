import Blobs
import Glibc

extension Mount: Disk {
    package func open(_ path: String, _ mode: OpenMode, at site: CallSite) throws -> any DiskFile {
        let isMissing = (try? disk.state.place(of: path).node) == nil
        let isEffect = mode == .replace || mode == .create && isMissing
        let kind: DiskCall.Kind = isEffect ? .create : .open
        let node = try attempt("open", kind, path, site, isEffect: isEffect) { () throws(Errno) in
            try self.disk.state.openNode(path, mode)
        }
        return SimulatedFile(path, node: node, canWrite: mode == .create || mode == .replace, mount: self)
    }

    package func status(_ path: String, at site: CallSite) throws -> FileStatus? {
        try attempt("lstat", .status, path, site) { () throws(Errno) in
            do throws(Errno) {
                guard let number = try self.disk.state.place(of: path).node else { return nil }
                return self.disk.state.status(number)
            } catch {
                if error.code == ENOENT { return nil }
                throw error
            }
        }
    }

    package func makeDirectory(_ path: String, at site: CallSite) throws {
        try attempt("mkdir", .makeDirectory, path, site, isEffect: true) { () throws(Errno) in
            try self.disk.state.makeDirectory(path)
        }
    }

    package func unlink(_ path: String, at site: CallSite) throws {
        try attempt("unlink", .unlink, path, site, isEffect: true) { () throws(Errno) in
            try self.disk.state.unlink(path)
        }
    }

    package func renameWithoutReplacing(_ path: String, to newPath: String, at site: CallSite) throws {
        try attempt("rename", .rename, newPath, site, isEffect: true) { () throws(Errno) in
            try self.disk.state.renameWithoutReplacing(path, to: newPath)
        }
    }

    package func link(_ path: String, to newPath: String, at site: CallSite) throws {
        try attempt("link", .link, newPath, site, isEffect: true) { () throws(Errno) in
            try self.disk.state.link(path, to: newPath)
        }
    }

    package func names(in path: String, at site: CallSite) throws -> [String] {
        try attempt("opendir", .names, path, site) { () throws(Errno) in
            try self.disk.state.names(in: path)
        }
    }

    package func checkAccess(_ path: String, at site: CallSite) throws {
        try attempt("access", .access, path, site) { () throws(Errno) in
            if try self.disk.state.place(of: path).node == nil { throw Errno(ENOENT) }
        }
    }

    package func space(_ path: String, at site: CallSite) throws -> DiskSpace {
        try attempt("statvfs", .space, path, site) { () throws(Errno) in
            if try self.disk.state.place(of: path).node == nil { throw Errno(ENOENT) }
            return DiskSpace(
                totalBytes: Int64(self.disk.state.capacityBytes), freeBytes: Int64(self.disk.state.freeBytes))
        }
    }

    /// One call of the program: through the gate, done, reported; an error in the program's terms.
    fileprivate func attempt<R>(
        _ call: String, _ kind: DiskCall.Kind, _ path: String, _ site: CallSite, isEffect: Bool = false,
        sizeBytes: Int = 0, _ body: () throws(Errno) -> R
    ) throws -> R {
        let request = DiskRequest(
            mount: self, kind: kind, path: path, place: .program(site), isEffect: isEffect, sizeBytes: sizeBytes)
        do throws(Errno) {
            _ = try disk.admit(request)
            try checkReach(path)
            let result = try body()
            if isEffect { disk.report(request) }
            return result
        } catch {
            throw SystemCallError(call: call, path: path, code: error.code, at: site)
        }
    }

    fileprivate func checkReach(_ path: String) throws(Errno) {
        guard let prefix = disk.unavailablePrefix else { return }
        if path == prefix || path.hasPrefix(prefix.hasSuffix("/") ? prefix : prefix + "/") { throw Errno(EIO) }
    }
}

/// An open file or directory of a simulated disk.
private final class SimulatedFile: OpenNode, DiskFile, @unchecked Sendable {
    private let canWrite: Bool

    init(_ path: String, node: Int, canWrite: Bool, mount: Mount) {
        self.canWrite = canWrite
        super.init(path, node: node, mount: mount)
    }

    deinit { close() }

    func status(at site: CallSite) throws -> FileStatus {
        try mount.attempt("fstat", .status, path, site) { () throws(Errno) in
            self.mount.disk.state.status(self.node)
        }
    }

    /// A failure in the middle tells of what was written before it, as `pwritev` does.
    func write(_ pieces: ArraySlice<UnsafeRawBufferPointer>, offset: Int64, at site: CallSite) throws -> Int {
        let total = pieces.reduce(0) { $0 + $1.count }
        let request = DiskRequest(
            mount: mount, kind: .write, path: path, place: .program(site), isEffect: true, sizeBytes: total)
        do throws(Errno) {
            let isShort = try mount.disk.admit(request)
            try mount.checkReach(path)
            guard canWrite else { throw Errno(EBADF) }
            let limit = isShort ? max(1, total / 2) : total
            let written = try write(pieces, offset: Int(offset), limit: limit)
            mount.disk.report(request)
            return written
        } catch {
            throw SystemCallError(call: "pwritev", path: path, code: error.code, at: site)
        }
    }

    private func write(
        _ pieces: ArraySlice<UnsafeRawBufferPointer>, offset: Int, limit: Int
    ) throws(Errno) -> Int {
        var written = 0
        for piece in pieces where written < limit && !piece.isEmpty {
            let part = UnsafeRawBufferPointer(rebasing: piece.prefix(limit - written))
            do throws(Errno) {
                let count = try mount.disk.state.write(node, part, offset: offset + written)
                written += count
                if count < part.count { break }
            } catch {
                if written == 0 { throw error }
                break
            }
        }
        return written
    }

    func read(into space: UnsafeMutableRawBufferPointer, offset: Int64, at site: CallSite) throws -> Int {
        try mount.attempt("pread", .read, path, site, sizeBytes: space.count) { () throws(Errno) in
            if self.mount.disk.state.node(self.node).isDirectory { throw Errno(EISDIR) }
            if self.canWrite { throw Errno(EBADF) }
            return self.mount.disk.state.read(self.node, into: space, offset: Int(offset))
        }
    }

    func sync(at site: CallSite) throws {
        try mount.attempt("fsync", .sync, path, site, isEffect: true) { () throws(Errno) in
            self.mount.disk.state.sync(self.node)
        }
    }

    func truncate(sizeBytes: Int64, at site: CallSite) throws {
        try mount.attempt("ftruncate", .truncate, path, site, isEffect: true) { () throws(Errno) in
            guard self.canWrite, sizeBytes >= 0 else { throw Errno(EINVAL) }
            self.mount.disk.state.truncate(self.node, sizeBytes: Int(sizeBytes))
        }
    }

    func reserve(sizeBytes: Int64, at site: CallSite) throws {
        try mount.attempt("fallocate", .reserve, path, site, isEffect: true) { () throws(Errno) in
            guard self.canWrite else { throw Errno(EBADF) }
            guard sizeBytes > 0 else { throw Errno(EINVAL) }
            try self.mount.disk.state.reserve(self.node, sizeBytes: Int(sizeBytes))
        }
    }

    /// Only a beginning, so nothing is durable yet.
    func startWriteback(offset: Int64, sizeBytes: Int64, at site: CallSite) throws {
        try mount.attempt("sync_file_range", .startWriteback, path, site) { () throws(Errno) in }
    }
}

extension DiskState {
    fileprivate mutating func openNode(_ path: String, _ mode: OpenMode) throws(Errno) -> Int {
        let place = try place(of: path)
        guard let number = place.node else {
            guard mode == .create || mode == .replace, let parent = place.parent else { throw Errno(ENOENT) }
            return makeFile(place.name, in: parent)
        }
        switch mode {
        case .create: throw Errno(EEXIST)
        case .directory: if !node(number).isDirectory { throw Errno(ENOTDIR) }
        case .read: break
        case .replace:
            if node(number).isDirectory { throw Errno(EISDIR) }
            truncate(number, sizeBytes: 0)
        }
        return number
    }

    func status(_ number: Int) -> FileStatus {
        let node = node(number)
        return FileStatus(
            kind: node.isDirectory ? .directory : .file, sizeBytes: Int64(node.file.current.sizeBytes))
    }

    func read(_ number: Int, into space: UnsafeMutableRawBufferPointer, offset: Int) -> Int {
        node(number).file.current.read(into: space, offset: offset)
    }

    fileprivate func names(in path: String) throws(Errno) -> [String] {
        guard let number = try place(of: path).node else { throw Errno(ENOENT) }
        guard node(number).isDirectory else { throw Errno(ENOTDIR) }
        return node(number).directory.current.entries.map(\.name)
    }
}
