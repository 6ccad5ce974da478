import Persistence

/// What a project may use of a resource when nothing else is said.
package struct RegisteredLimit: Sendable {
    package let id: RegisteredLimitID
    package var serviceID: ServiceID
    package var regionID: RegionID?
    package var resourceName: String
    /// -1 is unlimited.
    package var defaultLimit: Int64
    package var description: String?
}

/// What one project or domain may use instead.
package struct Limit: Sendable {
    package let id: LimitID
    package let registeredLimitID: RegisteredLimitID
    package let projectID: ProjectID?
    package let domainID: DomainID?
    package let serviceID: ServiceID
    package let regionID: RegionID?
    package let resourceName: String
    package var resourceLimit: Int64
    package var description: String?
}

package struct LimitFilter: Sendable {
    package var serviceID: ServiceID?
    package var regionID: RegionID?
    package var resourceName: String?
    package var projectID: ProjectID?
    package var domainID: DomainID?
    package init() {}
}

/// Every project stands for itself: limits of others are not added up.
package enum LimitModel {
    package static let name = "flat"
    package static let description =
        "Limit enforcement and validation does not take project hierarchy into consideration."
}

private let limitRange: ClosedRange<Int64> = -1...2_147_483_647

extension IdentityService {
    /// Open to everyone with a token: services read them to enforce quotas.
    package func registeredLimits(_ filter: LimitFilter = LimitFilter()) async throws -> [RegisteredLimit] {
        try await database.read { db in
            var conditions = Conditions()
            conditions.equal("service_id", filter.serviceID)
            conditions.equal("region_id", filter.regionID)
            conditions.equal("resource_name", filter.resourceName)
            return try db.query(
                "SELECT \(RegisteredLimit.columns) FROM identity_registered_limits\(conditions.sql) ORDER BY id",
                conditions.arguments
            ) { try RegisteredLimit(row: $0) }
        }
    }

    package func registeredLimit(_ id: RegisteredLimitID) async throws -> RegisteredLimit {
        try await database.read { try $0.registeredLimit(id) }
    }

    /// All of the list, or none.
    package func createRegisteredLimits(_ document: JSONValue, as caller: Caller) async throws -> [RegisteredLimit] {
        try caller.requireAdmin("create_registered_limits")
        let limits = try Self.elements(document, "registered_limits").map { members in
            var body = ResourceBody(members: members, "registered_limit")
            let serviceID = ServiceID(try body.requiredText("service_id"))
            let regionID = try body.text("region_id").value.map { RegionID($0) }
            let name = try body.requiredText("resource_name")
            guard let defaultLimit = try body.integer("default_limit", limitRange) else {
                throw ResourceBody.invalid("registered_limit", "'default_limit' is a required property")
            }
            let description = try body.text("description", 0...65535).value
            try body.refuseRest()
            return RegisteredLimit(
                id: RegisteredLimitID(surroundings.hexUUID()), serviceID: serviceID, regionID: regionID,
                resourceName: name, defaultLimit: defaultLimit, description: description)
        }
        try await change { db in for limit in limits { try db.insert(limit) } }
        return limits
    }

    package func updateRegisteredLimit(
        _ id: RegisteredLimitID, _ document: JSONValue, as caller: Caller
    ) async throws -> RegisteredLimit {
        try caller.requireAdmin("update_registered_limit")
        var body = try ResourceBody(document, "registered_limit")
        let serviceID = try body.solidText("service_id").map { ServiceID($0) }
        let region = try body.text("region_id")
        let name = try body.solidText("resource_name")
        let defaultLimit = try body.integer("default_limit", limitRange)
        let description = try body.text("description", 0...65535)
        try body.refuseRest()
        return try await change { db in
            var limit = try db.registeredLimit(id)
            let before = limit
            limit.serviceID = serviceID ?? limit.serviceID
            limit.regionID = region.over(limit.regionID?.rawValue).map { RegionID($0) }
            limit.resourceName = name ?? limit.resourceName
            limit.defaultLimit = defaultLimit ?? limit.defaultLimit
            limit.description = description.over(limit.description)
            let isMoved =
                limit.serviceID != before.serviceID || limit.regionID != before.regionID
                || limit.resourceName != before.resourceName
            if isMoved, try db.isInUse(id) { throw Self.inUse(id) }
            try db.update(limit)
            return limit
        }
    }

    package func deleteRegisteredLimit(_ id: RegisteredLimitID, as caller: Caller) async throws {
        try caller.requireAdmin("delete_registered_limit")
        try await change { db in
            _ = try db.registeredLimit(id)
            guard try !db.isInUse(id) else { throw Self.inUse(id) }
            try db.execute("DELETE FROM identity_registered_limits WHERE id = $1", id)
        }
    }

    /// Everyone sees the limits of the project or domain of their token; those who read Identity, and services, all.
    package func limits(_ filter: LimitFilter, as caller: Caller) async throws -> [Limit] {
        let seesAll = caller.readsIdentity || caller.hasSystemScope || caller.has("service")
        return try await database.read { db in
            var conditions = Conditions()
            conditions.equal("r.service_id", filter.serviceID)
            conditions.equal("r.region_id", filter.regionID)
            conditions.equal("r.resource_name", filter.resourceName)
            conditions.equal("l.project_id", filter.projectID)
            conditions.equal("l.domain_id", filter.domainID)
            if !seesAll {
                conditions.equal("l.project_id", caller.projectID)
                conditions.equal("l.domain_id", caller.domainID)
                if caller.projectID == nil, caller.domainID == nil { return [] }
            }
            return try db.query("\(Limit.select)\(conditions.sql) ORDER BY l.id", conditions.arguments) {
                try Limit(row: $0)
            }
        }
    }

    package func limit(_ id: LimitID, as caller: Caller) async throws -> Limit {
        let limit = try await database.read { try $0.limit(id) }
        let isOwn =
            limit.projectID.map { $0 == caller.projectID }
            ?? (limit.domainID != nil && limit.domainID == caller.domainID)
        try caller.require(
            "get_limit", isOwn || caller.readsIdentity || caller.hasSystemScope || caller.has("service"))
        return limit
    }

    /// All of the list, or none.
    package func createLimits(_ document: JSONValue, as caller: Caller) async throws -> [Limit] {
        try caller.requireAdmin("create_limits")
        let drafts = try Self.elements(document, "limits").map { members in
            try LimitDraft(members, id: LimitID(surroundings.hexUUID()))
        }
        return try await change { db in
            for draft in drafts { try db.insert(draft) }
            return try drafts.map { try db.limit($0.id) }
        }
    }

    package func updateLimit(_ id: LimitID, _ document: JSONValue, as caller: Caller) async throws -> Limit {
        try caller.requireAdmin("update_limit")
        var body = try ResourceBody(document, "limit")
        let value = try body.integer("resource_limit", limitRange)
        let description = try body.text("description", 0...65535)
        try body.refuseRest()
        return try await change { db in
            var limit = try db.limit(id)
            limit.resourceLimit = value ?? limit.resourceLimit
            limit.description = description.over(limit.description)
            try db.execute(
                "UPDATE identity_limits SET resource_limit = $1, description = $2 WHERE id = $3", limit.resourceLimit,
                limit.description, id)
            return limit
        }
    }

    package func deleteLimit(_ id: LimitID, as caller: Caller) async throws {
        try caller.requireAdmin("delete_limit")
        try await change { db in
            guard try db.execute("DELETE FROM identity_limits WHERE id = $1", id) == 1 else {
                throw ServiceError.missing("limit", id)
            }
        }
    }

    private static func elements(_ document: JSONValue, _ name: String) throws -> [[String: JSONValue]] {
        guard case .array(let values)? = document[name] else {
            throw ServiceError.badRequest("Expecting to find \(name) in request body.")
        }
        guard (1...1000).contains(values.count) else {
            throw ResourceBody.invalid(name, "it must have 1 to 1000 elements")
        }
        return try values.map { value in
            guard let members = value.objectValue else {
                throw ResourceBody.invalid(name, "\(value.kind) is not an object")
            }
            return members
        }
    }

    private static func inUse(_ id: RegisteredLimitID) -> ServiceError {
        .forbidden(
            "Unable to update or delete registered limit \(id) because there are project limits associated with it.")
    }
}

private struct LimitDraft: Sendable {
    let id: LimitID
    let serviceID: ServiceID
    let regionID: RegionID?
    let resourceName: String
    let resourceLimit: Int64
    let projectID: ProjectID?
    let domainID: DomainID?
    let description: String?

    init(_ members: [String: JSONValue], id: LimitID) throws {
        var body = ResourceBody(members: members, "limit")
        self.id = id
        serviceID = ServiceID(try body.requiredText("service_id"))
        regionID = try body.text("region_id").value.map { RegionID($0) }
        resourceName = try body.requiredText("resource_name")
        guard let resourceLimit = try body.integer("resource_limit", limitRange) else {
            throw ResourceBody.invalid("limit", "'resource_limit' is a required property")
        }
        self.resourceLimit = resourceLimit
        projectID = try body.text("project_id").value.map { ProjectID($0) }
        domainID = try body.text("domain_id").value.map { DomainID($0) }
        description = try body.text("description", 0...65535).value
        try body.refuseRest()
        guard (projectID == nil) != (domainID == nil) else {
            throw ResourceBody.invalid("limit", "it must name a project or a domain, and not both")
        }
    }

    var owner: String { projectID.map { "project/\($0)" } ?? "domain/\(domainID?.rawValue ?? "")" }
}

extension RegisteredLimit {
    static let columns = "id, service_id, region_id, resource_name, default_limit, description"

    init(row: any SQLRow) throws {
        self.init(
            id: try row.get(0), serviceID: try row.get(1), regionID: try row.get(2), resourceName: try row.get(3),
            defaultLimit: try row.get(4), description: try row.get(5))
    }

    fileprivate static let taken = ServiceError.duplicate("registered_limit", "Duplicate entry")
}

extension Limit {
    fileprivate static let select =
        """
        SELECT l.id, l.registered_limit_id, l.project_id, l.domain_id, r.service_id, r.region_id, r.resource_name,
            l.resource_limit, l.description
        FROM identity_limits l JOIN identity_registered_limits r ON r.id = l.registered_limit_id
        """

    init(row: any SQLRow) throws {
        self.init(
            id: try row.get(0), registeredLimitID: try row.get(1), projectID: try row.get(2),
            domainID: try row.get(3), serviceID: try row.get(4), regionID: try row.get(5),
            resourceName: try row.get(6), resourceLimit: try row.get(7), description: try row.get(8))
    }
}

extension SQLConnection {
    fileprivate func registeredLimit(_ id: RegisteredLimitID) throws -> RegisteredLimit {
        let limit = try first(
            "SELECT \(RegisteredLimit.columns) FROM identity_registered_limits WHERE id = $1", id
        ) { try RegisteredLimit(row: $0) }
        guard let limit else { throw ServiceError.missing("registered limit", id) }
        return limit
    }

    fileprivate func isInUse(_ id: RegisteredLimitID) throws -> Bool {
        try first("SELECT 1 FROM identity_limits WHERE registered_limit_id = $1 LIMIT 1", id) { _ in true } != nil
    }

    fileprivate func requireParts(of limit: RegisteredLimit) throws {
        let hasService = try first("SELECT 1 FROM identity_services WHERE id = $1", limit.serviceID) { _ in true }
        guard hasService != nil else {
            throw ServiceError.badRequest("Expecting to find service_id in registered_limit.")
        }
        guard let region = limit.regionID else { return }
        let hasRegion = try first("SELECT 1 FROM identity_regions WHERE id = $1", region) { _ in true }
        guard hasRegion != nil else {
            throw ServiceError.badRequest("Expecting to find region_id in registered_limit.")
        }
    }

    fileprivate func insert(_ limit: RegisteredLimit) throws {
        try requireParts(of: limit)
        try execute(
            """
            INSERT INTO identity_registered_limits (id, service_id, region_id, region_key, resource_name,
                default_limit, description)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            """,
            [
                limit.id, limit.serviceID, limit.regionID, limit.regionID?.rawValue ?? "", limit.resourceName,
                limit.defaultLimit, limit.description,
            ], orConflict: RegisteredLimit.taken)
    }

    fileprivate func update(_ limit: RegisteredLimit) throws {
        try requireParts(of: limit)
        try execute(
            """
            UPDATE identity_registered_limits
            SET service_id = $1, region_id = $2, region_key = $3, resource_name = $4, default_limit = $5,
                description = $6
            WHERE id = $7
            """,
            [
                limit.serviceID, limit.regionID, limit.regionID?.rawValue ?? "", limit.resourceName,
                limit.defaultLimit, limit.description, limit.id,
            ], orConflict: RegisteredLimit.taken)
    }

    fileprivate func limit(_ id: LimitID) throws -> Limit {
        let limit = try first("\(Limit.select) WHERE l.id = $1", id) { try Limit(row: $0) }
        guard let limit else { throw ServiceError.missing("limit", id) }
        return limit
    }

    fileprivate func insert(_ draft: LimitDraft) throws {
        let registered = try first(
            """
            SELECT id FROM identity_registered_limits
            WHERE service_id = $1 AND region_key = $2 AND resource_name = $3
            """, draft.serviceID, draft.regionID?.rawValue ?? "", draft.resourceName
        ) { try $0.get(0, as: RegisteredLimitID.self) }
        guard let registered else {
            throw ServiceError.forbidden("Unable to create a limit that has no corresponding registered limit.")
        }
        if let project = draft.projectID {
            let isThere = try first("SELECT 1 FROM identity_projects WHERE id = $1", project) { _ in true }
            guard isThere != nil else { throw ServiceError.badRequest("Expecting to find project_id in limit.") }
        }
        if let domain = draft.domainID, try !hasDomain(domain) {
            throw ServiceError.badRequest("Expecting to find domain_id in limit.")
        }
        try execute(
            """
            INSERT INTO identity_limits (id, registered_limit_id, project_id, domain_id, owner, resource_limit,
                description)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            """,
            [
                draft.id, registered, draft.projectID, draft.domainID, draft.owner, draft.resourceLimit,
                draft.description,
            ], orConflict: .duplicate("limit", "Duplicate entry"))
    }
}
