import Core
import HTTPTypes
import HummingbirdCore

/// The Key Manager API v1 with microversions 1.0 to 1.2 (digest, sections 1 to 3).
package struct KeyManagerAPI: APIService {
    package let type = "key-manager"
    package let routes: RouteTable
    package let authenticator: any Authenticator

    package init(secrets: Secrets, authenticator: any Authenticator) {
        self.authenticator = authenticator
        var routes = RouteTable()
        KeyManagerDiscovery.add(to: &routes)
        SecretRoutes(secrets: secrets).add(to: &routes)
        SecretACLRoutes(secrets: secrets).add(to: &routes)
        SecretConsumerRoutes(secrets: secrets).add(to: &routes)
        ContainerRoutes(secrets: secrets).add(to: &routes)
        OrderRoutes(secrets: secrets).add(to: &routes)
        KeyQuotaRoutes(secrets: secrets).add(to: &routes)
        SecretStoreRoutes.add(to: &routes)
        self.routes = routes
    }

    /// The client always puts a slash at the end of `POST /v1/secrets/` (digest, section 3).
    package func canonicalPath(_ path: [String]) -> [String] {
        var path = path
        while path.count > 1, path.last == "" { path.removeLast() }
        return path.isEmpty ? [""] : path
    }

    package func admit(_ exchange: Exchange) throws { _ = try KeyManagerVersion(exchange.headers) }

    package func complete(_ response: inout Response, to exchange: Exchange) {
        let version = (try? KeyManagerVersion(exchange.headers)) ?? .v1_0
        response.headers[.openstackAPIVersion] = "key-manager \(version.text)"
        response.headers[.vary] = "OpenStack-API-Version"
    }

    /// The client reads `title` of every error and breaks without it; Nova looks for the standard phrase there.
    package func errorResponse(_ error: ServiceError, to exchange: Exchange) -> Response {
        Response.json(.init(code: error.status)) { json in
            json.object { json in
                json.member("code", error.status)
                json.member("title", reasonPhrase(error.status))
                json.member("description", error.message)
            }
        }
    }
}

extension Exchange {
    /// The microversion asked for; `KeyManagerAPI.admit` has refused what is none.
    var keyManagerVersion: KeyManagerVersion { (try? KeyManagerVersion(headers)) ?? .v1_0 }
    /// Where the resources are, in references.
    var v1: String { baseURL + "/v1" }
}
