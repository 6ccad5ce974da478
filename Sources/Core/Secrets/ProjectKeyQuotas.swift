import Logging
import Persistence

/// What was set for one project: nil where the standard holds.
package struct ProjectKeyQuotas: Sendable, Equatable {
    package let project: ProjectID
    package let limits: [KeyQuota.Resource: Int64]
}

/// What a request sets; what it does not name stays.
package struct KeyQuotaChange: Sendable {
    package let limits: [KeyQuota.Resource: Int64]

    private static let schema = KeySchema("Project Quota")
    private static let member = "project_quotas"
    /// Certificate authorities, which Barbican has no more; its clients still name them.
    private static let past = "cas"

    /// - Throws: `ServiceError.badRequest`.
    package init(_ document: JSONValue) throws {
        let schema = Self.schema
        let members = try schema.members(of: document)
        try schema.requireOnly([Self.member], in: members)
        let quotas = try schema.members(of: try schema.required(Self.member, in: members), at: Self.member)
        try schema.requireOnly(
            Set(KeyQuota.Resource.allCases.map(\.rawValue) + [Self.past]), in: quotas, at: Self.member)
        var limits: [KeyQuota.Resource: Int64] = [:]
        for (name, value) in quotas.sorted(by: { $0.key < $1.key }) {
            let limit = try schema.integer(value, KeyQuota.unlimited...Int64(Int32.max), at: Self.member)
            if let resource = KeyQuota.Resource(rawValue: name) { limits[resource] = limit }
        }
        self.limits = limits
    }
}

extension Secrets {
    private static let noQuotas = ServiceError.notFound("Project quotas not found.")

    /// `GET /v1/quotas`: what holds for the caller's project.
    /// - Throws: `ServiceError.forbidden`.
    package func quotas(as caller: Caller) async throws -> [KeyQuota.Resource: Int64] {
        guard let project = caller.projectID, caller.has("reader") || caller.isAdmin else {
            throw ServiceError.keyRequestForbidden("Quotas")
        }
        let limits = try await database.read { db in try KeyQuota.limits(of: project, in: db) }
        return Dictionary(
            uniqueKeysWithValues: KeyQuota.Resource.allCases.map { ($0, limits[$0] ?? KeyQuota.unlimited) })
    }

    /// `GET /v1/project-quotas`, for administrators of whatever project.
    /// - Throws: `ServiceError.forbidden`.
    package func projectQuotas(_ page: KeyPageRequest, as caller: Caller) async throws -> KeyPage<ProjectKeyQuotas> {
        try requireAdmin(caller)
        return try await database.read { db in
            try db.page(
                page, select: "project, \(KeyQuota.columns)", from: "key_quotas", orderedBy: "project", []
            ) { ProjectKeyQuotas(project: try $0.get(0), limits: try KeyQuota.read($0, from: 1)) }
        }
    }

    /// `GET /v1/project-quotas/{project}`.
    /// - Throws: `ServiceError.forbidden`, `.notFound` when none were set.
    package func projectQuotas(of project: ProjectID, as caller: Caller) async throws -> [KeyQuota.Resource: Int64] {
        try requireAdmin(caller)
        return try await database.read { db in
            let found = try db.first("SELECT \(KeyQuota.columns) FROM key_quotas WHERE project = $1", project) {
                try KeyQuota.read($0, from: 0)
            }
            guard let found else { throw Self.noQuotas }
            return found
        }
    }

    /// `PUT /v1/project-quotas/{project}`. A project may be given quotas before it is known here.
    /// - Throws: `ServiceError.forbidden`, `.badRequest`.
    package func setProjectQuotas(_ change: KeyQuotaChange, of project: ProjectID, as caller: Caller) async throws {
        try requireAdmin(caller)
        guard project.rawValue.unicodeScalars.count <= 255 else {
            throw ServiceError.badRequest("A project's id has at most 255 characters.")
        }
        try await database.write { db in
            try db.execute("INSERT INTO key_quotas (project) VALUES ($1) ON CONFLICT (project) DO NOTHING", project)
            for (resource, limit) in change.limits.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
                try db.execute("UPDATE key_quotas SET \(resource.rawValue) = $1 WHERE project = $2", limit, project)
            }
        }
        caller.logger.notice("key quotas set", metadata: ["project": "\(project)"])
    }

    /// `DELETE /v1/project-quotas/{project}`: the standard holds again.
    /// - Throws: `ServiceError.forbidden`, `.notFound` when none were set.
    package func deleteProjectQuotas(of project: ProjectID, as caller: Caller) async throws {
        try requireAdmin(caller)
        try await database.write { db in
            guard try db.execute("DELETE FROM key_quotas WHERE project = $1", project) == 1 else { throw Self.noQuotas }
        }
        caller.logger.notice("key quotas reset", metadata: ["project": "\(project)"])
    }

    private func requireAdmin(_ caller: Caller) throws {
        guard caller.isAdmin, caller.projectID != nil else { throw ServiceError.keyRequestForbidden("Project Quotas") }
    }
}
