import Logging
import Persistence

extension KeyConsumer {
    private static let schema = KeySchema("Secret Consumer")

    /// From the body of a request. The id is one of a resource of OpenStack, so no longer than a UUID.
    /// - Throws: `ServiceError.badRequest`.
    package init(_ document: JSONValue) throws {
        let schema = Self.schema
        let members = try schema.members(of: document)
        let names = ["service", "resource_type", "resource_id"]
        // All that is missing is said before anything of what is there.
        for name in names { _ = try schema.required(name, in: members) }
        self.init(
            service: try schema.requiredText(names[0], 1...255, in: members),
            resourceType: try schema.requiredText(names[1], 1...255, in: members),
            resourceID: try schema.requiredText(names[2], 1...36, in: members))
    }
}

/// A resource that needs a key, and since when.
package struct RegisteredConsumer: Sendable, Equatable {
    package let consumer: KeyConsumer
    package let createdAt: Timestamp
}

extension KeyGraph {
    /// What keeps the key, each resource once. An edge that keeps nothing is not among it: a client takes every
    /// consumer for a reason not to delete a key, and anybody can name a key of others.
    private static let consumersSQL = """
        (SELECT service, resource_type, resource_id, MIN(created_at) AS since FROM key_edges
        WHERE secret_id = $1 AND holds = 1 AND state IN ('held', 'releasing')
        GROUP BY service, resource_type, resource_id) c
        """
    private static let consumerColumns = "c.service, c.resource_type, c.resource_id, c.since"
    private static let consumerOrder = "c.since, c.service, c.resource_type, c.resource_id"

    private static func readConsumer(_ row: any SQLRow) throws -> RegisteredConsumer {
        RegisteredConsumer(
            consumer: KeyConsumer(service: try row.get(0), resourceType: try row.get(1), resourceID: try row.get(2)),
            createdAt: try row.get(3))
    }

    static func consumers(
        of secret: SecretID, _ page: KeyPageRequest, in db: any SQLConnection
    ) throws -> KeyPage<RegisteredConsumer> {
        try db.page(
            page, select: consumerColumns, from: consumersSQL, orderedBy: consumerOrder, [secret], row: readConsumer)
    }
}

extension Secrets {
    /// `POST /v1/secrets/{id}/consumers`: nobody deletes the key from now on. What is registered already stays
    /// whose it is.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden` (policy, quota), `.conflict` (the key is about to go).
    package func register(_ consumer: KeyConsumer, of id: SecretID, as caller: Caller) async throws -> SecretView {
        let now = now
        let result = try await database.write { db in
            var secret = try secret(id, .addConsumer, caller, in: db)
            guard let project = caller.projectID else {
                throw ServiceError.keyRequestForbidden("SecretConsumer creation")
            }
            try KeyGraph.requireNotDestroying(id, in: db)
            let isThere = try KeyGraph.edges(of: id, in: db).contains {
                $0.consumer == consumer && $0.via == KeyGraph.registered
            }
            if !isThere {
                try KeyQuota.requireRoom(for: .consumers, project, in: db)
                try KeyGraph.hold(
                    id, by: consumer, via: KeyGraph.registered, of: project, holds: true, now: now, in: db)
                try db.execute("UPDATE secrets SET updated_at = $1 WHERE id = $2", now, id)
                secret.updatedAt = now
            }
            return SecretView(secret: secret, consumers: try db.consumers(of: id))
        }
        caller.logger.info("consumer registered", metadata: Self.metadata(consumer, of: id))
        return result
    }

    /// `GET /v1/secrets/{id}/consumers`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func consumers(
        of id: SecretID, _ page: KeyPageRequest, as caller: Caller
    ) async throws -> KeyPage<RegisteredConsumer> {
        try await database.read { db in
            _ = try secret(id, .readConsumers, caller, in: db)
            return try KeyGraph.consumers(of: id, page, in: db)
        }
    }

    /// `DELETE /v1/secrets/{id}/consumers`: by whose project it was registered, or whose project's the secret is.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden`; that also for what a service of this cloud needs by
    ///   itself: it goes when the resource lets go of the key.
    package func unregister(
        _ consumer: KeyConsumer, of id: SecretID, as caller: Caller
    ) async throws -> SecretView {
        let result = try await database.write { db in
            let secret = try secret(id, .removeConsumer, caller, in: db)
            let edges = try KeyGraph.edges(of: id, in: db).filter { $0.consumer == consumer && $0.keepsKey }
            guard let edge = edges.first(where: { $0.via == KeyGraph.registered }) else {
                guard edges.isEmpty else { throw Self.heldByProperty(edges[0]) }
                throw ServiceError.noConsumer
            }
            guard edge.project == caller.projectID || secret.project == caller.projectID else {
                throw ServiceError.notOwnConsumer
            }
            try KeyGraph.drop(id, by: consumer, via: KeyGraph.registered, in: db)
            return SecretView(secret: secret, consumers: try db.consumers(of: id))
        }
        caller.logger.info("consumer removed", metadata: Self.metadata(consumer, of: id))
        return result
    }

    private static func heldByProperty(_ edge: KeyEdge) -> ServiceError {
        .forbidden(
            "The \(edge.consumer.resourceType) \(edge.consumer.resourceID) names this key in its property \(edge.via). "
                + "It stops being a consumer when it is deleted or the property is removed.")
    }

    private static func metadata(_ consumer: KeyConsumer, of id: SecretID) -> Logger.Metadata {
        ["secret": "\(id)", "consumer": "\(consumer.service)/\(consumer.resourceType)/\(consumer.resourceID)"]
    }
}

extension ServiceError {
    static var noConsumer: ServiceError { .notFound("Consumer not found.") }
    static var notOwnConsumer: ServiceError {
        .forbidden("Not Allowed. Sorry, only the creator of a consumer can delete it.")
    }
}
