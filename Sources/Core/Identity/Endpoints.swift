import Persistence

/// Whom an endpoint is for.
package enum EndpointInterface: String, Sendable, CaseIterable {
    case `public`, `internal`, admin
}

/// Where a service answers.
package struct Endpoint: Sendable {
    package let id: EndpointID
    package var serviceID: ServiceID
    package var interface: EndpointInterface
    package var regionID: RegionID?
    /// May hold `%(project_id)s` or `$(project_id)s`.
    package var url: String
    package var isEnabled: Bool
    package var extra: ExtraAttributes
}

package struct EndpointFilter: Sendable {
    package var serviceID: ServiceID?
    package var interface: String?
    package var regionID: RegionID?
    package init(serviceID: ServiceID? = nil, interface: String? = nil, regionID: RegionID? = nil) {
        self.serviceID = serviceID
        self.interface = interface
        self.regionID = regionID
    }
}

extension IdentityService {
    private static let urlLength = 1...2048

    package func endpoints(_ filter: EndpointFilter = EndpointFilter(), as caller: Caller) async throws -> [Endpoint] {
        try caller.requireReader("list_endpoints")
        return try await database.read { db in
            var conditions = Conditions()
            conditions.equal("service_id", filter.serviceID)
            conditions.equal("interface", filter.interface)
            conditions.equal("region_id", filter.regionID)
            return try db.query(
                "SELECT \(Endpoint.columns) FROM identity_endpoints\(conditions.sql) ORDER BY id",
                conditions.arguments
            ) { try Endpoint(row: $0) }
        }
    }

    package func endpoint(_ id: EndpointID, as caller: Caller) async throws -> Endpoint {
        try caller.requireReader("get_endpoint")
        return try await database.read { try $0.endpoint(id) }
    }

    package func createEndpoint(_ document: JSONValue, as caller: Caller) async throws -> Endpoint {
        try caller.requireAdmin("create_endpoint")
        var body = try ResourceBody(document, "endpoint")
        let interface = try Self.interface(try body.requiredText("interface"))
        let url = try body.requiredText("url", Self.urlLength)
        try Self.check(url: url)
        let serviceID = ServiceID(try body.requiredText("service_id"))
        let region = try body.text("region_id").value.map { RegionID($0) }
        let legacyRegion = try body.text("region").value.map { RegionID($0) }
        let endpoint = Endpoint(
            id: EndpointID(surroundings.hexUUID()), serviceID: serviceID, interface: interface,
            regionID: region ?? legacyRegion, url: url, isEnabled: try body.flag("enabled") ?? true,
            extra: try body.rest())
        try await change { db in
            try db.requireParts(of: endpoint, makesRegion: region == nil)
            try db.insert(endpoint)
        }
        return endpoint
    }

    package func updateEndpoint(_ id: EndpointID, _ document: JSONValue, as caller: Caller) async throws -> Endpoint {
        try caller.requireAdmin("update_endpoint")
        var body = try ResourceBody(document, "endpoint")
        try body.unchanged("id", id.rawValue, "Cannot change ID")
        let interface = try body.solidText("interface").map { try Self.interface($0) }
        let url = try body.solidText("url", Self.urlLength)
        if let url { try Self.check(url: url) }
        let serviceID = try body.solidText("service_id").map { ServiceID($0) }
        let region = try body.text("region_id")
        let legacyRegion = try body.text("region")
        let isEnabled = try body.flag("enabled")
        let extra = try body.rest()
        return try await change { db in
            var endpoint = try db.endpoint(id)
            endpoint.interface = interface ?? endpoint.interface
            endpoint.url = url ?? endpoint.url
            endpoint.serviceID = serviceID ?? endpoint.serviceID
            let stored = legacyRegion.over(endpoint.regionID?.rawValue)
            endpoint.regionID = region.over(stored).map { RegionID($0) }
            endpoint.isEnabled = isEnabled ?? endpoint.isEnabled
            endpoint.extra = endpoint.extra.merging(extra)
            try db.requireParts(of: endpoint, makesRegion: region.value == nil)
            try db.update(endpoint)
            return endpoint
        }
    }

    package func deleteEndpoint(_ id: EndpointID, as caller: Caller) async throws {
        try caller.requireAdmin("delete_endpoint")
        try await change { db in
            guard try db.execute("DELETE FROM identity_endpoints WHERE id = $1", id) == 1 else {
                throw ServiceError.missing("endpoint", id)
            }
        }
    }

    private static func interface(_ text: String) throws -> EndpointInterface {
        guard let interface = EndpointInterface(rawValue: text) else {
            throw ResourceBody.invalid("interface", "it is not one of admin, internal, public")
        }
        return interface
    }

    private static func check(url: String) throws {
        guard CatalogURL.isWellFormed(url) else {
            throw ServiceError.badRequest("Cannot create an endpoint with an invalid URL: \(url).")
        }
    }
}

/// The substitutions in an endpoint's URL: `%(name)s` and `$(name)s`.
enum CatalogURL {
    private static let names = ["project_id", "tenant_id", "user_id"]

    static func isWellFormed(_ url: String) -> Bool {
        let plain = substitute(url) { _ in "x" }
        return plain.map { !$0.contains("%(") && !$0.contains("$(") && !$0.contains("\n") } ?? false
    }

    /// Nil when the URL needs a value that there is none for.
    static func resolve(_ url: String, projectID: ProjectID?, userID: UserID) -> String? {
        guard url.contains("(") else { return url }
        return substitute(url) { $0 == "user_id" ? userID.rawValue : projectID?.rawValue }
    }

    private static func substitute(_ url: String, _ value: (String) -> String?) -> String? {
        var out = url
        for name in names {
            for pattern in ["%(\(name))s", "$(\(name))s"] {
                while let range = out.firstRange(of: pattern) {
                    guard let value = value(name) else { return nil }
                    out.replaceSubrange(range, with: value)
                }
            }
        }
        return out
    }
}

extension Endpoint {
    static let columns = "id, service_id, interface, region_id, url, enabled, extra"

    init(row: any SQLRow) throws {
        guard let interface = EndpointInterface(rawValue: try row.get(2)) else {
            throw SQLError(code: .corrupt, operation: "read endpoint", message: "unknown interface")
        }
        self.init(
            id: try row.get(0), serviceID: try row.get(1), interface: interface, regionID: try row.get(3),
            url: try row.get(4), isEnabled: try row.get(5), extra: try row.get(6))
    }
}

extension SQLConnection {
    /// - Throws: `ServiceError.notFound`.
    func endpoint(_ id: EndpointID) throws -> Endpoint {
        let endpoint = try first("SELECT \(Endpoint.columns) FROM identity_endpoints WHERE id = $1", id) {
            try Endpoint(row: $0)
        }
        guard let endpoint else { throw ServiceError.missing("endpoint", id) }
        return endpoint
    }

    /// - Parameter makesRegion: the old attribute `region` names a region that need not be there yet.
    fileprivate func requireParts(of endpoint: Endpoint, makesRegion: Bool) throws {
        func missing(_ what: String) -> ServiceError {
            .badRequest("Expecting to find endpoint \(what)_id in \(what) table.")
        }
        let hasService = try first("SELECT 1 FROM identity_services WHERE id = $1", endpoint.serviceID) { _ in true }
        guard hasService != nil else { throw missing("service") }
        guard let region = endpoint.regionID else { return }
        let hasRegion = try first("SELECT 1 FROM identity_regions WHERE id = $1", region) { _ in true }
        if hasRegion != nil { return }
        guard makesRegion else { throw missing("region") }
        try insert(Region(id: region, description: "", parentID: nil, extra: ExtraAttributes()))
    }

    func insert(_ endpoint: Endpoint) throws {
        try execute(
            """
            INSERT INTO identity_endpoints (id, service_id, interface, region_id, url, enabled, extra)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            """, endpoint.id, endpoint.serviceID, endpoint.interface.rawValue, endpoint.regionID, endpoint.url,
            endpoint.isEnabled, endpoint.extra)
    }

    func update(_ endpoint: Endpoint) throws {
        try execute(
            """
            UPDATE identity_endpoints
            SET service_id = $1, interface = $2, region_id = $3, url = $4, enabled = $5, extra = $6 WHERE id = $7
            """, endpoint.serviceID, endpoint.interface.rawValue, endpoint.regionID, endpoint.url, endpoint.isEnabled,
            endpoint.extra, endpoint.id)
    }
}
