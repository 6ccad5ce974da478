import Persistence

/// Who owns resources, and who is billed.
package struct Project: Sendable {
    package let id: ProjectID
    package let domainID: DomainID
    /// Nil directly under the domain.
    package let parentID: ProjectID?
    package var name: String
    package var description: String
    package var isEnabled: Bool
    package var tags: [String]
    package var extra: ExtraAttributes
}

package struct ProjectFilter: Sendable {
    package var name: String?
    package var domainID: DomainID?
    /// A project's id, or a domain's for those directly under it.
    package var parentID: String?
    package var isEnabled: Bool?
    /// Nothing but domains acts as a domain here, so `true` matches none.
    package var isDomain: Bool?
    package init(
        name: String? = nil, domainID: DomainID? = nil, parentID: String? = nil, isEnabled: Bool? = nil,
        isDomain: Bool? = nil
    ) {
        self.name = name
        self.domainID = domainID
        self.parentID = parentID
        self.isEnabled = isEnabled
        self.isDomain = isDomain
    }
}

extension IdentityService {
    private static let nameLength = 1...64
    /// How deep projects may be nested under a domain.
    private static let maxDepth = 5

    package func projects(_ filter: ProjectFilter = ProjectFilter(), as caller: Caller) async throws -> [Project] {
        try caller.requireReader("list_projects")
        if filter.isDomain == true { return [] }
        return try await database.read { db in
            var conditions = Conditions()
            conditions.equal("name", filter.name)
            conditions.equal("domain_id", filter.domainID)
            conditions.equal("COALESCE(parent_id, domain_id)", filter.parentID)
            conditions.equal("enabled", filter.isEnabled)
            return try db.query(
                "SELECT \(Project.columns) FROM identity_projects\(conditions.sql) ORDER BY id", conditions.arguments
            ) { try Project(row: $0) }
        }
    }

    /// Readable by readers of Identity and by whoever has a role on it.
    package func project(_ id: ProjectID, as caller: Caller) async throws -> Project {
        try await database.read { db in
            let isOwn = try caller.projectID == id || db.hasAnyRole(caller.userID, on: .project(id))
            try caller.require("get_project", caller.readsIdentity || isOwn)
            return try db.project(id)
        }
    }

    package func createProject(_ document: JSONValue, as caller: Caller) async throws -> Project {
        try caller.requireAdmin("create_project")
        var body = try ResourceBody(document, "project")
        try body.noOptions()
        if try body.flag("is_domain") == true {
            throw ServiceError.badRequest("Projects that act as domains are created as domains.")
        }
        let parent = try body.text("parent_id", ResourceBody.nameLength).value
        let named = try body.text("domain_id", ResourceBody.nameLength).value.map { DomainID($0) }
        let id = ProjectID(surroundings.hexUUID())
        let name = try body.requiredText("name", Self.nameLength)
        let description = try body.text("description", 0...65535).value ?? ""
        let isEnabled = try body.flag("enabled") ?? true
        let tags = try body.tags() ?? []
        let extra = try body.rest()
        return try await change { db in
            let (domainID, parentID) = try Self.place(named, parent, caller, db)
            let project = Project(
                id: id, domainID: domainID, parentID: parentID, name: name, description: description,
                isEnabled: isEnabled, tags: tags, extra: extra)
            try db.insert(project)
            return project
        }
    }

    /// Where a new project goes: a parent may be a project or the domain itself.
    private static func place(
        _ named: DomainID?, _ parent: String?, _ caller: Caller, _ db: any SQLConnection
    ) throws -> (DomainID, ProjectID?) {
        guard let parent else {
            let domainID = named ?? caller.ownDomainID
            guard try db.hasDomain(domainID) else {
                throw ServiceError.badRequest("Could not find domain: \(domainID).")
            }
            return (domainID, nil)
        }
        if try db.hasDomain(DomainID(parent)) {
            guard named == nil || named?.rawValue == parent else {
                throw ServiceError.badRequest("The parent project and the new project must be in one domain.")
            }
            return (DomainID(parent), nil)
        }
        guard let found = try? db.project(ProjectID(parent)) else {
            throw ServiceError.badRequest("Could not find project: \(parent).")
        }
        guard named == nil || named == found.domainID else {
            throw ServiceError.badRequest("The parent project and the new project must be in one domain.")
        }
        var depth = 2
        var above = found.parentID
        while let next = above {
            depth += 1
            above = try db.project(next).parentID
        }
        guard depth <= maxDepth else {
            throw ServiceError.forbidden("Max hierarchy depth reached for \(parent) branch.")
        }
        return (found.domainID, found.id)
    }

    package func updateProject(_ id: ProjectID, _ document: JSONValue, as caller: Caller) async throws -> Project {
        try caller.requireAdmin("update_project")
        var body = try ResourceBody(document, "project")
        try body.noOptions()
        try body.unchanged("id", id.rawValue, "Cannot change ID")
        if try body.flag("is_domain") == true {
            throw ServiceError.badRequest("Update of `is_domain` is not allowed.")
        }
        let domainID = try body.text("domain_id", ResourceBody.nameLength)
        let parent = try body.text("parent_id", ResourceBody.nameLength)
        let name = try body.solidText("name", Self.nameLength)
        let description = try body.text("description", 0...65535)
        let isEnabled = try body.flag("enabled")
        let tags = try body.tags()
        let extra = try body.rest()
        return try await change { db in
            var project = try db.project(id)
            guard domainID.over(project.domainID.rawValue) == project.domainID.rawValue else {
                throw ServiceError.badRequest("Cannot change Domain ID")
            }
            let parentID = project.parentID?.rawValue ?? project.domainID.rawValue
            guard parent.over(parentID) == parentID else {
                throw ServiceError.forbidden("Update of `parent_id` is not allowed.")
            }
            project.name = name ?? project.name
            project.description = description.over(project.description) ?? ""
            project.isEnabled = isEnabled ?? project.isEnabled
            project.tags = tags ?? project.tags
            project.extra = project.extra.merging(extra)
            try db.execute(
                """
                UPDATE identity_projects SET name = $1, description = $2, enabled = $3, tags = $4, extra = $5
                WHERE id = $6
                """,
                [project.name, project.description, project.isEnabled, TagList(project.tags), project.extra, id],
                orConflict: Project.nameTaken(project.name))
            return project
        }
    }

    /// Deletes a project that has no projects under it, with the grants, limits and application
    /// credentials that name it, and what other services keep of it.
    package func deleteProject(_ id: ProjectID, as caller: Caller) async throws {
        try caller.requireAdmin("delete_project")
        try await change { db in
            _ = try db.project(id)
            let hasChildren = try db.first("SELECT 1 FROM identity_projects WHERE parent_id = $1", id) { _ in true }
            guard hasChildren == nil else {
                throw ServiceError.forbidden(
                    "Cannot delete the project \(id) since it is not a leaf in the hierarchy. Use the cascade option "
                        + "if you want to delete a whole subtree.")
            }
            try db.releaseProject(id)
            try onProjectDeletion?(id, db)
            try db.execute("DELETE FROM identity_projects WHERE id = $1", id)
        }
    }

    /// Enabled projects a user has a role on.
    package func projects(of userID: UserID, as caller: Caller) async throws -> [Project] {
        try caller.require("list_user_projects", caller.readsIdentity || caller.userID == userID)
        return try await database.read { db in
            _ = try db.user(userID)
            return try db.projects(of: userID)
        }
    }

    /// What `GET /v3/auth/projects` shows: where the caller could take a token.
    package func projectsOfCaller(_ caller: Caller) async throws -> [Project] {
        try await database.read { try $0.projects(of: caller.userID).filter(\.isEnabled) }
    }
}

extension Project {
    static let columns = "id, domain_id, parent_id, name, description, enabled, tags, extra"

    init(row: any SQLRow) throws {
        self.init(
            id: try row.get(0), domainID: try row.get(1), parentID: try row.get(2), name: try row.get(3),
            description: try row.get(4), isEnabled: try row.get(5), tags: try row.get(6, as: TagList.self).tags,
            extra: try row.get(7))
    }

    static func nameTaken(_ name: String) -> ServiceError {
        .duplicate(
            "project",
            "it is not permitted to have two projects with either the same name or same id in the same domain: "
                + "name is \(name)")
    }
}

extension SQLConnection {
    /// - Throws: `ServiceError.notFound`.
    func project(_ id: ProjectID) throws -> Project {
        let project = try first("SELECT \(Project.columns) FROM identity_projects WHERE id = $1", id) {
            try Project(row: $0)
        }
        guard let project else { throw ServiceError.missing("project", id) }
        return project
    }

    func hasDomain(_ id: DomainID) throws -> Bool {
        try first("SELECT 1 FROM identity_domains WHERE id = $1", id) { _ in true } != nil
    }

    func insert(_ project: Project) throws {
        try execute(
            """
            INSERT INTO identity_projects (id, domain_id, parent_id, name, description, enabled, tags, extra)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            """,
            [
                project.id, project.domainID, project.parentID, project.name, project.description, project.isEnabled,
                TagList(project.tags), project.extra,
            ], orConflict: Project.nameTaken(project.name))
    }

    func projects(of userID: UserID) throws -> [Project] {
        try query(
            """
            SELECT \(Project.columns) FROM identity_projects
            WHERE id IN (SELECT target_id FROM identity_assignments WHERE user_id = $1 AND target_kind = 'project')
            ORDER BY id
            """, userID
        ) { try Project(row: $0) }
    }

    /// Deletes what would keep a project from being deleted, or would outlive it.
    func releaseProject(_ id: ProjectID) throws {
        try execute("DELETE FROM identity_limits WHERE project_id = $1", id)
        try execute("DELETE FROM identity_assignments WHERE target_kind = 'project' AND target_id = $1", id)
        try execute("DELETE FROM identity_app_credentials WHERE project_id = $1", id)
        try execute("UPDATE identity_users SET default_project_id = NULL WHERE default_project_id = $1", id)
    }
}
