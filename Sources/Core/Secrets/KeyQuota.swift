import Persistence

/// How much of the Key Manager a project may have. What it has is counted in the transaction that adds to it
/// (rule R1): two requests cannot both get the last place.
package enum KeyQuota {
    package enum Resource: String, Sendable, CaseIterable {
        case secrets, orders, containers
        /// Of secrets and of containers, whoever they belong to: what the project registered.
        case consumers

        /// What was refused, in Barbican's words.
        fileprivate var what: String {
            switch self {
            case .secrets: "Secret creation"
            case .orders: "Order creation"
            case .containers: "Container creation"
            case .consumers: "SecretConsumer creation"
            }
        }
    }

    package static let unlimited: Int64 = -1

    /// - Parameters:
    ///   - count: how many are about to be made.
    ///   - what: for the message; by default the resource's own name.
    /// - Throws: `ServiceError.forbidden` when there is not that much room; `SQLError`.
    package static func requireRoom(
        for resource: Resource, _ project: ProjectID, count: Int64 = 1, of what: String? = nil,
        in db: any SQLConnection
    ) throws {
        let limit = try limits(of: project, in: db)[resource] ?? unlimited
        guard limit > unlimited, try used(resource, by: project, in: db) + count > limit else { return }
        throw ServiceError.forbidden(
            "\(what ?? resource.what) issue seen - Creation not allowed because a quota has been reached.")
    }

    /// What was set for the project; a resource without a limit is not in it.
    static func limits(of project: ProjectID, in db: any SQLConnection) throws -> [Resource: Int64] {
        try db.first("SELECT \(columns) FROM key_quotas WHERE project = $1", project) { try read($0, from: 0) } ?? [:]
    }

    static let columns = Resource.allCases.map(\.rawValue).joined(separator: ", ")

    static func read(_ row: any SQLRow, from column: Int) throws -> [Resource: Int64] {
        var limits: [Resource: Int64] = [:]
        for (index, resource) in Resource.allCases.enumerated() {
            limits[resource] = try row.get(column + index, as: Int64?.self)
        }
        return limits
    }

    /// A deleted secret is the operator's, and counts no more.
    private static func used(_ resource: Resource, by project: ProjectID, in db: any SQLConnection) throws -> Int64 {
        let sql =
            switch resource {
            case .secrets: "SELECT COUNT(*) FROM secrets WHERE project = $1 AND deleted_at IS NULL"
            case .orders: "SELECT COUNT(*) FROM secret_orders WHERE project = $1"
            case .containers: "SELECT COUNT(*) FROM secret_containers WHERE project = $1"
            case .consumers:
                """
                SELECT (SELECT COUNT(*) FROM key_edges WHERE project = $1 AND via = '\(KeyGraph.registered)')
                    + (SELECT COUNT(*) FROM secret_container_consumers WHERE project = $1)
                """
            }
        return try db.first(sql, project) { try $0.get(0) } ?? 0
    }
}
