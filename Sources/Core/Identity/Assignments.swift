import Persistence

/// Where a role holds.
package enum AssignmentTarget: Sendable, Hashable {
    case project(ProjectID)
    case domain(DomainID)
    case system

    var kind: String {
        switch self {
        case .project: "project"
        case .domain: "domain"
        case .system: "system"
        }
    }

    var id: String {
        switch self {
        case .project(let id): id.rawValue
        case .domain(let id): id.rawValue
        case .system: "all"
        }
    }

    init?(kind: String, id: String) {
        switch kind {
        case "project": self = .project(ProjectID(id))
        case "domain": self = .domain(DomainID(id))
        case "system": self = .system
        default: return nil
        }
    }
}

package struct AssignmentFilter: Sendable {
    package var userID: UserID?
    package var roleID: RoleID?
    package var projectID: ProjectID?
    package var domainID: DomainID?
    package var isSystem = false
    /// Adds the roles that the granted ones imply.
    package var isEffective = false
    package init() {}
}

/// One grant, with the names `include_names` asks for.
package struct Assignment: Sendable {
    package let userID: UserID
    package let userName: String
    package let userDomain: (id: DomainID, name: String)
    package let role: RoleName
    /// The granted role that implies `role`, when `role` itself is not what was granted.
    package let priorRole: RoleName?
    package let target: AssignmentTarget
    /// The project's or the domain's name.
    package let targetName: String?
    /// The project's domain.
    package let targetDomain: (id: DomainID, name: String)?
}

extension IdentityService {
    /// Idempotent.
    /// - Throws: `.notFound` when user, role or target do not exist.
    package func grant(
        _ roleID: RoleID, to userID: UserID, on target: AssignmentTarget, as caller: Caller
    ) async throws {
        try caller.requireAdmin(target == .system ? "create_system_grant_for_user" : "create_grant")
        try await change { db in
            try db.requireGrantParts(userID, target)
            _ = try db.role(roleID)
            try db.grant(roleID, to: userID, on: target)
        }
    }

    package func revokeGrant(
        _ roleID: RoleID, of userID: UserID, on target: AssignmentTarget, as caller: Caller
    ) async throws {
        try caller.requireAdmin(target == .system ? "revoke_system_grant_for_user" : "revoke_grant")
        try await change { db in
            try db.requireGrantParts(userID, target)
            _ = try db.role(roleID)
            let count = try db.execute(
                """
                DELETE FROM identity_assignments
                WHERE user_id = $1 AND target_kind = $2 AND target_id = $3 AND role_id = $4
                """, userID, target.kind, target.id, roleID)
            guard count == 1 else { throw Self.noGrant(roleID, userID, target) }
        }
    }

    /// Whether the role itself was granted; implied ones do not count.
    /// - Throws: `.notFound` when not.
    package func checkGrant(
        _ roleID: RoleID, of userID: UserID, on target: AssignmentTarget, as caller: Caller
    ) async throws {
        try caller.requireReader(target == .system ? "check_system_grant_for_user" : "check_grant")
        try await database.read { db in
            try db.requireGrantParts(userID, target)
            _ = try db.role(roleID)
            guard try db.grantedRoles(of: userID, on: target).contains(where: { $0.id == roleID }) else {
                throw Self.noGrant(roleID, userID, target)
            }
        }
    }

    package func grantedRoles(
        of userID: UserID, on target: AssignmentTarget, as caller: Caller
    ) async throws -> [Role] {
        try caller.requireReader(target == .system ? "list_system_grants_for_user" : "list_grants")
        return try await database.read { db in
            try db.requireGrantParts(userID, target)
            return try db.query(
                """
                SELECT \(Role.columns) FROM identity_roles WHERE id IN (
                    SELECT role_id FROM identity_assignments
                    WHERE user_id = $1 AND target_kind = $2 AND target_id = $3)
                ORDER BY id
                """, userID, target.kind, target.id
            ) { try Role(row: $0) }
        }
    }

    package func assignments(_ filter: AssignmentFilter, as caller: Caller) async throws -> [Assignment] {
        try caller.requireReader("list_role_assignments")
        let scopes = [filter.projectID != nil, filter.domainID != nil, filter.isSystem].filter { $0 }
        guard scopes.count <= 1 else {
            throw ServiceError.badRequest("Specify system, domain, or project, not more than one of them.")
        }
        return try await database.read { db in
            // The role is filtered after implication: an implied role is asked for by its own id.
            let granted = try db.assignments(filter)
            let all = filter.isEffective ? try granted.flatMap { try db.withImplied($0) } : granted
            return all.filter { filter.roleID == nil || $0.role.id == filter.roleID }
        }
    }

    /// Whether the caller has any role on the whole system: `GET /v3/auth/system`.
    package func hasSystemRole(_ caller: Caller) async throws -> Bool {
        try await database.read { try $0.hasAnyRole(caller.userID, on: .system) }
    }

    private static func noGrant(_ role: RoleID, _ user: UserID, _ target: AssignmentTarget) -> ServiceError {
        .notFound(
            "Could not find role assignment with role: \(role), user or group: \(user), project, domain, or system: "
                + "\(target.id).")
    }
}

extension SQLConnection {
    fileprivate func requireGrantParts(_ userID: UserID, _ target: AssignmentTarget) throws {
        _ = try user(userID)
        switch target {
        case .project(let id): _ = try project(id)
        case .domain(let id): _ = try domain(id)
        case .system: break
        }
    }

    func grant(_ roleID: RoleID, to userID: UserID, on target: AssignmentTarget) throws {
        try execute(
            """
            INSERT INTO identity_assignments (user_id, target_kind, target_id, role_id) VALUES ($1, $2, $3, $4)
            ON CONFLICT DO NOTHING
            """, userID, target.kind, target.id, roleID)
    }

    /// Without what they imply.
    func grantedRoles(of userID: UserID, on target: AssignmentTarget) throws -> [RoleName] {
        try query(
            """
            SELECT r.id, r.name FROM identity_assignments a JOIN identity_roles r ON r.id = a.role_id
            WHERE a.user_id = $1 AND a.target_kind = $2 AND a.target_id = $3
            """, userID, target.kind, target.id
        ) { RoleName(id: try $0.get(0), name: try $0.get(1)) }
    }

    /// With what they imply.
    func effectiveRoles(of userID: UserID, on target: AssignmentTarget) throws -> [RoleName] {
        let granted = try grantedRoles(of: userID, on: target)
        return granted.isEmpty ? [] : try withImplied(granted)
    }

    func hasAnyRole(_ userID: UserID, on target: AssignmentTarget) throws -> Bool {
        try first(
            "SELECT 1 FROM identity_assignments WHERE user_id = $1 AND target_kind = $2 AND target_id = $3 LIMIT 1",
            userID, target.kind, target.id
        ) { _ in true } != nil
    }

    fileprivate func withImplied(_ assignment: Assignment) throws -> [Assignment] {
        try withImplied([assignment.role]).map { role in
            role == assignment.role ? assignment : assignment.implying(role)
        }
    }

    fileprivate func assignments(_ filter: AssignmentFilter) throws -> [Assignment] {
        var conditions = Conditions()
        conditions.equal("a.user_id", filter.userID)
        if !filter.isEffective { conditions.equal("a.role_id", filter.roleID) }
        let target: AssignmentTarget? =
            filter.projectID.map { .project($0) } ?? filter.domainID.map { .domain($0) }
            ?? (filter.isSystem ? .system : nil)
        conditions.equal("a.target_kind", target?.kind)
        conditions.equal("a.target_id", target?.id)
        return try query(
            """
            SELECT u.id, u.name, ud.id, ud.name, r.id, r.name, a.target_kind, a.target_id,
                COALESCE(p.name, d.name), pd.id, pd.name
            FROM identity_assignments a
                JOIN identity_users u ON u.id = a.user_id
                JOIN identity_domains ud ON ud.id = u.domain_id
                JOIN identity_roles r ON r.id = a.role_id
                LEFT JOIN identity_projects p ON a.target_kind = 'project' AND p.id = a.target_id
                LEFT JOIN identity_domains pd ON pd.id = p.domain_id
                LEFT JOIN identity_domains d ON a.target_kind = 'domain' AND d.id = a.target_id\(conditions.sql)
            ORDER BY a.user_id, a.target_kind, a.target_id, a.role_id
            """, conditions.arguments
        ) { try Assignment(row: $0) }
    }
}

extension Assignment {
    fileprivate init(row: any SQLRow) throws {
        guard let target = AssignmentTarget(kind: try row.get(6), id: try row.get(7)) else {
            throw SQLError(code: .corrupt, operation: "read assignment", message: "unknown kind of target")
        }
        let targetDomain = try row.get(9, as: DomainID?.self)
        self.init(
            userID: try row.get(0), userName: try row.get(1), userDomain: (try row.get(2), try row.get(3)),
            role: RoleName(id: try row.get(4), name: try row.get(5)), priorRole: nil, target: target,
            targetName: try row.get(8),
            targetDomain: try targetDomain.map { ($0, try row.get(10, as: String.self)) })
    }

    fileprivate func implying(_ implied: RoleName) -> Assignment {
        Assignment(
            userID: userID, userName: userName, userDomain: userDomain, role: implied, priorRole: role,
            target: target, targetName: targetName, targetDomain: targetDomain)
    }
}
