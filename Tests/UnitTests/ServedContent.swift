import Core
import NIOCore
import Synchronization

/// Other servers, as a table of what is behind each URL. A fragment is not sent, so it changes nothing.
final class ServedContent: RemoteContentSource {
    enum Answer: Sendable {
        case bytes([UInt8])
        /// The same, without a word of how many.
        case unsized([UInt8])
        /// Another size than comes.
        case cutShort([UInt8], after: Int)
        case down
        case gone
        case refused(EgressRefusal)
    }
    struct Request: Sendable, Equatable {
        let url: String
        let range: Range<Int64>?
    }

    private let table: Mutex<[String: Answer]>
    private let log = Mutex<[Request]>([])

    init(_ table: [String: Answer] = [:]) { self.table = Mutex(table) }

    func set(_ url: String, _ answer: Answer) { table.withLock { $0[url] = answer } }
    var requests: [Request] { log.withLock { $0 } }

    func judge(_ url: String) throws(EgressRefusal) {
        if case .refused(let refusal) = answer(to: url) { throw refusal }
    }

    private func answer(to url: String) -> Answer {
        let sent = String(url.prefix { $0 != "#" })
        return table.withLock { $0[sent] } ?? .gone
    }

    func open(
        _ url: String, range: Range<Int64>?, headers: [(name: String, value: String)]
    ) async throws -> RemoteContent {
        log.withLock { $0.append(Request(url: url, range: range)) }
        switch answer(to: url) {
        case .bytes(let bytes):
            let part = Self.part(bytes, range)
            return RemoteContent(sizeBytes: Int64(part.count), body: Self.body(part))
        case .unsized(let bytes):
            return RemoteContent(sizeBytes: nil, body: Self.body(Self.part(bytes, range)))
        case .cutShort(let bytes, let count):
            let part = Self.part(bytes, range)
            return RemoteContent(
                sizeBytes: Int64(part.count),
                body: Self.body(
                    Array(part.prefix(count)), RemoteContentError(.cutShort, "the connection ended too early")))
        case .down: throw RemoteContentError(.unreachable, "the server cannot be reached")
        case .gone: throw RemoteContentError(.refused, "the server answers 404")
        case .refused(let refusal): throw refusal
        }
    }

    private static func part(_ bytes: [UInt8], _ range: Range<Int64>?) -> [UInt8] {
        guard let range else { return bytes }
        return Array(bytes[Int(range.lowerBound)..<min(bytes.count, Int(range.upperBound))])
    }

    /// In pieces of an odd size, as networks have them.
    private static func body(
        _ bytes: [UInt8], _ failure: (any Error)? = nil
    ) -> AsyncThrowingStream<ByteBuffer, any Error> {
        AsyncThrowingStream { continuation in
            for start in stride(from: 0, to: bytes.count, by: 1021) {
                continuation.yield(ByteBuffer(bytes: bytes[start..<min(start + 1021, bytes.count)]))
            }
            continuation.finish(throwing: failure)
        }
    }
}
