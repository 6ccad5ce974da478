import Core
import HTTPTypes
import HummingbirdCore

/// Keys that the server makes.
struct OrderRoutes: Sendable {
    let secrets: Secrets

    func add(to routes: inout RouteTable) {
        routes.on(.post, "/v1/orders", place)
        routes.get("/v1/orders", list)
        routes.get("/v1/orders/{order}") { exchange, caller in
            try exchange.requireAcceptsJSON()
            let order = try await secrets.order(exchange.order, as: caller)
            return .json(.ok) { OrderJSON.write(order, exchange, to: &$0) }
        }
        routes.on(.delete, "/v1/orders/{order}", body: .refused) { exchange, caller in
            try await secrets.deleteOrder(exchange.order, as: caller)
            return .done
        }
    }

    private func place(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let draft = try OrderDraft(try await exchange.keyManagerJSON())
        let ref = OrderJSON.ref(try await secrets.place(draft, as: caller), exchange)
        return .json(.accepted, headers: [.location: ref]) { $0.object { $0.member("order_ref", ref) } }
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let list = try KeyManagerList(exchange, exchange.v1 + "/orders")
        let page = try await secrets.orders(list.request, as: caller)
        return list.response("orders", page) { OrderJSON.write($0, exchange, to: &$1) }
    }
}

extension Exchange {
    /// What is no id is not found like one that is nobody's.
    fileprivate var order: OrderID { OrderID(parameter("order")) }
}

/// How orders look on the wire (digest, section 3).
enum OrderJSON {
    static func ref(_ id: OrderID, _ exchange: Exchange) -> String { exchange.v1 + "/orders/" + id.rawValue }

    static func write(_ order: KeyOrder, _ exchange: Exchange, to json: inout JSONWriter) {
        json.object { json in
            json.member("created", SecretTime.text(order.createdAt))
            json.member("updated", SecretTime.text(order.updatedAt))
            if case .failed = order.outcome { json.member("status", "ERROR") } else { json.member("status", "ACTIVE") }
            json.member("type", order.kind.rawValue)
            json.member("meta", object: { write(order.meta, to: &$0) })
            switch order.outcome {
            case .failed(let failure):
                json.member("error_status_code", failure.status)
                json.member("error_reason", failure.reason)
            case .secret, .container:
                json.member("sub_status", "Unknown")
                json.member("sub_status_message", "Unknown")
            }
            json.member("creator_id", order.creator.rawValue)
            if case .secret(let id) = order.outcome { json.member("secret_ref", SecretJSON.ref(id, exchange)) }
            json.member("order_ref", ref(order.id, exchange))
            if case .container(let id) = order.outcome { json.member("container_ref", ContainerJSON.ref(id, exchange)) }
        }
    }

    private static func write(_ meta: OrderMeta, to json: inout JSONWriter) {
        json.member("algorithm", meta.algorithm)
        json.member("bit_length", meta.bitLength)
        if let mode = meta.mode { json.member("mode", mode) }
        json.member("name", meta.name)
        json.member("expiration", meta.expiresAt.map(SecretTime.text))
        if let type = meta.contentType { json.member("payload_content_type", type) }
    }
}
