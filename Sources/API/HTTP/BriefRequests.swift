import HTTPTypes
import HummingbirdCore
import NIOCore
import NIOHTTPTypes

/// An answer that is there as soon as it is asked for.
package struct ReadyAnswer: Sendable {
    package var head: HTTPResponse
    package let body: ByteBuffer
}

/// Answers brief requests (`Route.brief`) on their connection's event loop: no task is woken, no thread is changed, for
/// what takes microseconds. Whatever cannot be answered there and then goes on to the task that answers all others,
/// which begins from nothing: a brief request that has to wait, or to be refused, costs twice and behaves as any.
///
/// It never answers out of turn (only when nothing else is under way on the connection), and never for a client that
/// does not read: responses would pile up here, while the task waits for the socket.
final class BriefRequestHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    typealias Answer = @Sendable (HTTPRequest, any Channel) -> ReadyAnswer?

    private let state: ConnectionState
    private let answer: Answer
    /// A head whose request may be brief: that it has no body is known with the next part.
    private var held: HTTPRequest?
    /// Requests that went on to the task and are not answered yet.
    private var elsewhereCount = 0
    private var mustFlush = false

    init(state: ConnectionState, answer: @escaping Answer) {
        self.state = state
        self.answer = answer
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            if elsewhereCount == 0, Self.mayBeBrief(head), context.channel.isWritable {
                held = head
                return
            }
            elsewhereCount += 1
        case .body:
            letGo(context)
        case .end:
            if let head = held, let ready = answer(head, context.channel) {
                held = nil
                _ = state.nextRequest()
                write(ready, context)
                return
            }
            letGo(context)
        }
        context.fireChannelRead(data)
    }

    /// A request that wants nothing of the connection but an answer.
    private static func mayBeBrief(_ head: HTTPRequest) -> Bool {
        guard head.method == .get else { return false }
        let fields = head.headerFields
        guard let connection = fields[.connection] else {
            return !fields.contains(.expect) && !fields.contains(.upgrade)
        }
        return connection.lowercased() == "keep-alive" && !fields.contains(.expect)
    }

    private func letGo(_ context: ChannelHandlerContext) {
        guard let head = held else { return }
        held = nil
        elsewhereCount += 1
        context.fireChannelRead(wrapInboundOut(.head(head)))
    }

    private func write(_ ready: ReadyAnswer, _ context: ChannelHandlerContext) {
        context.write(wrapOutboundOut(.head(ready.head)), promise: nil)
        if ready.body.readableBytes > 0 { context.write(wrapOutboundOut(.body(ready.body)), promise: nil) }
        context.write(wrapOutboundOut(.end(nil)), promise: nil)
        mustFlush = true
    }

    /// Answers to requests that came together leave together.
    func channelReadComplete(context: ChannelHandlerContext) {
        if mustFlush {
            mustFlush = false
            context.flush()
        }
        context.fireChannelReadComplete()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .end = unwrapOutboundIn(data) { elsewhereCount -= 1 }
        context.write(data, promise: promise)
    }
}
