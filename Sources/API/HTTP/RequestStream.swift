import Core
import HTTPTypes
import HummingbirdCore
import NIOCore
import NIOHTTPTypes
import Synchronization

/// The client went away before its request was whole.
package struct IncompleteRequest: Error, CustomStringConvertible {
    package var description: String { "the connection ended before the request's body did" }
}

/// A request's body: read at most once, in order, with backpressure to the socket.
///
/// Reading it is what answers `Expect: 100-continue`, so a request that is refused before its body
/// is needed never asks for the body. The stream ends without an error only when the whole body
/// has arrived; a connection that ends early is `IncompleteRequest`.
package final class RequestStream: AsyncSequence, Sendable {
    package typealias Element = ByteBuffer

    private let body: RequestBody
    private let channel: (any Channel)?
    private let expectsContinue: Bool
    private let isWhole: @Sendable () -> Bool
    private let onReading: @Sendable () -> Void
    private let begun = Mutex(false)
    private let bytesRead = Atomic<Int>(0)
    private let reachedEnd = Atomic<Bool>(false)

    /// - Parameter onReading: called when the body is first asked for.
    init(
        body: RequestBody, head: HTTPRequest, channel: (any Channel)?, isWhole: @escaping @Sendable () -> Bool,
        onReading: @escaping @Sendable () -> Void
    ) {
        self.body = body
        self.channel = channel
        expectsContinue = head.headerFields[.expect]?.lowercased() == "100-continue"
        self.isWhole = isWhole
        self.onReading = onReading
    }

    /// Of a request that is known to have no body.
    static let none = RequestStream(
        body: RequestBody(buffer: ByteBuffer()),
        head: HTTPRequest(method: .get, scheme: nil, authority: nil, path: nil),
        channel: nil, isWhole: { true }, onReading: {})

    /// Bytes handed out so far.
    package var byteCount: Int { bytesRead.load(ordering: .relaxed) }

    /// Whether nothing of this request is left on the connection.
    var isConsumed: Bool {
        reachedEnd.load(ordering: .relaxed) || isWhole() && !begun.withLock { $0 } && byteCount == 0
    }

    package struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let stream: RequestStream
        fileprivate var inner: RequestBody.AsyncIterator

        package mutating func next() async throws -> ByteBuffer? {
            let buffer: ByteBuffer?
            do {
                buffer = try await inner.next()
            } catch {
                throw IncompleteRequest()
            }
            if let buffer {
                stream.bytesRead.add(buffer.readableBytes, ordering: .relaxed)
                return buffer
            }
            guard stream.isWhole() else { throw IncompleteRequest() }
            stream.reachedEnd.store(true, ordering: .relaxed)
            return nil
        }
    }

    package func makeAsyncIterator() -> AsyncIterator {
        let isFirst = begun.withLock { begun in
            defer { begun = true }
            return !begun
        }
        precondition(isFirst, "a request's body is read once")
        onReading()
        if expectsContinue, let channel, !isWhole() {
            channel.writeAndFlush(HTTPResponsePart.head(HTTPResponse(status: .continue)), promise: nil)
        }
        return AsyncIterator(stream: self, inner: body.makeAsyncIterator())
    }

    /// The whole body.
    /// - Throws: `ServiceError.tooLarge` past `limitBytes`; `IncompleteRequest`.
    package func collect(limitBytes: Int) async throws -> ByteBuffer {
        var whole: ByteBuffer?
        for try await part in self {
            if (whole?.readableBytes ?? 0) + part.readableBytes > limitBytes {
                throw ServiceError.tooLarge("The request body is larger than the \(limitBytes) bytes allowed here.")
            }
            if whole == nil { whole = part } else { whole!.writeImmutableBuffer(part) }
        }
        return whole ?? ByteBuffer()
    }
}
