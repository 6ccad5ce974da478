import Persistence
import Trust

/// A secret with which a program acts for a user in one project, with some of the user's roles there.
package struct ApplicationCredential: Sendable {
    package let id: ApplicationCredentialID
    package let userID: UserID
    package let projectID: ProjectID
    package let name: String
    package let description: String?
    package let expiresAt: Timestamp?
    /// Whether it may make and delete application credentials.
    package let isUnrestricted: Bool
    package let roles: [Role]
    /// Nil when any request is allowed.
    package let accessRules: [OwnedAccessRule]?
}

extension IdentityService {
    package func applicationCredentials(
        of userID: UserID, name: String? = nil, as caller: Caller
    ) async throws -> [ApplicationCredential] {
        try caller.require("list_application_credentials", caller.readsIdentity || caller.userID == userID)
        return try await database.read { db in
            _ = try db.user(userID)
            var conditions = Conditions()
            conditions.equal("user_id", userID)
            conditions.equal("name", name)
            return try db.applicationCredentials(conditions)
        }
    }

    package func applicationCredential(
        _ id: ApplicationCredentialID, of userID: UserID, as caller: Caller
    ) async throws -> ApplicationCredential {
        try caller.require("get_application_credential", caller.readsIdentity || caller.userID == userID)
        return try await database.read { try $0.applicationCredential(id, of: userID) }
    }

    /// Makes a credential for the project and, at most, the roles of the token the request came with.
    /// - Parameter token: the caller's own.
    /// - Returns: the credential and its secret, which is told now and never again.
    package func createApplicationCredential(
        of userID: UserID, _ document: JSONValue, token: ValidatedToken, as caller: Caller
    ) async throws -> (credential: ApplicationCredential, secret: String) {
        try caller.require("create_application_credential", caller.userID == userID)
        try Self.refuseRestricted(token)
        guard let projectID = caller.projectID else {
            throw ServiceError.badRequest(
                "Invalid application credential: a project-scoped token is needed to make one.")
        }
        let draft = try CredentialDraft(document, now: now)
        let roles = try Self.select(draft.roles, from: token.roles)
        let secret = draft.secret ?? Secret.base64URL(surroundings.randomness.bytes(Secret.sizeBytes))
        let hash =
            if draft.secret == nil { PasswordHash(randomSecret: secret) } else { try await hash(secret) }
        let id = ApplicationCredentialID(surroundings.hexUUID())
        let ruleIDs = (draft.accessRules ?? []).map { _ in AccessRuleID(surroundings.hexUUID()) }
        let credential = try await change { db in
            try db.execute(
                """
                INSERT INTO identity_app_credentials (id, user_id, project_id, name, description, secret_hash,
                    expires_at, unrestricted, has_access_rules)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                """,
                [
                    id, userID, projectID, draft.name, draft.description, hash.encoded, draft.expiresAt,
                    draft.isUnrestricted, draft.accessRules != nil,
                ],
                orConflict: .duplicate("application_credential", "Duplicate entry found with name \(draft.name)"))
            for role in roles {
                try db.execute(
                    "INSERT INTO identity_app_credential_roles (credential_id, role_id) VALUES ($1, $2)", id, role.id)
            }
            for (rule, newID) in zip(draft.accessRules ?? [], ruleIDs) {
                try db.attach(rule, newID: newID, to: id, of: userID)
            }
            return try db.applicationCredential(id, of: userID)
        }
        return (credential, secret)
    }

    package func deleteApplicationCredential(
        _ id: ApplicationCredentialID, of userID: UserID, token: ValidatedToken?, as caller: Caller
    ) async throws {
        try caller.require("delete_application_credential", caller.isAdmin || caller.userID == userID)
        if let token { try Self.refuseRestricted(token) }
        try await change { db in
            let count = try db.execute(
                "DELETE FROM identity_app_credentials WHERE id = $1 AND user_id = $2", id, userID)
            guard count == 1 else { throw ServiceError.missing("Application Credential", id) }
        }
    }

    /// A stolen restricted credential must not be able to make itself an heir.
    private static func refuseRestricted(_ token: ValidatedToken) throws {
        guard token.applicationCredential?.isUnrestricted ?? true else {
            throw ServiceError.forbidden(
                "Using method 'application_credential' is not allowed for managing additional application credentials.")
        }
    }

    private static func select(_ wanted: [WantedRole]?, from held: [RoleName]) throws -> [RoleName] {
        guard let wanted else { return held }
        return try wanted.map { role in
            let match = held.first { candidate in
                switch role {
                case .id(let id): candidate.id == id
                case .name(let name): candidate.name.lowercased() == name.lowercased()
                }
            }
            guard let match else {
                throw ServiceError.badRequest(
                    "Invalid application credential: Cannot create an application credential with unassigned role")
            }
            return match
        }
    }

    /// Proves an application credential's secret.
    /// - Throws: `ServiceError.loginFailed`.
    func verify(secret: String, of reference: ApplicationCredentialReference) async throws -> ProvenCredential {
        let found = try await database.read { try $0.storedSecret(reference) }
        guard let found, secret.utf8.count <= PasswordHash.maxPasswordBytes else { throw ServiceError.loginFailed }
        // Programs log in often; those with a generated secret need not wait behind people.
        let isRight =
            if found.hash.isQuick { found.hash.matches(secret) } else {
                try await hashing.run { found.hash.matches(secret) }
            }
        guard isRight, found.expiresAt.map({ now < $0 }) ?? true else { throw ServiceError.loginFailed }
        return found.credential
    }
}

/// How a login names an application credential.
package enum ApplicationCredentialReference: Sendable, Hashable {
    case id(ApplicationCredentialID)
    case name(String, UserReference)
}

/// An application credential whose secret was right.
struct ProvenCredential: Sendable {
    let id: ApplicationCredentialID
    let userID: UserID
    let projectID: ProjectID
    let expiresAt: Timestamp?
}

private struct StoredSecret: Sendable {
    let credential: ProvenCredential
    let hash: PasswordHash
    var expiresAt: Timestamp? { credential.expiresAt }
}

private enum WantedRole: Sendable, Hashable {
    case id(RoleID)
    case name(String)
}

/// A request for an application credential, checked.
private struct CredentialDraft: Sendable {
    let name: String
    let description: String?
    let secret: String?
    let expiresAt: Timestamp?
    let isUnrestricted: Bool
    let roles: [WantedRole]?
    let accessRules: [AccessRule]?

    init(_ document: JSONValue, now: Timestamp) throws {
        var body = try ResourceBody(document, "application_credential")
        name = try body.requiredText("name")
        description = try body.text("description", 0...65535).value
        secret = try body.password("secret").value
        isUnrestricted = try body.flagOrNull("unrestricted") ?? false
        expiresAt = try body.text("expires_at").value.map { text in
            guard let time = Timestamp(iso8601: text) else {
                throw ServiceError.badRequest("Timestamp not in expected format.")
            }
            guard time > now else { throw ServiceError.badRequest("The 'expires_at' must not be before now.") }
            return time
        }
        // The clients send an empty list when they were told nothing, and Keystone takes it so.
        let wanted = try (body.array("roles").value ?? []).map { try Self.role($0) }
        roles = wanted.isEmpty ? nil : wanted
        let rules = try (body.array("access_rules").value ?? []).map { try Self.rule($0) }
        accessRules = rules.isEmpty ? nil : rules
        try body.unchanged("project_id", nil, "The project is the token's own.")
        try body.refuseRest()
        guard roles?.count ?? 0 <= 100, accessRules?.count ?? 0 <= 100 else {
            throw ResourceBody.invalid("application_credential", "there may be 100 roles and 100 access rules")
        }
        guard Set(roles ?? []).count == roles?.count ?? 0 else {
            throw ResourceBody.invalid("roles", "a role is named twice")
        }
    }

    private static func role(_ value: JSONValue) throws -> WantedRole {
        guard let members = value.objectValue else {
            throw ResourceBody.invalid("roles", "\(value.kind) is not an object")
        }
        var body = ResourceBody(members: members, "roles")
        if let id = try body.solidText("id") { return .id(RoleID(id)) }
        return .name(try body.requiredText("name"))
    }

    private static func rule(_ value: JSONValue) throws -> AccessRule {
        guard let members = value.objectValue else {
            throw ResourceBody.invalid("access_rules", "\(value.kind) is not an object")
        }
        var body = ResourceBody(members: members, "access_rules")
        let path = try body.requiredText("path", 1...128)
        let method = try body.requiredText("method")
        let service = try body.requiredText("service")
        guard path.hasPrefix("/") else { throw ResourceBody.invalid("path", "it must begin with '/'") }
        guard AccessRule.methods.contains(method) else {
            throw ResourceBody.invalid(
                "method", "it is not one of \(AccessRule.methods.sorted().joined(separator: ", "))")
        }
        return AccessRule(service: service, method: method, path: path)
    }
}

extension SQLConnection {
    fileprivate func applicationCredentials(_ conditions: Conditions) throws -> [ApplicationCredential] {
        let rows = try query(
            """
            SELECT id, user_id, project_id, name, description, expires_at, unrestricted, has_access_rules
            FROM identity_app_credentials\(conditions.sql) ORDER BY id
            """, conditions.arguments
        ) { row in
            (
                id: try row.get(0, as: ApplicationCredentialID.self), userID: try row.get(1, as: UserID.self),
                projectID: try row.get(2, as: ProjectID.self), name: try row.get(3, as: String.self),
                description: try row.get(4, as: String?.self), expiresAt: try row.get(5, as: Timestamp?.self),
                isUnrestricted: try row.get(6, as: Bool.self), hasRules: try row.get(7, as: Bool.self)
            )
        }
        return try rows.map { row in
            let roles = try query(
                """
                SELECT \(Role.columns) FROM identity_roles
                WHERE id IN (SELECT role_id FROM identity_app_credential_roles WHERE credential_id = $1) ORDER BY id
                """, row.id
            ) { try Role(row: $0) }
            return ApplicationCredential(
                id: row.id, userID: row.userID, projectID: row.projectID, name: row.name,
                description: row.description, expiresAt: row.expiresAt, isUnrestricted: row.isUnrestricted,
                roles: roles, accessRules: row.hasRules ? try accessRules(of: row.id) : nil)
        }
    }

    /// - Throws: `ServiceError.notFound`.
    fileprivate func applicationCredential(
        _ id: ApplicationCredentialID, of userID: UserID
    ) throws -> ApplicationCredential {
        var conditions = Conditions()
        conditions.equal("id", id)
        conditions.equal("user_id", userID)
        guard let credential = try applicationCredentials(conditions).first else {
            throw ServiceError.missing("Application Credential", id)
        }
        return credential
    }

    func accessRules(of id: ApplicationCredentialID) throws -> [OwnedAccessRule] {
        try query(
            """
            SELECT id, service, path, method FROM identity_access_rules
            WHERE id IN (SELECT rule_id FROM identity_app_credential_rules WHERE credential_id = $1) ORDER BY id
            """, id
        ) { try OwnedAccessRule(row: $0) }
    }

    /// Users share equal rules among their credentials.
    fileprivate func attach(
        _ rule: AccessRule, newID: AccessRuleID, to id: ApplicationCredentialID, of userID: UserID
    ) throws {
        try execute(
            """
            INSERT INTO identity_access_rules (id, user_id, service, path, method) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT DO NOTHING
            """, newID, userID, rule.service, rule.path, rule.method)
        try execute(
            """
            INSERT INTO identity_app_credential_rules (credential_id, rule_id)
            SELECT $1, id FROM identity_access_rules
            WHERE user_id = $2 AND service = $3 AND path = $4 AND method = $5
            ON CONFLICT DO NOTHING
            """, id, userID, rule.service, rule.path, rule.method)
    }

    fileprivate func storedSecret(_ reference: ApplicationCredentialReference) throws -> StoredSecret? {
        let (condition, arguments): (String, [any SQLBindable]) =
            switch reference {
            case .id(let id): ("c.id = $1", [id])
            case .name(let name, .id(let user)): ("c.name = $1 AND c.user_id = $2", [name, user])
            case .name(let name, .name(let user, .id(let domain))):
                ("c.name = $1 AND u.name = $2 AND u.domain_id = $3", [name, user, domain])
            case .name(let name, .name(let user, .name(let domain))):
                ("c.name = $1 AND u.name = $2 AND d.name = $3", [name, user, domain])
            }
        return try query(
            """
            SELECT c.id, c.user_id, c.project_id, c.expires_at, c.secret_hash
            FROM identity_app_credentials c
                JOIN identity_users u ON u.id = c.user_id
                JOIN identity_domains d ON d.id = u.domain_id
            WHERE \(condition)
            """, arguments
        ) { row in
            StoredSecret(
                credential: ProvenCredential(
                    id: try row.get(0), userID: try row.get(1), projectID: try row.get(2), expiresAt: try row.get(3)),
                hash: PasswordHash(encoded: try row.get(4)))
        }.first
    }
}
