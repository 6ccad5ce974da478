import Glibc
import Logging
import Metrics
import NIOCore
import Synchronization

/// How long a client may take, and how much it may ask for at once. All times follow from one, the idle timeout, and
/// are kept to within a fifteenth of it:
///
/// - a connection without a request is closed after the idle timeout;
/// - the whole head of a request has to come within a fifth of it, counted from its first byte;
/// - of a body, 1 KiB/s has to come on average over every idle timeout that the server spends waiting for it;
/// - of an answer, 1 KiB/s has to be taken on average over every idle timeout in which there is something to take.
///
/// Time in which the server itself is what is waited for counts against nobody. While a listener has room for less
/// than a quarter of its connections, those that wait for a request have a fifteenth of the idle timeout only.
package struct ConnectionLimits: Sendable {
    static let idleTicks = 15
    static let headTicks = 3
    static let crowdedTicks = 1
    private static let floorBytesPerSecond: Int64 = 1024

    /// Requests of one connection that may wait for their answers; later ones are not answered.
    package static let pipelinedRequests = 32
    /// Bound on one field, on the request line, and on all of a request's header fields together.
    package static let headBytes = 64 * 1024
    package static let headFields = 200

    package let idleTimeout: TimeAmount

    package init(idleTimeout: TimeAmount) { self.idleTimeout = idleTimeout }

    var tick: TimeAmount { .nanoseconds(idleTimeout.nanoseconds / Int64(Self.idleTicks)) }

    /// What has to move within an idle timeout.
    var floorBytes: Int64 { Self.floorBytesPerSecond * idleTimeout.nanoseconds / 1_000_000_000 }
}

/// The connections that a listener has, and how many it may have.
package final class ConnectionRoom: Sendable {
    private let limit: Int
    private let taken = Atomic<Int>(0)

    package init(limit: Int) { self.limit = limit }

    package func enter() { taken.add(1, ordering: .relaxed) }
    package func leave() { taken.subtract(1, ordering: .relaxed) }

    package var hasPlace: Bool { taken.load(ordering: .relaxed) < limit }
    var isCrowded: Bool { taken.load(ordering: .relaxed) > limit - limit / 4 }
}

/// Ends connections whose clients are too slow, by `ConnectionLimits`. It stands where bytes become requests: behind
/// TLS, if there is any. `RequestEndHandler` tells it what the bytes were.
final class ConnectionPace: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = IOData
    typealias OutboundOut = IOData

    private enum Reason: String { case idle, head, body, answer }

    private static let requestTimeout = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

    private let limits: ConnectionLimits
    private let room: ConnectionRoom
    private let state: ConnectionState
    private let logger: Logger
    private var clock: RepeatedTask?
    private var isEnded = false

    /// Requests whose answers are not complete.
    private(set) var requests = 0
    /// Whether a request's head has come, and not its end.
    private var isReceiving = false
    private var hasPartialHead = false
    /// Since the server last had a request, or the head's first byte.
    private var waitTicks = 0
    private var isReadPending = false
    private var bodyTicks = 0
    private var bodyBytes: Int64 = 0
    private var answerTicks = 0
    private var answerMark: Int64 = 0
    private var writtenBytes: Int64 = 0
    /// No more is read: the client asked for too much at once.
    var isDeaf = false

    init(_ limits: ConnectionLimits, _ room: ConnectionRoom, _ state: ConnectionState, _ logger: Logger) {
        self.limits = limits
        self.room = room
        self.state = state
        self.logger = logger
    }

    // MARK: what happens

    func headArrived() {
        requests += 1
        isReceiving = true
        hasPartialHead = false
        bodyTicks = 0
        bodyBytes = 0
    }

    func bodyArrived(_ bytes: Int) { bodyBytes += Int64(bytes) }

    func requestEnded() { isReceiving = false }

    func answerEnded() {
        requests = max(0, requests - 1)
        waitTicks = 0
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        clock = context.eventLoop.scheduleRepeatedTask(initialDelay: limits.tick, delay: limits.tick) { _ in
            let (handler, context) = bound.value
            handler.tick(context)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { stop() }

    func channelInactive(context: ChannelHandlerContext) {
        stop()
        context.fireChannelInactive()
    }

    private func stop() {
        clock?.cancel()
        clock = nil
    }

    func read(context: ChannelHandlerContext) {
        guard !isDeaf else { return }
        isReadPending = true
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        isReadPending = false
        if !isReceiving, !hasPartialHead {
            hasPartialHead = true
            waitTicks = 0
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        writtenBytes += Int64(unwrapOutboundIn(data).readableBytes)
        context.write(data, promise: promise)
    }

    // MARK: what does not

    private func tick(_ context: ChannelHandlerContext) {
        guard !isEnded else { return }
        lookAtAnswer(context)
        if isReceiving {
            lookAtBody(context)
        } else if requests == 0 {
            waitTicks += 1
            let limit = hasPartialHead ? ConnectionLimits.headTicks : ConnectionLimits.idleTicks
            if waitTicks > (room.isCrowded ? ConnectionLimits.crowdedTicks : limit) {
                end(context, hasPartialHead ? .head : .idle)
            }
        }
    }

    /// Whether the client sends what the server has asked for.
    private func lookAtBody(_ context: ChannelHandlerContext) {
        guard state.isBodyWanted, isReadPending else { return }
        bodyTicks += 1
        if bodyBytes >= limits.floorBytes {
            bodyTicks = 0
            bodyBytes = 0
        } else if bodyTicks > ConnectionLimits.idleTicks {
            end(context, .body)
        }
    }

    /// Whether the client takes what it has asked for: what was written and is not with the kernel yet.
    private func lookAtAnswer(_ context: ChannelHandlerContext) {
        guard let waiting = try? context.channel.syncOptions?.getOption(.bufferedWritableBytes), waiting > 0 else {
            answerTicks = 0
            answerMark = writtenBytes
            return
        }
        // TLS adds a little to what waits.
        let taken = writtenBytes - Int64(waiting)
        answerTicks += 1
        if taken - answerMark >= limits.floorBytes {
            answerTicks = 0
            answerMark = taken
        } else if answerTicks > ConnectionLimits.idleTicks {
            end(context, .answer)
        }
    }

    private func end(_ context: ChannelHandlerContext, _ reason: Reason) {
        isEnded = true
        stop()
        Counter(label: "ambrotype_connections_ended_total", dimensions: [("reason", reason.rawValue)]).increment()
        logger.debug("a connection was too slow", metadata: ["reason": "\(reason.rawValue)"])
        switch reason {
        case .idle: break
        case .head:
            context.writeAndFlush(wrapOutboundOut(.byteBuffer(ByteBuffer(string: Self.requestTimeout))), promise: nil)
        case .body, .answer:
            // The kernel would keep what the client does not take for minutes.
            _ = (context.channel as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0))
        }
        context.close(promise: nil)
    }
}
