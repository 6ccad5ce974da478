/// Where a cloud's services are, as whoever bears a token sees it (Identity API v3, "Catalog").
package protocol ServiceCatalogue: Sendable {
    /// The URL of a service's endpoint.
    /// - Parameter type: as the catalogue has it: `image`.
    /// - Returns: nil when the catalogue has none such.
    /// - Throws: `ServiceError`: `.unauthorized` for a token that is not good any more, `.unavailable`.
    func url(
        ofService type: String, region: String, interface: String, for token: CallerToken
    ) async throws -> String?
}

/// The catalogue of the Identity in this program.
package struct EmbeddedCatalogue: ServiceCatalogue {
    private let identity: IdentityService

    /// - Parameter identity: of its own; it remembers no tokens, for an import may begin long after its request.
    package init(_ identity: IdentityService) { self.identity = identity }

    package func url(
        ofService type: String, region: String, interface: String, for token: CallerToken
    ) async throws -> String? {
        guard let bearer = try await identity.validate(token.text) else {
            throw ServiceError.unauthorized("The token is unknown, expired or revoked.")
        }
        return try await identity.catalog(for: bearer).filter { $0.type == type }.flatMap(\.endpoints)
            .first { $0.regionID?.rawValue == region && $0.interface == interface }?.url
    }
}
