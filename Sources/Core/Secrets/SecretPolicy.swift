import Persistence

/// What is done with a secret or container (Key Manager digest, section 3, "Roles").
package enum SecretAction: String, Sendable, CaseIterable {
    case create = "secrets:post"
    case list = "secrets:get"
    case readMetadata = "secret:get"
    case decrypt = "secret:decrypt"
    case change = "secret:put"
    case delete = "secret:delete"
    case readUserMetadata = "secret_meta:get"
    case changeUserMetadata = "secret_meta:put"
    case readACL = "secret_acls:get"
    case changeACL = "secret_acls:put_patch"
    case deleteACL = "secret_acls:delete"
    case readConsumers = "secret_consumers:get"
    case addConsumer = "secret_consumers:post"
    case removeConsumer = "secret_consumers:delete"
}

/// Who may use a secret or container beside its project's administrators. Without a row of its own:
/// every member of the project, and nobody else.
package struct SecretACL: Sendable, Equatable {
    /// Whether members of the project other than its creator may use it.
    package var projectAccess = true
    /// Users of whatever project who may read it, in their order of ids.
    package var users: [UserID] = []
    package var createdAt: Timestamp?
    package var updatedAt: Timestamp?

    package init() {}
}

/// How a caller stands to one secret or container.
package struct SecretStanding: Sendable {
    package let project: ProjectID
    package let creator: UserID
    package let acl: SecretACL

    package init(project: ProjectID, creator: UserID, acl: SecretACL) {
        self.project = project
        self.creator = creator
        self.acl = acl
    }
}

package enum SecretPolicy {
    /// For actions on one secret or container.
    package static func allows(_ action: SecretAction, _ caller: Caller, _ standing: SecretStanding) -> Bool {
        guard let project = caller.projectID else { return false }
        let isInProject = project == standing.project
        let isPrivate = !standing.acl.projectAccess
        let isUsingMember =
            caller.has("member") && isInProject && (!isPrivate || caller.userID == standing.creator)
        let isProjectAdmin = caller.isAdmin && isInProject
        let isListed = standing.acl.users.contains(caller.userID)
        switch action {
        case .create, .list: return caller.has("member") || caller.isAdmin
        case .readMetadata: return caller.isAdmin || isUsingMember || isListed
        case .decrypt: return isProjectAdmin || isUsingMember || isListed
        case .delete: return caller.isAdmin || isUsingMember
        case .change, .changeUserMetadata, .readACL, .changeACL, .deleteACL: return isProjectAdmin || isUsingMember
        case .readUserMetadata, .readConsumers, .addConsumer, .removeConsumer:
            return isProjectAdmin || isUsingMember || isListed
        }
    }

    /// For actions that concern no secret yet.
    /// - Throws: `ServiceError.forbidden`.
    package static func require(_ action: SecretAction, _ caller: Caller) throws -> ProjectID {
        guard let project = caller.projectID, caller.has("member") || caller.isAdmin else {
            throw ServiceError.secretForbidden(action)
        }
        return project
    }

    /// - Throws: `ServiceError.forbidden`, also for a secret of another project: the clients' suites ask for
    ///   403 there, not 404 (digest, section 2).
    static func require(_ action: SecretAction, _ caller: Caller, _ secret: SecretRecord, in db: any SQLConnection)
        throws
    {
        let standing = SecretStanding(
            project: secret.project, creator: secret.creator, acl: try db.acl(of: secret.id.rawValue))
        guard allows(action, caller, standing) else { throw ServiceError.secretForbidden(action) }
    }
}

extension ServiceError {
    static func secretForbidden(_ action: SecretAction) -> ServiceError {
        .forbidden("\(action.attempt) attempt not allowed - please review your user/project privileges")
    }
}

extension SecretAction {
    /// What it is called in refusals, as Barbican's clients know them.
    var attempt: String {
        switch self {
        case .create: "Secret creation"
        case .list: "Secret(s) retrieval"
        case .readMetadata: "Secret retrieval"
        case .decrypt: "Secret payload retrieval"
        case .change: "Secret update"
        case .delete: "Secret deletion"
        case .readUserMetadata: "Secret metadata retrieval"
        case .changeUserMetadata: "Secret metadata creation"
        case .readACL: "SecretACL(s) retrieval"
        case .changeACL: "SecretACL(s) Update"
        case .deleteACL: "SecretACL(s) deletion"
        case .readConsumers: "SecretConsumers(s) retrieval"
        case .addConsumer: "SecretConsumer creation"
        case .removeConsumer: "SecretConsumer deletion"
        }
    }
}

extension SQLConnection {
    /// The access list of a secret or container.
    func acl(of resource: String) throws -> SecretACL {
        var acl = SecretACL()
        let found = try first(
            "SELECT project_access, created_at, updated_at FROM secret_acls WHERE resource_id = $1", resource
        ) {
            (try $0.get(0, as: Bool.self), try $0.get(1, as: Timestamp.self), try $0.get(2, as: Timestamp.self))
        }
        guard let found else { return acl }
        (acl.projectAccess, acl.createdAt, acl.updatedAt) = (found.0, found.1, found.2)
        acl.users = try query("SELECT user_id FROM secret_acl_users WHERE resource_id = $1 ORDER BY user_id", resource)
        {
            try $0.get(0)
        }
        return acl
    }
}
