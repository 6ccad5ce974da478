import Core
import HTTPTypes
import HummingbirdCore

/// Deleted images that can still be had back.
struct RecycleBinRoutes: Sendable {
    let view: OperatorView

    func add(to routes: inout RouteTable) {
        let root = OperatorRoutes.root + "/deleted-images"
        routes.get(root, list)
        routes.on(.post, root + "/{image}/undelete", body: .refused, undelete)
        routes.on(.delete, root + "/{image}", body: .refused, discard)
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        let query = try OperatorQuery(exchange, allowed: ["limit", "marker"])
        let (page, images, bytes) = try await view.deletedImages(try query.page(), as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member(
                    "deleted_images", array: { json in for one in page.entries { OperatorJSON.write(one, to: &json) } })
                json.member(
                    "total",
                    object: { json in
                        json.member("count", images)
                        json.member("size_bytes", bytes)
                    })
                if let next = page.next { json.member("next", query.link("/deleted-images", next)) }
            }
        }
    }

    private func undelete(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        let query = try OperatorQuery(exchange, allowed: ["over_quota"])
        try await view.undelete(exchange.image, mayExceedQuota: try query.flag("over_quota"), as: caller)
        return .empty(.noContent)
    }

    private func discard(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        _ = try OperatorQuery(exchange)
        try await view.discard(exchange.image, as: caller)
        return .empty(.noContent)
    }
}
