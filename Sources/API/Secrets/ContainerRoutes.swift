import Core
import HTTPTypes
import HummingbirdCore

/// Containers, the secrets in them, and who uses them.
struct ContainerRoutes: Sendable {
    let secrets: Secrets

    func add(to routes: inout RouteTable) {
        let one = "/v1/containers/{container}"
        routes.on(.post, "/v1/containers", create)
        routes.get("/v1/containers", list)
        routes.get(one, show)
        routes.on(.delete, one, body: .refused) { exchange, caller in
            try await secrets.deleteContainer(try exchange.containerID(), as: caller)
            return .done
        }
        routes.on(.post, one + "/secrets", addSecret)
        routes.on(.delete, one + "/secrets") { exchange, caller in
            let id = try exchange.containerID()
            let draft = try ContainerSecretDraft(try await exchange.keyManagerJSON(), base: exchange.baseURL)
            try await secrets.remove(draft, from: id, as: caller)
            return .done
        }
        routes.get(one + "/consumers", consumers)
        routes.on(.post, one + "/consumers") { exchange, caller in
            try exchange.requireAcceptsJSON()
            let id = try exchange.containerID()
            let consumer = try KeyContainer.Consumer(try await exchange.keyManagerJSON())
            let container = try await secrets.register(consumer, of: id, as: caller)
            return .json(.ok, headers: [.location: ContainerJSON.ref(id, exchange) + "/consumers"]) {
                ContainerJSON.write(container, exchange, to: &$0)
            }
        }
        routes.on(.delete, one + "/consumers") { exchange, caller in
            try exchange.requireAcceptsJSON()
            let id = try exchange.containerID()
            let consumer = try KeyContainer.Consumer(try await exchange.keyManagerJSON())
            let container = try await secrets.unregister(consumer, of: id, as: caller)
            return .json(.ok) { ContainerJSON.write(container, exchange, to: &$0) }
        }
    }

    private func create(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let draft = try ContainerDraft(try await exchange.keyManagerJSON(), base: exchange.baseURL)
        return created(try await secrets.createContainer(draft, as: caller), exchange)
    }

    private func addSecret(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let id = try exchange.containerID()
        let draft = try ContainerSecretDraft(try await exchange.keyManagerJSON(), base: exchange.baseURL)
        try await secrets.add(draft, to: id, as: caller)
        return created(id, exchange)
    }

    private func created(_ id: ContainerID, _ exchange: Exchange) -> Response {
        let ref = ContainerJSON.ref(id, exchange)
        return .json(.created, headers: [.location: ref]) { $0.object { $0.member("container_ref", ref) } }
    }

    private func show(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let container = try await secrets.container(try exchange.containerID(), as: caller)
        return .json(.ok) { ContainerJSON.write(container, exchange, to: &$0) }
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let list = try KeyManagerList(exchange, exchange.v1 + "/containers")
        let filter = ContainerFilter(name: list.query["name"], type: list.query["type"])
        let page = try await secrets.containers(filter, list.request, as: caller)
        return list.response("containers", page) { ContainerJSON.write($0, exchange, to: &$1) }
    }

    private func consumers(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let id = try exchange.containerID()
        let list = try KeyManagerList(exchange, ContainerJSON.ref(id, exchange) + "/consumers")
        let page = try await secrets.consumers(of: id, list.request, as: caller)
        return list.response("consumers", page) { entry, json in
            json.object { json in
                json.member("created", SecretTime.text(entry.createdAt))
                json.member("updated", SecretTime.text(entry.updatedAt))
                json.member("status", "ACTIVE")
                ContainerJSON.write(entry.consumer, to: &json)
            }
        }
    }
}

extension Exchange {
    /// The container that the path names.
    /// - Throws: `ServiceError.notFound` for what is no id in the only form there is.
    func containerID() throws -> ContainerID {
        let text = parameter("container")
        guard CanonicalUUID.isVersion4(text) else {
            throw ServiceError.notFound("Not Found. Provided container id is invalid.")
        }
        return ContainerID(text)
    }
}
