import Core
import HTTPTypes
import HummingbirdCore

/// The unified limits that oslo.limit enforces.
struct LimitRoutes: Sendable {
    let identity: IdentityService

    func add(to routes: inout RouteTable) {
        routes.read("/v3/limits/model") { exchange, _ in
            .identity { json in
                json.nested("model") {
                    $0.member("name", LimitModel.name)
                    $0.member("description", LimitModel.description)
                }
            }
        }
        addRegistered(to: &routes)
        routes.read("/v3/limits") { exchange, caller in
            let limits = try await identity.limits(try LimitFilter(exchange.query()), as: caller)
            return .identity { $0.list("limits", limits, exchange) { $0.limit($1, exchange) } }
        }
        routes.on(.post, "/v3/limits") { exchange, caller in
            let limits = try await identity.createLimits(try await exchange.json(), as: caller)
            return .identity(.created) { json in
                json.member("limits", array: { for limit in limits { $0.limit(limit, exchange) } })
            }
        }
        routes.read("/v3/limits/{limit_id}") { exchange, caller in
            let limit = try await identity.limit(exchange.limitID, as: caller)
            return .identity {
                $0.key("limit")
                $0.limit(limit, exchange)
            }
        }
        routes.on(.patch, "/v3/limits/{limit_id}") { exchange, caller in
            let limit = try await identity.updateLimit(exchange.limitID, try await exchange.json(), as: caller)
            return .identity {
                $0.key("limit")
                $0.limit(limit, exchange)
            }
        }
        routes.on(.delete, "/v3/limits/{limit_id}", body: .refused) { exchange, caller in
            try await identity.deleteLimit(exchange.limitID, as: caller)
            return .done
        }
    }

    private func addRegistered(to routes: inout RouteTable) {
        routes.read("/v3/registered_limits") { exchange, _ in
            let limits = try await identity.registeredLimits(try LimitFilter(exchange.query()))
            return .identity { $0.list("registered_limits", limits, exchange) { $0.registered($1, exchange) } }
        }
        routes.on(.post, "/v3/registered_limits") { exchange, caller in
            let limits = try await identity.createRegisteredLimits(try await exchange.json(), as: caller)
            return .identity(.created) { json in
                json.member("registered_limits", array: { for limit in limits { $0.registered(limit, exchange) } })
            }
        }
        let single = "/v3/registered_limits/{registered_limit_id}"
        routes.read(single) { exchange, _ in
            let limit = try await identity.registeredLimit(exchange.registeredID)
            return .identity {
                $0.key("registered_limit")
                $0.registered(limit, exchange)
            }
        }
        routes.on(.patch, single) { exchange, caller in
            let limit = try await identity.updateRegisteredLimit(
                exchange.registeredID, try await exchange.json(), as: caller)
            return .identity {
                $0.key("registered_limit")
                $0.registered(limit, exchange)
            }
        }
        routes.on(.delete, single, body: .refused) { exchange, caller in
            try await identity.deleteRegisteredLimit(exchange.registeredID, as: caller)
            return .done
        }
    }
}

extension Exchange {
    fileprivate var limitID: LimitID { LimitID(parameter("limit_id")) }
    fileprivate var registeredID: RegisteredLimitID { RegisteredLimitID(parameter("registered_limit_id")) }
}

extension LimitFilter {
    fileprivate init(_ query: Query) throws {
        self.init()
        serviceID = query["service_id"].map { ServiceID($0) }
        regionID = query["region_id"].map { RegionID($0) }
        resourceName = query["resource_name"]
        projectID = query["project_id"].map { ProjectID($0) }
        domainID = query["domain_id"].map { DomainID($0) }
    }
}

extension JSONWriter {
    fileprivate mutating func limit(_ limit: Limit, _ exchange: Exchange) {
        object { json in
            json.member("id", limit.id.rawValue)
            json.member("project_id", limit.projectID?.rawValue)
            json.member("domain_id", limit.domainID?.rawValue)
            json.member("resource_limit", limit.resourceLimit)
            json.member("description", limit.description)
            json.member("service_id", limit.serviceID.rawValue)
            json.member("region_id", limit.regionID?.rawValue)
            json.member("resource_name", limit.resourceName)
            json.selfLink("\(exchange.v3)/limits/\(limit.id)")
        }
    }

    fileprivate mutating func registered(_ limit: RegisteredLimit, _ exchange: Exchange) {
        object { json in
            json.member("id", limit.id.rawValue)
            json.member("service_id", limit.serviceID.rawValue)
            json.member("region_id", limit.regionID?.rawValue)
            json.member("resource_name", limit.resourceName)
            json.member("default_limit", limit.defaultLimit)
            json.member("description", limit.description)
            json.selfLink("\(exchange.v3)/registered_limits/\(limit.id)")
        }
    }
}
