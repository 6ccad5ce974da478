import Core
import NIOCore
import NIOHTTP1
import NIOSSL
import NIOTLS

/// At the end of a connection's pipeline: sends the one request, leaves the answer with the exchange, watches the time.
final class EgressHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundIn = HTTPClientRequestPart
    typealias OutboundOut = HTTPClientRequestPart

    /// What one connection is for.
    struct Order: Sendable {
        let target: EgressTarget
        let headers: HTTPHeaders
        let connectSeconds: Int64
        let stallSeconds: Int64
        let deadline: NIODeadline
    }

    /// Far above what servers send, far below what hurts.
    static var limits: NIOHTTPDecoderLimitConfiguration {
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = 16 << 10
        limits.maxHeaderListSize = 64 << 10
        limits.maxHeaderFieldCount = 200
        return limits
    }

    private enum Phase {
        case connecting, waiting, receiving, done
    }

    private let order: Order
    private let exchange: EgressExchange
    private let overhead: OverheadLimit
    private var phase = Phase.connecting
    private var isReadHeld = false
    private var lastProgress = NIODeadline.now()
    private var timer: Scheduled<Void>?
    private var lastTimer: Scheduled<Void>?

    init(_ order: Order, _ exchange: EgressExchange, _ overhead: OverheadLimit) {
        self.order = order
        self.exchange = exchange
        self.overhead = overhead
    }

    // MARK: Time

    func handlerAdded(context: ChannelHandlerContext) {
        let loop = context.eventLoop.assumeIsolated()
        lastTimer = loop.scheduleTask(deadline: order.deadline) { [exchange] in
            exchange.fail(Self.tooSlow("it takes too long altogether"), atOnce: true)
        }
        // The connector has a time limit of its own; this one is for TLS as well.
        timer = loop.scheduleTask(in: .seconds(order.connectSeconds)) { [exchange] in
            exchange.fail(Self.noConnection)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
        lastTimer?.cancel()
    }

    /// Counts what comes to something, a head or content: whoever sends a header a byte at a time is not progressing.
    private func noteProgress() { lastProgress = .now() }

    private func watchForStall(_ loop: NIOIsolatedEventLoop) {
        timer = loop.scheduleTask(deadline: lastProgress + .seconds(order.stallSeconds)) { [self] in
            // It is not the other server that is slow while we do not read.
            if isReadHeld { noteProgress() }
            if lastProgress + .seconds(order.stallSeconds) <= .now() {
                exchange.fail(Self.tooSlow("it sends nothing"))
            } else {
                watchForStall(loop)
            }
        }
    }

    static func tooSlow(_ cause: String) -> RemoteContentError {
        RemoteContentError(.tooSlow, "The server is too slow: \(cause).")
    }

    static let noConnection = RemoteContentError(.unreachable, "The server cannot be reached.")
    private static let cutShort = RemoteContentError(.cutShort, "The connection ended before all of the content came.")

    // MARK: The request

    func channelActive(context: ChannelHandlerContext) {
        if order.target.scheme == .http { send(context) }
        context.fireChannelActive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted? = event as? TLSUserEvent {
            let certificate = try? context.pipeline.syncOperations.nioSSL_peerCertificate()
            if let certificate, ServerIdentity.isProven(order.target.host, by: certificate) {
                send(context)
            } else {
                exchange.fail(untrusted)
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    private var untrusted: RemoteContentError {
        RemoteContentError(.refused, "The server does not prove to be '\(order.target.host.inURL)'.")
    }

    private func send(_ context: ChannelHandlerContext) {
        guard phase == .connecting else { return }
        phase = .waiting
        exchange.noteConnected()
        timer?.cancel()
        noteProgress()
        watchForStall(context.eventLoop.assumeIsolated())
        let head = HTTPRequestHead(
            version: .http1_1, method: .GET, uri: order.target.pathAndQuery, headers: order.headers)
        let sent = context.eventLoop.makePromise(of: Void.self)
        sent.futureResult.whenFailure { [exchange] error in exchange.fail(EgressAnswer.malformed("it takes no request"))
        }
        context.write(wrapOutboundOut(.head(head)), promise: sent)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    // MARK: The answer

    func read(context: ChannelHandlerContext) {
        let mayRead = exchange.mayRead()
        if isReadHeld { noteProgress() }
        isReadHeld = !mayRead
        if mayRead { context.read() }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (unwrapInboundIn(data), phase) {
        case (.head(let head), .waiting):
            phase = .receiving
            noteProgress()
            exchange.receive(head)
        case (.body(let part), .receiving):
            noteProgress()
            overhead.note(contentBytes: part.readableBytes)
            exchange.receive(part)
        case (.end, .receiving):
            phase = .done
            exchange.finish()
            context.close(promise: nil)
        default:
            break
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        exchange.fail(meaning(of: error))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        if phase != .done { exchange.fail(phase == .receiving ? Self.cutShort : Self.noConnection) }
        context.fireChannelInactive()
    }

    private func meaning(of error: any Error) -> RemoteContentError {
        switch error {
        case HTTPParserError.invalidEOFState, NIOSSLError.uncleanShutdown:
            return phase == .receiving ? Self.cutShort : Self.noConnection
        case is HTTPParserError, is NIOHTTPDecoderError, is ByteToMessageDecoderError, is OverheadLimit.Exceeded:
            return EgressAnswer.malformed("it is no proper HTTP")
        case NIOSSLError.handshakeFailed(.sslError(let errors)) where errors == [.eofDuringHandshake]:
            return Self.noConnection
        case is NIOSSLError, is NIOSSLExtraError, is BoringSSLError:
            return phase == .receiving ? Self.cutShort : untrusted
        default:
            return phase == .receiving ? Self.cutShort : Self.noConnection
        }
    }
}

/// Before the decoder: ends a connection on which much comes that is not content. Chunk extensions, and heads of
/// informational answers, have no end that the decoder would see to.
final class OverheadLimit: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    struct Exceeded: Error {}

    /// Chunks of a byte take five beside it, and a processor: what comes so is not meant to be taken.
    private static let perContentByte = 2
    private static let limitBytes = 1 << 20

    private var wireBytes = 0
    private var contentBytes = 0

    func note(contentBytes count: Int) { contentBytes += count }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        wireBytes += unwrapInboundIn(data).readableBytes
        guard wireBytes - contentBytes * Self.perContentByte <= Self.limitBytes else {
            context.fireErrorCaught(Exceeded())
            return
        }
        context.fireChannelRead(data)
    }
}
