import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A server on loopback that does with each connection what the test says, byte by byte.
final class EgressPeer: Sendable {
    typealias Script = @Sendable (Connection) async throws -> Void

    struct Gone: Error {}

    /// One connection, as the script sees it. What is closed at the end of the script.
    struct Connection: Sendable {
        let channel: any Channel
        /// Counted from 0.
        let number: Int
        fileprivate let received: AsyncStream<ByteBuffer>
        fileprivate let peer: EgressPeer

        /// Waits for the head of a request.
        @discardableResult
        func request() async throws -> String {
            var text = ""
            for await part in received {
                text += String(buffer: part)
                guard text.hasSuffix("\r\n\r\n") else { continue }
                peer.state.withLock { $0.requests.append(text) }
                return text
            }
            throw Gone()
        }

        /// Returns when the kernel has it.
        func send(_ bytes: ByteBuffer) async throws {
            try await channel.writeAndFlush(bytes).get()
            _ = peer.sentBytes.add(bytes.readableBytes, ordering: .relaxed)
        }

        func send(_ text: String) async throws { try await send(ByteBuffer(string: text)) }

        /// Reads the request, then sends an answer.
        func answer(_ text: String) async throws {
            try await request()
            try await send(text)
        }

        /// Ends TCP without having ended TLS.
        func breakTLS() async throws {
            try await channel.eventLoop.submit {
                try channel.pipeline.syncOperations.context(name: "floor").close(promise: nil)
            }.get()
        }

        /// Waits until the other side closes.
        func closed() async throws { try await channel.closeFuture.get() }

        /// Breaks the connection off without a word.
        func reset() async throws {
            try await (channel as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
            try await channel.close()
        }
    }

    fileprivate struct State {
        var connections: [any Channel] = []
        var requests: [String] = []
        var endedCount = 0
    }

    fileprivate let state = Mutex(State())
    fileprivate let sentBytes = Atomic<Int>(0)
    private let script: Script
    private let server = Mutex<(any Channel)?>(nil)

    private init(_ script: @escaping Script) { self.script = script }

    var port: Int { server.withLock { $0?.localAddress?.port ?? 0 } }
    /// The connections that were ever taken.
    var connectionCount: Int { state.withLock { $0.connections.count } }
    /// Those that are closed again.
    var endedCount: Int { state.withLock { $0.endedCount } }
    var requests: [String] { state.withLock { $0.requests } }
    var sentCount: Int { sentBytes.load(ordering: .relaxed) }

    static func with<R>(
        tls: NIOSSLContext? = nil, host: String = "127.0.0.1", port: Int = 0, _ script: @escaping Script,
        _ body: (EgressPeer) async throws -> R
    ) async throws -> R {
        let peer = EgressPeer(script)
        let server = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .serverChannelOption(.backlog, value: 256)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Floor(), name: "floor")
                    if let tls { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls)) }
                    try channel.pipeline.syncOperations.addHandler(Handler(peer))
                }
            }
            .bind(host: host, port: port).get()
        peer.server.withLock { $0 = server }
        do {
            let result = try await body(peer)
            await peer.stop()
            return result
        } catch {
            await peer.stop()
            throw error
        }
    }

    private func stop() async {
        try? await server.withLock { $0 }?.close()
        for channel in state.withLock({ $0.connections }) { channel.close(promise: nil) }
    }

    private func take(_ channel: any Channel, _ received: AsyncStream<ByteBuffer>) {
        let number = state.withLock { state in
            state.connections.append(channel)
            return state.connections.count - 1
        }
        channel.closeFuture.whenComplete { _ in self.state.withLock { $0.endedCount += 1 } }
        let connection = Connection(channel: channel, number: number, received: received, peer: self)
        Task {
            // The client may go at any moment.
            try? await script(connection)
            channel.close(promise: nil)
        }
    }

    /// Below TLS.
    private final class Floor: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let peer: EgressPeer
        private let received: AsyncStream<ByteBuffer>
        private let receiver: AsyncStream<ByteBuffer>.Continuation

        init(_ peer: EgressPeer) {
            self.peer = peer
            (received, receiver) = AsyncStream.makeStream(of: ByteBuffer.self)
        }

        func channelActive(context: ChannelHandlerContext) { peer.take(context.channel, received) }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) { receiver.yield(unwrapInboundIn(data)) }
        func channelInactive(context: ChannelHandlerContext) { receiver.finish() }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}

/// A port that takes no connection: whoever tries waits, as at a firewall.
final class FullPort {
    private(set) var port = 0
    private var sockets: [Int32] = []

    init() throws {
        func open() -> Int32 {
            let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
            sockets.append(socket)
            return socket
        }
        let listener = open()
        let any = try SocketAddress(ipAddress: "127.0.0.1", port: 0)
        var bound = sockaddr_storage()
        let isListening = any.withSockAddr { address, size in
            var length = socklen_t(size)
            return bind(listener, address, length) == 0 && listen(listener, 0) == 0
                && withUnsafeMutablePointer(to: &bound) { pointer in
                    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        getsockname(listener, $0, &length) == 0
                    }
                }
        }
        guard isListening else { throw EgressPeer.Gone() }
        // Behind the family (ip(7)).
        port = withUnsafeBytes(of: bound) { Int($0[2]) << 8 | Int($0[3]) }
        // One fits into a queue of none; the others find it full.
        let full = try SocketAddress(ipAddress: "127.0.0.1", port: port)
        for _ in 0..<4 {
            let client = open()
            full.withSockAddr { address, size in _ = connect(client, address, socklen_t(size)) }
        }
    }

    deinit { for socket in sockets { close(socket) } }
}

/// Lets one side of a test go on when the other is so far.
final class Signal: Sendable {
    private let isSet = Atomic<Bool>(false)

    func set() { isSet.store(true, ordering: .releasing) }
    func wait() async throws {
        while !isSet.load(ordering: .acquiring) { try await Task.sleep(for: .milliseconds(1)) }
    }
}
