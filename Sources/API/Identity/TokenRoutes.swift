import Core
import HTTPTypes
import HummingbirdCore

/// `/v3/auth`: tokens, and what the caller could take one for.
struct TokenRoutes: Sendable {
    let identity: IdentityService

    func add(to routes: inout RouteTable) {
        routes.open(.post, "/v3/auth/tokens") { try await issue($0) }
        routes.read("/v3/auth/tokens") { try await show($0, $1) }
        routes.on(.delete, "/v3/auth/tokens", body: .refused) { exchange, caller in
            try await identity.revoke(exchange.headers[.subjectToken], as: caller)
            return .done
        }
        routes.read("/v3/auth/projects") { exchange, caller in
            let projects = try await identity.projectsOfCaller(caller)
            return .identity { $0.list("projects", projects, exchange) { $0.project($1, exchange) } }
        }
        routes.read("/v3/auth/domains") { exchange, caller in
            let domains = try await identity.domainsOfCaller(caller)
            return .identity { $0.list("domains", domains, exchange) { $0.domain($1, exchange) } }
        }
        routes.read("/v3/auth/system") { exchange, caller in
            let hasRole = try await identity.hasSystemRole(caller)
            return .identity { json in
                json.member(
                    "system", array: { if hasRole { $0.object { $0.member("all", true) } } })
                json.selfLink(exchange.selfLink)
            }
        }
        routes.read("/v3/auth/catalog") { try await catalog($0, $1) }
    }

    private func issue(_ exchange: Exchange) async throws -> Response {
        let wantsCatalog = try !exchange.query().isSet("nocatalog")
        let document = try await exchange.json()
        let (token, validated) = try await identity.issueToken(document, logger: exchange.logger)
        return try await answer(.created, token, validated, wantsCatalog: wantsCatalog)
    }

    private func show(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let query = try exchange.query()
        let subject = exchange.headers[.subjectToken]
        let validated = try await identity.token(
            subject, allowsExpired: query.isSet("allow_expired"),
            knowsAccessRules: exchange.headers[.accessRulesVersion] != nil, bodyWanted: exchange.method != .head,
            as: caller)
        return try await answer(.ok, subject ?? "", validated, wantsCatalog: !query.isSet("nocatalog"))
    }

    private func answer(
        _ status: HTTPResponse.Status, _ token: String, _ validated: ValidatedToken, wantsCatalog: Bool
    ) async throws -> Response {
        let catalog = wantsCatalog && validated.isScoped ? try await identity.catalog(for: validated) : nil
        return .identity(status, headers: [.subjectToken: token]) { json in
            json.nested("token") { $0.token(validated, catalog) }
        }
    }

    private func catalog(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let token = try await identity.tokenOf(exchange, caller)
        guard token.isScoped else {
            throw ServiceError.forbidden(
                "You are not authorized to perform the requested action: identity:get_auth_catalog.")
        }
        let catalog = try await identity.catalog(for: token)
        return .identity { json in
            json.catalog(catalog)
            json.selfLink(exchange.selfLink)
        }
    }
}

extension IdentityService {
    /// The token that the request was let in with.
    func tokenOf(_ exchange: Exchange, _ caller: Caller) async throws -> ValidatedToken {
        let isWithService = caller.serviceRoles.contains("service")
        guard let text = exchange.headers[.authToken],
            let token = try await validate(text, allowsExpired: isWithService)
        else { throw ServiceError.unauthorized("The request you have made requires authentication.") }
        return token
    }
}

extension HTTPField.Name {
    /// Sent by services that will enforce the access rules of the token they ask about.
    static let accessRulesVersion = HTTPField.Name("OpenStack-Identity-Access-Rules")!
}

extension JSONWriter {
    mutating func token(_ token: ValidatedToken, _ catalog: [CatalogService]?) {
        member("methods", array: { json in for method in token.methods { json.string(method) } })
        nested("user") {
            $0.nested("domain") { $0.domainName(token.user.domain) }
            $0.member("id", token.user.id.rawValue)
            $0.member("name", token.user.name)
            $0.member("password_expires_at", nil as String?)
        }
        member("audit_ids", array: { json in for id in token.auditIDs { json.string(id) } })
        member("expires_at", token.expiresAt.iso8601Microseconds)
        member("issued_at", token.issuedAt.iso8601Microseconds)
        if let project = token.project {
            nested("project") {
                $0.nested("domain") { $0.domainName(project.domain) }
                $0.member("id", project.id.rawValue)
                $0.member("name", project.name)
            }
            member("is_domain", false)
        }
        if let domain = token.domain { nested("domain") { $0.domainName(domain) } }
        if token.isSystem { nested("system") { $0.member("all", true) } }
        if token.isScoped {
            member(
                "roles",
                array: { json in for role in token.roles { json.object { $0.roleName(role) } } })
        }
        if let credential = token.applicationCredential {
            nested("application_credential") { json in
                json.member("id", credential.id.rawValue)
                json.member("name", credential.name)
                json.member("restricted", !credential.isUnrestricted)
                guard let rules = credential.accessRules else { return }
                json.member("access_rules", array: { for rule in rules { $0.object { $0.accessRule(rule) } } })
            }
        }
        if let catalog { self.catalog(catalog) }
    }

    mutating func catalog(_ services: [CatalogService]) {
        member("catalog", array: { json in for service in services { json.object { $0.catalogService(service) } } })
    }

    private mutating func catalogService(_ service: CatalogService) {
        member(
            "endpoints",
            array: { json in
                for endpoint in service.endpoints {
                    json.object {
                        $0.member("id", endpoint.id.rawValue)
                        $0.member("interface", endpoint.interface)
                        $0.member("region_id", endpoint.regionID?.rawValue)
                        $0.member("url", endpoint.url)
                        $0.member("region", endpoint.regionID?.rawValue)
                    }
                }
            })
        member("id", service.id.rawValue)
        member("type", service.type)
        member("name", service.name)
    }

    mutating func domainName(_ domain: DomainName) {
        member("id", domain.id.rawValue)
        member("name", domain.name)
    }

    mutating func roleName(_ role: RoleName) {
        member("id", role.id.rawValue)
        member("name", role.name)
    }

    mutating func accessRule(_ owned: OwnedAccessRule) {
        member("id", owned.id.rawValue)
        member("service", owned.rule.service)
        member("path", owned.rule.path)
        member("method", owned.rule.method)
    }
}
