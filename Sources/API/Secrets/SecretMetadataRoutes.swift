import Core
import HTTPTypes
import HummingbirdCore

/// The pairs beside a secret.
struct SecretMetadataRoutes: Sendable {
    let secrets: Secrets

    func add(to routes: inout RouteTable) {
        let all = "/v1/secrets/{secret}/metadata"
        routes.get(all, list)
        routes.on(.put, all, replace)
        routes.on(.post, all, add)
        routes.get(all + "/{key}", show)
        routes.on(.put, all + "/{key}", set)
        routes.on(.delete, all + "/{key}", body: .refused) { exchange, caller in
            try await secrets.removeMetadatum(exchange.parameter("key"), of: try exchange.secretID(), as: caller)
            return .done
        }
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let pairs = try await secrets.metadata(of: try exchange.secretID(), as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member("metadata", object: { json in for pair in pairs { json.member(pair.key, pair.value) } })
            }
        }
    }

    private func replace(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let id = try exchange.secretID()
        let pairs = try SecretMetadata.pairs(try await exchange.keyManagerJSON())
        try await secrets.replaceMetadata(of: id, with: pairs, as: caller)
        return .json(.created) { json in
            json.object { $0.member("metadata_ref", SecretJSON.ref(id, exchange) + "/metadata") }
        }
    }

    private func add(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let id = try exchange.secretID()
        let (key, value) = try SecretMetadata.pair(try await exchange.keyManagerJSON())
        try await secrets.addMetadatum(key, value, to: id, as: caller)
        let location = SecretJSON.ref(id, exchange) + "/metadata/" + key
        return .json(.created, headers: [.location: location]) { write(key, value, to: &$0) }
    }

    private func show(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let key = exchange.parameter("key")
        let value = try await secrets.metadatum(key, of: try exchange.secretID(), as: caller)
        return .json(.ok) { write(key, value, to: &$0) }
    }

    private func set(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let id = try exchange.secretID()
        let (key, value) = try SecretMetadata.pair(try await exchange.keyManagerJSON())
        guard key == exchange.parameter("key") else {
            throw ServiceError.conflict("Key in request data does not match key in the request url.")
        }
        try await secrets.setMetadatum(key, value, of: id, as: caller)
        return .json(.ok) { write(key, value, to: &$0) }
    }

    private func write(_ key: String, _ value: String, to json: inout JSONWriter) {
        json.object { json in
            json.member("key", key)
            json.member("value", value)
        }
    }
}
