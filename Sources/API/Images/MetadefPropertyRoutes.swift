import Core
import HTTPTypes
import HummingbirdCore

struct MetadefPropertyRoutes: Sendable {
    let metadefs: Metadefs

    func add(to routes: inout RouteTable) {
        let all = "/v2/metadefs/namespaces/{namespace}/properties"
        routes.get(all) { exchange, caller in
            let properties = try await metadefs.properties(in: exchange.namespace, as: caller)
            return .json(.ok) { json in json.object { json in MetadefJSON.write(properties, to: &json) } }
        }
        routes.on(.post, all) { exchange, caller in
            let property = try MetadefProperty(json: try await exchange.json())
            try await metadefs.addProperty(property, to: exchange.namespace, as: caller)
            return .json(.created) { MetadefJSON.write(property, to: &$0) }
        }
        routes.on(.delete, all, body: .refused) { exchange, caller in
            try await metadefs.removeProperties(from: exchange.namespace, as: caller)
            return .empty(.noContent)
        }
        routes.get(all + "/{property}") { exchange, caller in
            let type = try exchange.query()["resource_type"]
            let property = try await metadefs.property(
                exchange.property, in: exchange.namespace, for: type, as: caller)
            return .json(.ok) { MetadefJSON.write(property, to: &$0) }
        }
        routes.on(.put, all + "/{property}") { exchange, caller in
            let property = try MetadefProperty(json: try await exchange.json())
            try await metadefs.replaceProperty(
                exchange.property, with: property, in: exchange.namespace, as: caller)
            return .json(.ok) { MetadefJSON.write(property, to: &$0) }
        }
        routes.on(.delete, all + "/{property}", body: .refused) { exchange, caller in
            try await metadefs.removeProperty(exchange.property, from: exchange.namespace, as: caller)
            return .empty(.noContent)
        }
    }
}

extension Exchange {
    fileprivate var property: String { parameter("property") }
}
