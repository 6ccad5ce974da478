import API
import Glibc
import HummingbirdCore
import HummingbirdTLS
import Logging
import NIOCore
import NIOSSL
import ServiceLifecycle
import Synchronization

/// The server's sockets. All are bound before any answers: what is answered names the addresses
/// (catalogue, `clouds.yaml`), and with port 0 nobody knows them earlier. Until then clients wait in
/// the sockets' queues.
///
/// On graceful shutdown all stop to accept at once, connections without a request are closed, and
/// requests under way are let finish; cancellation cuts those off.
struct Listeners: Service {
    struct Bound: Sendable {
        let address: ListenAddress
        /// The port that `address` asked for, or the one the system chose.
        let port: Int
    }

    let addresses: [ListenAddress]
    let tls: TLSConfiguration?
    let idleTimeoutSeconds: Int
    /// Connections each may have at once; the next ones wait in the socket's queue.
    let connectionLimit: Int
    let eventLoopGroup: any EventLoopGroup
    let logger: Logger
    /// Called once, when all are bound, in the order of `addresses`. Returns who answers on each, and
    /// where.
    let onBound: @Sendable ([Bound]) async throws -> ([Dispatcher], ServerURLs)
    /// Called once they answer.
    let onReady: @Sendable (ServerURLs) async -> Void

    private enum Ended { case binding, listener }

    func run() async throws {
        let gates = addresses.map { _ in Gate() }
        let (bound, report) = AsyncStream.makeStream(of: (Int, Bound).self)
        try await withThrowingTaskGroup(of: Ended.self) { group in
            for (index, address) in addresses.enumerated() {
                group.addTask {
                    try await serve(address, gates[index]) { channel in
                        let port = channel.localAddress?.port ?? address.port
                        report.yield((index, Bound(address: address, port: port)))
                    }
                    return .listener
                }
            }
            group.addTask {
                try await open(gates, whenBound: bound)
                return .binding
            }
            while let ended = try await group.next() {
                // One that ends before all are bound: the server was told to stop.
                if ended == .listener { report.finish() }
            }
        }
    }

    private func open(_ gates: [Gate], whenBound bound: AsyncStream<(Int, Bound)>) async throws {
        var found = [Bound?](repeating: nil, count: addresses.count)
        for await (index, listener) in bound {
            found[index] = listener
            let all = found.compactMap(\.self)
            guard all.count == addresses.count else { continue }
            let (dispatchers, urls) = try await onBound(all)
            precondition(dispatchers.count == gates.count)
            for (gate, dispatcher) in zip(gates, dispatchers) { gate.open(dispatcher) }
            await onReady(urls)
            return
        }
    }

    private func serve(
        _ address: ListenAddress, _ gate: Gate, onBound: @escaping @Sendable (any Channel) -> Void
    ) async throws {
        let room = ConnectionRoom(limit: connectionLimit)
        let connection = ConnectionChannel(
            limits: ConnectionLimits(idleTimeout: .seconds(Int64(idleTimeoutSeconds))), room: room,
            fileWay: tls == nil ? .unseen : .copied,
            brief: { gate.dispatcher?.respondAtOnce(to: $0, on: $1) }
        ) {
            request, writer, channel, state in
            guard let dispatcher = gate.dispatcher else { throw CancellationError() }
            try await dispatcher.respond(to: request, writer, channel: channel, connection: state)
        }
        do {
            if let tls {
                try await serve(TLSChannel(connection, tlsConfiguration: tls), address, room, gate, onBound)
            } else {
                try await serve(connection, address, room, gate, onBound)
            }
        } catch let error as IOError {
            let reason = String(cString: strerror(error.errnoCode))
            throw StartProblem("listen: \(address) cannot be listened on: \(reason)")
        }
    }

    private func serve<Setup: ServerChildChannel>(
        _ setup: Setup, _ address: ListenAddress, _ room: ConnectionRoom, _ gate: Gate,
        _ onBound: @escaping @Sendable (any Channel) -> Void
    ) async throws {
        let server = HummingbirdCore.Server(
            childChannelSetup: setup,
            configuration: .init(
                address: .hostname(address.host, port: address.port), backlog: 4096,
                availableConnectionsDelegate: Door(room: room)),
            onServerRunning: { channel in
                onBound(channel)
                await gate.wait()
            },
            eventLoopGroup: eventLoopGroup, logger: logger)
        try await server.run()
    }
}

/// Lets connections in as long as there is room; the next ones wait in the socket's queue.
private struct Door: AvailableConnectionsDelegate {
    let room: ConnectionRoom

    func connectionOpened() { room.enter() }
    func connectionClosed() { room.leave() }
    func isAcceptingNewConnections() -> Bool { room.hasPlace }
}

/// Holds one listener's connections back until it is known who answers them.
private final class Gate: Sendable {
    private let opened: AsyncStream<Never>
    private let opening: AsyncStream<Never>.Continuation
    private let answering = Mutex<Dispatcher?>(nil)

    init() {
        (opened, opening) = AsyncStream.makeStream(of: Never.self)
    }

    var dispatcher: Dispatcher? { answering.withLock { $0 } }

    func open(_ dispatcher: Dispatcher) {
        answering.withLock { $0 = dispatcher }
        opening.finish()
    }

    /// Returns once it is open, or when the task is cancelled. One task waits.
    func wait() async {
        for await _ in opened {}
    }
}
