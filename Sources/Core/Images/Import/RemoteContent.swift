import NIOCore

/// Content that another server sends: one run of bytes, read once, in order.
package struct RemoteContent: Sendable {
    /// How many bytes the other server says will come; nil when it does not say.
    package let sizeBytes: Int64?
    /// The bytes. Throws `RemoteContentError`, and `CancellationError`; ends without an error only when all bytes came
    /// that were promised. A body that is not read to its end gives its connection up.
    package let body: any AsyncSequence<ByteBuffer, any Error> & Sendable

    package init(sizeBytes: Int64?, body: any AsyncSequence<ByteBuffer, any Error> & Sendable) {
        self.sizeBytes = sizeBytes
        self.body = body
    }
}

/// Fetches what users name by a URL. Every implementation asks an `EgressPolicy` before it asks a server, for the URL,
/// for each address it connects to, and again after each redirect.
package protocol RemoteContentSource: Sendable {
    /// Refuses, without any traffic, a URL that would never be fetched. For answering a request at once; `open` judges
    /// again.
    /// - Throws: `EgressRefusal`.
    func judge(_ url: String) throws(EgressRefusal)

    /// Asks for the content of a URL, or for a part of it.
    /// - Parameters:
    ///   - range: the bytes wanted; nil for all. A server that ignores it is an error: nothing is skipped by reading it.
    ///   - headers: sent to the URL's own origin alone, never on after a redirect to another.
    /// - Throws: `EgressRefusal` (never worth another attempt), `RemoteContentError`, `CancellationError`.
    func open(_ url: String, range: Range<Int64>?, headers: [(name: String, value: String)]) async throws
        -> RemoteContent
}

extension RemoteContentSource {
    package func open(_ url: String) async throws -> RemoteContent { try await open(url, range: nil, headers: []) }
}

/// Why content of another server did not come, or not whole.
package struct RemoteContentError: Error, Sendable, CustomStringConvertible {
    package enum Code: String, Sendable, CaseIterable {
        /// The server, or its name, cannot be reached; or it answers that it is not able to now.
        case unreachable
        /// It answers that it has no such content, or does not give it to us.
        case refused
        /// It sends nothing for too long, or takes too long altogether.
        case tooSlow
        /// More comes than is taken.
        case tooLarge
        /// The bytes end before all came.
        case cutShort
        /// What it says is no HTTP that we understand.
        case malformed
    }
    package let code: Code
    /// For the user who named the URL: says nothing of addresses or of this machine.
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// Whether the same request may succeed later.
    package var isRetryable: Bool { code == .unreachable || code == .tooSlow || code == .cutShort }
    package var description: String { "\(code.rawValue): \(message)" }
}
