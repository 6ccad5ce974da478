import Persistence
import Trust

/// Someone, or some program, that logs in.
package struct User: Sendable {
    package let id: UserID
    package let domainID: DomainID
    package var name: String
    package var isEnabled: Bool
    package var defaultProjectID: ProjectID?
    package var extra: ExtraAttributes
}

package struct UserFilter: Sendable {
    package var name: String?
    package var domainID: DomainID?
    package var isEnabled: Bool?
    package init(name: String? = nil, domainID: DomainID? = nil, isEnabled: Bool? = nil) {
        self.name = name
        self.domainID = domainID
        self.isEnabled = isEnabled
    }
}

extension IdentityService {
    package func users(_ filter: UserFilter = UserFilter(), as caller: Caller) async throws -> [User] {
        try caller.requireReader("list_users")
        return try await database.read { db in
            var conditions = Conditions()
            conditions.equal("name", filter.name)
            conditions.equal("domain_id", filter.domainID)
            conditions.equal("enabled", filter.isEnabled)
            return try db.query(
                "SELECT \(User.columns) FROM identity_users\(conditions.sql) ORDER BY id", conditions.arguments
            ) { try User(row: $0) }
        }
    }

    package func user(_ id: UserID, as caller: Caller) async throws -> User {
        try caller.require("get_user", caller.readsIdentity || caller.userID == id)
        return try await database.read { try $0.user(id) }
    }

    /// There are no groups here; the list is empty for every user there is.
    package func checkGroupsVisible(of id: UserID, as caller: Caller) async throws {
        try caller.require("list_groups_for_user", caller.readsIdentity || caller.userID == id)
        _ = try await database.read { try $0.user(id) }
    }

    package func createUser(_ document: JSONValue, as caller: Caller) async throws -> User {
        try caller.requireAdmin("create_user")
        var body = try ResourceBody(document, "user")
        try body.noOptions()
        let password = try body.password("password").value
        let user = User(
            id: UserID(surroundings.hexUUID()),
            domainID: try body.text("domain_id", ResourceBody.nameLength).value.map { DomainID($0) }
                ?? caller.ownDomainID,
            name: try body.requiredText("name"), isEnabled: try body.flag("enabled") ?? true,
            defaultProjectID: try body.text("default_project_id").value.map { ProjectID($0) },
            extra: try body.rest())
        let hash: PasswordHash? = if let password { try await hash(password) } else { nil }
        try await change { db in
            guard try db.hasDomain(user.domainID) else { throw ServiceError.missing("domain", user.domainID) }
            try db.insert(user, hash)
        }
        return user
    }

    /// A new password, and being disabled, end the tokens the user has.
    package func updateUser(_ id: UserID, _ document: JSONValue, as caller: Caller) async throws -> User {
        try caller.requireAdmin("update_user")
        var body = try ResourceBody(document, "user")
        try body.noOptions()
        try body.unchanged("id", id.rawValue, "Cannot change ID")
        let domainID = try body.text("domain_id", ResourceBody.nameLength)
        let name = try body.solidText("name")
        let isEnabled = try body.flag("enabled")
        let defaultProject = try body.text("default_project_id")
        let password = try body.password("password")
        let extra = try body.rest()
        _ = try await database.read { try $0.user(id) }
        let hash: PasswordHash? = if let new = password.value { try await hash(new) } else { nil }
        let now = now
        return try await change { db in
            var user = try db.user(id)
            guard domainID.over(user.domainID.rawValue) == user.domainID.rawValue else {
                throw ServiceError.badRequest("Cannot change Domain ID")
            }
            user.name = name ?? user.name
            user.isEnabled = isEnabled ?? user.isEnabled
            user.defaultProjectID = defaultProject.over(user.defaultProjectID?.rawValue).map { ProjectID($0) }
            user.extra = user.extra.merging(extra)
            try db.execute(
                """
                UPDATE identity_users SET name = $1, enabled = $2, default_project_id = $3, extra = $4 WHERE id = $5
                """,
                [user.name, user.isEnabled, user.defaultProjectID, user.extra, id],
                orConflict: User.nameTaken(user))
            if isEnabled == false { try db.endTokens(of: id, at: now) }
            switch password {
            case .absent: break
            case .null: try db.setPassword(nil, of: id, at: now)
            case .value: try db.setPassword(hash, of: id, at: now)
            }
            return user
        }
    }

    package func deleteUser(_ id: UserID, as caller: Caller) async throws {
        try caller.requireAdmin("delete_user")
        try await change { db in
            _ = try db.user(id)
            // Application credentials first: they hold on to the user's access rules.
            try db.execute("DELETE FROM identity_app_credentials WHERE user_id = $1", id)
            guard try db.execute("DELETE FROM identity_users WHERE id = $1", id) == 1 else {
                throw ServiceError.missing("user", id)
            }
        }
    }

    /// A user's own change of password: whoever knows the old one may, as with Keystone without a
    /// token, so that a locked-up session can still get out. Wrong ones count as failed logins.
    package func changePassword(of id: UserID, _ document: JSONValue) async throws {
        var body = try ResourceBody(document, "user")
        guard case .value(let original) = try body.password("original_password"),
            case .value(let password) = try body.password("password")
        else { throw ServiceError.badRequest("'original_password' and 'password' are required properties.") }
        try body.refuseRest()
        let proven = try await verify(password: original, of: .id(id))
        let hash = try await hash(password)
        let now = now
        try await change { db in
            // Hashing takes its time: an administrator may have reset the password or the user meanwhile.
            let isUnchanged = try db.first(
                "SELECT 1 FROM identity_users WHERE id = $1 AND password_hash = $2 AND enabled = 1", id,
                proven.encodedHash
            ) { _ in true }
            guard isUnchanged == true else { throw ServiceError.loginFailed }
            try db.setPassword(hash, of: id, at: now)
        }
    }
}

extension User {
    static let columns = "id, domain_id, name, enabled, default_project_id, extra"

    init(row: any SQLRow) throws {
        self.init(
            id: try row.get(0), domainID: try row.get(1), name: try row.get(2), isEnabled: try row.get(3),
            defaultProjectID: try row.get(4), extra: try row.get(5))
    }

    static func nameTaken(_ user: User) -> ServiceError {
        .duplicate("user", "Duplicate entry found with name \(user.name) at domain ID \(user.domainID)")
    }
}

extension SQLConnection {
    /// - Throws: `ServiceError.notFound`.
    func user(_ id: UserID) throws -> User {
        let user = try first("SELECT \(User.columns) FROM identity_users WHERE id = $1", id) { try User(row: $0) }
        guard let user else { throw ServiceError.missing("user", id) }
        return user
    }

    func insert(_ user: User, _ hash: PasswordHash?) throws {
        try execute(
            """
            INSERT INTO identity_users (id, domain_id, name, enabled, default_project_id, password_hash, extra,
                not_before, failed_attempts, failed_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0)
            """,
            [
                user.id, user.domainID, user.name, user.isEnabled, user.defaultProjectID, hash?.encoded, user.extra,
            ], orConflict: User.nameTaken(user))
    }

    /// No token issued so far is accepted any more; the next one is issued later than that, also
    /// when the clock has not moved between two changes.
    func endTokens(of id: UserID, at now: Timestamp) throws {
        try execute(
            "UPDATE identity_users SET not_before = CASE WHEN not_before < $1 THEN $1 ELSE not_before + 1 END WHERE id = $2",
            Timestamp(microseconds: now.microseconds + 1), id)
    }

    func setPassword(_ hash: PasswordHash?, of id: UserID, at now: Timestamp) throws {
        try execute(
            "UPDATE identity_users SET password_hash = $1, failed_attempts = 0, failed_at = 0 WHERE id = $2",
            hash?.encoded, id)
        try endTokens(of: id, at: now)
    }
}
