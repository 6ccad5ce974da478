import CLinuxIO
import Core
import Glibc
import NIOCore

/// A file that has no name, and is gone with its last descriptor: also with the process, whatever ends it. Its calls
/// block.
final class UnnamedFile: Sendable {
    let descriptor: Int32

    /// - Parameter directory: whose file system holds it.
    init(in directory: String) throws {
        var descriptor: Int32 = -1
        let code = clinuxio_open_unnamed(directory, &descriptor)
        guard code == 0 else { throw FileFailure("open a file in \(directory)", code) }
        self.descriptor = descriptor
    }

    private init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { Glibc.close(descriptor) }

    /// The same file, for reading alone.
    func readOnly() throws -> UnnamedFile {
        let copy = open("/proc/self/fd/\(descriptor)", O_RDONLY | O_CLOEXEC)
        guard copy >= 0 else { throw FileFailure("open a file again", errno) }
        return UnnamedFile(descriptor: copy)
    }

    func sizeBytes() throws -> Int64 {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw FileFailure("measure a file", errno) }
        return Int64(status.st_size)
    }

    func write(_ buffer: ByteBuffer, at offset: Int64) throws {
        try buffer.withUnsafeReadableBytes { bytes in
            var done = 0
            while done < bytes.count {
                let count = pwrite(
                    descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + off_t(done))
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { throw FileFailure("write a file", count < 0 ? errno : ENOSPC) }
                done += count
            }
        }
    }

    /// - Returns: `count` bytes, fewer only at the end.
    func read(at offset: Int64, count: Int) throws -> ByteBuffer {
        var buffer = ByteBuffer()
        try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { room in
            var done = 0
            while done < count {
                let got = pread(descriptor, room.baseAddress! + done, count - done, off_t(offset) + off_t(done))
                if got < 0, errno == EINTR { continue }
                guard got >= 0 else { throw FileFailure("read a file", errno) }
                if got == 0 { break }
                done += got
            }
            return done
        }
        return buffer
    }
}

/// What went wrong with a file of ours, or a process. For the log.
struct FileFailure: Error, CustomStringConvertible {
    let what: String
    let code: Int32

    init(_ what: String, _ code: Int32) {
        self.what = what
        self.code = code
    }

    var description: String { "cannot \(what): \(String(cString: strerror(code)))" }
}

/// The bytes of a file without a name.
struct UnnamedFileReader: BlobReader {
    let file: UnnamedFile
    let sizeBytes: Int64
    let work: any WorkPool

    func read(offset: Int64, count: Int) async throws -> ByteBuffer {
        let promised = Int(min(Int64(count), max(0, sizeBytes - offset)))
        guard promised > 0 else { return ByteBuffer() }
        let bytes: ByteBuffer
        do {
            bytes = try await work.run { [file] in try file.read(at: offset, count: promised) }
        } catch {
            throw BlobError(code: .unavailable, operation: "read converted image", cause: "\(error)")
        }
        guard bytes.readableBytes == promised else {
            throw BlobError(
                code: .corrupt, operation: "read converted image", cause: "it is shorter than \(sizeBytes) bytes")
        }
        return bytes
    }

    /// The space goes with the conversion.
    func close() async {}
}
