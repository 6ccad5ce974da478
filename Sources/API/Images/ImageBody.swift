import Core
import HummingbirdCore
import NIOCore

/// Streams a blob, or a part of one, as the body of a response.
///
/// A file is sent from the event loop (`BodySender`). Otherwise chunks are read and written, one ahead.
///
/// When the bytes cannot be had to the end, the connection breaks: the client must not take what it has for the
/// whole.
enum ImageBody {
    static func stream(
        _ reader: any BlobReader, offset: Int64, count: Int64, through sender: BodySender
    ) -> ResponseBody {
        ResponseBody(contentLength: Int(count)) { writer in
            do {
                if let file = reader.file {
                    try await send(file, offset, offset + count, through: sender)
                } else {
                    try await copy(reader, offset, offset + count, through: sender)
                }
            } catch {
                await reader.close()
                throw error
            }
            await reader.close()
            try await writer.finish(nil)
        }
    }

    private static func send(
        _ file: any BlobFile, _ offset: Int64, _ end: Int64, through sender: BodySender
    ) async throws {
        var position = offset
        while position < end {
            let count = min(BodySender.partBytes, end - position)
            let run = FileRun(file, try await file.load(offset: position, count: Int(count)), end: end)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await sender.send(run) }
                group.addTask { try await tend(run, sender.clock) }
                try await group.next()
                group.cancelAll()
                try await group.waitForAll()
            }
            position = run.reached
        }
    }

    /// Looks after a part that the client is slow to take: need for memory may have pushed it out, and a file that
    /// became too short would be tried for ever. Throws in that case; returns only when cancelled.
    private static func tend(_ run: FileRun, _ clock: any WallClock) async throws {
        var pauseSeconds = 1.0
        var last = run.reached
        while true {
            do { try await clock.sleep(seconds: pauseSeconds) } catch { return }
            let now = run.reached
            if now == last, now < run.end {
                let count = min(BodySender.partBytes, run.end - now)
                _ = try await run.file.load(offset: now, count: Int(count))
                pauseSeconds = min(2 * pauseSeconds, 30)
            } else {
                pauseSeconds = 1
            }
            last = now
        }
    }

    private static func copy(
        _ reader: any BlobReader, _ offset: Int64, _ end: Int64, through sender: BodySender
    ) async throws {
        var size = ChunkSize()
        var position = offset
        var ready = try await next(reader, position, end, size)
        while let chunk = ready {
            position += Int64(chunk.readableBytes)
            let (from, following) = (position, size)
            let began = ContinuousClock.now
            if size.readsAhead {
                async let read = next(reader, from, end, following)
                try await sender.send(chunk)
                ready = try await read
            } else {
                try await sender.send(chunk)
                ready = try await next(reader, from, end, following)
            }
            size.note(written: chunk.readableBytes, in: ContinuousClock.now - began)
        }
    }

    private static func next(
        _ reader: any BlobReader, _ position: Int64, _ end: Int64, _ size: ChunkSize
    ) async throws -> ByteBuffer? {
        guard position < end else { return nil }
        return try await reader.read(offset: position, count: Int(min(Int64(size.bytes), end - position)))
    }
}
