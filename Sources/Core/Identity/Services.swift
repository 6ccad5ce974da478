import Persistence

/// A service of the catalogue. Tempest and Glance's clients look for its *name* (`glance`) as well
/// as for its type (`image`).
package struct RegisteredService: Sendable {
    package let id: ServiceID
    package var type: String
    package var name: String?
    package var description: String?
    package var isEnabled: Bool
    package var extra: ExtraAttributes
}

extension IdentityService {
    package func services(type: String? = nil, name: String? = nil, as caller: Caller) async throws
        -> [RegisteredService]
    {
        try caller.requireReader("list_services")
        return try await database.read { db in
            var conditions = Conditions()
            conditions.equal("type", type)
            conditions.equal("name", name)
            return try db.query(
                "SELECT \(RegisteredService.columns) FROM identity_services\(conditions.sql) ORDER BY type, id",
                conditions.arguments
            ) { try RegisteredService(row: $0) }
        }
    }

    package func service(_ id: ServiceID, as caller: Caller) async throws -> RegisteredService {
        try caller.requireReader("get_service")
        return try await database.read { try $0.service(id) }
    }

    package func createService(_ document: JSONValue, as caller: Caller) async throws -> RegisteredService {
        try caller.requireAdmin("create_service")
        var body = try ResourceBody(document, "service")
        let service = RegisteredService(
            id: ServiceID(surroundings.hexUUID()), type: try body.requiredText("type"),
            name: try body.text("name").value, description: try body.text("description", 0...65535).value,
            isEnabled: try body.flag("enabled") ?? true, extra: try body.rest())
        try await change { try $0.insert(service) }
        return service
    }

    package func updateService(_ id: ServiceID, _ document: JSONValue, as caller: Caller) async throws
        -> RegisteredService
    {
        try caller.requireAdmin("update_service")
        var body = try ResourceBody(document, "service")
        try body.unchanged("id", id.rawValue, "Cannot change ID")
        let type = try body.solidText("type")
        let name = try body.text("name")
        let description = try body.text("description", 0...65535)
        let isEnabled = try body.flag("enabled")
        let extra = try body.rest()
        return try await change { db in
            var service = try db.service(id)
            service.type = type ?? service.type
            service.name = name.over(service.name)
            service.description = description.over(service.description)
            service.isEnabled = isEnabled ?? service.isEnabled
            service.extra = service.extra.merging(extra)
            try db.execute(
                """
                UPDATE identity_services SET type = $1, name = $2, description = $3, enabled = $4, extra = $5
                WHERE id = $6
                """, service.type, service.name, service.description, service.isEnabled, service.extra, id)
            return service
        }
    }

    /// Deletes a service with its endpoints and its limits.
    package func deleteService(_ id: ServiceID, as caller: Caller) async throws {
        try caller.requireAdmin("delete_service")
        try await change { db in
            _ = try db.service(id)
            try db.execute(
                """
                DELETE FROM identity_limits WHERE registered_limit_id IN (
                    SELECT id FROM identity_registered_limits WHERE service_id = $1)
                """, id)
            try db.execute("DELETE FROM identity_registered_limits WHERE service_id = $1", id)
            try db.execute("DELETE FROM identity_services WHERE id = $1", id)
        }
    }
}

extension RegisteredService {
    static let columns = "id, type, name, description, enabled, extra"

    init(row: any SQLRow) throws {
        self.init(
            id: try row.get(0), type: try row.get(1), name: try row.get(2), description: try row.get(3),
            isEnabled: try row.get(4), extra: try row.get(5))
    }
}

extension SQLConnection {
    /// - Throws: `ServiceError.notFound`.
    func service(_ id: ServiceID) throws -> RegisteredService {
        let service = try first("SELECT \(RegisteredService.columns) FROM identity_services WHERE id = $1", id) {
            try RegisteredService(row: $0)
        }
        guard let service else { throw ServiceError.missing("service", id) }
        return service
    }

    func insert(_ service: RegisteredService) throws {
        try execute(
            """
            INSERT INTO identity_services (id, type, name, description, enabled, extra)
            VALUES ($1, $2, $3, $4, $5, $6)
            """, service.id, service.type, service.name, service.description, service.isEnabled, service.extra)
    }
}
