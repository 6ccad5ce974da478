import Logging
import Persistence
import Trust

/// A domain as tokens show it.
package struct DomainName: Sendable, Hashable {
    package let id: DomainID
    package let name: String
}

/// What a token is worth now: its claims, and the facts they point at.
package struct ValidatedToken: Sendable {
    package struct TokenUser: Sendable {
        package let id: UserID
        package let name: String
        package let domain: DomainName
    }
    package struct TokenProject: Sendable {
        package let id: ProjectID
        package let name: String
        package let domain: DomainName
    }
    package struct TokenCredential: Sendable {
        package let id: ApplicationCredentialID
        package let name: String
        package let isUnrestricted: Bool
        package let accessRules: [OwnedAccessRule]?
    }

    package let methods: [String]
    package let auditIDs: [String]
    package let issuedAt: Timestamp
    package let expiresAt: Timestamp
    package let user: TokenUser
    package let project: TokenProject?
    package let domain: DomainName?
    package let isSystem: Bool
    /// With the implied ones; empty for an unscoped token.
    package let roles: [RoleName]
    package let applicationCredential: TokenCredential?
    /// The bearer, in no request yet.
    let caller: Caller

    package var auditID: String { auditIDs[0] }
    package var isScoped: Bool { project != nil || domain != nil || isSystem }
}

extension IdentityService {
    /// What a token is worth now.
    /// - Parameter allowsExpired: accepts one that has lapsed less than the window ago.
    /// - Returns: nil for a token that is forged, expired, revoked, or whose user, project or domain
    ///   is gone, disabled, or has no role left.
    /// - Throws: `SQLError`.
    package func validate(_ token: String, allowsExpired: Bool = false) async throws -> ValidatedToken? {
        let now = now
        let key = TokenCache.Key(token)
        let isTimely = { (expiry: Timestamp) in
            now < (allowsExpired ? expiry.adding(seconds: settings.expiredWindowSeconds) : expiry)
        }
        if let cached = tokenCache.token(key, at: now) { return isTimely(cached.expiresAt) ? cached : nil }
        guard let claims = try? await keys.verify(token), isTimely(Timestamp(seconds: claims.expiresAtSeconds)) else {
            return nil
        }
        let generation = tokenCache.currentGeneration
        guard let validated = try await database.read({ try $0.describe(claims) }) else { return nil }
        tokenCache.insert(validated, key, generation: generation, at: now)
        return validated
    }

    /// As `validate`, but nil as well for a token that was not validated a moment ago.
    func validAtOnce(_ token: String) -> ValidatedToken? {
        let now = now
        guard let cached = tokenCache.token(TokenCache.Key(token), at: now), now < cached.expiresAt else { return nil }
        return cached
    }

    /// `GET`/`HEAD /v3/auth/tokens`: a token as the caller may see it. What the caller may not see
    /// and what does not exist look alike.
    /// - Parameters:
    ///   - allowsExpired: heeded for services alone.
    ///   - knowsAccessRules: whether the caller will enforce access rules; restricted tokens do not exist for others.
    ///   - bodyWanted: a role `service` suffices to read a token but not to probe for it.
    /// - Throws: `ServiceError.notFound`.
    package func token(
        _ subject: String?, allowsExpired: Bool, knowsAccessRules: Bool, bodyWanted: Bool, as caller: Caller
    ) async throws -> ValidatedToken {
        guard let subject else { throw ServiceError.notFound("No token in the request") }
        let isService = caller.has("service")
        let found = try await validate(subject, allowsExpired: allowsExpired && isService)
        let seesAll = caller.readsIdentity || isService && bodyWanted
        guard let found, seesAll || found.user.id == caller.userID,
            knowsAccessRules || found.applicationCredential?.accessRules == nil
        else { throw Self.tokenNotFound }
        return found
    }

    /// Ends a token before its time. Tokens made from it live on, as in Keystone.
    /// - Throws: `ServiceError.notFound` when it is none that the caller may end.
    package func revoke(_ subject: String?, as caller: Caller) async throws {
        guard let subject else { throw ServiceError.notFound("No token in the request") }
        guard let found = try await validate(subject), caller.isAdmin || found.user.id == caller.userID else {
            throw Self.tokenNotFound
        }
        let now = now
        // Kept while services may still present the token although it has lapsed, and half an hour more.
        let keepUntil = found.expiresAt.adding(seconds: settings.expiredWindowSeconds + 1800)
        try await change { db in
            try db.execute(
                "INSERT INTO identity_revocations (audit_id, keep_until) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                found.auditID, keepUntil)
            try db.execute("DELETE FROM identity_revocations WHERE keep_until < $1", now)
        }
    }

    private static let tokenNotFound = ServiceError.notFound("Failed to validate token")
}

extension SQLConnection {
    /// Looks up what the claims point at; nil when any of it stands against the token. Times of
    /// expiry are the caller's to check.
    func describe(_ claims: TokenClaims) throws -> ValidatedToken? {
        guard try !isRevoked(claims.auditIDs[0]),
            let (user, notBefore) = try tokenUser(UserID(claims.userID)),
            claims.issuedAtMicroseconds >= notBefore.microseconds
        else { return nil }
        var project: ValidatedToken.TokenProject?
        var domain: DomainName?
        var roles: [RoleName] = []
        if let id = claims.projectID.map({ ProjectID($0) }) {
            project = try tokenProject(id)
            guard project != nil else { return nil }
            roles = try effectiveRoles(of: user.id, on: .project(id))
        } else if let id = claims.domainID.map({ DomainID($0) }) {
            domain = try enabledDomain(id)
            guard domain != nil else { return nil }
            roles = try effectiveRoles(of: user.id, on: .domain(id))
        } else if claims.isSystem {
            roles = try effectiveRoles(of: user.id, on: .system)
        }
        var credential: ValidatedToken.TokenCredential?
        if let id = claims.applicationCredentialID.map({ ApplicationCredentialID($0) }) {
            credential = try tokenCredential(id, of: user.id, in: project?.id)
            guard credential != nil else { return nil }
            roles = try credentialRoles(of: id, held: roles)
        }
        let isScoped = project != nil || domain != nil || claims.isSystem
        guard !isScoped || !roles.isEmpty else { return nil }
        return ValidatedToken(claims, user, project, domain, roles, credential)
    }

    func isRevoked(_ auditID: String) throws -> Bool {
        try first("SELECT 1 FROM identity_revocations WHERE audit_id = $1", auditID) { _ in true } != nil
    }

    /// An enabled user of an enabled domain, and the moment before which its tokens do not count.
    func tokenUser(_ id: UserID) throws -> (ValidatedToken.TokenUser, notBefore: Timestamp)? {
        try first(
            """
            SELECT u.name, u.not_before, d.id, d.name
            FROM identity_users u JOIN identity_domains d ON d.id = u.domain_id
            WHERE u.id = $1 AND u.enabled = 1 AND d.enabled = 1
            """, id
        ) { row in
            (
                ValidatedToken.TokenUser(
                    id: id, name: try row.get(0), domain: DomainName(id: try row.get(2), name: try row.get(3))),
                notBefore: try row.get(1)
            )
        }
    }

    /// An enabled project of an enabled domain.
    private func tokenProject(_ id: ProjectID) throws -> ValidatedToken.TokenProject? {
        try first(
            """
            SELECT p.name, d.id, d.name
            FROM identity_projects p JOIN identity_domains d ON d.id = p.domain_id
            WHERE p.id = $1 AND p.enabled = 1 AND d.enabled = 1
            """, id
        ) { row in
            ValidatedToken.TokenProject(
                id: id, name: try row.get(0), domain: DomainName(id: try row.get(1), name: try row.get(2)))
        }
    }

    private func enabledDomain(_ id: DomainID) throws -> DomainName? {
        try first("SELECT id, name FROM identity_domains WHERE id = $1 AND enabled = 1", id) {
            DomainName(id: try $0.get(0), name: try $0.get(1))
        }
    }

    private func tokenCredential(
        _ id: ApplicationCredentialID, of userID: UserID, in projectID: ProjectID?
    ) throws -> ValidatedToken.TokenCredential? {
        let found = try first(
            """
            SELECT name, unrestricted, has_access_rules FROM identity_app_credentials
            WHERE id = $1 AND user_id = $2 AND project_id = $3
            """, id, userID, projectID
        ) { (try $0.get(0, as: String.self), try $0.get(1, as: Bool.self), try $0.get(2, as: Bool.self)) }
        guard let (name, isUnrestricted, hasRules) = found else { return nil }
        return ValidatedToken.TokenCredential(
            id: id, name: name, isUnrestricted: isUnrestricted, accessRules: hasRules ? try accessRules(of: id) : nil)
    }

    /// The credential's roles, with what they imply, as far as the user still holds them.
    private func credentialRoles(of id: ApplicationCredentialID, held: [RoleName]) throws -> [RoleName] {
        let own = try query(
            """
            SELECT id, name FROM identity_roles
            WHERE id IN (SELECT role_id FROM identity_app_credential_roles WHERE credential_id = $1)
            """, id
        ) { RoleName(id: try $0.get(0), name: try $0.get(1)) }
        let still = Set(held)
        return try withImplied(own.filter { still.contains($0) })
    }
}

extension ValidatedToken {
    private static let noLogger = Logger(label: "ambrotype.identity")

    fileprivate init(
        _ claims: TokenClaims, _ user: TokenUser, _ project: TokenProject?, _ domain: DomainName?, _ roles: [RoleName],
        _ credential: TokenCredential?
    ) {
        self.init(
            methods: claims.methods, auditIDs: claims.auditIDs,
            issuedAt: Timestamp(microseconds: claims.issuedAtMicroseconds),
            expiresAt: Timestamp(seconds: claims.expiresAtSeconds), user: user, project: project, domain: domain,
            isSystem: claims.isSystem, roles: roles, applicationCredential: credential,
            caller: Caller(
                userID: user.id, userName: user.name, projectID: project?.id, projectName: project?.name,
                projectDomainID: project?.domain.id, domainID: domain?.id, hasSystemScope: claims.isSystem,
                roles: Set(roles.map(\.name)), auditID: claims.auditIDs[0], requestID: "", logger: Self.noLogger))
    }
}
