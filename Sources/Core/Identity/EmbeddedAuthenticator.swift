import Logging

/// Turns tokens into callers within the process, as keystonemiddleware does from outside: service
/// token first, expiry on each use, access rules last.
package struct EmbeddedAuthenticator: Authenticator {
    private static let serviceRole = "service"

    private let identity: IdentityService
    package let challenge: String

    package init(identity: IdentityService) {
        self.identity = identity
        challenge = "Keystone uri=\"\(identity.settings.publicURL)\""
    }

    package func authenticate(
        token: String?, serviceToken: String?, for request: CredentialContext
    ) async throws -> Caller {
        guard let token else { throw ServiceError.loginFailed }
        var serviceRoles: Set<String> = []
        if let serviceToken {
            // One that is bad, or comes from somebody who is no service, spoils the request.
            guard let service = try await validated(serviceToken, allowsExpired: false),
                service.caller.has(Self.serviceRole)
            else { throw ServiceError.loginFailed }
            serviceRoles = service.caller.roles
        }
        guard let user = try await validated(token, allowsExpired: serviceToken != nil) else {
            throw ServiceError.loginFailed
        }
        if let rules = user.applicationCredential?.accessRules, serviceToken == nil {
            guard rules.contains(where: { $0.rule.covers(request) }) else { throw ServiceError.loginFailed }
        }
        return user.caller.inRequest(request.requestID, serviceRoles: serviceRoles, logger: request.logger)
    }

    package func callerAtOnce(token: String, requestID: String, logger: Logger) -> Caller? {
        guard let user = identity.validAtOnce(token), user.applicationCredential?.accessRules == nil else { return nil }
        return user.caller.inRequest(requestID, serviceRoles: [], logger: logger)
    }

    private func validated(_ token: String, allowsExpired: Bool) async throws -> ValidatedToken? {
        do {
            return try await identity.validate(token, allowsExpired: allowsExpired)
        } catch let error where !(error is CancellationError) {
            throw ServiceError.unavailable("Identity cannot be asked; try again.", cause: error)
        }
    }
}
