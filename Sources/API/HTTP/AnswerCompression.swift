import Compression
import Core
import HTTPTypes
import HummingbirdCore
import NIOCore

/// Packs answers for clients that ask for it (RFC 9110 section 12.5.3): JSON that is long enough to be worth it. Image
/// data goes out as it is: it is packed already, or the client can pack it better.
enum AnswerCompression {
    /// Below it the packed answer saves no packet.
    static let leastBytes = 2048
    /// What takes longer is not packed on an event loop.
    static let mostBytesAtOnce = 32 << 10

    /// Whether an answer is to be packed; its headers say that this depends on the client.
    static func isWanted(_ headers: inout HTTPFields, byteCount: Int?, by request: HTTPFields) -> Bool {
        guard concerns(headers, byteCount: byteCount) else { return false }
        headers.append(HTTPField(name: .vary, value: "Accept-Encoding"))
        return isAccepted(by: request)
    }

    /// Whether an answer would be packed if the client took it so.
    private static func concerns(_ headers: HTTPFields, byteCount: Int?) -> Bool {
        guard let byteCount, byteCount >= leastBytes else { return false }
        return headers[.contentEncoding] == nil && headers[.contentType]?.hasPrefix("application/json") == true
    }

    /// Whether a client takes gzip: it is named, or `*` stands for it, and neither with the weight zero.
    static func isAccepted(by request: HTTPFields) -> Bool {
        guard let text = request[.acceptEncoding] else { return false }
        var any = false
        for item in text.split(separator: ",") {
            let parts = item.split(separator: ";").map { $0.filter { $0 != " " && $0 != "\t" }.lowercased() }
            guard let coding = parts.first, ["gzip", "x-gzip", "*"].contains(coding) else { continue }
            let weight = parts.dropFirst().first { $0.hasPrefix("q=") }.map { Double($0.dropFirst(2)) ?? 0 } ?? 1
            if coding != "*" { return weight > 0 }
            any = weight > 0
        }
        return any
    }

    /// - Returns: nil when the bytes cannot be packed; they go out as they are.
    static func pack(_ bytes: ByteBuffer) -> ByteBuffer? {
        bytes.withUnsafeReadableBytes { GzipEncoder.pack($0) }.map { ByteBuffer(bytes: $0) }
    }

    /// Says of an answer that it is packed.
    static func mark(_ headers: inout HTTPFields, _ packed: ByteBuffer) {
        headers[.contentEncoding] = "gzip"
        headers[.contentLength] = String(packed.readableBytes)
    }

    /// Packs a response's body if it is to be.
    static func apply(to response: inout Response, for request: HTTPFields, on work: any WorkPool) async {
        guard isWanted(&response.headers, byteCount: response.body.contentLength, by: request) else { return }
        let gathered = GatheredBody()
        do {
            // JSON is in memory by now: nothing is waited for.
            try await response.body.write(gathered)
            let bytes = gathered.bytes
            let packed =
                bytes.readableBytes <= mostBytesAtOnce ? pack(bytes) : try await work.run { pack(bytes) }
            guard let packed else { return }
            response.body = ResponseBody(byteBuffer: packed)
            mark(&response.headers, packed)
        } catch {
            return
        }
    }

    private final class GatheredBody: ResponseBodyWriter {
        private(set) var bytes = ByteBuffer()

        func write(_ buffer: ByteBuffer) async throws {
            if bytes.readableBytes == 0 {
                bytes = buffer
            } else {
                bytes.writeImmutableBuffer(buffer)
            }
        }

        func finish(_ trailingHeaders: HTTPFields?) async throws {}
    }
}
