import Persistence

/// A service as a token's catalogue shows it, with its URLs resolved.
package struct CatalogService: Sendable {
    package let id: ServiceID
    package let type: String
    package let name: String
    package internal(set) var endpoints: [CatalogEndpoint]
}

package struct CatalogEndpoint: Sendable {
    package let id: EndpointID
    package let interface: String
    package let regionID: RegionID?
    package let url: String
}

extension IdentityService {
    /// The enabled services and endpoints. An endpoint whose URL asks for a project is left out of
    /// the catalogue of a token that has none.
    package func catalog(for token: ValidatedToken) async throws -> [CatalogService] {
        let projectID = token.project?.id
        let userID = token.user.id
        return try await database.read { db in
            var services: [CatalogService] = []
            try db.forEachRow(
                """
                SELECT s.id, s.type, s.name, e.id, e.interface, e.region_id, e.url
                FROM identity_services s LEFT JOIN identity_endpoints e ON e.service_id = s.id AND e.enabled = 1
                WHERE s.enabled = 1 ORDER BY s.type, s.id, e.id
                """, []
            ) { row in
                let id: ServiceID = try row.get(0)
                if services.last?.id != id {
                    services.append(
                        CatalogService(
                            id: id, type: try row.get(1), name: try row.get(2, as: String?.self) ?? "",
                            endpoints: []))
                }
                guard let endpointID = try row.get(3, as: EndpointID?.self),
                    let url = CatalogURL.resolve(try row.get(6), projectID: projectID, userID: userID)
                else { return }
                services[services.count - 1].endpoints.append(
                    CatalogEndpoint(id: endpointID, interface: try row.get(4), regionID: try row.get(5), url: url))
            }
            return services
        }
    }
}
