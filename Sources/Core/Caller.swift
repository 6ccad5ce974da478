import Logging

/// Who makes a request, proven by a token. Passed to every use case, never ambient.
package struct Caller: Sendable {
    package let userID: UserID
    package let userName: String?
    /// The project the token is scoped to; nil for unscoped, domain and system tokens.
    package let projectID: ProjectID?
    package let projectName: String?
    package let projectDomainID: DomainID?
    /// Set for a domain-scoped token.
    package let domainID: DomainID?
    /// True for a token scoped to the whole system.
    package let hasSystemScope: Bool
    /// Lower-cased names, implied roles included by the issuer.
    package let roles: Set<String>
    /// Roles of a valid service token sent beside the user's.
    package private(set) var serviceRoles: Set<String>
    /// The token's audit id: what a log may hold instead of the token.
    package let auditID: String?
    package private(set) var requestID: String
    package private(set) var logger: Logger

    package init(
        userID: UserID, userName: String? = nil, projectID: ProjectID?, projectName: String? = nil,
        projectDomainID: DomainID? = nil, domainID: DomainID? = nil, hasSystemScope: Bool = false,
        roles: Set<String>, serviceRoles: Set<String> = [], auditID: String? = nil, requestID: String, logger: Logger
    ) {
        self.userID = userID
        self.userName = userName
        self.projectID = projectID
        self.projectName = projectName
        self.projectDomainID = projectDomainID
        self.domainID = domainID
        self.hasSystemScope = hasSystemScope
        self.roles = Set(roles.map { $0.lowercased() })
        self.serviceRoles = Set(serviceRoles.map { $0.lowercased() })
        self.auditID = auditID
        self.requestID = requestID
        self.logger = logger
    }

    /// The same caller in a request of its own: what a cache of callers hands out.
    /// - Parameter serviceRoles: lower-cased.
    package func inRequest(_ requestID: String, serviceRoles: Set<String>, logger: Logger) -> Caller {
        var caller = self
        caller.requestID = requestID
        caller.serviceRoles = serviceRoles
        caller.logger = logger
        return caller
    }

    package func has(_ role: String) -> Bool { roles.contains(role) }
    package var isAdmin: Bool { has("admin") }
    package var isService: Bool { has("service") || serviceRoles.contains("service") }
}

/// The request a token arrived with: what access rules and logs need to know of it.
package struct CredentialContext: Sendable {
    package let method: String
    /// The path as the service's own API sees it, without the listener's prefix.
    package let path: String
    /// The service type in the catalogue: `image`, `key-manager`, …
    package let serviceType: String
    package let requestID: String
    package let logger: Logger

    package init(method: String, path: String, serviceType: String, requestID: String, logger: Logger) {
        self.method = method
        self.path = path
        self.serviceType = serviceType
        self.requestID = requestID
        self.logger = logger
    }
}

/// Turns the tokens of a request into a caller: the embedded Identity, or a Keystone.
package protocol Authenticator: Sendable {
    /// - Throws: `ServiceError.unauthorized` for a token that is missing, unknown, expired or revoked,
    ///   or whose access rules do not cover the request; `.unavailable` when that cannot be found out.
    func authenticate(
        token: String?, serviceToken: String?, for request: CredentialContext
    ) async throws -> Caller

    /// As `authenticate`, for a request without a service token, if the answer is known without waiting and whatever the
    /// request asks for; nil when it is not, or is a refusal.
    func callerAtOnce(token: String, requestID: String, logger: Logger) -> Caller?

    /// The value of `WWW-Authenticate` on a 401: where a token can be had.
    var challenge: String { get }
}

extension Authenticator {
    package func callerAtOnce(token: String, requestID: String, logger: Logger) -> Caller? { nil }
}
