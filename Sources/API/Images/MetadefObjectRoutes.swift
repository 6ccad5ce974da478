import Core
import HTTPTypes
import HummingbirdCore

struct MetadefObjectRoutes: Sendable {
    let metadefs: Metadefs

    func add(to routes: inout RouteTable) {
        let all = "/v2/metadefs/namespaces/{namespace}/objects"
        routes.get(all, list)
        routes.on(.post, all) { exchange, caller in
            let draft = try MetadefObjectDraft(json: try await exchange.json())
            let object = try await metadefs.addObject(draft, to: exchange.namespace, as: caller)
            return .json(.created) { MetadefJSON.write(object, in: exchange.namespace, to: &$0) }
        }
        routes.on(.delete, all, body: .refused) { exchange, caller in
            try await metadefs.deleteObjects(from: exchange.namespace, as: caller)
            return .empty(.noContent)
        }
        routes.get(all + "/{object}") { exchange, caller in
            let object = try await metadefs.object(exchange.object, in: exchange.namespace, as: caller)
            return .json(.ok) { MetadefJSON.write(object, in: exchange.namespace, to: &$0) }
        }
        routes.on(.put, all + "/{object}") { exchange, caller in
            let draft = try MetadefObjectDraft(json: try await exchange.json())
            let object = try await metadefs.replaceObject(
                exchange.object, with: draft, in: exchange.namespace, as: caller)
            return .json(.ok) { MetadefJSON.write(object, in: exchange.namespace, to: &$0) }
        }
        routes.on(.delete, all + "/{object}", body: .refused) { exchange, caller in
            try await metadefs.deleteObject(exchange.object, from: exchange.namespace, as: caller)
            return .empty(.noContent)
        }
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let query = try MetadefListParser.objects(try exchange.query())
        let objects = try await metadefs.objects(in: exchange.namespace, query, as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member(
                    "objects",
                    array: { json in
                        for object in objects { MetadefJSON.write(object, in: exchange.namespace, to: &json) }
                    })
                json.member("schema", "/v2/schemas/metadefs/objects")
            }
        }
    }
}

extension Exchange {
    fileprivate var object: String { parameter("object") }
}
