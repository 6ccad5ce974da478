import Logging
import Persistence
import Trust

/// Who a request has proven to be, by all its methods together.
private struct Proof {
    var userID: UserID?
    var methods: [String] = []
    /// The token this one is made from.
    var parent: ValidatedToken?
    var credential: ProvenCredential?
    /// The end of the user's earlier tokens when a password was proven.
    var notBefore: Timestamp?

    mutating func add(_ userID: UserID, _ methods: [String]) throws {
        // Two proofs of two users prove neither.
        guard self.userID == nil || self.userID == userID else { throw ServiceError.loginFailed }
        self.userID = userID
        for method in methods where !self.methods.contains(method) { self.methods.append(method) }
    }
}

extension IdentityService {
    /// Issues a token for what the request proves (`POST /v3/auth/tokens`).
    /// - Returns: the token, which is told to nobody else, and what it is worth.
    /// - Throws: `ServiceError.badRequest` for the request's shape, `.unauthorized` for everything
    ///   wrong with its proof or its scope, `.forbidden` for a scope a token may not be changed to.
    package func issueToken(
        _ document: JSONValue, logger: Logger
    ) async throws -> (token: String, validated: ValidatedToken) {
        let request = try AuthenticationRequest(document)
        let proof: Proof
        do {
            proof = try await prove(request)
        } catch let error as ServiceError {
            if case .unauthorized = error { logger.notice("login refused") }
            throw error
        }
        guard let userID = proof.userID else { throw ServiceError.loginFailed }
        try Self.checkRescoping(proof, request.scope)
        let auditID = Secret.base64URL(surroundings.randomness.bytes(16))
        let now = now
        let expiresAt = expiry(proof, now: now)
        let found = try await database.read { db -> (TokenClaims, ValidatedToken)? in
            guard let (_, notBefore) = try db.tokenUser(userID), try db.stillHolds(proof, notBefore) else { return nil }
            var claims = TokenClaims(
                userID: userID.rawValue,
                issuedAtMicroseconds: max(now.microseconds, notBefore.microseconds),
                expiresAtSeconds: expiresAt, methods: proof.methods,
                auditIDs: [auditID] + (proof.parent?.auditIDs.last.map { [$0] } ?? []))
            if let credential = proof.credential {
                claims.projectID = credential.projectID.rawValue
                claims.applicationCredentialID = credential.id.rawValue
            } else if let parent = proof.parent, let credential = parent.applicationCredential {
                claims.projectID = parent.project?.id.rawValue
                claims.applicationCredentialID = credential.id.rawValue
            } else {
                guard let scoped = try db.applying(request.scope, to: claims) else { return nil }
                claims = scoped
            }
            return try db.describe(claims).map { (claims, $0) }
        }
        guard let (claims, validated) = found else {
            logger.notice("login refused: no role in the scope", metadata: ["user": "\(userID)"])
            throw ServiceError.loginFailed
        }
        logger.info("token issued", metadata: ["user": "\(userID)", "audit_id": "\(auditID)"])
        return (try await keys.sign(claims), validated)
    }

    private func prove(_ request: AuthenticationRequest) async throws -> Proof {
        var proof = Proof()
        for method in request.methods {
            switch method {
            case .password(let reference, let password):
                let proven = try await verify(password: password, of: reference)
                try proof.add(proven.user.id, ["password"])
                proof.notBefore = proven.notBefore
            case .token(let token):
                guard let parent = try await validate(token) else { throw ServiceError.loginFailed }
                try proof.add(parent.user.id, parent.methods + ["token"])
                proof.parent = parent
            case .applicationCredential(let reference, let secret):
                guard request.scope == nil else { throw Self.scopeRefused }
                let credential = try await verify(secret: secret, of: reference)
                try proof.add(credential.userID, ["application_credential"])
                proof.credential = credential
            }
        }
        return proof
    }

    private static let scopeRefused = ServiceError.unauthorized(
        "Error authenticating with application credential: Application credentials cannot request a scope.")

    /// What a token may not be turned into.
    private static func checkRescoping(_ proof: Proof, _ scope: AuthenticationRequest.Scope?) throws {
        guard let parent = proof.parent else { return }
        if parent.applicationCredential != nil, scope != nil { throw scopeRefused }
        guard parent.isSystem else { return }
        switch scope {
        case .projectID, .projectName, .domain:
            throw ServiceError.forbidden(
                "You are not authorized to perform the requested action: Using a system-scoped token to create a "
                    + "project-scoped or domain-scoped token is not allowed.")
        case .unscoped, .system, nil: break
        }
    }

    /// Never later than what the token is made from.
    private func expiry(_ proof: Proof, now: Timestamp) -> Int64 {
        var seconds = now.seconds + settings.tokenLifetimeSeconds
        if let parent = proof.parent { seconds = min(seconds, parent.expiresAt.seconds) }
        if let end = proof.credential?.expiresAt { seconds = min(seconds, end.seconds) }
        return seconds
    }
}

extension SQLConnection {
    /// Whether what was proven a moment ago has not been taken back since: the password changed, the
    /// parent token revoked.
    fileprivate func stillHolds(_ proof: Proof, _ notBefore: Timestamp) throws -> Bool {
        if let seen = proof.notBefore, seen != notBefore { return false }
        guard let parent = proof.parent else { return true }
        return try parent.issuedAt >= notBefore && !isRevoked(parent.auditID)
    }

    /// The claims with the scope that was asked for; nil when it does not exist.
    fileprivate func applying(_ scope: AuthenticationRequest.Scope?, to claims: TokenClaims) throws -> TokenClaims? {
        var claims = claims
        switch scope {
        case .unscoped:
            break
        case .system:
            claims.isSystem = true
        case .projectID(let id):
            claims.projectID = id.rawValue
        case .projectName(let name, let domain):
            guard let domainID = try domainID(domain) else { return nil }
            claims.projectID = try first(
                "SELECT id FROM identity_projects WHERE name = $1 AND domain_id = $2", name, domainID
            ) { try $0.get(0, as: String.self) }
            if claims.projectID == nil { return nil }
        case .domain(let domain):
            guard let domainID = try domainID(domain) else { return nil }
            claims.domainID = domainID.rawValue
        case nil:
            let preferred = try user(UserID(claims.userID)).defaultProjectID
            guard let preferred else { break }
            var scoped = claims
            scoped.projectID = preferred.rawValue
            // A default project that cannot be had is no reason to refuse: the token is unscoped then.
            if try describe(scoped) != nil { claims = scoped }
        }
        return claims
    }

    private func domainID(_ reference: DomainReference) throws -> DomainID? {
        switch reference {
        case .id(let id): id
        case .name(let name):
            try first("SELECT id FROM identity_domains WHERE name = $1", name) { try $0.get(0, as: DomainID.self) }
        }
    }
}
