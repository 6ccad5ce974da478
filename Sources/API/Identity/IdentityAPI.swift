import Core
import HTTPTypes
import HummingbirdCore

/// The Identity API v3, as far as clients and services of this cloud use it. What is absent (groups,
/// trusts, federation, EC2, policies) is 404.
package struct IdentityAPI: APIService {
    package let type = "identity"
    package let routes: RouteTable
    package let authenticator: any Authenticator

    package init(identity: IdentityService, authenticator: any Authenticator) {
        self.authenticator = authenticator
        var routes = RouteTable()
        DiscoveryRoutes.add(to: &routes)
        TokenRoutes(identity: identity).add(to: &routes)
        DomainRoutes(identity: identity).add(to: &routes)
        ProjectRoutes(identity: identity).add(to: &routes)
        UserRoutes(identity: identity).add(to: &routes)
        RoleRoutes(identity: identity).add(to: &routes)
        AssignmentRoutes(identity: identity).add(to: &routes)
        RegionRoutes(identity: identity).add(to: &routes)
        ServiceRoutes(identity: identity).add(to: &routes)
        EndpointRoutes(identity: identity).add(to: &routes)
        ApplicationCredentialRoutes(identity: identity).add(to: &routes)
        LimitRoutes(identity: identity).add(to: &routes)
        self.routes = routes
    }

    /// A slash at the end changes nothing, as with Keystone.
    package func canonicalPath(_ path: [String]) -> [String] {
        var path = path
        while path.count > 1, path.last == "" { path.removeLast() }
        return path.isEmpty ? [""] : path
    }

    /// Keystone's envelope; tempest reads `error.message`.
    package func errorResponse(_ error: ServiceError, to exchange: Exchange) -> Response {
        Response.json(.init(code: error.status), headers: [.vary: Response.varyByToken]) { json in
            json.object {
                $0.nested("error") {
                    $0.member("code", error.status)
                    $0.member("message", error.message)
                    $0.member("title", reasonPhrase(error.status))
                }
            }
        }
    }
}

extension RouteTable {
    /// A resource that is read: GET, and HEAD for its existence.
    mutating func read(
        _ template: String, _ handler: @escaping @Sendable (Exchange, Caller) async throws -> Response
    ) {
        get(template, handler)
        on(.head, template, body: .refused, handler)
    }
}

extension Response {
    static let varyByToken = "X-Auth-Token"

    /// JSON as every answer of Identity is: it depends on the token.
    static func identity(
        _ status: HTTPResponse.Status = .ok, headers: HTTPFields = [:], _ write: (inout JSONWriter) -> Void
    ) -> Response {
        var headers = headers
        headers[.vary] = varyByToken
        return .json(status, headers: headers) { json in json.object(write) }
    }

    /// 204.
    static var done: Response { Response(status: .noContent, headers: [.vary: varyByToken]) }
}

extension Exchange {
    /// Where this API's resources are.
    var v3: String { baseURL + "/v3" }

    /// The request's own address, as lists repeat it.
    var selfLink: String {
        let path = baseURL + servicePath
        return rawQuery.isEmpty ? path : path + "?" + rawQuery
    }
}

extension Query {
    /// A filter on truth, in the spellings Keystone takes; `?enabled` alone is true.
    /// - Throws: `ServiceError.badRequest`.
    func flag(_ name: String) throws -> Bool? {
        guard let value = self[name] else { return nil }
        switch value.lowercased() {
        case "", "true", "1", "y", "yes", "on", "t": return true
        case "false", "0", "n", "no", "off", "f": return false
        default: throw ServiceError.badRequest("Invalid input for field/attribute \(name): it is not a boolean.")
        }
    }

    /// A switch that its mere presence turns on (`?effective`, `?nocatalog`).
    func isSet(_ name: String) throws -> Bool { try flag(name) ?? false }
}

extension JSONWriter {
    /// A list with its links; there is never a next page.
    mutating func list<T>(
        _ name: String, _ items: [T], _ exchange: Exchange, _ write: (inout JSONWriter, T) -> Void
    ) {
        key(name)
        array { json in for item in items { write(&json, item) } }
        nested("links") {
            $0.member("next", nil as String?)
            $0.member("self", exchange.selfLink)
            $0.member("previous", nil as String?)
        }
    }

    mutating func nested(_ name: String, _ body: (inout JSONWriter) -> Void) { member(name, object: body) }

    mutating func selfLink(_ url: String) {
        nested("links") { $0.member("self", url) }
    }

    /// Attributes no API defines, except those that the resource itself goes on to write.
    mutating func extra(_ attributes: ExtraAttributes, except own: Set<String>) {
        for (name, value) in attributes.members.sorted(by: { $0.key < $1.key }) where !own.contains(name) {
            member(name, value)
        }
    }
}
