import NIOCore
import NIOPosix
import NIOSSL

/// One connection that repeats an operation: the next request goes out when the answer to the last one is whole.
/// All of it happens on one event loop. A server that closes after an answer is connected to anew.
final class LoadWorker {
    /// How long nothing may move while an answer is due.
    private static let patience = TimeAmount.seconds(60)
    private static let patienceWhenStopped = TimeAmount.seconds(2)
    private static let pauseAfterError = TimeAmount.milliseconds(20)

    private struct Window {
        let plan: LoadPlan
        let budget: LoadBudget
        let done: EventLoopPromise<LoadCounts>
        var counts = LoadCounts()
        var step = 0
        var id: String?
        var began = NIODeadline.now()
        /// Of the step's body, not yet handed to the socket.
        var bodyLeft: Int64 = 0
    }

    private let target: LoadTarget
    private let loop: any EventLoop
    private var channel: (any Channel)?
    private var parser = ResponseParser()
    private var window: Window?
    private var isStopped = false
    private var moved = NIODeadline.now()
    private var watch: RepeatedTask?

    init(_ target: LoadTarget, on loop: any EventLoop) {
        self.target = target
        self.loop = loop
    }

    /// Connects, so that the first operation need not.
    func open() -> EventLoopFuture<Void> {
        guard channel == nil else { return loop.makeSucceededVoidFuture() }
        return connect().map { _ in }
    }

    func run(_ plan: LoadPlan, _ budget: LoadBudget) -> EventLoopFuture<LoadCounts> {
        loop.preconditionInEventLoop()
        precondition(window == nil, "one window at a time")
        let done = loop.makePromise(of: LoadCounts.self)
        window = Window(plan: plan, budget: budget, done: done)
        let this = NIOLoopBound(self, eventLoop: loop)
        watch = loop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in
            if NIODeadline.now() - this.value.moved > Self.patience {
                this.value.broken("nothing moved for \(Self.patience.nanoseconds / 1_000_000_000) s")
            }
        }
        nextOperation()
        return done.futureResult
    }

    /// Begins nothing any more, and closes the connection when what is under way is done; soon in any case.
    func stop() {
        isStopped = true
        guard window != nil else {
            drop()
            return
        }
        let this = NIOLoopBound(self, eventLoop: loop)
        loop.scheduleTask(in: Self.patienceWhenStopped) {
            this.value.drop()
            this.value.finish()
        }
    }

    // MARK: operations

    private func nextOperation() {
        guard window != nil else { return }
        guard !isStopped, let number = window?.budget.next() else {
            finish()
            return
        }
        window?.began = .now()
        moved = .now()
        window?.step = 0
        if let ids = window?.plan.imageIDs, !ids.isEmpty { window?.id = ids[number] }
        send()
    }

    private func finish() {
        guard let window else { return }
        self.window = nil
        watch?.cancel()
        watch = nil
        if isStopped { drop() }
        window.done.succeed(window.counts)
    }

    private func send() {
        guard let window else { return }
        guard let channel else {
            let this = NIOLoopBound(self, eventLoop: loop)
            connect().whenComplete { result in
                switch result {
                case .success: this.value.send()
                case .failure(let error): this.value.broken("connect: \(error)")
                }
            }
            return
        }
        let step = window.plan.steps[window.step]
        do {
            try parser.begin(keepingBody: step.answersID)
        } catch {
            broken("\(error)")
            return
        }
        switch step.head {
        case .fixed(let bytes): channel.write(bytes, promise: nil)
        case .naming(let before, let after):
            guard let id = window.id else {
                preconditionFailure("a step that names an image comes after one that has it")
            }
            var head = channel.allocator.buffer(capacity: before.readableBytes + id.utf8.count + after.readableBytes)
            head.writeImmutableBuffer(before)
            head.writeString(id)
            head.writeImmutableBuffer(after)
            channel.write(head, promise: nil)
        }
        self.window?.bodyLeft = step.body?.totalBytes ?? 0
        pump()
    }

    /// Hands over as much of the body as the socket has room for.
    fileprivate func pump() {
        guard let channel, let window else { return }
        moved = .now()
        if let (block, total) = window.plan.steps[window.step].body {
            var left = window.bodyLeft
            while left > 0, channel.isWritable {
                let offset = Int((total - left) % Int64(block.readableBytes))
                let count = Int(min(left, Int64(min(block.readableBytes - offset, 256 << 10))))
                guard let part = block.getSlice(at: block.readerIndex + offset, length: count) else { break }
                channel.write(part, promise: nil)
                left -= Int64(count)
                self.window?.bodyLeft = left
                channel.flush()
            }
        }
        channel.flush()
    }

    fileprivate func received(_ bytes: ByteBuffer, on channel: any Channel) {
        guard channel === self.channel else { return }
        moved = .now()
        guard window != nil else {
            drop()
            return
        }
        do {
            if try parser.feed(bytes) { answered() }
        } catch {
            broken("\(error)")
        }
    }

    fileprivate func ended(_ channel: any Channel, _ reason: String) {
        guard channel === self.channel else { return }
        guard window != nil else {
            self.channel = nil
            return
        }
        if parser.end() { answered() } else { broken(reason) }
    }

    private func answered() {
        guard let window else { return }
        let step = window.plan.steps[window.step]
        // Dropping the connection starts a new one.
        let parser = parser
        if !parser.keepsAlive || window.bodyLeft > 0 || target.closesConnections { drop() }
        guard parser.status == step.expectedStatus else {
            wrong("\(step.label): status \(parser.status)")
            nextOperation()
            return
        }
        if step.answersID {
            guard let id = Self.imageID(parser.body) else {
                wrong("\(step.label): an answer without an id")
                nextOperation()
                return
            }
            self.window?.id = id
        }
        self.window?.counts.bytes += step.body?.totalBytes ?? parser.bodyBytes
        self.window?.step += 1
        if window.step + 1 < window.plan.steps.count {
            send()
            return
        }
        self.window?.counts.latency.record(UInt64((NIODeadline.now() - window.began).nanoseconds))
        nextOperation()
    }

    private func wrong(_ what: String) { window?.counts.errors[what, default: 0] += 1 }

    /// The connection is of no use any more, and the operation has failed.
    private func broken(_ why: String) {
        drop()
        guard let window else { return }
        wrong("\(window.plan.steps[window.step].label): \(why)")
        let this = NIOLoopBound(self, eventLoop: loop)
        loop.scheduleTask(in: Self.pauseAfterError) { this.value.nextOperation() }
    }

    /// The value of the member `id`, found without reading the whole document.
    static func imageID(_ body: ByteBuffer) -> String? {
        let text = body.readableBytesView
        let key = Array(#""id""#.utf8)
        var start = text.startIndex
        while let quote = text[start...].firstIndex(of: key[0]) {
            start = quote + 1
            guard text[quote...].starts(with: key) else { continue }
            let rest = text[(quote + key.count)...].drop { $0 == 0x20 }
            guard rest.first == UInt8(ascii: ":") else { continue }
            let value = rest.dropFirst().drop { $0 == 0x20 }
            guard value.first == key[0] else { return nil }
            return String(decoding: value.dropFirst().prefix { $0 != key[0] }, as: UTF8.self)
        }
        return nil
    }

    // MARK: the connection

    private func drop() {
        // Its end is told while it is closed, and is no longer of interest then.
        let dropped = channel
        channel = nil
        parser = ResponseParser()
        window?.bodyLeft = 0
        dropped?.close(promise: nil)
    }

    private func connect() -> EventLoopFuture<Void> {
        let this = NIOLoopBound(self, eventLoop: loop)
        let tls = target.tls
        return ClientBootstrap(group: loop)
            .connectTimeout(.seconds(10))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.writeBufferWaterMark, value: .init(low: 512 << 10, high: 2 << 20))
            .channelOption(.maxMessagesPerRead, value: 16)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(context: tls.context, serverHostname: tls.serverName))
                    }
                    try channel.pipeline.syncOperations.addHandler(LoadHandler(this.value))
                }
            }
            .connect(to: target.address)
            .hop(to: loop)
            .flatMapThrowing { channel in
                if this.value.isStopped {
                    channel.close(promise: nil)
                    throw ChannelError.ioOnClosedChannel
                }
                this.value.channel = channel
                this.value.parser = ResponseParser()
            }
    }
}

private final class LoadHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let worker: LoadWorker

    init(_ worker: LoadWorker) { self.worker = worker }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        worker.received(unwrapInboundIn(data), on: context.channel)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { worker.pump() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        worker.ended(context.channel, "\(error)")
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        worker.ended(context.channel, "the connection ended before the answer did")
    }
}
