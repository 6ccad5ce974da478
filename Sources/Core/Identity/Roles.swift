import Persistence

/// What policies ask for by name.
package struct Role: Sendable {
    package let id: RoleID
    package var name: String
    package var description: String?
    /// One of the five that are always there, whose names policies and implications rest on.
    package let isFixed: Bool
    package var extra: ExtraAttributes
}

/// A role by what tokens and grants show of it.
package struct RoleName: Sendable, Hashable {
    package let id: RoleID
    package let name: String
}

/// `prior` brings `implied` with it.
package struct RoleInference: Sendable {
    package let prior: RoleName
    package let implied: [RoleName]
}

/// The fixed roles, and which brings which: each of the chain implies the next; `service` stands alone.
package enum FixedRoles {
    package static let chain = ["admin", "manager", "member", "reader"]
    package static let all = chain + ["service"]

    /// The fixed role that this one directly implies.
    static func implied(by name: String) -> String? {
        guard let index = chain.firstIndex(of: name), index + 1 < chain.count else { return nil }
        return chain[index + 1]
    }
}

extension IdentityService {
    /// Never paged: clients look for a name over the whole list.
    package func roles(name: String? = nil, as caller: Caller) async throws -> [Role] {
        try caller.require("list_roles", caller.readsIdentity || caller.has("manager"))
        return try await database.read { db in
            var conditions = Conditions()
            conditions.equal("name", name)
            return try db.query(
                "SELECT \(Role.columns) FROM identity_roles\(conditions.sql) ORDER BY id", conditions.arguments
            ) { try Role(row: $0) }
        }
    }

    package func role(_ id: RoleID, as caller: Caller) async throws -> Role {
        try caller.require("get_role", caller.readsIdentity || caller.has("manager"))
        return try await database.read { try $0.role(id) }
    }

    package func createRole(_ document: JSONValue, as caller: Caller) async throws -> Role {
        try caller.requireAdmin("create_role")
        var body = try ResourceBody(document, "role")
        try body.noOptions()
        try body.unchanged("domain_id", nil, "Roles of a domain are not supported.")
        let role = Role(
            id: RoleID(surroundings.hexUUID()), name: try body.requiredText("name"),
            description: try body.text("description", 0...65535).value, isFixed: false, extra: try body.rest())
        try await change { try $0.insert(role) }
        return role
    }

    package func updateRole(_ id: RoleID, _ document: JSONValue, as caller: Caller) async throws -> Role {
        try caller.requireAdmin("update_role")
        var body = try ResourceBody(document, "role")
        try body.noOptions()
        try body.unchanged("id", id.rawValue, "Cannot change ID")
        try body.unchanged("domain_id", nil, "Cannot change Domain ID")
        let name = try body.solidText("name")
        let description = try body.text("description", 0...65535)
        let extra = try body.rest()
        return try await change { db in
            var role = try db.role(id)
            try role.refuseIfFixed("update")
            role.name = name ?? role.name
            role.description = description.over(role.description)
            role.extra = role.extra.merging(extra)
            try db.execute(
                "UPDATE identity_roles SET name = $1, name_key = $2, description = $3, extra = $4 WHERE id = $5",
                [role.name, role.name.lowercased(), role.description, role.extra, id],
                orConflict: Role.nameTaken(role.name))
            return role
        }
    }

    /// Deletes a role, and with it every grant of it.
    package func deleteRole(_ id: RoleID, as caller: Caller) async throws {
        try caller.requireAdmin("delete_role")
        try await change { db in
            try db.role(id).refuseIfFixed("delete")
            try db.execute("DELETE FROM identity_roles WHERE id = $1", id)
        }
    }

    /// What a role implies; implications are fixed.
    package func inference(of id: RoleID, as caller: Caller) async throws -> RoleInference {
        try caller.requireReader("list_implied_roles")
        return try await database.read { db in
            let role = try db.role(id)
            let fixed = try db.fixedRoles()
            let implied = role.isFixed ? FixedRoles.implied(by: role.name).flatMap { fixed[$0] } : nil
            return RoleInference(prior: RoleName(id: role.id, name: role.name), implied: implied.map { [$0] } ?? [])
        }
    }

    package func inferences(as caller: Caller) async throws -> [RoleInference] {
        try caller.requireReader("list_role_inference_rules")
        return try await database.read { db in
            let fixed = try db.fixedRoles()
            return FixedRoles.chain.compactMap { name in
                guard let prior = fixed[name], let implied = FixedRoles.implied(by: name).flatMap({ fixed[$0] })
                else { return nil }
                return RoleInference(prior: prior, implied: [implied])
            }
        }
    }

    /// - Throws: `.notFound` unless `prior` implies `implied` directly.
    package func inference(of prior: RoleID, to implied: RoleID, as caller: Caller) async throws -> RoleInference {
        let inference = try await inference(of: prior, as: caller)
        guard inference.implied.contains(where: { $0.id == implied }) else {
            throw ServiceError.notFound("\(prior) does not imply \(implied).")
        }
        return inference
    }

    /// PUT and DELETE of an implication: what is there may be put again, nothing else.
    package func changeInference(
        of prior: RoleID, to implied: RoleID, isWanted: Bool, as caller: Caller
    ) async throws -> RoleInference {
        try caller.requireAdmin(isWanted ? "create_implied_role" : "delete_implied_role")
        _ = try await database.read { db in try db.role(implied) }
        let inference = try await inference(of: prior, as: caller)
        let isThere = inference.implied.contains { $0.id == implied }
        guard isThere || isWanted else { throw ServiceError.notFound("\(prior) does not imply \(implied).") }
        guard isThere && isWanted else {
            throw ServiceError.forbidden("The implications between roles are fixed here.")
        }
        return inference
    }
}

extension Role {
    static let columns = "id, name, description, fixed, extra"

    init(row: any SQLRow) throws {
        self.init(
            id: try row.get(0), name: try row.get(1), description: try row.get(2), isFixed: try row.get(3),
            extra: try row.get(4))
    }

    static func nameTaken(_ name: String) -> ServiceError {
        .duplicate("role", "Duplicate entry found with name \(name)")
    }

    fileprivate func refuseIfFixed(_ verb: String) throws {
        guard isFixed else { return }
        throw ServiceError.forbidden("Unable to \(verb) immutable role resource: \(id).")
    }
}

extension SQLConnection {
    /// - Throws: `ServiceError.notFound`.
    func role(_ id: RoleID) throws -> Role {
        let role = try first("SELECT \(Role.columns) FROM identity_roles WHERE id = $1", id) { try Role(row: $0) }
        guard let role else { throw ServiceError.missing("role", id) }
        return role
    }

    func insert(_ role: Role) throws {
        try execute(
            """
            INSERT INTO identity_roles (id, name, name_key, description, fixed, extra)
            VALUES ($1, $2, $3, $4, $5, $6)
            """,
            [role.id, role.name, role.name.lowercased(), role.description, role.isFixed, role.extra],
            orConflict: Role.nameTaken(role.name))
    }

    /// By name.
    func fixedRoles() throws -> [String: RoleName] {
        let roles = try query("SELECT id, name FROM identity_roles WHERE fixed = 1") {
            RoleName(id: try $0.get(0), name: try $0.get(1))
        }
        return Dictionary(roles.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// Adds what the roles imply. In the order of their names, so that tokens and lists are stable.
    func withImplied(_ roles: [RoleName]) throws -> [RoleName] {
        let fixed = try fixedRoles()
        var all = Set(roles)
        for role in roles where fixed[role.name]?.id == role.id {
            var name = role.name
            while let next = FixedRoles.implied(by: name), let implied = fixed[next] {
                all.insert(implied)
                name = next
            }
        }
        return all.sorted { ($0.name, $0.id) < ($1.name, $1.id) }
    }
}
