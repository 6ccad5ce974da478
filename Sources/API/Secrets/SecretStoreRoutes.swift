import Core
import HTTPTypes
import HummingbirdCore

/// What Barbican has for a choice of stores and for stores that take payloads encrypted. There is one store here,
/// and it takes none.
enum SecretStoreRoutes {
    static func add(to routes: inout RouteTable) {
        for path in [
            "/v1/secret-stores", "/v1/secret-stores/{store}", "/v1/secret-stores/global-default",
            "/v1/secret-stores/preferred",
        ] { routes.get(path, noChoice) }
        for method in [HTTPRequest.Method.get, .post, .delete] {
            routes.on(method, "/v1/secret-stores/{store}/preferred", noChoice)
        }
        routes.get("/v1/transport_keys") { exchange, _ in
            try exchange.requireAcceptsJSON()
            return .json(.ok) { json in
                json.object { json in
                    json.member("transport_keys", array: { _ in })
                    json.member("total", 0)
                }
            }
        }
        routes.get("/v1/transport_keys/{key}") { _, _ in
            throw ServiceError.notFound("Not Found. Transport Key not found.")
        }
    }

    private static func noChoice(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        throw ServiceError.notFound(
            "Not Found. Multiple backends support is not enabled in service configuration.")
    }
}
