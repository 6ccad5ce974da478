import Core
import HTTPTypes
import HummingbirdCore
import NIOCore

extension Exchange {
    /// A longer body is not looked at: with every field at its longest a request has far less.
    static let secretBodyLimitBytes = 25_000

    /// The body of a request that may hold a payload.
    /// - Throws: `tooLong`, `IncompleteRequest`.
    func secretBody(orThrow tooLong: ServiceError = .malformedJSON) async throws -> SecretBody {
        var parts: [ByteBuffer] = []
        var count = 0
        for try await part in body {
            count += part.readableBytes
            guard count <= Self.secretBodyLimitBytes else { throw tooLong }
            parts.append(part)
        }
        return SecretBody(parts)
    }

    /// - Throws: `ServiceError.unsupportedMediaType`.
    func requireJSONBody() throws {
        guard contentType == "application/json" else {
            throw ServiceError.unsupportedMediaType(
                "Unexpected content type. Expected content types are: ['application/json']")
        }
    }

    /// A body of JSON without secrets.
    /// - Throws: `ServiceError`: `.unsupportedMediaType`, `.badRequest`; `IncompleteRequest`.
    func keyManagerJSON() async throws -> JSONValue {
        try requireJSONBody()
        let bytes: ByteBuffer
        do {
            bytes = try await body.collect(limitBytes: Self.secretBodyLimitBytes)
        } catch ServiceError.tooLarge {
            throw ServiceError.malformedJSON
        }
        guard let json = try? JSONValue(parsing: bytes) else { throw ServiceError.malformedJSON }
        return json
    }

    /// The secret that the path names.
    /// - Throws: `ServiceError.notFound` for what is no id in the only form there is.
    func secretID() throws -> SecretID {
        guard let id = SecretID(canonical: parameter("secret")) else {
            throw ServiceError.notFound("Not Found. Provided secret id is invalid.")
        }
        return id
    }
}
