import Core
import NIOCore
import NIOHTTP1

/// Sends parts of files on one connection: the kernel moves them from its cache to the socket, and they are
/// never in this program's memory. Only for connections in clear.
package struct FileSender: Sendable {
    private let channel: any Channel
    let clock: any WallClock

    init(channel: any Channel, clock: any WallClock) {
        self.channel = channel
        self.clock = clock
    }

    /// Queues a part of the response's body behind what was written before.
    /// - Returns: fulfilled when the socket has taken all of it; fails when the connection ends first.
    func begin(_ region: FileRegion) -> EventLoopFuture<Void> {
        let sent = channel.eventLoop.makePromise(of: Void.self)
        channel.triggerUserOutboundEvent(SendFile(region: region), promise: sent)
        return sent.futureResult
    }

    /// Ends the connection at once, with whatever is queued.
    func breakConnection() { channel.close(promise: nil) }

    /// Prepares a connection, whose HTTP handlers are in place, for files. On its event loop.
    static func prepare(_ channel: any Channel) throws {
        let pipeline = channel.pipeline.syncOperations
        let encoder = try pipeline.handler(type: HTTPResponseEncoder.self)
        try pipeline.addHandler(SendFileHandler(), position: .after(encoder))
    }
}

private struct SendFile: Sendable {
    let region: FileRegion
}

/// Hands parts of files to the HTTP encoder. The types that go through the rest of the pipeline have no room for
/// them, so they come as events, which pass by in the same order.
private final class SendFileHandler: ChannelOutboundHandler, RemovableChannelHandler {
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        guard let file = event as? SendFile else {
            context.triggerUserOutboundEvent(event, promise: promise)
            return
        }
        context.writeAndFlush(wrapOutboundOut(.body(.fileRegion(file.region))), promise: promise)
    }
}
