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

    /// Whether bytes may go out that this program has not seen.
    fileprivate let sendsFiles: Bool

    package init(sendsFiles: Bool = false) { self.sendsFiles = sendsFiles }

    /// How files go out on this connection unseen; nil where every byte has to be seen (TLS).
    func files(_ channel: any Channel, _ clock: any WallClock) -> FileSender? {
        sendsFiles ? FileSender(channel: channel, clock: clock) : nil
    }

    fileprivate func noteRequestEnd() { requestsEnded.add(1, ordering: .releasing) }

    /// The number of the next request on this connection, counted from 0.
    func nextRequest() -> Int { requestsStarted.add(1, ordering: .relaxed).oldValue }

    /// Whether the whole of request `number` has arrived. A body's stream also ends when the
    /// connection does, so the end of the stream alone must not be taken for the end of the body.
    func hasWhole(request number: Int) -> Bool { requestsEnded.load(ordering: .acquiring) > number }
}

/// HTTP/1.1 on one connection, as Hummingbird sets it up, with one handler of ours.
package struct ConnectionChannel: ServerChildChannel {
    package typealias Responder =
        @Sendable (Request, consuming ResponseWriter, any Channel, ConnectionState) async throws -> Void

    package struct Value: ServerChildChannelValue {
        let parts: NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>
        let state: ConnectionState
        package var channel: any Channel { parts.channel }
    }

    private let idleTimeout: TimeAmount
    private let maxHeaderBytes: Int
    private let sendsFiles: Bool
    private let responder: Responder

    /// - Parameters:
    ///   - idleTimeout: a connection on which nothing has moved for so long is closed.
    ///   - maxHeaderBytes: bound on one field and on all of a request's header fields together.
    ///   - sendsFiles: whether files may go from the disk to the socket: not through TLS.
    package init(
        idleTimeout: TimeAmount, maxHeaderBytes: Int = 64 * 1024, sendsFiles: Bool, responder: @escaping Responder
    ) {
        self.idleTimeout = idleTimeout
        self.maxHeaderBytes = maxHeaderBytes
        self.sendsFiles = sendsFiles
        self.responder = responder
    }

    package func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        let state = ConnectionState(sendsFiles: sendsFiles)
        let http1 = HTTP1Channel(
            responder: { _, _, _ in },
            configuration: .init(
                additionalChannelHandlers: [RequestEndHandler(state: state)],
                idleTimeout: idleTimeout,
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: maxHeaderBytes, maxHeaderListSize: maxHeaderBytes, maxHeaderFieldCount: 200)))
        return http1.setup(channel: channel, logger: logger).flatMapThrowing { parts in
            if state.sendsFiles { try FileSender.prepare(channel) }
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
/// the bytes away, so that the client sees the response and not a reset.
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
    private var isReceivingRequest = false
    private var closing = Closing.no

    init(state: ConnectionState) { self.state = state }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        switch part {
        case .head: isReceivingRequest = true
        case .body: break
        case .end:
            isReceivingRequest = false
            state.noteRequestEnd()
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
