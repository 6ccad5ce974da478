import Core
import NIOCore
import NIOHTTP1
import Synchronization

/// Sends parts of a file on one connection: the kernel moves them from its cache to the socket, and they are
/// never in this program's memory. Only for connections in clear.
package struct FileSender: Sendable {
    /// What is handed to the kernel at once.
    static let partBytes: Int64 = 2 << 20

    private let channel: any Channel
    let clock: any WallClock

    init(channel: any Channel, clock: any WallClock) {
        self.channel = channel
        self.clock = clock
    }

    /// Sends a part of the response's body behind what was written before, and on from there as long as the next
    /// part is in memory: all of that on the event loop, without waking another thread.
    ///
    /// Returns or throws when the socket has taken all, and nothing is queued any more.
    /// - Throws: what ended the connection.
    func send(_ run: FileRun) async throws {
        let sent = channel.eventLoop.makePromise(of: Void.self)
        try await withTaskCancellationHandler {
            channel.triggerUserOutboundEvent(run, promise: sent)
            try await sent.futureResult.get()
        } onCancel: {
            breakConnection()
        }
    }

    /// Ends the connection at once, with whatever is queued.
    func breakConnection() { channel.close(promise: nil) }

    /// Prepares a connection, whose HTTP handlers are in place, for files. On its event loop.
    static func prepare(_ channel: any Channel) throws {
        let pipeline = channel.pipeline.syncOperations
        let encoder = try pipeline.handler(type: HTTPResponseEncoder.self)
        try pipeline.addHandler(FileRunHandler(), position: .after(encoder))
    }
}

/// A run through a file: a part that is in memory, and what follows it.
final class FileRun: Sendable {
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

    /// Where the socket has got to, in whole parts.
    var reached: Int64 { position.load(ordering: .acquiring) }

    /// - Returns: the next part, if there is one and it is in memory.
    fileprivate func next(after region: FileRegion) -> FileRegion? {
        let from = Int64(region.endIndex)
        position.store(from, ordering: .releasing)
        let count = min(FileSender.partBytes, end - from)
        return count > 0 ? file.regionInMemory(offset: from, count: Int(count)) : nil
    }
}

/// Hands parts of files to the HTTP encoder. The types that go through the rest of the pipeline have no room for
/// them, so they come as events, which pass by in the same order.
private final class FileRunHandler: ChannelOutboundHandler, RemovableChannelHandler {
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

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
            case .failure(let error):
                promise?.fail(error)
            case .success:
                if let next = run.next(after: region) {
                    self.send(next, run, context, promise)
                } else {
                    promise?.succeed()
                }
            }
        }
        context.writeAndFlush(wrapOutboundOut(.body(.fileRegion(region))), promise: written)
    }
}
