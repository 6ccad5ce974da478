import Persistence

/// What breaks if a key goes: the key, and all that names it, here or in other services.
package struct KeyGraphView: Sendable, Equatable {
    package struct Secret: Sendable, Equatable {
        package let record: SecretRecord
        package let deletedAt: Timestamp?
        package let reason: Quarantine.Reason?
        /// When a deleted one may be erased.
        package let quarantinedUntil: Timestamp?
    }

    /// The image at the end of an edge.
    package struct ImageEnd: Sendable, Equatable {
        package let name: String?
        package let owner: ProjectID?
        package let status: String
        package let recycledUntil: Timestamp?
    }

    package struct Edge: Sendable, Equatable {
        package let edge: KeyEdge
        /// Nil for what is no image, or one that this database does not know.
        package let image: ImageEnd?
    }

    /// A container that has the secret under a name.
    package struct Container: Sendable, Equatable {
        package let id: ContainerID
        package let name: String?
        package let member: String
    }

    package let id: SecretID
    /// Nil when it is not kept here: it may be in another key manager, or be erased.
    package let secret: Secret?
    /// Oldest first.
    package let edges: [Edge]
    package let containers: [Container]

    /// What could not be read any more without the key.
    package var needing: [Edge] { edges.filter(\.edge.keepsKey) }

    /// Nil when nothing is known of such a key.
    /// - Throws: `SQLError`.
    package static func read(_ id: SecretID, in database: any SQLDatabase) async throws -> KeyGraphView? {
        try await database.read { db in
            let view = KeyGraphView(
                id: id, secret: try secret(id, in: db), edges: try edges(id, in: db),
                containers: try containers(id, in: db))
            return view.secret == nil && view.edges.isEmpty && view.containers.isEmpty ? nil : view
        }
    }

    private static func secret(_ id: SecretID, in db: any SQLConnection) throws -> Secret? {
        try db.first(
            """
            SELECT \(SecretRow.columns), s.deleted_at, s.deletion_reason, s.quarantined_until FROM secrets s
            WHERE s.id = $1
            """, id
        ) { row in
            let reason = try row.get(13, as: String?.self)
            guard reason == nil || reason.flatMap(Quarantine.Reason.init) != nil else {
                throw SQLError(code: .corrupt, operation: "read secret", message: "unknown reason")
            }
            return Secret(
                record: try SecretRow.read(row), deletedAt: try row.get(12),
                reason: reason.flatMap(Quarantine.Reason.init), quarantinedUntil: try row.get(14))
        }
    }

    private static func edges(_ id: SecretID, in db: any SQLConnection) throws -> [Edge] {
        try KeyGraph.edges(of: id, in: db).map { edge in
            guard edge.consumer == .image(ImageID(edge.consumer.resourceID)) else {
                return Edge(edge: edge, image: nil)
            }
            let image = try db.first(
                "SELECT name, owner, status, recycled_until FROM images WHERE id = $1", edge.consumer.resourceID
            ) {
                ImageEnd(
                    name: try $0.get(0), owner: try $0.get(1), status: try $0.get(2), recycledUntil: try $0.get(3))
            }
            return Edge(edge: edge, image: image)
        }
    }

    private static func containers(_ id: SecretID, in db: any SQLConnection) throws -> [Container] {
        try db.query(
            """
            SELECT c.id, c.name, m.name FROM secret_container_members m JOIN secret_containers c ON c.id = m.container_id
            WHERE m.secret_id = $1 ORDER BY c.created_at, c.id, m.name
            """, id
        ) { Container(id: try $0.get(0), name: try $0.get(1), member: try $0.get(2)) }
    }
}
