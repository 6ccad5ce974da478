import Core

/// The catalogue as a Keystone shows it to whoever bears a token: `GET /v3/auth/catalog`.
package struct KeystoneCatalogue: ServiceCatalogue {
    private let client: KeystoneClient

    init(_ client: KeystoneClient) { self.client = client }

    package func url(
        ofService type: String, region: String, interface: String, for token: CallerToken
    ) async throws -> String? {
        let document: JSONValue
        do {
            document = try await client.catalogue(for: token)
        } catch let error as KeystoneError where error.code == .unknownToken {
            throw ServiceError.unauthorized("The token is unknown, expired or revoked.")
        } catch let error as KeystoneError {
            throw ServiceError.unavailable("Identity is out of reach; try again later.", cause: error)
        }
        return (document["catalog"]?.arrayValue ?? []).filter { $0["type"]?.stringValue == type }
            .flatMap { $0["endpoints"]?.arrayValue ?? [] }
            .first {
                ($0["region_id"] ?? $0["region"])?.stringValue == region
                    && $0["interface"]?.stringValue == interface
            }?["url"]?.stringValue
    }
}
