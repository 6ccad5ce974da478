import Core
import HTTPTypes
import HummingbirdCore

/// Metadata definitions (`/v2/metadefs`, Image API digest, section 3.7): namespaces. What is in them has
/// files of its own.
struct MetadefNamespaceRoutes: Sendable {
    let metadefs: Metadefs
    let settings: ImageSettings

    func add(to routes: inout RouteTable) {
        routes.get("/v2/metadefs/namespaces", list)
        routes.on(.post, "/v2/metadefs/namespaces", create)
        routes.get("/v2/metadefs/namespaces/{namespace}") { exchange, caller in
            let type = try exchange.query()["resource_type"]
            let detail = try await metadefs.namespace(exchange.namespace, for: type, as: caller)
            return .json(.ok) { MetadefJSON.write(detail, to: &$0) }
        }
        routes.on(.put, "/v2/metadefs/namespaces/{namespace}") { exchange, caller in
            let draft = try MetadefNamespaceDraft(json: try await exchange.json())
            let namespace = try await metadefs.replaceNamespace(exchange.namespace, with: draft, as: caller)
            return .json(.ok) { MetadefJSON.write(namespace, to: &$0) }
        }
        routes.on(.delete, "/v2/metadefs/namespaces/{namespace}", body: .refused) { exchange, caller in
            try await metadefs.deleteNamespace(exchange.namespace, as: caller)
            return .empty(.noContent)
        }
        MetadefPropertyRoutes(metadefs: metadefs).add(to: &routes)
        MetadefObjectRoutes(metadefs: metadefs).add(to: &routes)
        MetadefTagRoutes(metadefs: metadefs).add(to: &routes)
        MetadefResourceTypeRoutes(metadefs: metadefs).add(to: &routes)
        MetadefSchemaRoutes.add(to: &routes)
    }

    private func create(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let draft = try MetadefNamespaceDraft(json: try await exchange.json())
        let detail = try await metadefs.createNamespace(draft, as: caller)
        let location = exchange.baseURL + MetadefJSON.path(draft.name)
        return .json(.created, headers: [.location: location]) { MetadefJSON.write(detail, to: &$0) }
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let query = try exchange.query()
        let page = try await metadefs.namespaces(try MetadefListParser.namespaces(query, settings), as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member(
                    "namespaces",
                    array: { json in
                        for (namespace, associations) in page.namespaces {
                            MetadefJSON.write(namespace, associations, to: &json)
                        }
                    })
                json.member("first", MetadefListParser.link(query, marker: nil))
                if page.isFull, let last = page.namespaces.last {
                    json.member("next", MetadefListParser.link(query, marker: last.namespace.name))
                }
                json.member("schema", "/v2/schemas/metadefs/namespaces")
            }
        }
    }
}

/// The JSON schemas of metadata definitions.
enum MetadefSchemaRoutes {
    static func add(to routes: inout RouteTable) {
        let schemas: [(String, JSONValue)] = [
            ("namespace", MetadefSchemas.namespace), ("namespaces", MetadefSchemas.namespaces),
            ("object", MetadefSchemas.object), ("objects", MetadefSchemas.objects),
            ("property", MetadefSchemas.property), ("properties", MetadefSchemas.properties),
            ("tag", MetadefSchemas.tag), ("tags", MetadefSchemas.tags),
            ("resource_type", MetadefSchemas.resourceType), ("resource_types", MetadefSchemas.resourceTypes),
        ]
        for (name, schema) in schemas {
            routes.get("/v2/schemas/metadefs/\(name)") { _, _ in .json(.ok) { $0.value(schema) } }
        }
    }
}
