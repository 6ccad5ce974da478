import Core
import Logging

/// Proves tokens by asking a Keystone, as a service that uses keystonemiddleware does.
///
/// What Keystone said is remembered for at most a minute; a revocation takes that long to be seen.
/// `shutdown` gives its connections back.
package final class KeystoneAuthenticator: Authenticator {
    package let challenge: String
    private let settings: KeystoneSettings
    private let serviceTokenRoles: Set<String>
    private let clock: any WallClock
    private let client: KeystoneClient
    private let known: LookupCache<KeystoneToken>

    package init(_ settings: KeystoneSettings, clock: any WallClock) {
        precondition((0...60).contains(settings.cacheSeconds) && settings.timeoutSeconds > 0)
        self.settings = settings
        self.clock = clock
        challenge = "Keystone uri=\"\(settings.publicURL ?? settings.authURL)\""
        serviceTokenRoles = Set(settings.serviceTokenRoles.map { $0.lowercased() })
        client = KeystoneClient(settings, clock: clock)
        known = LookupCache(clock: clock, maxAgeSeconds: settings.cacheSeconds)
    }

    package func shutdown() async throws {
        try await client.shutdown()
    }

    /// That Keystone is there and takes our credentials; for the check at start.
    /// - Throws: `KeystoneError`.
    package func checkReachable() async throws {
        try await client.checkReachable()
    }

    /// The catalogues of this Keystone's tokens, asked for over the same connections.
    package var catalogue: KeystoneCatalogue { KeystoneCatalogue(client) }

    /// The limits of projects that this Keystone keeps, asked for over the same connections.
    package func limits(ofService type: String, region: String, logger: Logger) -> KeystoneLimits {
        KeystoneLimits(
            client, serviceType: type, region: region, cacheSeconds: settings.cacheSeconds, clock: clock,
            logger: logger)
    }

    package func authenticate(
        token: String?, serviceToken: String?, for request: CredentialContext
    ) async throws -> Caller {
        guard let token, !token.isEmpty else { throw ServiceError.unauthorized("A token is needed: X-Auth-Token.") }
        // First, because it may let an expired user token pass. One that is sent has to be good.
        let service = try await validatedServiceToken(serviceToken)
        let isVouchedFor = service?.isTrusted ?? false
        let user = try await validated(token, allowExpired: isVouchedFor)
        if !isVouchedFor, let rules = user.accessRules, !rules.contains(where: { $0.covers(request) }) {
            throw ServiceError.unauthorized("The access rules of the application credential do not cover this request.")
        }
        return Caller(
            userID: user.userID, userName: user.userName, projectID: user.projectID, projectName: user.projectName,
            projectDomainID: user.projectDomainID, domainID: user.domainID, hasSystemScope: user.hasSystemScope,
            roles: user.roles, serviceRoles: service?.roles ?? [], auditID: user.auditID, requestID: request.requestID,
            logger: request.logger)
    }

    private struct ServiceToken {
        let roles: Set<String>
        /// Whether it has a role that lets it vouch for the user's token.
        let isTrusted: Bool
    }

    private func validatedServiceToken(_ token: String?) async throws -> ServiceToken? {
        guard let token, !token.isEmpty else { return nil }
        let found = try await validated(token, allowExpired: false)
        let isTrusted = !found.roles.isDisjoint(with: serviceTokenRoles)
        guard isTrusted || !settings.serviceTokenRolesRequired else {
            throw ServiceError.unauthorized("The service token has no role that makes it one.")
        }
        return ServiceToken(roles: found.roles, isTrusted: isTrusted)
    }

    private func validated(_ token: String, allowExpired: Bool) async throws -> KeystoneToken {
        let invalid = ServiceError.unauthorized("The token is unknown, expired or revoked.")
        // What could not be sent on in a header is no token.
        guard token.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else { throw invalid }
        let key = TokenKey(token: token, variant: allowExpired ? "allow_expired" : "")
        let found: KeystoneToken
        do {
            found = try await known.value(for: key) { try await client.validate(token, allowExpired: allowExpired) }
        } catch let error as KeystoneError where error.code == .unknownToken {
            throw invalid
        } catch let error as KeystoneError {
            throw ServiceError.unavailable("Identity is out of reach; try again later.", cause: error)
        }
        guard allowExpired || found.expiresAt > clock.now else { throw invalid }
        return found
    }
}
