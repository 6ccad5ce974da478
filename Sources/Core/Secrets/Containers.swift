import Logging
import Persistence

/// Which containers a list is to have.
package struct ContainerFilter: Sendable {
    package var name: String?
    package var type: String?

    package init(name: String? = nil, type: String? = nil) {
        self.name = name
        self.type = type
    }
}

extension Secrets {
    /// The container, if the caller may do the action with it.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    func container(
        _ id: ContainerID, _ action: ContainerAction, _ caller: Caller, in db: any SQLConnection
    ) throws -> KeyContainer {
        guard let container = try db.container(id, now: now) else {
            throw ServiceError.notFound("Secrets container not found.")
        }
        let standing = SecretStanding(
            project: container.project, creator: container.creator, acl: try db.acl(of: id.rawValue))
        guard SecretPolicy.allows(action, caller, standing) else {
            throw ServiceError.keyRequestForbidden(action.rawValue)
        }
        return container
    }

    /// `POST /v1/containers`.
    /// - Throws: `ServiceError`: `.forbidden` (policy, quota), `.notFound` (no such secret in the project).
    package func createContainer(_ draft: ContainerDraft, as caller: Caller) async throws -> ContainerID {
        let project = try SecretPolicy.requireMember(ContainerAction.create, caller)
        let now = now
        let id = ContainerID(surroundings.uuid())
        try await database.write { db in
            try KeyQuota.requireRoom(for: .containers, project, in: db)
            let members = try draft.members.map { member in
                guard let secret = try Self.ownSecret(member.reference, of: project, now: now, in: db) else {
                    throw ServiceError.notFound("Secret provided for '\(member.name ?? "None")' doesn't exist.")
                }
                return KeyContainer.Member(name: member.name, secret: secret)
            }
            try db.insert(
                KeyContainer(
                    id: id, project: project, creator: caller.userID, name: draft.name, kind: draft.kind,
                    createdAt: now, updatedAt: now, members: members))
        }
        caller.logger.info("container created", metadata: ["container": "\(id)"])
        return id
    }

    /// Only the project's own secrets go into a container: one of others could be read by no more than who may
    /// read it anyway, but would tell that it is there.
    private static func ownSecret(
        _ reference: SecretReference, of project: ProjectID, now: Timestamp, in db: any SQLConnection
    ) throws -> SecretID? {
        guard let id = reference.secret, let secret = try db.secret(id, now: now), secret.project == project else {
            return nil
        }
        return id
    }

    /// `GET /v1/containers/{id}`.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func container(_ id: ContainerID, as caller: Caller) async throws -> KeyContainer {
        try await database.read { db in try container(id, .read, caller, in: db) }
    }

    /// `GET /v1/containers`: those of the caller's project, private ones included.
    /// - Throws: `ServiceError.forbidden`.
    package func containers(
        _ filter: ContainerFilter, _ page: KeyPageRequest, as caller: Caller
    ) async throws -> KeyPage<KeyContainer> {
        let project = try SecretPolicy.requireMember(ContainerAction.list, caller)
        let now = now
        var from = "secret_containers c WHERE c.project = $1"
        var arguments: [any SQLBindable] = [project]
        for (column, value) in [("name", filter.name), ("type", filter.type)] {
            guard let value, !value.isEmpty else { continue }
            arguments.append(value)
            from += " AND c.\(column) = $\(arguments.count)"
        }
        let (source, values) = (from, arguments)
        return try await database.read { db in
            let found = try db.page(
                page, select: KeyContainer.columns, from: source, orderedBy: "c.created_at, c.id", values
            ) { try KeyContainer(row: $0) }
            return KeyPage(entries: try db.completed(found.entries, now: now), total: found.total)
        }
    }

    /// `DELETE /v1/containers/{id}`: its secrets stay, and its consumers keep it from nothing.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    package func deleteContainer(_ id: ContainerID, as caller: Caller) async throws {
        try await database.write { db in
            _ = try container(id, .delete, caller, in: db)
            try db.deleteContainer(id)
        }
        caller.logger.info("container deleted", metadata: ["container": "\(id)"])
    }

    /// `POST /v1/containers/{id}/secrets`.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden`, `.badRequest` (not a generic one), `.conflict`.
    package func add(_ draft: ContainerSecretDraft, to id: ContainerID, as caller: Caller) async throws {
        let now = now
        try await database.write { db in
            let container = try container(id, .addSecret, caller, in: db)
            try Self.requireGeneric(container)
            guard let secret = try Self.ownSecret(draft.reference, of: container.project, now: now, in: db) else {
                throw ServiceError.notFound("Secret provided doesn't exist.")
            }
            let member = KeyContainer.Member(name: draft.name, secret: secret)
            guard !container.members.contains(member) else {
                throw ServiceError.conflict(
                    "Conflict. A secret with that name and ID is already stored in this container. The same secret can "
                        + "exist in a container as long as the name is unique.")
            }
            try db.insert(member, in: id)
            try db.execute("UPDATE secret_containers SET updated_at = $1 WHERE id = $2", now, id)
        }
    }

    /// `DELETE /v1/containers/{id}/secrets`: the secret itself stays.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden`, `.badRequest` (not a generic one).
    package func remove(_ draft: ContainerSecretDraft, from id: ContainerID, as caller: Caller) async throws {
        let now = now
        try await database.write { db in
            let container = try container(id, .removeSecret, caller, in: db)
            try Self.requireGeneric(container)
            guard let secret = try Self.ownSecret(draft.reference, of: container.project, now: now, in: db) else {
                throw ServiceError.notFound(
                    "Secret '\(draft.name ?? "None")' with reference '\(draft.text)' doesn't exist.")
            }
            let removed = try db.execute(
                "DELETE FROM secret_container_members WHERE container_id = $1 AND secret_id = $2 AND name = $3", id,
                secret, draft.name ?? "")
            guard removed == 1 else { throw ServiceError.notFound("Secret provided is not in the container") }
            try db.execute("UPDATE secret_containers SET updated_at = $1 WHERE id = $2", now, id)
        }
    }

    private static func requireGeneric(_ container: KeyContainer) throws {
        guard container.kind == .generic else {
            throw ServiceError.badRequest("Only 'generic' containers can be modified.")
        }
    }
}
