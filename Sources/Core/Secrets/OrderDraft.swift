import Trust

/// What `POST /v1/orders` asks for, checked against the schema.
package struct OrderDraft: Sendable {
    package let kind: KeyOrder.Kind
    let meta: OrderMeta
    /// What the private key of a pair is to be encrypted with.
    let passphrase: SecretBytes?

    static let secretFields = SecretFields(schema: "'Secret' within 'Order'")
    private static let fields = SecretFields(schema: "'Order'")

    /// - Throws: `ServiceError.badRequest`, which repeats nothing of what was sent: there may be a passphrase.
    package init(_ document: JSONValue) throws {
        let fields = Self.fields
        let body = try fields.object(document)
        for name in ["type", "meta"] where body[name] == nil {
            throw fields.mismatch(name, "'\(name)' is a required property")
        }
        guard let type = body["type"]?.stringValue else {
            throw fields.wrongType("type", body["type"] ?? .null, "'string'")
        }
        guard let kind = KeyOrder.Kind(rawValue: type) else {
            throw fields.mismatch("type", "the value is not one of ['key', 'asymmetric']")
        }
        guard let members = body["meta"]?.objectValue else {
            throw fields.wrongType("meta", body["meta"] ?? .null, "'object'")
        }
        self.kind = kind
        meta = try Self.meta(members, of: kind)
        passphrase = kind == .asymmetric ? try Self.passphrase(members["passphrase"]) : nil
    }

    private static func meta(_ members: [String: JSONValue], of kind: KeyOrder.Kind) throws -> OrderMeta {
        let name = try secretFields.name(members["name"])
        let algorithm = try secretFields.text("algorithm", members["algorithm"])
        let mode = try secretFields.text("mode", members["mode"])
        let bitLength = try secretFields.bitLength(members["bit_length"])
        let expiresAt = try secretFields.expiration(members["expiration"])
        _ = try secretFields.type(members["secret_type"])
        _ = try secretFields.contentType(members["payload_content_type"])
        if let encoding = members["payload_content_encoding"], encoding != "base64" {
            throw secretFields.mismatch("payload_content_encoding", "the value is not one of ['base64']")
        }
        let what = kind == .key ? "key" : "asymmetric key"
        guard members["payload"] == nil else {
            throw fields.mismatch("meta", "'payload' not allowed for \(kind.rawValue) type order")
        }
        guard let algorithm, !algorithm.isEmpty else {
            throw fields.mismatch("meta", "'algorithm' is required field for \(what) type order")
        }
        guard let bitLength else {
            throw fields.mismatch("meta", "'bit_length' is required field for \(what) type order")
        }
        // Elliptic curves have lengths of their own.
        let isLength = algorithm.lowercased() == "ec" ? [256, 384, 521].contains(bitLength) : bitLength % 8 == 0
        guard isLength else { throw KeySchema.unsupportedField }
        return OrderMeta(
            algorithm: algorithm, bitLength: bitLength, mode: mode, name: name, expiresAt: expiresAt,
            contentType: members["payload_content_type"]?.stringValue)
    }

    /// Nil and an empty one are no passphrase.
    private static func passphrase(_ value: JSONValue?) throws -> SecretBytes? {
        guard let value, !value.isNull else { return nil }
        guard var text = value.stringValue else { throw fields.wrongType("meta", value, "'string'") }
        let secret = text.withUTF8 { SecretBytes(copying: UnsafeRawBufferPointer($0)) }
        guard secret.count <= KeyPairs.maxPassphraseBytes else {
            throw fields.mismatch("meta", "'passphrase' has more than \(KeyPairs.maxPassphraseBytes) bytes")
        }
        return secret.count > 0 ? secret : nil
    }
}

/// What is to be made for an order, or why nothing can be: as Barbican's software store has it, and beyond that
/// AES of 512 bits without a mode, which Cinder asks for, and RSA of 3072 bits.
enum KeyGeneration: Sendable, Equatable {
    case symmetric(bytes: Int)
    case pair(KeyPairs.Algorithm, bits: Int)
    case impossible(OrderFailure)

    private static let symmetric: Set = ["aes", "des", "hmacsha1", "hmacsha256", "hmacsha384", "hmacsha512"]
    private static let pairs: Set = ["rsa"]
    /// Known, and not made.
    private static let others: Set = ["desede", "dsa", "ec", "diffie_hellman"]
    private static let lengths: Set<Int64> = [64, 128, 192, 256]

    init(_ kind: KeyOrder.Kind, _ meta: OrderMeta) {
        let algorithm = meta.algorithm.lowercased()
        let made = kind == .key ? Self.symmetric : Self.pairs
        guard made.contains(algorithm) else {
            let isKnown = Self.symmetric.union(Self.pairs).union(Self.others).contains(algorithm)
            self = .impossible(isKnown ? .unsupportedAlgorithm : .unknownAlgorithm)
            return
        }
        let bits = Int(meta.bitLength)
        switch kind {
        case .asymmetric:
            let isMade = KeyPairs.Algorithm.rsa.allowedBits.contains(bits)
            self = isMade ? .pair(.rsa, bits: bits) : .impossible(.unsupportedLength)
        case .key:
            // A key of XTS is two keys (IEEE 1619).
            let isXTS = meta.mode?.lowercased() == "xts"
            let isPlainAES = algorithm == "aes" && (meta.mode ?? "").isEmpty
            let isMade =
                isXTS
                ? bits % 2 == 0 && Self.lengths.contains(meta.bitLength / 2)
                : Self.lengths.contains(meta.bitLength) || isPlainAES && bits == 512
            self = isMade ? .symmetric(bytes: bits / 8) : .impossible(.unsupportedLength)
        }
    }
}
