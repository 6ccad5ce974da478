import Core
import HTTPTypes
import HummingbirdCore

struct DomainRoutes: Sendable {
    let identity: IdentityService

    func add(to routes: inout RouteTable) {
        routes.read("/v3/domains") { exchange, caller in
            let query = try exchange.query()
            let domains = try await identity.domains(
                DomainFilter(name: query["name"], isEnabled: query.flag("enabled")), as: caller)
            return .identity { $0.list("domains", domains, exchange) { $0.domain($1, exchange) } }
        }
        routes.on(.post, "/v3/domains") { exchange, caller in
            let domain = try await identity.createDomain(try await exchange.json(), as: caller)
            return one(.created, domain, exchange)
        }
        routes.read("/v3/domains/{domain_id}") { exchange, caller in
            one(.ok, try await identity.domain(exchange.domainID, as: caller), exchange)
        }
        routes.on(.patch, "/v3/domains/{domain_id}") { exchange, caller in
            let domain = try await identity.updateDomain(exchange.domainID, try await exchange.json(), as: caller)
            return one(.ok, domain, exchange)
        }
        routes.on(.delete, "/v3/domains/{domain_id}", body: .refused) { exchange, caller in
            try await identity.deleteDomain(exchange.domainID, as: caller)
            return .done
        }
    }

    private func one(_ status: HTTPResponse.Status, _ domain: Domain, _ exchange: Exchange) -> Response {
        .identity(status) {
            $0.key("domain")
            $0.domain(domain, exchange)
        }
    }
}

extension Exchange {
    var domainID: DomainID { DomainID(parameter("domain_id")) }
}

extension JSONWriter {
    private static let domainMembers: Set<String> = ["name", "description", "enabled", "tags", "options"]

    mutating func domain(_ domain: Domain, _ exchange: Exchange) {
        object { json in
            json.extra(domain.extra, except: Self.domainMembers)
            json.member("id", domain.id.rawValue)
            json.member("name", domain.name)
            json.member("description", domain.description)
            json.member("enabled", domain.isEnabled)
            json.tags(domain.tags)
            json.nested("options") { _ in }
            json.selfLink("\(exchange.v3)/domains/\(domain.id)")
        }
    }

    mutating func tags(_ tags: [String]) {
        member("tags", array: { json in for tag in tags { json.string(tag) } })
    }
}
