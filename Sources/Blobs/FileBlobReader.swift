import Core
import NIOCore
import Synchronization

/// A committed blob, held open: it can be read to the end whatever happens to its name.
final class FileBlobReader: BlobReader {
    let sizeBytes: Int64
    private let path: String
    private let work: any WorkPool
    /// Nil once closed. A read that is under way keeps the file open until it is done.
    private let file: Mutex<(any DiskFile)?>

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
        self.file = Mutex(file)
    }

    func read(offset: Int64, count: Int) async throws -> ByteBuffer {
        precondition(offset >= 0 && count >= 0)
        guard let file = file.withLock({ $0 }) else { preconditionFailure("read after close") }
        let promised = Int(min(Int64(count), max(0, sizeBytes - offset)))
        if promised == 0 { return ByteBuffer() }
        return try await work.performing("read blob") { [path, sizeBytes] in
            let bytes = try file.read(offset: offset, count: promised)
            guard bytes.readableBytes == promised else {
                throw BlobError(
                    code: .corrupt, operation: "read blob",
                    cause: "\(path) ended at \(offset + Int64(bytes.readableBytes)) of \(sizeBytes) bytes")
            }
            return bytes
        }
    }

    func close() async {
        // The file may be the last reference to an erased blob: freeing that takes time.
        let last = file.withLock { file in
            defer { file = nil }
            return file
        }
        guard let last else { return }
        _ = try? await work.run { withExtendedLifetime(last) {} }
    }
}
