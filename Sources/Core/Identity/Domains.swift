import Persistence

/// A namespace of users and projects.
package struct Domain: Sendable {
    package let id: DomainID
    package var name: String
    package var description: String
    package var isEnabled: Bool
    package var tags: [String]
    package var extra: ExtraAttributes
}

package struct DomainFilter: Sendable {
    package var name: String?
    package var isEnabled: Bool?
    package init(name: String? = nil, isEnabled: Bool? = nil) {
        self.name = name
        self.isEnabled = isEnabled
    }
}

extension IdentityService {
    private static let nameLength = 1...64

    package func domains(_ filter: DomainFilter = DomainFilter(), as caller: Caller) async throws -> [Domain] {
        try caller.requireReader("list_domains")
        return try await database.read { db in
            var conditions = Conditions()
            conditions.equal("name", filter.name)
            conditions.equal("enabled", filter.isEnabled)
            return try db.query(
                "SELECT \(Domain.columns) FROM identity_domains\(conditions.sql) ORDER BY id", conditions.arguments
            ) { try Domain(row: $0) }
        }
    }

    package func domain(_ id: DomainID, as caller: Caller) async throws -> Domain {
        try caller.require("get_domain", caller.readsIdentity || caller.ownDomainID == id)
        return try await database.read { try $0.domain(id) }
    }

    /// - Throws: `ServiceError.conflict` when the name is taken.
    package func createDomain(_ document: JSONValue, as caller: Caller) async throws -> Domain {
        try caller.requireAdmin("create_domain")
        var body = try ResourceBody(document, "domain")
        try body.noOptions()
        let domain = Domain(
            id: DomainID(surroundings.hexUUID()), name: try body.requiredText("name", Self.nameLength),
            description: try body.text("description", 0...65535).value ?? "",
            isEnabled: try body.flag("enabled") ?? true, tags: try body.tags() ?? [], extra: try body.rest())
        try await change { try $0.insert(domain) }
        return domain
    }

    package func updateDomain(_ id: DomainID, _ document: JSONValue, as caller: Caller) async throws -> Domain {
        try caller.requireAdmin("update_domain")
        var body = try ResourceBody(document, "domain")
        try body.noOptions()
        try body.unchanged("id", id.rawValue, "Cannot change ID")
        let name = try body.solidText("name", Self.nameLength)
        let description = try body.text("description", 0...65535)
        let isEnabled = try body.flag("enabled")
        let tags = try body.tags()
        let extra = try body.rest()
        return try await change { db in
            var domain = try db.domain(id)
            domain.name = name ?? domain.name
            domain.description = description.over(domain.description) ?? ""
            domain.isEnabled = isEnabled ?? domain.isEnabled
            domain.tags = tags ?? domain.tags
            domain.extra = domain.extra.merging(extra)
            try db.execute(
                """
                UPDATE identity_domains SET name = $1, description = $2, enabled = $3, tags = $4, extra = $5
                WHERE id = $6
                """,
                [
                    domain.name, domain.description, domain.isEnabled, TagList(domain.tags), domain.extra, id,
                ], orConflict: Domain.nameTaken(domain.name))
            return domain
        }
    }

    /// Deletes a disabled domain with everything in it.
    /// - Throws: `ServiceError.forbidden` while it is enabled, and always for the standard domain.
    package func deleteDomain(_ id: DomainID, as caller: Caller) async throws {
        try caller.requireAdmin("delete_domain")
        try await change { db in
            let domain = try db.domain(id)
            guard !domain.isEnabled else {
                throw ServiceError.forbidden("Cannot delete a domain that is enabled, please disable it first.")
            }
            guard id != .standard else { throw ServiceError.forbidden("The default domain cannot be deleted.") }
            try db.execute("DELETE FROM identity_limits WHERE domain_id = $1", id)
            try db.execute(
                "DELETE FROM identity_assignments WHERE target_kind = 'domain' AND target_id = $1", id)
            let projects = try db.query("SELECT id FROM identity_projects WHERE domain_id = $1", id) {
                try $0.get(0, as: ProjectID.self)
            }
            for project in projects {
                try db.releaseProject(project)
                try onProjectDeletion?(project, db)
            }
            // Children refer to parents of the same domain: let go of them first.
            try db.execute("UPDATE identity_projects SET parent_id = NULL WHERE domain_id = $1", id)
            try db.execute("DELETE FROM identity_projects WHERE domain_id = $1", id)
            // Application credentials before users: they hold on to the users' access rules.
            try db.execute(
                """
                DELETE FROM identity_app_credentials
                WHERE user_id IN (SELECT id FROM identity_users WHERE domain_id = $1)
                """, id)
            try db.execute("DELETE FROM identity_users WHERE domain_id = $1", id)
            try db.execute("DELETE FROM identity_domains WHERE id = $1", id)
        }
    }

    /// Domains the caller has a role on.
    package func domainsOfCaller(_ caller: Caller) async throws -> [Domain] {
        try await database.read { db in
            try db.query(
                """
                SELECT \(Domain.columns) FROM identity_domains
                WHERE enabled = 1 AND id IN (
                    SELECT target_id FROM identity_assignments WHERE user_id = $1 AND target_kind = 'domain')
                ORDER BY id
                """, caller.userID
            ) { try Domain(row: $0) }
        }
    }
}

extension Domain {
    static let columns = "id, name, description, enabled, tags, extra"

    init(row: any SQLRow) throws {
        self.init(
            id: try row.get(0), name: try row.get(1), description: try row.get(2), isEnabled: try row.get(3),
            tags: try row.get(4, as: TagList.self).tags, extra: try row.get(5))
    }

    static func nameTaken(_ name: String) -> ServiceError {
        .duplicate("domain", "it is not permitted to have two domains with the same name: \(name)")
    }
}

extension SQLConnection {
    /// - Throws: `ServiceError.notFound`.
    func domain(_ id: DomainID) throws -> Domain {
        let domain = try first("SELECT \(Domain.columns) FROM identity_domains WHERE id = $1", id) {
            try Domain(row: $0)
        }
        guard let domain else { throw ServiceError.missing("domain", id) }
        return domain
    }

    func insert(_ domain: Domain) throws {
        try execute(
            """
            INSERT INTO identity_domains (id, name, description, enabled, tags, extra)
            VALUES ($1, $2, $3, $4, $5, $6)
            """,
            [domain.id, domain.name, domain.description, domain.isEnabled, TagList(domain.tags), domain.extra],
            orConflict: Domain.nameTaken(domain.name))
    }
}
