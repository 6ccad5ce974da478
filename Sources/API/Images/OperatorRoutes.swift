import Core
import HTTPTypes
import HummingbirdCore

/// The operator's view: what waits and why, who holds what, what the stores hold, who uses how much. Below
/// a prefix of our own, so that no client takes it for a part of the Image API.
struct OperatorRoutes: Sendable {
    static let root = "/ambrotype/v1"
    private static let collections = [
        "deletions", "jobs", "leases", "stores", "usage", "deleted-images", "deleted-keys", "flagged-images",
    ]

    let view: OperatorView

    func add(to routes: inout RouteTable) {
        for path in ["", "/"] { routes.get(Self.root + path, index) }
        routes.get(Self.root + "/deletions", deletions)
        routes.get(Self.root + "/leases", leases)
        routes.get(Self.root + "/stores", stores)
        routes.get(Self.root + "/usage", usage)
        OperatorJobRoutes(view: view).add(to: &routes)
        RecycleBinRoutes(view: view).add(to: &routes)
        OperatorKeyRoutes(view: view).add(to: &routes)
    }

    private func index(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        _ = try OperatorQuery(exchange)
        return .json(.ok) { json in
            json.object { json in
                json.member(
                    "links",
                    array: { json in
                        for name in Self.collections {
                            json.object { json in
                                json.member("rel", name)
                                json.member("href", "\(Self.root)/\(name)")
                            }
                        }
                    })
            }
        }
    }

    private func deletions(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        let query = try OperatorQuery(exchange, allowed: ["limit", "marker"])
        let (page, total) = try await view.waitingDeletions(try query.page(), as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member(
                    "deletions", array: { json in for one in page.entries { OperatorJSON.write(one, to: &json) } })
                json.member(
                    "total",
                    object: { json in
                        json.member("count", total.count)
                        json.member("size_bytes", total.sizeBytes)
                        json.member("unknown_size_count", total.unknownSizeCount)
                    })
                if let next = page.next { json.member("next", query.link("/deletions", next)) }
            }
        }
    }

    private func leases(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        _ = try OperatorQuery(exchange)
        let leases = try await view.leases(as: caller)
        return .json(.ok) { OperatorJSON.write(leases, to: &$0) }
    }

    private func stores(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        _ = try OperatorQuery(exchange)
        let stores = try await view.storeStates(as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member("stores", array: { json in for store in stores { OperatorJSON.write(store, to: &json) } })
            }
        }
    }

    private func usage(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        let query = try OperatorQuery(exchange, allowed: ["project"])
        let (projects, quotas) = try await view.usage(of: query["project"].map { ProjectID($0) }, as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member("usage", array: { json in for one in projects { OperatorJSON.write(one, to: &json) } })
                json.key("quotas")
                OperatorJSON.write(quotas, to: &json)
            }
        }
    }
}
