import Trust

/// What `POST /v1/secrets` asks for, checked against the schema.
package struct SecretDraft: Sendable {
    package var name: String?
    package var type = SecretType.opaque
    package var algorithm: String?
    package var bitLength: Int64?
    package var mode: String?
    package var expiresAt: Timestamp?
    /// Nil for a secret whose payload comes later.
    package var payload: SecretPayload?

    package init() {}

    /// What is not in the schema is ignored, as clients send secrets back as they got them.
    /// - Throws: `ServiceError`: `.badRequest`, `.tooLarge` (the payload). They name a field and never quote one.
    package init(body: SecretBody, settings: SecretSettings) throws {
        let (json, secret) = try body.json(secret: "payload")
        let fields = SecretFields(schema: "'Secret'")
        let members = try fields.object(json)
        name = try fields.name(members["name"])
        algorithm = try fields.text("algorithm", members["algorithm"])
        mode = try fields.text("mode", members["mode"])
        bitLength = try fields.bitLength(members["bit_length"])
        expiresAt = try fields.expiration(members["expiration"])
        type = try fields.type(members["secret_type"]) ?? .opaque
        payload = try fields.payload(secret, members, limitBytes: settings.payloadLimitBytes)
    }
}

/// The schema of single fields. Refusals have Barbican's form, with the field's name; what the client sent there
/// is not repeated, as it may be what must not be logged.
package struct SecretFields: Sendable {
    /// As it stands in refusals: `'Secret'`, or `'Secret' within 'Order'`.
    let schema: String

    package init(schema: String) { self.schema = schema }

    /// - Parameter field: nil for the document as a whole.
    package func mismatch(_ field: String?, _ problem: String) -> ServiceError {
        .badRequest(
            "Provided object does not match schema \(schema): \(problem). Invalid property: '\(field ?? "None")'")
    }

    package func wrongType(_ field: String?, _ value: JSONValue, _ expected: String) -> ServiceError {
        mismatch(field, "\(value.kind) is not of type \(expected)")
    }

    package func object(_ json: JSONValue) throws -> [String: JSONValue] {
        guard let members = json.objectValue else { throw wrongType(nil, json, "'object'") }
        return members
    }

    package func name(_ value: JSONValue?) throws -> String? {
        guard let value, !value.isNull else { return nil }
        guard value.stringValue != nil else { throw wrongType("name", value, "'string', 'null'") }
        return try text("name", value)?.trimmingWhitespace()
    }

    /// At most 255 characters; nil when it is absent.
    package func text(_ field: String, _ value: JSONValue?) throws -> String? {
        guard let value else { return nil }
        guard let text = value.stringValue else { throw wrongType(field, value, "'string'") }
        guard text.unicodeScalars.count <= 255 else { throw mismatch(field, "the value is too long") }
        return text
    }

    package func bitLength(_ value: JSONValue?) throws -> Int64? {
        guard let value else { return nil }
        let number: Int64? = if case .number(let double) = value { Int64(exactly: double) } else { value.integerValue }
        guard let number else { throw wrongType("bit_length", value, "'integer'") }
        guard number >= 1 else { throw mismatch("bit_length", "the value is less than the minimum of 1") }
        guard number <= 32767 else { throw mismatch("bit_length", "the value is greater than the maximum of 32767") }
        return number
    }

    package func expiration(_ value: JSONValue?) throws -> Timestamp? {
        guard let text = try text("expiration", value)?.trimmingWhitespace(), !text.isEmpty else { return nil }
        guard let time = SecretTime.read(text) else {
            throw mismatch("expiration", "Invalid date for 'expiration'")
        }
        return time
    }

    package func type(_ value: JSONValue?) throws -> SecretType? {
        guard let text = try text("secret_type", value) else { return nil }
        guard let type = SecretType(rawValue: text) else {
            throw mismatch("secret_type", "the value is not one of \(quoted(SecretType.allCases.map(\.rawValue)))")
        }
        return type
    }

    func quoted(_ values: [String]) -> String { "[" + values.map { "'\($0)'" }.joined(separator: ", ") + "]" }
}

extension SecretFields {
    /// A payload with its type and its encoding: either all that is needed or nothing of it.
    func payload(_ secret: SecretBytes?, _ members: [String: JSONValue], limitBytes: Int) throws -> SecretPayload? {
        if let value = members["payload"], secret == nil { throw wrongType("payload", value, "'string'") }
        let encoding = try self.encoding(members["payload_content_encoding"])
        let type = try contentType(members["payload_content_type"])
        guard let secret else {
            guard type == nil else {
                throw mismatch("payload", "payload must be provided when payload_content_type is specified")
            }
            return nil
        }
        guard secret.count <= limitBytes else { throw ServiceError.tooLarge(SecretPayload.tooLarge) }
        guard !secret.isBlank else { throw mismatch("payload", "If 'payload' specified, must be non empty") }
        guard let type else {
            throw mismatch(
                "payload_content_type", "If 'payload' is supplied, 'payload_content_type' must also be supplied.")
        }
        guard type != .text else {
            guard !encoding else {
                throw mismatch("payload_content_encoding", "payload_content_encoding is not one of None")
            }
            return SecretPayload(bytes: secret, type: type)
        }
        guard encoding else {
            throw mismatch(
                "payload_content_encoding", "payload_content_encoding is not one of ['base64', 'binary']")
        }
        guard let decoded = secret.base64Decoded, decoded.count > 0 else {
            throw mismatch("payload", "Invalid payload for payload_content_encoding")
        }
        return SecretPayload(bytes: decoded, type: type)
    }

    /// Null is as good as nothing.
    package func contentType(_ value: JSONValue?) throws -> SecretMediaType? {
        guard let value, !value.isNull else { return nil }
        let field = "payload_content_type"
        guard let text = try text(field, value) else { return nil }
        guard let type = SecretMediaType(posted: text) else {
            throw mismatch(field, "payload_content_type is not one of \(quoted(SecretMediaType.posted))")
        }
        return type
    }

    /// Whether it is base64.
    private func encoding(_ value: JSONValue?) throws -> Bool {
        let field = "payload_content_encoding"
        guard let text = try text(field, value) else { return false }
        guard text == "base64" else { throw mismatch(field, "the value is not one of ['base64']") }
        return true
    }
}
