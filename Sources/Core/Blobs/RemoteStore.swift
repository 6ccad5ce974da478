import NIOCore
import Synchronization

/// The store of bytes that stay with other servers. It knows URLs alone: which there are, and whose bytes are behind
/// them, is the catalogue's business. Nothing is ever written or erased there.
package struct RemoteStore: Sendable {
    package let id: StoreID
    private let source: any RemoteContentSource

    package init(id: StoreID, source: any RemoteContentSource) {
        self.id = id
        self.source = source
    }

    /// Nil when no such store is configured, or nothing is fetched here.
    init?(_ stores: StoreSet, _ source: (any RemoteContentSource)?) {
        guard let id = stores.remote, let source else { return nil }
        self.init(id: id, source: source)
    }

    /// How many bytes the other server says it has; nil when it does not say.
    /// - Throws: `EgressRefusal`, `RemoteContentError`, `CancellationError`.
    func sizeBytes(of url: String) async throws -> Int64? {
        // The body is left unread, which gives its connection up.
        try await source.open(url).sizeBytes
    }

    /// Opens what is behind a URL for reading, from its beginning.
    /// - Parameter sizeBytes: how many bytes there are, as the catalogue knows.
    /// - Throws: `BlobError`: `.unavailable`, `.corrupt` (it has another size now); `CancellationError`.
    package func open(_ url: String, sizeBytes: Int64) async throws -> any BlobReader {
        let reader = RemoteReader(source: source, url: url, sizeBytes: sizeBytes)
        try await reader.begin()
        return reader
    }
}

/// Bytes of another server, read through one request as long as they are wanted in order, and through another from
/// wherever else they are wanted.
private final class RemoteReader: BlobReader {
    let sizeBytes: Int64
    private let source: any RemoteContentSource
    private let url: String
    /// The request that was read last. Who reads takes it and puts it back: nobody else reads from it meanwhile.
    private let idle = Mutex<RemoteStream?>(nil)

    init(source: any RemoteContentSource, url: String, sizeBytes: Int64) {
        self.source = source
        self.url = url
        self.sizeBytes = sizeBytes
    }

    /// Asks for the whole, so that a server that is away is noticed before anything is promised to anybody.
    func begin() async throws {
        let stream = try await stream(from: 0)
        idle.withLock { $0 = stream }
    }

    func read(offset: Int64, count: Int) async throws -> ByteBuffer {
        guard offset < sizeBytes, count > 0 else { return ByteBuffer() }
        let wanted = Int(min(Int64(count), sizeBytes - offset))
        let taken = idle.withLock { idle -> RemoteStream? in
            guard let stream = idle, stream.startsAt(offset) else { return nil }
            idle = nil
            return stream
        }
        let stream: RemoteStream
        if let taken { stream = taken } else { stream = try await self.stream(from: offset) }
        let bytes = try await Self.translating { try await stream.read(wanted) }
        guard bytes.readableBytes == wanted else {
            throw BlobError(
                code: .corrupt, operation: "read remote content",
                cause: "it ends at \(offset + Int64(bytes.readableBytes)), \(sizeBytes) bytes were promised")
        }
        let end = offset + Int64(wanted)
        if end == sizeBytes {
            guard try await Self.translating({ try await stream.isAtEnd() }) else {
                throw BlobError(
                    code: .corrupt, operation: "read remote content",
                    cause: "more than the promised \(sizeBytes) bytes come")
            }
            return bytes
        }
        stream.moved(to: end)
        idle.withLock { $0 = stream }
        return bytes
    }

    func close() async { idle.withLock { $0 = nil } }

    private func stream(from offset: Int64) async throws -> RemoteStream {
        let content = try await Self.translating {
            try await source.open(url, range: offset == 0 ? nil : offset..<sizeBytes, headers: [])
        }
        if let size = content.sizeBytes, size != sizeBytes - offset {
            throw BlobError(
                code: .corrupt, operation: "open remote content",
                cause: "\(size) bytes come from \(offset) on, \(sizeBytes - offset) were promised")
        }
        return RemoteStream(content, from: offset)
    }

    private static func translating<T>(_ call: () async throws -> T) async throws -> T {
        do {
            return try await call()
        } catch let error as BlobError {
            throw error
        } catch let error as CancellationError {
            throw error
        } catch {
            // Never with the URL: it may hold a password.
            throw BlobError(code: .unavailable, operation: "read remote content", cause: "\(error)")
        }
    }
}

/// A response's body, read in pieces of other sizes than it comes in. By one task at a time.
private final class RemoteStream: Sendable {
    private let pieces: Pieces
    private let position: Mutex<Int64>

    init(_ content: RemoteContent, from offset: Int64) {
        pieces = Pieces(content)
        position = Mutex(offset)
    }

    func startsAt(_ offset: Int64) -> Bool { position.withLock { $0 == offset } }
    func moved(to offset: Int64) { position.withLock { $0 = offset } }

    /// As many bytes, or fewer at the end.
    func read(_ count: Int) async throws -> ByteBuffer { try await pieces.read(count) }
    func isAtEnd() async throws -> Bool { try await pieces.isAtEnd() }

    private actor Pieces {
        private var iterator: (any AsyncIteratorProtocol<ByteBuffer, any Error>)?
        private var rest = ByteBuffer()

        init(_ content: RemoteContent) { iterator = Self.iterator(of: content.body) }

        private static func iterator(
            of body: any AsyncSequence<ByteBuffer, any Error>
        ) -> any AsyncIteratorProtocol<ByteBuffer, any Error> { body.makeAsyncIterator() }

        func read(_ count: Int) async throws -> ByteBuffer {
            while rest.readableBytes < count, try await more() {}
            let bytes = rest.readSlice(length: min(count, rest.readableBytes)) ?? ByteBuffer()
            rest.discardReadBytes()
            return bytes
        }

        func isAtEnd() async throws -> Bool {
            while rest.readableBytes == 0 {
                guard try await more() else { return true }
            }
            return false
        }

        /// False at the end.
        private func more() async throws -> Bool {
            guard var current = iterator else { return false }
            iterator = nil
            guard var piece = try await current.next(isolation: self) else { return false }
            iterator = current
            if rest.readableBytes == 0 { rest = piece } else { rest.writeBuffer(&piece) }
            return true
        }
    }
}
