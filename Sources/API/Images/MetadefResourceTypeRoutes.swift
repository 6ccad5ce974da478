import Core
import HTTPTypes
import HummingbirdCore

/// Resource types, and the namespaces they are associated with.
struct MetadefResourceTypeRoutes: Sendable {
    let metadefs: Metadefs

    func add(to routes: inout RouteTable) {
        routes.get("/v2/metadefs/resource_types") { _, caller in
            let types = try await metadefs.resourceTypes(as: caller)
            return .json(.ok) { json in
                json.object { json in
                    json.member(
                        "resource_types", array: { json in for type in types { MetadefJSON.write(type, to: &json) } })
                }
            }
        }
        let all = "/v2/metadefs/namespaces/{namespace}/resource_types"
        routes.get(all) { exchange, caller in
            let associations = try await metadefs.associations(in: exchange.namespace, as: caller)
            return .json(.ok) { json in json.object { json in MetadefJSON.write(associations, to: &json) } }
        }
        routes.on(.post, all) { exchange, caller in
            let draft = try MetadefAssociationDraft(json: try await exchange.json())
            let association = try await metadefs.associate(draft, with: exchange.namespace, as: caller)
            return .json(.created) { MetadefJSON.write(association, to: &$0) }
        }
        routes.on(.delete, all + "/{type}", body: .refused) { exchange, caller in
            try await metadefs.dissociate(exchange.parameter("type"), from: exchange.namespace, as: caller)
            return .empty(.noContent)
        }
    }
}
