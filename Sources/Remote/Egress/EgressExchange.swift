import Core
import NIOCore
import NIOHTTP1
import Synchronization

/// One request on a connection of its own: what the connection's event loop leaves here, one task takes away.
///
/// It holds at most `bufferLimitBytes` and what one read of the socket brings beyond; while it is full, nothing is read
/// and the other server has to wait. Only when the other server has closed the connection does the event loop read on:
/// what the kernel still holds, which is the most a socket's receive buffer takes (6 MiB on Linux).
///
/// How it ends is decided once; a failure closes the connection.
final class EgressExchange: Sendable {
    static let bufferLimitBytes = 256 << 10
    /// Smaller parts are put together, so that one of a byte does not keep a socket's whole buffer.
    private static let smallPartBytes = 4096
    private static let joinedPartBytes = 64 << 10

    private struct State {
        var channel: (any Channel)?
        var isConnected = false
        var head: HTTPResponseHead?
        var parts = CircularBuffer<ByteBuffer>()
        var bufferedBytes = 0
        var isReadHeld = false
        /// Nil while more may come.
        var ending: Result<Void, any Error>?
        /// There is one task at most.
        var waiter: CheckedContinuation<Void, Never>?

        mutating func takeWaiter() -> CheckedContinuation<Void, Never>? {
            defer { waiter = nil }
            return waiter
        }

        mutating func append(_ part: ByteBuffer) {
            bufferedBytes += part.readableBytes
            if part.readableBytes < smallPartBytes, let last = parts.last,
                last.readableBytes + part.readableBytes <= joinedPartBytes
            {
                parts[parts.index(before: parts.endIndex)].writeImmutableBuffer(part)
            } else {
                parts.append(part)
            }
        }
    }

    private let state = Mutex(State())

    // MARK: What the connection tells

    /// - Throws: what ended the exchange before there was a connection.
    func attach(_ channel: any Channel) throws {
        try state.withLock { state in
            if case .failure(let error) = state.ending { throw error }
            state.channel = channel
        }
    }

    func noteConnected() { state.withLock { $0.isConnected = true } }

    func receive(_ head: HTTPResponseHead) {
        state.withLock { state in
            state.head = head
            return state.takeWaiter()
        }?.resume()
    }

    func receive(_ part: ByteBuffer) {
        state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.ending == nil, part.readableBytes > 0 else { return nil }
            state.append(part)
            return state.takeWaiter()
        }?.resume()
    }

    /// All came.
    func finish() {
        state.withLock { state in
            if state.ending == nil { state.ending = .success(()) }
            return state.takeWaiter()
        }?.resume()
    }

    /// - Parameter isAtOnce: whether what came already is thrown away too.
    func fail(_ error: any Error, atOnce isAtOnce: Bool = false) {
        let (waiter, channel) = state.withLock { state -> (CheckedContinuation<Void, Never>?, (any Channel)?) in
            if isAtOnce {
                state.parts.removeAll()
                state.bufferedBytes = 0
            }
            // Something thrown away: no longer whole.
            if state.ending == nil || isAtOnce { state.ending = .failure(error) }
            return (state.takeWaiter(), state.channel)
        }
        waiter?.resume()
        channel?.close(promise: nil)
    }

    /// Whether the socket is to be read. If not, the channel's `read` is called when it is.
    func mayRead() -> Bool {
        state.withLock { state in
            state.isReadHeld = state.bufferedBytes >= Self.bufferLimitBytes
            return !state.isReadHeld
        }
    }

    // MARK: What the task takes

    /// Whether the connection stood: what fails later than that fails at no other address of the server either.
    var wasConnected: Bool { state.withLock { $0.isConnected } }

    /// - Throws: what ended the exchange; `CancellationError`.
    func head() async throws -> HTTPResponseHead {
        try await next { state in
            if let head = state.head { return .success(head) }
            guard case .failure(let error) = state.ending else { return nil }
            return .failure(error)
        }
    }

    /// - Returns: nil at the end, when all came.
    /// - Throws: what ended the exchange, once everything before was taken; `CancellationError`.
    func part() async throws -> ByteBuffer? {
        let taken = try await next { state -> Result<Taken, any Error>? in
            guard let part = state.parts.popFirst() else {
                return state.ending?.map { Taken(part: nil, isToRead: nil) }
            }
            state.bufferedBytes -= part.readableBytes
            let isRoom = state.isReadHeld && state.bufferedBytes <= Self.bufferLimitBytes / 2
            if isRoom { state.isReadHeld = false }
            return .success(Taken(part: part, isToRead: isRoom ? state.channel : nil))
        }
        taken.isToRead?.read()
        return taken.part
    }

    private struct Taken: Sendable {
        let part: ByteBuffer?
        /// Stopped, and has room again.
        let isToRead: (any Channel)?
    }

    private func next<T: Sendable>(_ take: (inout State) -> Result<T, any Error>?) async throws -> T {
        try await withTaskCancellationHandler {
            while true {
                var taken: Result<T, any Error>?
                await withCheckedContinuation { continuation in
                    let isToWait = state.withLock { state in
                        taken = take(&state)
                        if taken == nil { state.waiter = continuation }
                        return taken == nil
                    }
                    if !isToWait { continuation.resume() }
                }
                if let taken { return try taken.get() }
            }
        } onCancel: {
            fail(CancellationError(), atOnce: true)
        }
    }
}

/// Closes the connection when nobody can read from it any more.
final class EgressHold: Sendable {
    let exchange = EgressExchange()

    deinit { exchange.fail(CancellationError(), atOnce: true) }
}
