import Core
import HTTPTypes
import HummingbirdCore
import NIOCore

/// Payloads, in and out in the clear.
struct SecretPayloadRoutes: Sendable {
    let secrets: Secrets

    func add(to routes: inout RouteTable) {
        routes.get("/v1/secrets/{secret}/payload") { exchange, caller in
            try exchange.response(
                with: try await secrets.payload(of: try exchange.secretID(), as: caller), in: "Secret payload retrieval"
            )
        }
        routes.on(.put, "/v1/secrets/{secret}", supply)
    }

    private func supply(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let id = try exchange.secretID()
        let type = exchange.contentType.flatMap(SecretMediaType.init(rawValue:))
        guard let type, type != .pkcs8 else {
            throw ServiceError.unsupportedMediaType(
                "Unexpected content type. Expected content types are: ['application/octet-stream', 'text/plain']")
        }
        let body = try await exchange.secretBody(
            orThrow: .tooLarge("Secret update issue seen - Provided information too large to process."))
        let payload = try SecretPayload(
            uploaded: body, type: type, encoding: exchange.headers[.contentEncoding],
            limitBytes: secrets.settings.payloadLimitBytes)
        try await secrets.supply(payload, to: id, as: caller)
        return .done
    }
}

extension Exchange {
    /// A payload as the client wants it. Nobody between us may keep it.
    /// - Throws: `ServiceError.notAcceptable`.
    func response(with payload: SecretPayload, in operation: String) throws -> Response {
        Response(
            status: .ok,
            headers: [.contentType: try contentType(for: payload, in: operation), .cacheControl: "no-store"],
            bytes: payload.buffer)
    }
}
