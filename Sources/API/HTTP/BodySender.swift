import Core
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import Synchronization

/// Sends the body of a response on one connection, behind what was written before, and no faster than the socket takes
/// it: what a response's own writer is given is queued without bound while the event loop has other things to do.
package struct BodySender: Sendable {
    /// How bytes get from the file to the socket.
    package enum FileWay: Sendable {
        /// The kernel moves them from its cache to the socket, and they are never in this program's memory.
        case unseen
        /// They are read piece by piece, for TLS.
        case copied
    }

    /// What is handed to the kernel at once.
    static let partBytes: Int64 = 2 << 20

    private let channel: any Channel
    let clock: any WallClock

    init(channel: any Channel, clock: any WallClock) {
        self.channel = channel
        self.clock = clock
    }

    /// Sends a part of a file, and on from there as long as the next part is in memory, for a while: all of that on the
    /// event loop, without waking another thread.
    ///
    /// Returns or throws when the socket has taken all, and nothing is queued any more.
    /// - Throws: what ended the connection.
    func send(_ run: FileRun) async throws {
        try await untilSent { channel.triggerUserOutboundEvent(run, promise: $0) }
    }

    /// Sends bytes.
    ///
    /// Returns or throws when the socket has taken all.
    /// - Throws: what ended the connection.
    func send(_ bytes: ByteBuffer) async throws {
        try await untilSent { channel.writeAndFlush(HTTPResponsePart.body(bytes), promise: $0) }
    }

    private func untilSent(_ write: (EventLoopPromise<Void>) -> Void) async throws {
        let sent = channel.eventLoop.makePromise(of: Void.self)
        try await withTaskCancellationHandler {
            write(sent)
            try await sent.futureResult.get()
        } onCancel: {
            breakConnection()
        }
    }

    /// Ends the connection, with whatever is queued.
    func breakConnection() { channel.close(promise: nil) }

    /// Prepares a connection, whose HTTP handlers are in place, for files. On its event loop.
    static func prepare(_ channel: any Channel, _ way: FileWay) throws {
        let pipeline = channel.pipeline.syncOperations
        let encoder = try pipeline.handler(type: HTTPResponseEncoder.self)
        try pipeline.addHandler(FileRunHandler(way), position: .after(encoder))
    }
}

/// A run through a file: a part that is in memory, and what follows it.
final class FileRun: Sendable {
    /// A socket that takes everything at once would keep the event loop for as long as there is something to send.
    private static let mostBytes: Int64 = 8 << 20

    let file: any BlobFile
    let first: FileRegion
    /// Where the run ends at the latest.
    let end: Int64
    private let position: Atomic<Int64>

    init(_ file: any BlobFile, _ first: FileRegion, end: Int64) {
        self.file = file
        self.first = first
        self.end = end
        position = Atomic(Int64(first.readerIndex))
    }

    /// Up to where the socket has taken it, when the run is over; until then in whole parts.
    var reached: Int64 { position.load(ordering: .acquiring) }

    /// - Returns: the next part, if there is one, it is in memory, and it is not somebody else's turn.
    fileprivate func next(after region: FileRegion) -> FileRegion? {
        let from = Int64(region.endIndex)
        note(reached: from)
        let count = min(BodySender.partBytes, end - from)
        guard count > 0, from - Int64(first.readerIndex) < Self.mostBytes else { return nil }
        return file.regionInMemory(offset: from, count: Int(count))
    }

    fileprivate func note(reached offset: Int64) { position.store(offset, ordering: .releasing) }
}

/// Hands parts of files to the HTTP encoder. The types that go through the rest of the pipeline have no room for
/// them, so they come as events, which pass by in the same order.
private final class FileRunHandler: ChannelOutboundHandler, RemovableChannelHandler {
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private let way: BodySender.FileWay
    private var size = ChunkSize(most: ChunkSize.mostCopied)
    /// The piece that is being sent, for the next one to take its place.
    private var buffer = ByteBuffer()
    /// Whether the client took its time for the last piece: need for memory may have pushed out the next.
    private var isSlow = false

    /// The rest of a part is not in memory any more.
    private struct LeftMemory: Error { let offset: Int }

    init(_ way: BodySender.FileWay) { self.way = way }

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        guard let run = event as? FileRun else {
            context.triggerUserOutboundEvent(event, promise: promise)
            return
        }
        send(run.first, run, context, promise)
    }

    private func send(
        _ region: FileRegion, _ run: FileRun, _ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?
    ) {
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { result in
            switch result {
            case .failure(let left as LeftMemory):
                run.note(reached: Int64(left.offset))
                promise?.succeed()
            case .failure(let error):
                self.buffer = ByteBuffer()
                promise?.fail(error)
            case .success:
                if let next = run.next(after: region) {
                    self.send(next, run, context, promise)
                } else {
                    self.buffer = ByteBuffer()
                    promise?.succeed()
                }
            }
        }
        switch way {
        case .unseen: context.writeAndFlush(wrapOutboundOut(.body(.fileRegion(region))), promise: written)
        case .copied: copy(region, run.file, context, written)
        }
    }

    /// Sends a region piece by piece, the next when the socket has taken the last: what it has is the only one held.
    private func copy(
        _ region: FileRegion, _ file: any BlobFile, _ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>
    ) {
        var rest = region
        let (offset, count) = (Int64(rest.readerIndex), min(size.bytes, rest.readableBytes))
        do {
            if isSlow, file.regionInMemory(offset: offset, count: count) == nil {
                throw LeftMemory(offset: rest.readerIndex)
            }
            try file.readInMemory(offset: offset, count: count, into: &buffer)
        } catch {
            promise.fail(error)
            return
        }
        rest.moveReaderIndex(forwardBy: count)
        let written = context.eventLoop.makePromise(of: Void.self)
        let began = ContinuousClock.now
        written.futureResult.assumeIsolated().whenComplete { [rest] result in
            let elapsed = ContinuousClock.now - began
            self.isSlow = elapsed > ChunkSize.slow
            self.size.note(written: count, in: elapsed)
            switch result {
            case .success where rest.readableBytes > 0: self.copy(rest, file, context, promise)
            case .success: promise.succeed()
            case .failure(let error): promise.fail(error)
            }
        }
        context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(buffer))), promise: written)
    }
}
