import Logging
import Persistence

extension Secrets {
    /// `POST /v1/secrets`, with the payload or without.
    /// - Throws: `ServiceError`: `.forbidden` (role, quota), `.badRequest` (it would have expired already).
    package func store(_ draft: SecretDraft, as caller: Caller) async throws -> SecretID {
        let project = try SecretPolicy.require(.create, caller)
        let now = now
        if let expiresAt = draft.expiresAt, expiresAt <= now {
            throw SecretFields(schema: "'Secret'").mismatch("expiration", "'expiration' is before current time")
        }
        let secret = SecretRecord(
            id: SecretID(surroundings.uuid()), project: project, creator: caller.userID, name: draft.name,
            type: draft.type, algorithm: draft.algorithm, bitLength: draft.bitLength, mode: draft.mode,
            expiresAt: draft.expiresAt, createdAt: now, updatedAt: now, contentType: draft.payload?.type.rawValue)
        let prepared = draft.payload.map { vault.prepare($0.bytes, of: secret.id, in: project) }
        try await database.write { db in
            try KeyQuota.requireRoom(for: .secrets, project, in: db)
            let envelope = try prepared.map { try vault.wrap($0, now: now, in: db) }
            try db.insertSecret(secret, envelope)
        }
        caller.logger.info("secret stored", metadata: ["secret": "\(secret.id)"])
        return secret.id
    }

    /// `PUT /v1/secrets/{id}`: the payload of a secret that was stored without one.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden`, `.conflict` (it has a payload).
    package func supply(_ payload: SecretPayload, to id: SecretID, as caller: Caller) async throws {
        // Only members of the secret's project get as far as the payload being kept.
        guard let project = caller.projectID else { throw ServiceError.secretForbidden(.change) }
        let now = now
        let prepared = vault.prepare(payload.bytes, of: id, in: project)
        try await database.write { db in
            let secret = try secret(id, .change, caller, in: db)
            guard secret.project == project else { throw ServiceError.secretForbidden(.change) }
            guard secret.contentType == nil else { throw ServiceError.hasPayload }
            let envelope = try vault.wrap(prepared, now: now, in: db)
            let changed = try db.execute(
                """
                UPDATE secrets SET content_type = $1, project_key = $2, wrapped_key = $3, sealed_payload = $4,
                    updated_at = $5
                WHERE id = $6 AND content_type IS NULL AND deleted_at IS NULL
                """,
                payload.type.rawValue, envelope.projectKey, envelope.wrappedKey, envelope.payload, now, id)
            guard changed == 1 else { throw ServiceError.hasPayload }
        }
        caller.logger.info("secret's payload stored", metadata: ["secret": "\(id)"])
    }
}

extension ServiceError {
    fileprivate static var hasPayload: ServiceError { .conflict("Secret already has data, cannot modify it.") }
}
