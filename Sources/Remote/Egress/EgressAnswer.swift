import Core
import NIOHTTP1

/// What the head of an answer comes to. Pure.
enum EgressAnswer: Equatable {
    /// The content follows; nil when its length is not said.
    case content(sizeBytes: Int64?)
    case redirect(location: String)

    /// - Parameters:
    ///   - range: what was asked for; nil for all.
    ///   - limitBytes: more than this is not taken.
    /// - Throws: `RemoteContentError` for every answer that brings neither.
    init(_ head: HTTPResponseHead, range: Range<Int64>?, limitBytes: Int64) throws(RemoteContentError) {
        switch head.status.code {
        case 301, 302, 303, 307, 308:
            self = .redirect(location: try Self.location(head.headers))
        case 200:
            guard range == nil else {
                throw RemoteContentError(.refused, "The server does not send a part of the content.")
            }
            self = .content(sizeBytes: try Self.size(head.headers, limitBytes))
        case 206:
            guard let range else { throw Self.malformed("it sends a part although all was asked for") }
            try Self.checkRange(head.headers, range)
            let size = try Self.size(head.headers, limitBytes)
            guard size == nil || size == Int64(range.count) else {
                throw Self.malformed("the length of the part is not what was asked for")
            }
            guard Int64(range.count) <= limitBytes else { throw Self.tooLarge(limitBytes) }
            self = .content(sizeBytes: Int64(range.count))
        // Not now: overloaded, or too early.
        case 408, 425, 429, 500...599:
            throw RemoteContentError(.unreachable, "The server answered \(head.status.code).")
        case 100...199:
            throw Self.malformed("it wants to speak another protocol")
        default:
            throw RemoteContentError(.refused, "The server answered \(head.status.code).")
        }
    }

    static func malformed(_ cause: String) -> RemoteContentError {
        RemoteContentError(.malformed, "The server's answer cannot be used: \(cause).")
    }

    static func tooLarge(_ limitBytes: Int64) -> RemoteContentError {
        RemoteContentError(.tooLarge, "The content is larger than \(limitBytes) bytes.")
    }

    private static func location(_ headers: HTTPHeaders) throws(RemoteContentError) -> String {
        let locations = Set(headers["Location"])
        guard let location = locations.first, locations.count == 1 else {
            throw malformed("it redirects without saying where to, or to several places")
        }
        return location
    }

    /// The framing of the body (RFC 9112 section 6) must be beyond doubt, and the bytes themselves the content's.
    private static func size(_ headers: HTTPHeaders, _ limitBytes: Int64) throws(RemoteContentError) -> Int64? {
        let encodings = headers[canonicalForm: "Content-Encoding"].filter { !$0.isEmpty }
        guard encodings.allSatisfy({ $0.lowercased() == "identity" }) else {
            throw RemoteContentError(.refused, "The server sends the content in an encoding that was not asked for.")
        }
        let transfers = headers[canonicalForm: "Transfer-Encoding"]
        guard transfers.isEmpty || transfers.count == 1 && transfers[0].lowercased() == "chunked" else {
            throw malformed("it uses an unknown transfer encoding")
        }
        let lengths = Set(headers["Content-Length"])
        guard lengths.isEmpty || transfers.isEmpty else { throw malformed("it frames the content in two ways") }
        guard let length = lengths.first else { return nil }
        guard lengths.count == 1, length.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let size = Int64(length)
        else { throw malformed("the length of the content is not a number") }
        guard size <= limitBytes else { throw tooLarge(limitBytes) }
        return size
    }

    /// `bytes 0-9/100`, with `*` for a total that is not known (RFC 9110 section 14.4).
    private static func checkRange(_ headers: HTTPHeaders, _ range: Range<Int64>) throws(RemoteContentError) {
        let fields = headers["Content-Range"]
        let prefix = "bytes \(range.lowerBound)-\(range.upperBound - 1)/"
        guard fields.count == 1, fields[0].hasPrefix(prefix) else {
            throw malformed("it sends another part than was asked for")
        }
        let total = fields[0].dropFirst(prefix.count)
        guard total == "*" || Int64(total).map({ $0 >= range.upperBound }) == true else {
            throw malformed("it sends another part than was asked for")
        }
    }
}
