import Persistence

extension RegisteredLimit {
    /// What a project may use of the resources of a service in a region: its own limits, and where it has none, the
    /// registered ones. A resource that is registered for the region goes before the same one registered for all.
    /// A step of the caller's transaction.
    /// - Returns: limits by resource; one that is not registered is left out.
    package static func effective(
        for project: ProjectID, serviceType: String, region: RegionID, in db: any SQLConnection
    ) throws -> [String: Int64] {
        var limits: [String: Int64] = [:]
        try db.forEachRow(effectiveSQL, [project, serviceType, region]) { row in
            limits[try row.get(0)] = try row.get(1, as: Int64.self)
        }
        return limits
    }

    /// The same service as the catalogue's (`Bootstrap.swift`).
    package static let effectiveSQL = """
        SELECT r.resource_name, COALESCE(l.resource_limit, r.default_limit)
        FROM identity_registered_limits r
        LEFT JOIN identity_limits l ON l.registered_limit_id = r.id AND l.project_id = $1
        WHERE r.service_id = (SELECT id FROM identity_services WHERE type = $2 ORDER BY id LIMIT 1)
            AND r.region_key IN ('', $3)
        ORDER BY r.region_key
        """
}
