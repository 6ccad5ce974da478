import Persistence

/// Who registered as using a container.
package struct ListedContainerConsumer: Sendable, Equatable {
    package let consumer: KeyContainer.Consumer
    package let createdAt: Timestamp
    package let updatedAt: Timestamp
}

extension Secrets {
    /// `POST /v1/containers/{id}/consumers`. What is registered already stays whose it is.
    /// - Throws: `ServiceError.notFound`, `.forbidden` (policy, quota).
    package func register(
        _ consumer: KeyContainer.Consumer, of id: ContainerID, as caller: Caller
    ) async throws -> KeyContainer {
        let now = now
        return try await database.write { db in
            var container = try container(id, .addConsumer, caller, in: db)
            if container.consumers.contains(consumer) { return container }
            guard let project = caller.projectID else {
                throw ServiceError.keyRequestForbidden(ContainerAction.addConsumer.rawValue)
            }
            try KeyQuota.requireRoom(for: .consumers, project, of: "ContainerConsumer creation", in: db)
            try db.execute(
                """
                INSERT INTO secret_container_consumers (container_id, name, url, project, created_at, updated_at)
                VALUES ($1, $2, $3, $4, $5, $5)
                """, id, consumer.name, consumer.url, project, now)
            try db.execute("UPDATE secret_containers SET updated_at = $1 WHERE id = $2", now, id)
            container.updatedAt = now
            container.consumers.append(consumer)
            return container
        }
    }

    /// `GET /v1/containers/{id}/consumers`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func consumers(
        of id: ContainerID, _ page: KeyPageRequest, as caller: Caller
    ) async throws -> KeyPage<ListedContainerConsumer> {
        try await database.read { db in
            _ = try container(id, .readConsumers, caller, in: db)
            return try db.page(
                page, select: "name, url, created_at, updated_at",
                from: "secret_container_consumers WHERE container_id = $1", orderedBy: "created_at, name, url", [id]
            ) { row in
                ListedContainerConsumer(
                    consumer: .init(name: try row.get(0), url: try row.get(1)), createdAt: try row.get(2),
                    updatedAt: try row.get(3))
            }
        }
    }

    /// `DELETE /v1/containers/{id}/consumers`: by whose project it was registered, or whose project's the
    /// container is.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func unregister(
        _ consumer: KeyContainer.Consumer, of id: ContainerID, as caller: Caller
    ) async throws -> KeyContainer {
        try await database.write { db in
            var container = try container(id, .removeConsumer, caller, in: db)
            let project = try db.first(
                "SELECT project FROM secret_container_consumers WHERE container_id = $1 AND name = $2 AND url = $3", id,
                consumer.name, consumer.url
            ) { try $0.get(0, as: ProjectID?.self) }
            guard let project else { throw ServiceError.noConsumer }
            guard project == caller.projectID || container.project == caller.projectID else {
                throw ServiceError.notOwnConsumer
            }
            try db.execute(
                "DELETE FROM secret_container_consumers WHERE container_id = $1 AND name = $2 AND url = $3", id,
                consumer.name, consumer.url)
            container.consumers.removeAll { $0 == consumer }
            return container
        }
    }
}
