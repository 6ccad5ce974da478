import JWTKit

/// What a token says (RFC 7519 section 4, and the names of Keystone's JWS provider): who and where,
/// never which roles. Those are looked up at each validation.
package struct TokenClaims: Sendable, Equatable {
    package var userID: String
    package var issuedAtMicroseconds: Int64
    package var expiresAtSeconds: Int64
    package var methods: [String]
    /// The token's own id, then the id of the first token of its chain if it was made from another.
    package var auditIDs: [String]
    package var projectID: String?
    package var domainID: String?
    package var isSystem: Bool
    package var applicationCredentialID: String?

    package init(
        userID: String, issuedAtMicroseconds: Int64, expiresAtSeconds: Int64, methods: [String], auditIDs: [String],
        projectID: String? = nil, domainID: String? = nil, isSystem: Bool = false,
        applicationCredentialID: String? = nil
    ) {
        self.userID = userID
        self.issuedAtMicroseconds = issuedAtMicroseconds
        self.expiresAtSeconds = expiresAtSeconds
        self.methods = methods
        self.auditIDs = auditIDs
        self.projectID = projectID
        self.domainID = domainID
        self.isSystem = isSystem
        self.applicationCredentialID = applicationCredentialID
    }
}

/// `TokenClaims` on the wire. `iat` carries microseconds as a fraction (RFC 7519 section 2 allows
/// it), because a password change must end the tokens before it and spare the one just after.
struct TokenPayload: JWTPayload {
    let sub: String
    let iat: Double
    let exp: Int64
    let openstack_methods: [String]
    let openstack_audit_ids: [String]
    let openstack_project_id: String?
    let openstack_domain_id: String?
    let openstack_system: String?
    let openstack_app_cred_id: String?

    init(_ claims: TokenClaims) {
        sub = claims.userID
        iat = Double(claims.issuedAtMicroseconds) / 1_000_000
        exp = claims.expiresAtSeconds
        openstack_methods = claims.methods
        openstack_audit_ids = claims.auditIDs
        openstack_project_id = claims.projectID
        openstack_domain_id = claims.domainID
        openstack_system = claims.isSystem ? "all" : nil
        openstack_app_cred_id = claims.applicationCredentialID
    }

    /// Nil for a payload that none of our own tokens has.
    var claims: TokenClaims? {
        let scopes = [openstack_project_id, openstack_domain_id, openstack_system].compactMap { $0 }
        guard (0...1e11).contains(iat), !openstack_audit_ids.isEmpty, openstack_system ?? "all" == "all",
            scopes.count <= 1
        else { return nil }
        return TokenClaims(
            userID: sub, issuedAtMicroseconds: Int64((iat * 1_000_000).rounded()), expiresAtSeconds: exp,
            methods: openstack_methods, auditIDs: openstack_audit_ids, projectID: openstack_project_id,
            domainID: openstack_domain_id, isSystem: openstack_system != nil,
            applicationCredentialID: openstack_app_cred_id)
    }

    /// Expiry is the validator's business: a service may present a token that has lapsed.
    func verify(using algorithm: some JWTAlgorithm) {}
}
