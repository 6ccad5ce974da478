import Persistence

/// What needs a key: a resource of one of this cloud's services, or whatever a client registered.
package struct KeyConsumer: Sendable, Hashable {
    package let service: String
    package let resourceType: String
    package let resourceID: String

    package init(service: String, resourceType: String, resourceID: String) {
        self.service = service
        self.resourceType = resourceType
        self.resourceID = resourceID
    }

    package static func image(_ id: ImageID) -> KeyConsumer {
        KeyConsumer(service: "image", resourceType: "image", resourceID: id.rawValue)
    }
}

/// One reason why a key is needed. The states are drawn in `SecretMigrations`.
package struct KeyEdge: Sendable, Equatable {
    package enum State: String, Sendable, CaseIterable { case held, releasing, destroying, leaving }

    package let secret: SecretID
    package let consumer: KeyConsumer
    /// The property that names the key, or `consumer`.
    package let via: String
    /// Whose resource it is; for `consumer` who registered it.
    package let project: ProjectID?
    /// Whether it keeps the key. An edge of somebody who could not use the key keeps nothing.
    package let holds: Bool
    package let state: State
    /// Whether the key is to go with the resource, if nothing else needs it.
    package let destroys: Bool
    package let createdAt: Timestamp
}

/// The key graph (rules R5, K1 to K8): every edge of every service in one table. The functions are steps of
/// the transactions that change what the edges follow from.
package enum KeyGraph {
    /// `via` of what clients registered through the consumers API.
    package static let registered = "consumer"
    static let columns =
        "secret_id, service, resource_type, resource_id, via, project, holds, state, destroys, created_at"

    static func read(_ row: any SQLRow) throws -> KeyEdge {
        guard let state = KeyEdge.State(rawValue: try row.get(7)) else {
            throw SQLError(code: .corrupt, operation: "read key edge", message: "unknown state")
        }
        return KeyEdge(
            secret: try row.get(0),
            consumer: KeyConsumer(
                service: try row.get(1), resourceType: try row.get(2), resourceID: try row.get(3)),
            via: try row.get(4), project: try row.get(5), holds: try row.get(6), state: state,
            destroys: try row.get(8), createdAt: try row.get(9))
    }

    /// All edges of a key, oldest first.
    static func edges(of secret: SecretID, in db: any SQLConnection) throws -> [KeyEdge] {
        try db.query(
            """
            SELECT \(columns) FROM key_edges WHERE secret_id = $1
            ORDER BY created_at, service, resource_type, resource_id, via
            """, secret, row: read)
    }

    static func edges(of consumer: KeyConsumer, in db: any SQLConnection) throws -> [KeyEdge] {
        try db.query(
            """
            SELECT \(columns) FROM key_edges WHERE service = $1 AND resource_type = $2 AND resource_id = $3
            ORDER BY secret_id, via
            """, consumer.service, consumer.resourceType, consumer.resourceID, row: read)
    }

    /// Whether anything keeps the key, other than this resource itself.
    static func isHeld(
        _ secret: SecretID, exceptBy consumer: KeyConsumer? = nil, in db: any SQLConnection
    ) throws -> Bool {
        try edges(of: secret, in: db).contains { $0.keepsKey && $0.consumer != consumer }
    }

    /// The same as a condition on `secrets s`.
    static let isHeldSQL = """
        EXISTS (SELECT 1 FROM key_edges e WHERE e.secret_id = s.id AND e.holds = 1 AND e.state IN ('held', 'releasing'))
        """

    /// An edge that there is already stays as it is, except that it may hold from now on.
    package static func hold(
        _ secret: SecretID, by consumer: KeyConsumer, via: String, of project: ProjectID?, holds: Bool, now: Timestamp,
        in db: any SQLConnection
    ) throws {
        try db.execute(
            """
            INSERT INTO key_edges (secret_id, service, resource_type, resource_id, via, project, holds, state,
                destroys, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 'held', 0, $8)
            ON CONFLICT (secret_id, service, resource_type, resource_id, via)
            DO UPDATE SET holds = CASE WHEN excluded.holds = 1 THEN 1 ELSE key_edges.holds END
            """,
            secret, consumer.service, consumer.resourceType, consumer.resourceID, via, project, holds, now)
    }

    /// - Returns: whether there was one.
    @discardableResult
    package static func drop(_ secret: SecretID, by consumer: KeyConsumer, via: String, in db: any SQLConnection) throws
        -> Bool
    {
        try db.execute(
            """
            DELETE FROM key_edges
            WHERE secret_id = $1 AND service = $2 AND resource_type = $3 AND resource_id = $4 AND via = $5
            """, secret, consumer.service, consumer.resourceType, consumer.resourceID, via) == 1
    }

    static func move(_ edge: KeyEdge, to state: KeyEdge.State, destroys: Bool, in db: any SQLConnection) throws {
        try db.execute(
            """
            UPDATE key_edges SET state = $1, destroys = $2
            WHERE secret_id = $3 AND service = $4 AND resource_type = $5 AND resource_id = $6 AND via = $7
            """,
            state.rawValue, destroys, edge.secret, edge.consumer.service, edge.consumer.resourceType,
            edge.consumer.resourceID, edge.via)
    }

    /// Refuses a key that is about to be destroyed outside of this database: naming it now would come too late.
    /// - Throws: `ServiceError.conflict`.
    static func requireNotDestroying(_ secret: SecretID, in db: any SQLConnection) throws {
        let isGoing = try db.first(
            "SELECT 1 FROM key_edges WHERE secret_id = $1 AND state = 'destroying'", secret
        ) { _ in true }
        if isGoing ?? false {
            throw ServiceError.conflict("The key \(secret) is being deleted with the last image that used it.")
        }
    }
}

extension KeyEdge {
    /// Whether something that is still there needs the key.
    package var keepsKey: Bool { holds && (state == .held || state == .releasing) }
}
