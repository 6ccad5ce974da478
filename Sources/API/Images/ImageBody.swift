import Core
import HummingbirdCore
import NIOCore

/// Streams a blob, or a part of one, as the body of a response.
///
/// From a file, on a connection in clear, the kernel sends it: parts of the file are queued on the connection, the
/// next one while the one before it goes out, so a client that does not read holds no memory. Otherwise chunks are
/// read and written, one ahead.
///
/// When the bytes cannot be had to the end, the connection breaks: the client must not take what it has for the
/// whole.
enum ImageBody {
    /// What is handed to the kernel at once.
    private static let regionBytes: Int64 = 2 << 20
    /// A download whose client does not read holds about two of these and what the socket takes.
    private static let chunkBytes = 256 << 10

    static func stream(
        _ reader: any BlobReader, offset: Int64, count: Int64, files: FileSender?
    ) -> ResponseBody {
        ResponseBody(contentLength: Int(count)) { writer in
            do {
                if let files, let file = reader.file {
                    try await send(file, offset, offset + count, through: files)
                } else {
                    try await copy(reader, offset, offset + count, to: &writer)
                }
            } catch {
                await reader.close()
                throw error
            }
            await reader.close()
            try await writer.finish(nil)
        }
    }

    /// Returns or throws when nothing of the file is queued any more.
    private static func send(
        _ file: any BlobFile, _ offset: Int64, _ end: Int64, through files: FileSender
    ) async throws {
        var queued: EventLoopFuture<Void>?
        try await withTaskCancellationHandler {
            do {
                var position = offset
                while position < end {
                    let count = min(regionBytes, end - position)
                    let region = try await file.region(offset: position, count: Int(count))
                    let before = queued
                    queued = files.begin(region)
                    try await before?.get()
                    position += count
                }
                try await queued?.get()
            } catch {
                files.breakConnection()
                _ = try? await queued?.get()
                throw error
            }
        } onCancel: {
            files.breakConnection()
        }
    }

    private static func copy(
        _ reader: any BlobReader, _ offset: Int64, _ end: Int64, to writer: inout any ResponseBodyWriter
    ) async throws {
        var position = offset
        var ready = try await next(reader, position, end)
        while let chunk = ready {
            position += Int64(chunk.readableBytes)
            let from = position
            async let following = next(reader, from, end)
            try await writer.write(chunk)
            ready = try await following
        }
    }

    private static func next(_ reader: any BlobReader, _ position: Int64, _ end: Int64) async throws -> ByteBuffer? {
        guard position < end else { return nil }
        return try await reader.read(offset: position, count: Int(min(Int64(chunkBytes), end - position)))
    }
}
