import Core
import HTTPTypes
import HummingbirdCore

/// Grants of roles to users, and the list of them all.
struct AssignmentRoutes: Sendable {
    let identity: IdentityService

    func add(to routes: inout RouteTable) {
        addGrants("/v3/projects/{project_id}", to: &routes) { .project($0.projectID) }
        addGrants("/v3/domains/{domain_id}", to: &routes) { .domain($0.domainID) }
        addGrants("/v3/system", to: &routes) { _ in .system }
        routes.read("/v3/role_assignments") { try await list($0, $1) }
    }

    private func addGrants(
        _ prefix: String, to routes: inout RouteTable, _ target: @escaping @Sendable (Exchange) -> AssignmentTarget
    ) {
        routes.read(prefix + "/users/{user_id}/roles") { exchange, caller in
            let roles = try await identity.grantedRoles(of: exchange.userID, on: target(exchange), as: caller)
            return .identity { $0.list("roles", roles, exchange) { $0.role($1, exchange) } }
        }
        let single = prefix + "/users/{user_id}/roles/{role_id}"
        routes.read(single) { exchange, caller in
            try await identity.checkGrant(exchange.roleID, of: exchange.userID, on: target(exchange), as: caller)
            return .done
        }
        routes.on(.put, single) { exchange, caller in
            try await identity.grant(exchange.roleID, to: exchange.userID, on: target(exchange), as: caller)
            return .done
        }
        routes.on(.delete, single, body: .refused) { exchange, caller in
            try await identity.revokeGrant(exchange.roleID, of: exchange.userID, on: target(exchange), as: caller)
            return .done
        }
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let query = try exchange.query()
        var filter = AssignmentFilter()
        filter.userID = query["user.id"].map { UserID($0) }
        filter.roleID = query["role.id"].map { RoleID($0) }
        filter.projectID = query["scope.project.id"].map { ProjectID($0) }
        filter.domainID = query["scope.domain.id"].map { DomainID($0) }
        filter.isSystem = query["scope.system"] != nil
        filter.isEffective = try query.isSet("effective")
        let includesNames = try query.isSet("include_names")
        var assignments = try await identity.assignments(filter, as: caller)
        // Nothing is granted to groups, and nothing is inherited.
        if query["group.id"] != nil || query["scope.OS-INHERIT:inherited_to"] != nil { assignments = [] }
        return .identity { json in
            json.list("role_assignments", assignments, exchange) { json, assignment in
                json.object { $0.assignment(assignment, includesNames, exchange) }
            }
        }
    }
}

extension JSONWriter {
    fileprivate mutating func assignment(_ assignment: Assignment, _ includesNames: Bool, _ exchange: Exchange) {
        let granted = assignment.priorRole ?? assignment.role
        let place =
            switch assignment.target {
            case .project(let id): "projects/\(id)"
            case .domain(let id): "domains/\(id)"
            case .system: "system"
            }
        nested("links") { json in
            json.member("assignment", "\(exchange.v3)/\(place)/users/\(assignment.userID)/roles/\(granted.id)")
            guard assignment.priorRole != nil else { return }
            json.member("prior_role", "\(exchange.v3)/prior_role/\(granted.id)/implies/\(assignment.role.id)")
        }
        nested("scope") { $0.scope(assignment, includesNames) }
        nested("user") { json in
            json.member("id", assignment.userID.rawValue)
            guard includesNames else { return }
            json.member("name", assignment.userName)
            json.domainOf(assignment.userDomain)
        }
        nested("role") { json in
            json.member("id", assignment.role.id.rawValue)
            if includesNames { json.member("name", assignment.role.name) }
        }
    }

    private mutating func scope(_ assignment: Assignment, _ includesNames: Bool) {
        switch assignment.target {
        case .project(let id):
            nested("project") { json in
                json.member("id", id.rawValue)
                guard includesNames else { return }
                json.member("name", assignment.targetName)
                if let domain = assignment.targetDomain { json.domainOf(domain) }
            }
        case .domain(let id):
            nested("domain") { json in
                json.member("id", id.rawValue)
                if includesNames { json.member("name", assignment.targetName) }
            }
        case .system:
            nested("system") { $0.member("all", true) }
        }
    }

    private mutating func domainOf(_ domain: (id: DomainID, name: String)) {
        nested("domain") { json in
            json.member("id", domain.id.rawValue)
            json.member("name", domain.name)
        }
    }
}
