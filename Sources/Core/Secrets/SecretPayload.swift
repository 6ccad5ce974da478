import Glibc
@_spi(CustomByteBufferAllocator) import NIOCore
import Trust

/// What a payload is, as its media type (Key Manager digest, section 3).
package enum SecretMediaType: String, Sendable, CaseIterable {
    case text = "text/plain"
    case octets = "application/octet-stream"
    case pkcs8 = "application/pkcs8"

    /// The forms that stand in `payload_content_type`.
    static let posted = [
        "text/plain", "text/plain;charset=utf-8", "text/plain; charset=utf-8", "application/octet-stream",
        "application/pkcs8",
    ]

    /// From `payload_content_type`, in whatever case; nil for other types and for other charsets.
    init?(posted text: String) {
        let text = text.lowercased()
        guard Self.posted.contains(text) else { return nil }
        self.init(rawValue: text.hasPrefix("text/plain") ? "text/plain" : text)
    }
}

/// A payload in the clear, on its way in or out.
package struct SecretPayload: Sendable {
    let bytes: SecretBytes
    package let type: SecretMediaType

    package init(bytes: SecretBytes, type: SecretMediaType) {
        self.bytes = bytes
        self.type = type
    }

    package var count: Int { bytes.count }

    /// Whether the bytes can be shown as text.
    package var isText: Bool { bytes.isUTF8 }

    /// The bytes to be sent. Their memory is wiped once the last to hold it, the socket included, lets it go.
    package var buffer: ByteBuffer {
        var buffer = WipedMemory.allocator.buffer(capacity: bytes.count)
        bytes.withUnsafeBytes { _ = buffer.writeBytes($0) }
        return buffer
    }
}

extension SecretPayload {
    /// What `PUT /v1/secrets/{id}` sends.
    /// - Parameters:
    ///   - encoding: `Content-Encoding`. Text is taken as it comes, whatever stands there.
    ///   - limitBytes: counts what was sent, encoded or not.
    /// - Throws: `ServiceError`: `.badRequest`, `.tooLarge`.
    package init(
        uploaded body: SecretBody, type: SecretMediaType, encoding: String?, limitBytes: Int
    ) throws {
        let issue = "Secret update issue seen - "
        guard body.bytes.count > 0 else { throw ServiceError.badRequest(issue + "No data supplied to process.") }
        guard body.bytes.count <= limitBytes else { throw ServiceError.tooLarge(issue + Self.tooLarge) }
        self.type = type
        guard type != .text else {
            guard body.bytes.isUTF8 else { throw ServiceError.badRequest(issue + "The text is not UTF-8.") }
            bytes = body.bytes
            return
        }
        switch encoding?.lowercased() {
        case nil, "": bytes = body.bytes
        case "base64":
            guard let decoded = body.bytes.base64Decoded else {
                throw ServiceError.badRequest(issue + "The payload is not valid base64.")
            }
            bytes = decoded
        default:
            throw ServiceError.badRequest(
                issue + "Text-based binary secret payloads must specify a content-encoding of 'base64'.")
        }
    }

    static let tooLarge = "Provided information too large to process"
}

/// A request's body that holds a secret, in memory that is wiped.
package struct SecretBody: Sendable {
    let bytes: SecretBytes

    /// - Parameter parts: as they came. They are the socket's own buffers, which nobody can wipe.
    package init(_ parts: [ByteBuffer]) {
        bytes = SecretBytes(count: parts.reduce(0) { $0 + $1.readableBytes }) { memory in
            var end = 0
            for part in parts {
                part.withUnsafeReadableBytes {
                    UnsafeMutableRawBufferPointer(rebasing: memory[end..<end + $0.count]).copyMemory(from: $0)
                }
                end += part.readableBytes
            }
        }
    }

    /// The body as JSON. A string member `secret` of its object comes apart from the rest, in memory that is
    /// wiped; an empty string stands in its place.
    /// - Throws: `ServiceError.badRequest`, which tells nothing of what was sent.
    package func json(secret member: String) throws -> (json: JSONValue, secret: SecretBytes?) {
        do {
            return try bytes.withUnsafeBytes { raw in
                var parser = JSONParser(raw.bindMemory(to: UInt8.self), secretMember: member)
                let json = try parser.document()
                return (json, json[member]?.stringValue == nil ? nil : parser.secret)
            }
        } catch is JSONValue.Malformed {
            throw ServiceError.malformedJSON
        }
    }
}

extension ServiceError {
    package static var malformedJSON: ServiceError { .badRequest("Malformed JSON") }
}

extension SecretBytes {
    /// Without making a string of it, which nobody would wipe.
    var isUTF8: Bool {
        withUnsafeBytes { bytes in
            var parser = Unicode.UTF8.ForwardParser()
            var rest = bytes.makeIterator()
            while true {
                switch parser.parseScalar(from: &rest) {
                case .valid: continue
                case .emptyInput: return true
                case .error: return false
                }
            }
        }
    }

    /// Whether there is nothing but ASCII white space in it.
    var isBlank: Bool { withUnsafeBytes { $0.allSatisfy { $0 == 0x20 || (0x09...0x0d).contains($0) } } }

    var base64Decoded: SecretBytes? { withUnsafeBytes { Base64.decode($0) } }
}

/// Memory that is zeroed before anybody else gets it.
enum WipedMemory {
    /// Each piece begins with its length, which the allocator is not told when the piece is given back.
    static let allocator = ByteBufferAllocator(
        allocate: { WipedMemory.allocate($0) },
        reallocate: { old, oldCount, newCount in
            guard let new = WipedMemory.allocate(newCount) else { return nil }
            if let old {
                new.copyMemory(from: old, byteCount: min(oldCount, newCount))
                WipedMemory.release(old)
            }
            return new
        },
        deallocate: { WipedMemory.release($0) },
        copy: { $0.copyMemory(from: $1, byteCount: $2) })

    /// Keeps what follows aligned for anything.
    private static let headBytes = 16

    private static func allocate(_ count: Int) -> UnsafeMutableRawPointer? {
        guard let start = malloc(headBytes + count) else { return nil }
        start.storeBytes(of: count, as: Int.self)
        return start + headBytes
    }

    private static func release(_ memory: UnsafeMutableRawPointer) {
        let start = memory - headBytes
        explicit_bzero(memory, start.load(as: Int.self))
        free(start)
    }

    static func wipe(_ bytes: inout [UInt8]) {
        bytes.withUnsafeMutableBytes { memory in
            if let start = memory.baseAddress { explicit_bzero(start, memory.count) }
        }
    }
}
