import Persistence

/// What is done with containers; the text is what Barbican calls it in a refusal.
package enum ContainerAction: String, Sendable, CaseIterable {
    case create = "Container creation"
    case list = "Containers(s) retrieval"
    case read = "Container retrieval"
    case delete = "Container deletion"
    case addSecret = "Container Secret creation"
    case removeSecret = "Container Secret deletion"
    case readACL = "ContainerACL(s) retrieval"
    case changeACL = "ContainerACL(s) Update"
    case deleteACL = "ContainerACL(s) deletion"
    case readConsumers = "ContainerConsumers(s) retrieval"
    case addConsumer = "ContainerConsumer creation"
    case removeConsumer = "ContainerConsumer deletion"
}

/// What is done with orders.
package enum OrderAction: String, Sendable, CaseIterable {
    case create = "Order creation"
    case list = "Order(s) retrieval"
    case read = "Order retrieval"
    case delete = "Order deletion"
}

extension SecretPolicy {
    /// Containers differ from secrets in that administrators of other projects may do nothing with them.
    package static func allows(_ action: ContainerAction, _ caller: Caller, _ standing: SecretStanding) -> Bool {
        guard caller.projectID != nil else { return false }
        switch action {
        case .create, .list: return caller.has("member") || caller.isAdmin
        case .read, .readConsumers, .addConsumer, .removeConsumer:
            return uses(caller, standing) || standing.acl.users.contains(caller.userID)
        case .delete, .addSecret, .removeSecret, .readACL, .changeACL, .deleteACL: return uses(caller, standing)
        }
    }

    /// The project's administrators and members, except those whom a private one is hidden from.
    private static func uses(_ caller: Caller, _ standing: SecretStanding) -> Bool {
        guard caller.projectID == standing.project else { return false }
        return caller.isAdmin
            || caller.has("member") && (standing.acl.projectAccess || caller.userID == standing.creator)
    }

    /// For actions that concern no container yet.
    /// - Throws: `ServiceError.forbidden`.
    package static func requireMember(_ action: ContainerAction, _ caller: Caller) throws -> ProjectID {
        try requireMember(caller, for: action.rawValue)
    }

    /// Orders have no access lists: every member of the project may do everything.
    /// - Throws: `ServiceError.forbidden`.
    package static func requireMember(_ action: OrderAction, _ caller: Caller) throws -> ProjectID {
        try requireMember(caller, for: action.rawValue)
    }

    private static func requireMember(_ caller: Caller, for what: String) throws -> ProjectID {
        guard let project = caller.projectID, caller.has("member") || caller.isAdmin else {
            throw ServiceError.keyRequestForbidden(what)
        }
        return project
    }
}

extension ServiceError {
    static func keyRequestForbidden(_ what: String) -> ServiceError {
        .forbidden("\(what) attempt not allowed - please review your user/project privileges")
    }
}
