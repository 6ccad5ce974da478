import Core
import HTTPTypes
import HummingbirdCore

struct RegionRoutes: Sendable {
    let identity: IdentityService

    func add(to routes: inout RouteTable) {
        routes.read("/v3/regions") { exchange, _ in
            let parent = try exchange.query()["parent_region_id"].map { RegionID($0) }
            let regions = try await identity.regions(parent: parent)
            return .identity { $0.list("regions", regions, exchange) { $0.region($1, exchange) } }
        }
        routes.on(.post, "/v3/regions") { exchange, caller in
            one(.created, try await identity.createRegion(try await exchange.json(), as: caller), exchange)
        }
        routes.read("/v3/regions/{region_id}") { exchange, _ in
            one(.ok, try await identity.region(exchange.regionID), exchange)
        }
        routes.on(.put, "/v3/regions/{region_id}") { exchange, caller in
            let region = try await identity.createRegion(
                try await exchange.json(), id: exchange.regionID, as: caller)
            return one(.created, region, exchange)
        }
        routes.on(.patch, "/v3/regions/{region_id}") { exchange, caller in
            let region = try await identity.updateRegion(exchange.regionID, try await exchange.json(), as: caller)
            return one(.ok, region, exchange)
        }
        routes.on(.delete, "/v3/regions/{region_id}", body: .refused) { exchange, caller in
            try await identity.deleteRegion(exchange.regionID, as: caller)
            return .done
        }
    }

    private func one(_ status: HTTPResponse.Status, _ region: Region, _ exchange: Exchange) -> Response {
        .identity(status) {
            $0.key("region")
            $0.region(region, exchange)
        }
    }
}

struct ServiceRoutes: Sendable {
    let identity: IdentityService

    func add(to routes: inout RouteTable) {
        routes.read("/v3/services") { exchange, caller in
            let query = try exchange.query()
            let services = try await identity.services(type: query["type"], name: query["name"], as: caller)
            return .identity { $0.list("services", services, exchange) { $0.service($1, exchange) } }
        }
        routes.on(.post, "/v3/services") { exchange, caller in
            one(.created, try await identity.createService(try await exchange.json(), as: caller), exchange)
        }
        routes.read("/v3/services/{service_id}") { exchange, caller in
            one(.ok, try await identity.service(exchange.serviceID, as: caller), exchange)
        }
        routes.on(.patch, "/v3/services/{service_id}") { exchange, caller in
            let service = try await identity.updateService(exchange.serviceID, try await exchange.json(), as: caller)
            return one(.ok, service, exchange)
        }
        routes.on(.delete, "/v3/services/{service_id}", body: .refused) { exchange, caller in
            try await identity.deleteService(exchange.serviceID, as: caller)
            return .done
        }
    }

    private func one(_ status: HTTPResponse.Status, _ service: RegisteredService, _ exchange: Exchange) -> Response {
        .identity(status) {
            $0.key("service")
            $0.service(service, exchange)
        }
    }
}

struct EndpointRoutes: Sendable {
    let identity: IdentityService

    func add(to routes: inout RouteTable) {
        routes.read("/v3/endpoints") { exchange, caller in
            let query = try exchange.query()
            let filter = EndpointFilter(
                serviceID: query["service_id"].map { ServiceID($0) }, interface: query["interface"],
                regionID: (query["region_id"] ?? query["region"]).map { RegionID($0) })
            let endpoints = try await identity.endpoints(filter, as: caller)
            return .identity { $0.list("endpoints", endpoints, exchange) { $0.endpoint($1, exchange) } }
        }
        routes.on(.post, "/v3/endpoints") { exchange, caller in
            one(.created, try await identity.createEndpoint(try await exchange.json(), as: caller), exchange)
        }
        routes.read("/v3/endpoints/{endpoint_id}") { exchange, caller in
            one(.ok, try await identity.endpoint(exchange.endpointID, as: caller), exchange)
        }
        routes.on(.patch, "/v3/endpoints/{endpoint_id}") { exchange, caller in
            let endpoint = try await identity.updateEndpoint(
                exchange.endpointID, try await exchange.json(), as: caller)
            return one(.ok, endpoint, exchange)
        }
        routes.on(.delete, "/v3/endpoints/{endpoint_id}", body: .refused) { exchange, caller in
            try await identity.deleteEndpoint(exchange.endpointID, as: caller)
            return .done
        }
    }

    private func one(_ status: HTTPResponse.Status, _ endpoint: Endpoint, _ exchange: Exchange) -> Response {
        .identity(status) {
            $0.key("endpoint")
            $0.endpoint(endpoint, exchange)
        }
    }
}

extension Exchange {
    fileprivate var regionID: RegionID { RegionID(parameter("region_id")) }
    fileprivate var serviceID: ServiceID { ServiceID(parameter("service_id")) }
    fileprivate var endpointID: EndpointID { EndpointID(parameter("endpoint_id")) }
}

extension JSONWriter {
    fileprivate mutating func region(_ region: Region, _ exchange: Exchange) {
        object { json in
            json.extra(region.extra, except: ["description", "parent_region_id"])
            json.member("id", region.id.rawValue)
            json.member("description", region.description)
            json.member("parent_region_id", region.parentID?.rawValue)
            json.selfLink("\(exchange.v3)/regions/\(Percent.encode(region.id.rawValue))")
        }
    }

    fileprivate mutating func service(_ service: RegisteredService, _ exchange: Exchange) {
        object { json in
            json.extra(service.extra, except: ["name", "description", "type", "enabled"])
            if let name = service.name { json.member("name", name) }
            if let description = service.description { json.member("description", description) }
            json.member("id", service.id.rawValue)
            json.member("type", service.type)
            json.member("enabled", service.isEnabled)
            json.selfLink("\(exchange.v3)/services/\(service.id)")
        }
    }

    fileprivate mutating func endpoint(_ endpoint: Endpoint, _ exchange: Exchange) {
        object { json in
            json.extra(
                endpoint.extra, except: ["interface", "region_id", "region", "service_id", "url", "enabled"])
            json.member("id", endpoint.id.rawValue)
            json.member("interface", endpoint.interface.rawValue)
            json.member("region_id", endpoint.regionID?.rawValue)
            json.member("service_id", endpoint.serviceID.rawValue)
            json.member("url", endpoint.url)
            json.member("enabled", endpoint.isEnabled)
            json.member("region", endpoint.regionID?.rawValue)
            json.selfLink("\(exchange.v3)/endpoints/\(endpoint.id)")
        }
    }
}
