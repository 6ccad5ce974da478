import Logging
import Persistence

/// What has an access list.
package enum ACLHolder: Sendable {
    case secret(SecretID)
    case container(ContainerID)

    var resource: String {
        switch self {
        case .secret(let id): id.rawValue
        case .container(let id): id.rawValue
        }
    }
}

/// What a request says of an access list; nil where it says nothing.
package struct ACLChange: Sendable {
    package let users: [UserID]?
    package let projectAccess: Bool?

    private static let schema = KeySchema("ACL")
    private static let read = "read"

    /// Nil for a document that says nothing at all.
    /// - Throws: `ServiceError.badRequest`.
    package static func parse(_ document: JSONValue) throws -> ACLChange? {
        let members = try schema.members(of: document)
        try schema.requireOnly([read], in: members)
        guard let value = members[read] else { return nil }
        let rules = try schema.members(of: value, at: read)
        try schema.requireOnly(["users", "project-access"], in: rules, at: read)
        return rules.isEmpty ? nil : try ACLChange(rules)
    }

    private init(_ rules: [String: JSONValue]) throws {
        let schema = Self.schema
        users = try rules["users"].map { value in
            guard let values = value.arrayValue else { throw schema.wrongType(value, "'array'", at: Self.read) }
            return try Set(values.compactMap { try schema.text($0, 0...255, at: Self.read) }).sorted().map {
                UserID($0)
            }
        }
        projectAccess = try rules["project-access"].map { value in
            guard let flag = value.boolValue else { throw schema.wrongType(value, "'boolean'", at: Self.read) }
            return flag
        }
    }
}

extension Secrets {
    /// `GET …/acl`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func acl(of holder: ACLHolder, as caller: Caller) async throws -> SecretACL {
        try await database.read { db in
            try require(.readACL, .readACL, on: holder, caller, in: db)
            return try db.acl(of: holder.resource)
        }
    }

    /// `PUT …/acl`: what the request does not name is as it is without a list.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func replaceACL(of holder: ACLHolder, with change: ACLChange?, as caller: Caller) async throws {
        let now = now
        try await database.write { db in
            try require(.changeACL, .changeACL, on: holder, caller, in: db)
            guard let change else { return try db.deleteACL(of: holder.resource) }
            try db.setACL(
                of: holder.resource, projectAccess: change.projectAccess ?? true, users: change.users ?? [], now: now)
        }
        caller.logger.notice("access list replaced", metadata: ["resource": "\(holder.resource)"])
    }

    /// `PATCH …/acl`: what the request does not name stays.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func mergeACL(of holder: ACLHolder, with change: ACLChange?, as caller: Caller) async throws {
        let now = now
        try await database.write { db in
            try require(.changeACL, .changeACL, on: holder, caller, in: db)
            guard let change else { return }
            let before = try db.acl(of: holder.resource)
            try db.setACL(
                of: holder.resource, projectAccess: change.projectAccess ?? before.projectAccess,
                users: change.users ?? before.users, now: now)
        }
        caller.logger.notice("access list changed", metadata: ["resource": "\(holder.resource)"])
    }

    /// `DELETE …/acl`. One that is not there is no error.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func deleteACL(of holder: ACLHolder, as caller: Caller) async throws {
        try await database.write { db in
            try require(.deleteACL, .deleteACL, on: holder, caller, in: db)
            try db.deleteACL(of: holder.resource)
        }
        caller.logger.notice("access list deleted", metadata: ["resource": "\(holder.resource)"])
    }

    private func require(
        _ ofSecret: SecretAction, _ ofContainer: ContainerAction, on holder: ACLHolder, _ caller: Caller,
        in db: any SQLConnection
    ) throws {
        switch holder {
        case .secret(let id): _ = try secret(id, ofSecret, caller, in: db)
        case .container(let id): _ = try container(id, ofContainer, caller, in: db)
        }
    }
}

extension SQLConnection {
    func setACL(of resource: String, projectAccess: Bool, users: [UserID], now: Timestamp) throws {
        try execute(
            """
            INSERT INTO secret_acls (resource_id, project_access, created_at, updated_at) VALUES ($1, $2, $3, $3)
            ON CONFLICT (resource_id)
            DO UPDATE SET project_access = excluded.project_access, updated_at = excluded.updated_at
            """, resource, projectAccess, now)
        try execute("DELETE FROM secret_acl_users WHERE resource_id = $1", resource)
        for user in users {
            try execute("INSERT INTO secret_acl_users (resource_id, user_id) VALUES ($1, $2)", resource, user)
        }
    }

    func deleteACL(of resource: String) throws {
        try execute("DELETE FROM secret_acl_users WHERE resource_id = $1", resource)
        try execute("DELETE FROM secret_acls WHERE resource_id = $1", resource)
    }
}
