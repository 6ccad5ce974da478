import Persistence

/// How much of a limit a project has used, in Identity's units.
package struct QuotaUse: Sendable, Equatable {
    package let resource: QuotaResource
    /// Whole units: a MiB that is begun is not counted, as Glance does not.
    package let usage: Int64
    /// -1 is unlimited.
    package let limit: Int64
}

extension Images {
    /// `GET /v2/info/usage`: of the caller's project.
    /// - Returns: nothing when limits are not kept by an Identity, or the caller has no project.
    /// - Throws: `ServiceError`: `.unavailable`, `.internalError`, of the Identity that keeps the limits.
    package func quotaUse(as caller: Caller) async throws -> [QuotaUse] {
        if case .settings = settings.limits { return [] }
        guard let project = caller.projectID else { return [] }
        return try await database.read { db in
            let limits = try settings.limits(of: project, in: db)
            return try QuotaResource.allCases.map { resource in
                let limit = limits[resource]
                return QuotaUse(
                    resource: resource,
                    usage: try ImageQuota.usage(of: resource, by: project, settings, in: db) / resource.unit,
                    limit: limit < 0 ? -1 : limit / resource.unit)
            }
        }
    }
}
