import Core
import HTTPTypes
import HummingbirdCore

/// What needs a key, and deleted keys that can still be had back.
struct OperatorKeyRoutes: Sendable {
    let view: OperatorView

    func add(to routes: inout RouteTable) {
        routes.get(OperatorRoutes.root + "/keys/{key}", graph)
        let deleted = OperatorRoutes.root + "/deleted-keys"
        routes.get(deleted, list)
        routes.on(.post, deleted + "/{key}/undelete", body: .refused, undelete)
        routes.on(.delete, deleted + "/{key}", body: .refused, erase)
    }

    private func graph(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        _ = try OperatorQuery(exchange)
        let graph = try await view.keyGraph(exchange.key, as: caller)
        return .json(.ok) { OperatorJSON.write(graph, to: &$0) }
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        let query = try OperatorQuery(exchange, allowed: ["limit", "marker"])
        let (page, counts) = try await view.deletedKeys(try query.page(), as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member(
                    "deleted_keys", array: { json in for one in page.entries { OperatorJSON.write(one, to: &json) } })
                json.member(
                    "total",
                    object: { json in
                        json.member("count", counts.deleted)
                        json.member("held_past_time", counts.heldPastTime)
                    })
                if let next = page.next { json.member("next", query.link("/deleted-keys", next)) }
            }
        }
    }

    private func undelete(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        _ = try OperatorQuery(exchange)
        try await view.undeleteKey(exchange.key, as: caller)
        return .empty(.noContent)
    }

    private func erase(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        _ = try OperatorQuery(exchange)
        try await view.eraseKey(exchange.key, as: caller)
        return .empty(.noContent)
    }
}

extension Exchange {
    fileprivate var key: SecretID { SecretID(parameter("key")) }
}
