import Core
import HTTPTypes

/// What `Accept` says (RFC 9110 section 12.5.1).
struct AcceptedTypes {
    private struct Range {
        let type: String
        let subtype: String
        /// Of text; nil when any will do.
        let charset: String?
        /// In thousandths.
        let quality: Int

        /// How closely it names a type; nil when it does not.
        func closeness(to media: (type: String, subtype: String)) -> Int? {
            if type == "*" { return subtype == "*" ? 0 : nil }
            guard type == media.type else { return nil }
            if subtype == "*" { return 1 }
            guard subtype == media.subtype else { return nil }
            return charset == nil ? 2 : charset == "utf-8" ? 3 : nil
        }
    }

    /// Whether the client left the choice to us: no header, or an empty one.
    let isAbsent: Bool
    private let ranges: [Range]

    init(_ headers: HTTPFields) {
        let text = headers[values: .accept].joined(separator: ",")
        isAbsent = text.trimmingSpaces().isEmpty
        ranges = text.split(separator: ",").compactMap(Self.range)
    }

    /// Whether there is anything in it that can be understood.
    var isReadable: Bool { !ranges.isEmpty }

    /// How much a type is wanted, in thousandths; 0 is not at all.
    func quality(of media: String) -> Int { closest(to: media)?.quality ?? 0 }

    /// Whether the type is wanted under a charset's name.
    func namesCharset(of media: String) -> Bool { closest(to: media)?.charset != nil }

    private func closest(to media: String) -> Range? {
        let parts = media.split(separator: "/").map(String.init)
        var best: (range: Range, closeness: Int)?
        for range in ranges {
            guard let closeness = range.closeness(to: (parts[0], parts[1])) else { continue }
            if best == nil || closeness > best!.closeness { best = (range, closeness) }
        }
        return best?.range
    }

    /// Nil for what is no media range. Parameters other than `q` and `charset` do not matter here.
    private static func range(_ text: Substring) -> Range? {
        let parts = text.split(separator: ";", omittingEmptySubsequences: false).map {
            $0.trimmingSpaces().lowercased()
        }
        let names = parts[0].split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard names.count == 2, names.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy(isToken) }) else { return nil }
        var charset: String?
        var quality = 1000
        for parameter in parts.dropFirst() {
            let pair = parameter.split(separator: "=", maxSplits: 1).map { $0.trimmingSpaces() }
            guard pair.count == 2 else { continue }
            switch pair[0] {
            case "q":
                guard let given = self.quality(pair[1]) else { return nil }
                quality = given
            case "charset": charset = String(pair[1].filter { $0 != "\"" })
            default: break
            }
        }
        return Range(type: names[0], subtype: names[1], charset: charset, quality: quality)
    }

    /// `0`, `1`, and up to three digits behind the point.
    private static func quality(_ text: String) -> Int? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2, let whole = Int(parts[0]), (0...1).contains(whole) else { return nil }
        let fraction = parts.count == 2 ? String(parts[1]) : ""
        guard fraction.utf8.count <= 3, fraction.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        let thousandths = Int(fraction + String(repeating: "0", count: 3 - fraction.utf8.count)) ?? 0
        return whole * 1000 + thousandths <= 1000 ? whole * 1000 + thousandths : nil
    }

    private static func isToken(_ byte: UInt8) -> Bool { (0x21...0x7e).contains(byte) && byte != UInt8(ascii: "\"") }
}

extension Exchange {
    private static let json = "application/json"

    /// For what there is only as JSON. A header that cannot be read at all is not held against the client.
    /// - Throws: `ServiceError.notAcceptable`.
    func requireAcceptsJSON() throws {
        let accepted = AcceptedTypes(headers)
        guard !accepted.isReadable || accepted.quality(of: Self.json) > 0 else {
            throw ServiceError.notAcceptable("This is there as application/json alone.")
        }
    }

    /// Whether `GET /v1/secrets/{id}` wants what is known of the secret; otherwise it wants its payload, the
    /// deprecated way.
    var wantsSecretMetadata: Bool {
        let accepted = AcceptedTypes(headers)
        if accepted.isAbsent { return true }
        let json = accepted.quality(of: Self.json)
        return json > 0 && SecretMediaType.allCases.allSatisfy { accepted.quality(of: $0.rawValue) <= json }
    }

    /// The `Content-Type` that a payload is sent with. Binary types are all the same bytes; text is what is
    /// text, whatever it was stored as. Without `Accept` it is the bytes, also of a text.
    /// - Throws: `ServiceError.notAcceptable`.
    func contentType(for payload: SecretPayload, in operation: String) throws -> String {
        let accepted = AcceptedTypes(headers)
        if accepted.isAbsent { return SecretMediaType.octets.rawValue }
        var best: (type: SecretMediaType, quality: Int)?
        for type in [payload.type] + SecretMediaType.allCases {
            let quality = accepted.quality(of: type.rawValue)
            guard quality > best?.quality ?? 0, type != .text || payload.isText else { continue }
            best = (type, quality)
        }
        guard let best else {
            throw ServiceError.notAcceptable("\(operation) issue seen - Wrong payload content-type.")
        }
        guard best.type == .text else { return best.type.rawValue }
        return accepted.namesCharset(of: best.type.rawValue) ? "text/plain; charset=utf-8" : "text/plain; charset=UTF-8"
    }
}
