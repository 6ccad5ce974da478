import Logging
import Persistence

extension Secrets {
    private static let noOrder = ServiceError.notFound("Order not found.")

    /// The order, if it is of the caller's project; that there is another project's is not told.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    private func order(
        _ id: OrderID, _ action: OrderAction, _ caller: Caller, in db: any SQLConnection
    ) throws -> KeyOrder {
        let found = try db.first("SELECT \(KeyOrder.columns) FROM secret_orders WHERE id = $1", id) {
            try KeyOrder(row: $0)
        }
        guard let found, found.project == caller.projectID else { throw Self.noOrder }
        _ = try SecretPolicy.requireMember(action, caller)
        return found
    }

    /// `GET /v1/orders/{id}`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func order(_ id: OrderID, as caller: Caller) async throws -> KeyOrder {
        try await database.read { db in try order(id, .read, caller, in: db) }
    }

    /// `GET /v1/orders`, the oldest first.
    /// - Throws: `ServiceError.forbidden`.
    package func orders(_ page: KeyPageRequest, as caller: Caller) async throws -> KeyPage<KeyOrder> {
        let project = try SecretPolicy.requireMember(OrderAction.list, caller)
        return try await database.read { db in
            try db.page(
                page, select: KeyOrder.columns, from: "secret_orders WHERE project = $1",
                orderedBy: "created_at, id", [project]
            ) { try KeyOrder(row: $0) }
        }
    }

    /// `DELETE /v1/orders/{id}`: what was made stays.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func deleteOrder(_ id: OrderID, as caller: Caller) async throws {
        try await database.write { db in
            _ = try order(id, .delete, caller, in: db)
            try db.execute("DELETE FROM secret_orders WHERE id = $1", id)
        }
        caller.logger.info("order deleted", metadata: ["order": "\(id)"])
    }
}
