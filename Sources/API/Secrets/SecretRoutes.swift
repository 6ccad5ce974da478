import Core
import HTTPTypes
import HummingbirdCore

/// Secrets: store, show, list, delete; payloads and metadata in files of their own.
struct SecretRoutes: Sendable {
    let secrets: Secrets

    func add(to routes: inout RouteTable) {
        routes.on(.post, "/v1/secrets", store)
        routes.get("/v1/secrets", list)
        routes.get("/v1/secrets/{secret}", show)
        routes.on(.delete, "/v1/secrets/{secret}", body: .refused, delete)
        SecretPayloadRoutes(secrets: secrets).add(to: &routes)
        SecretMetadataRoutes(secrets: secrets).add(to: &routes)
    }

    private func store(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        try exchange.requireJSONBody()
        let draft = try SecretDraft(body: try await exchange.secretBody(), settings: secrets.settings)
        let ref = SecretJSON.ref(try await secrets.store(draft, as: caller), exchange)
        return .json(.created, headers: [.location: ref]) { $0.object { $0.member("secret_ref", ref) } }
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let query = try exchange.query()
        let request = try SecretListParser.parse(query)
        let showsConsumers = exchange.keyManagerVersion >= .v1_1
        let page = try await secrets.list(request, withConsumers: showsConsumers, as: caller)
        let links = KeyManagerLinks(
            exchange.v1 + "/secrets", query, limit: request.limit, offset: request.offset, total: page.total)
        return .json(.ok) { json in
            json.object { json in
                json.member(
                    "secrets",
                    array: { json in
                        for view in page.secrets {
                            SecretJSON.write(view, exchange, showsConsumers: showsConsumers, to: &json)
                        }
                    })
                if let previous = links.previous { json.member("previous", previous) }
                if let next = links.next { json.member("next", next) }
                json.member("total", page.total)
            }
        }
    }

    private func show(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let id = try exchange.secretID()
        guard exchange.wantsSecretMetadata else {
            return try exchange.response(
                with: try await secrets.payload(of: id, as: caller), in: "Secret retrieval")
        }
        let showsConsumers = exchange.keyManagerVersion >= .v1_1
        let view = try await secrets.get(id, withConsumers: showsConsumers, as: caller)
        return .json(.ok) { SecretJSON.write(view, exchange, showsConsumers: showsConsumers, to: &$0) }
    }

    private func delete(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try await secrets.delete(try exchange.secretID(), force: try exchange.forcesDeletion(), as: caller)
        return .done
    }
}

extension Exchange {
    /// `?force=`, which there is from microversion 1.2; before that the query means nothing.
    fileprivate func forcesDeletion() throws -> Bool {
        guard keyManagerVersion >= .v1_2, let text = try query()["force"] else { return false }
        switch text.trimmingSpaces().lowercased() {
        case "1", "t", "true", "on", "y", "yes": return true
        case "0", "f", "false", "off", "n", "no": return false
        default: throw ServiceError.badKeyManagerQuery
        }
    }
}
