import Core
import NIOCore
import Synchronization

/// A committed blob, held open: it can be read to the end whatever happens to its name.
final class FileBlobReader: BlobReader {
    let sizeBytes: Int64
    private let path: String
    private let work: any WorkPool
    /// Nil once closed. A read that is under way keeps the file open until it is done.
    private let opened: Mutex<Opened?>

    private struct Opened {
        let file: any DiskFile
        let source: (any SendSource)?
    }

    /// Blocks; called on the work pool.
    init(path: String, work: any WorkPool, disk: any Disk) throws {
        let file = try disk.open(path, .read)
        let status = try file.status()
        guard status.kind == .file else {
            throw BlobError(code: .unavailable, operation: "open blob", cause: "\(path) is not a regular file")
        }
        sizeBytes = status.sizeBytes
        self.path = path
        self.work = work
        opened = Mutex(Opened(file: file, source: file.sendSource(sizeBytes: status.sizeBytes)))
    }

    func read(offset: Int64, count: Int) async throws -> ByteBuffer {
        precondition(offset >= 0 && count >= 0)
        guard let file = opened.withLock({ $0?.file }) else { preconditionFailure("read after close") }
        let promised = Int(min(Int64(count), max(0, sizeBytes - offset)))
        if promised == 0 { return ByteBuffer() }
        return try await work.performing("read blob") { [self] in
            let bytes = try file.read(offset: offset, count: promised)
            try check(bytes.readableBytes, of: promised, at: offset)
            return bytes
        }
    }

    func close() async {
        // The file may be the last reference to an erased blob: freeing that takes time.
        let last = opened.withLock { opened in
            defer { opened = nil }
            return opened
        }
        guard let last else { return }
        _ = try? await work.run { withExtendedLifetime(last) {} }
    }

    private func check(_ found: Int, of promised: Int, at offset: Int64) throws {
        guard found == promised else {
            throw BlobError(
                code: .corrupt, operation: "read blob",
                cause: "\(path) ended at \(offset + Int64(found)) of \(sizeBytes) bytes")
        }
    }
}

extension FileBlobReader: BlobFile {
    var file: (any BlobFile)? {
        opened.withLock { $0?.source == nil } ? nil : self
    }

    func regionInMemory(offset: Int64, count: Int) -> FileRegion? {
        let source = source(offset, count)
        guard source.isInMemory(offset: offset, count: count) else { return nil }
        return FileRegion(fileHandle: source.handle, readerIndex: Int(offset), endIndex: Int(offset) + count)
    }

    func load(offset: Int64, count: Int) async throws -> FileRegion {
        // What is there needs no other thread.
        if let region = regionInMemory(offset: offset, count: count) { return region }
        let source = source(offset, count)
        try await work.performing("load blob") { [self] in
            let ahead = min(Int64(count) * Self.partsAhead, sizeBytes - offset)
            source.announceReading(offset: offset, count: ahead)
            try check(source.load(offset: offset, count: count), of: count, at: offset)
        }
        return FileRegion(fileHandle: source.handle, readerIndex: Int(offset), endIndex: Int(offset) + count)
    }

    func readInMemory(offset: Int64, count: Int, into buffer: inout ByteBuffer) throws {
        let source = source(offset, count)
        buffer.clear()
        do {
            try source.read(offset: offset, count: count, into: &buffer)
        } catch {
            throw BlobError(wrapping: error, operation: "read blob")
        }
        try check(buffer.readableBytes, of: count, at: offset)
    }

    /// How far the disk reads while the part that was asked for goes out: this many times its size.
    private static let partsAhead: Int64 = 4

    private func source(_ offset: Int64, _ count: Int) -> any SendSource {
        precondition(offset >= 0 && count > 0 && offset <= sizeBytes - Int64(count))
        guard let source = opened.withLock({ $0?.source }) else { preconditionFailure("sent from after close") }
        return source
    }
}
