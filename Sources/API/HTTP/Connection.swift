import Core
import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTPTypes
import Synchronization

/// What one connection's handler tells the code that answers its requests.
package final class ConnectionState: Sendable {
    private let requestsEnded = Atomic<Int>(0)
    private let requestsStarted = Atomic<Int>(0)
    private let bodyWanted = Atomic<Bool>(false)

    package init() {}

    /// Whether somebody reads the body of the request that arrives, so that it is its client who keeps it waiting.
    var isBodyWanted: Bool { bodyWanted.load(ordering: .relaxed) }

    func noteBodyWanted() { bodyWanted.store(true, ordering: .relaxed) }

    fileprivate func noteHead() { bodyWanted.store(false, ordering: .relaxed) }

    fileprivate func noteRequestEnd() { requestsEnded.add(1, ordering: .releasing) }

    /// The number of the next request on this connection, counted from 0.
    func nextRequest() -> Int { requestsStarted.add(1, ordering: .relaxed).oldValue }

    /// Whether the whole of request `number` has arrived. A body's stream also ends when the
    /// connection does, so the end of the stream alone must not be taken for the end of the body.
    func hasWhole(request number: Int) -> Bool { requestsEnded.load(ordering: .acquiring) > number }
}

/// HTTP/1.1 on one connection, as Hummingbird sets it up, with handlers of ours before and behind its own.
package struct ConnectionChannel: ServerChildChannel {
    package typealias Responder =
        @Sendable (Request, consuming ResponseWriter, any Channel, ConnectionState) async throws -> Void

    package struct Value: ServerChildChannelValue {
        let parts: NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>
        let state: ConnectionState
        package var channel: any Channel { parts.channel }
    }

    private let limits: ConnectionLimits
    private let room: ConnectionRoom
    private let fileWay: BodySender.FileWay
    private let brief: @Sendable (HTTPRequest, any Channel) -> ReadyAnswer?
    private let responder: Responder

    /// - Parameters:
    ///   - room: the listener's, to which the connection is counted.
    ///   - fileWay: how files get to the socket: through TLS they are copied.
    ///   - brief: answers a request without a body at once, on the event loop, or not at all.
    package init(
        limits: ConnectionLimits, room: ConnectionRoom, fileWay: BodySender.FileWay,
        brief: @escaping @Sendable (HTTPRequest, any Channel) -> ReadyAnswer? = { _, _ in nil },
        responder: @escaping Responder
    ) {
        self.brief = brief
        self.limits = limits
        self.room = room
        self.fileWay = fileWay
        self.responder = responder
    }

    package func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        let state = ConnectionState()
        let pace = NIOLoopBound(ConnectionPace(limits, room, state, logger), eventLoop: channel.eventLoop)
        do {
            try channel.pipeline.syncOperations.addHandler(pace.value)
        } catch {
            return channel.eventLoop.makeFailedFuture(error)
        }
        let http1 = HTTP1Channel(
            responder: { _, _, _ in },
            configuration: .init(
                additionalChannelHandlers: [RequestEndHandler(state: state, pace: pace.value)],
                // Idleness is the pace's business.
                idleTimeout: nil,
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: ConnectionLimits.headBytes, maxHeaderListSize: ConnectionLimits.headBytes,
                    maxHeaderFieldCount: ConnectionLimits.headFields)))
        let (brief, fileWay) = (brief, fileWay)
        return http1.setup(channel: channel, logger: logger).flatMapThrowing { parts in
            try BodySender.prepare(channel, fileWay)
            // Behind the handler that closes idle connections and waits for requests under way at the end: it is to know
            // of brief ones too.
            let pipeline = channel.pipeline.syncOperations
            let before = try pipeline.handler(type: HTTPConnectionStateHandler.self)
            try pipeline.addHandler(BriefRequestHandler(state: state, answer: brief), position: .after(before))
            return Value(parts: parts, state: state)
        }
    }

    package func handle(value: Value, logger: Logger) async {
        let responder = responder
        let connection = HTTP1Channel(responder: { request, writer, channel in
            try await responder(request, writer, channel, value.state)
        })
        await connection.handleHTTP(asyncChannel: value.parts, logger: logger)
    }
}

/// Notes the end of each request, and closes politely: after a response that says `Connection:
/// close` while the request's body is still arriving, it reads on for a bounded while and throws
/// the bytes away, so that the client sees the response and not a reset. Of a client that asks for too
/// much at once it takes no more, and closes after what it took is answered.
private final class RequestEndHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private static let lingerBytes = 64 << 20
    private static let lingerTime = TimeAmount.seconds(5)

    private enum Closing {
        case no
        case afterResponse
        case lingering(drainedBytes: Int)
    }

    private let state: ConnectionState
    private let pace: ConnectionPace
    private var isReceivingRequest = false
    private var closing = Closing.no

    init(state: ConnectionState, pace: ConnectionPace) {
        self.state = state
        self.pace = pace
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        // One more: the client may have the whole answer to the one before, whose end is still to be written.
        if case .head = part, pace.requests > ConnectionLimits.pipelinedRequests { pace.isDeaf = true }
        // What was read together with the last request.
        if pace.isDeaf { return }
        switch part {
        case .head:
            isReceivingRequest = true
            state.noteHead()
            pace.headArrived()
        case .body(let buffer): pace.bodyArrived(buffer.readableBytes)
        case .end:
            isReceivingRequest = false
            state.noteRequestEnd()
            pace.requestEnded()
        }
        guard case .lingering(let drainedBytes) = closing else {
            context.fireChannelRead(data)
            return
        }
        switch part {
        case .body(let buffer) where drainedBytes + buffer.readableBytes < Self.lingerBytes:
            closing = .lingering(drainedBytes: drainedBytes + buffer.readableBytes)
        default:
            context.close(promise: nil)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if case .lingering = closing {
            context.read()
        } else {
            context.fireChannelReadComplete()
        }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(let head):
            if head.status.code >= 200, head.headerFields[.connection] == "close" { closing = .afterResponse }
            context.write(data, promise: promise)
        case .body:
            context.write(data, promise: promise)
        case .end:
            pace.answerEnded()
            if pace.isDeaf, pace.requests == 0 { closing = .afterResponse }
            guard case .afterResponse = closing else {
                context.write(data, promise: promise)
                return
            }
            let written = promise ?? context.eventLoop.makePromise(of: Void.self)
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            written.futureResult.whenComplete { _ in
                let (handler, context) = bound.value
                handler.finish(context: context)
            }
            context.write(data, promise: written)
        }
    }

    private func finish(context: ChannelHandlerContext) {
        guard isReceivingRequest else {
            context.close(promise: nil)
            return
        }
        closing = .lingering(drainedBytes: 0)
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: Self.lingerTime) { bound.value.close(promise: nil) }
        context.read()
    }
}
