import Core
import HTTPTypes
import HummingbirdCore

/// What needs a secret.
struct SecretConsumerRoutes: Sendable {
    let secrets: Secrets
    private static let path = "/v1/secrets/{secret}/consumers"

    init(secrets: Secrets) { self.secrets = secrets }

    func add(to routes: inout RouteTable) {
        routes.get(Self.path, list)
        routes.on(.post, Self.path, register)
        routes.on(.delete, Self.path, unregister)
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let id = try exchange.secretID()
        let list = try KeyManagerList(exchange, SecretJSON.ref(id, exchange) + "/consumers")
        let page = try await secrets.consumers(of: id, list.request, as: caller)
        return list.response("consumers", page) { entry, json in
            json.object { json in
                json.member("created", SecretTime.text(entry.createdAt))
                json.member("updated", SecretTime.text(entry.createdAt))
                json.member("status", "ACTIVE")
                json.member("service", entry.consumer.service)
                json.member("resource_type", entry.consumer.resourceType)
                json.member("resource_id", entry.consumer.resourceID)
            }
        }
    }

    private func register(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let id = try exchange.secretID()
        let consumer = try KeyConsumer(try await exchange.keyManagerJSON())
        let view = try await secrets.register(consumer, of: id, as: caller)
        let location = SecretJSON.ref(id, exchange) + "/consumers"
        return .json(.ok, headers: [.location: location]) {
            SecretJSON.write(view, exchange, showsConsumers: true, to: &$0)
        }
    }

    private func unregister(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let id = try exchange.secretID()
        let consumer = try KeyConsumer(try await exchange.keyManagerJSON())
        let view = try await secrets.unregister(consumer, of: id, as: caller)
        return .json(.ok) { SecretJSON.write(view, exchange, showsConsumers: true, to: &$0) }
    }
}
