import Persistence

/// A secret as its readers get it, without its payload.
package struct SecretView: Sendable, Equatable {
    package let secret: SecretRecord
    /// What keeps the key from being deleted, the oldest first; empty when nobody asked for it.
    package let consumers: [KeyConsumer]

    package init(secret: SecretRecord, consumers: [KeyConsumer]) {
        self.secret = secret
        self.consumers = consumers
    }
}

extension Secrets {
    /// `GET /v1/secrets/{id}`.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden`.
    package func get(_ id: SecretID, withConsumers: Bool, as caller: Caller) async throws -> SecretView {
        try await database.read { db in
            let secret = try secret(id, .readMetadata, caller, in: db)
            return SecretView(secret: secret, consumers: withConsumers ? try db.consumers(of: id) : [])
        }
    }

    /// `GET /v1/secrets/{id}/payload`: in the clear.
    /// - Throws: `ServiceError`: `.notFound` (also when it has no payload), `.forbidden`; `KeyVaultError`.
    package func payload(of id: SecretID, as caller: Caller) async throws -> SecretPayload {
        try await database.read { db in
            let secret = try secret(id, .decrypt, caller, in: db)
            guard let text = secret.contentType, let bytes = try vault.payload(of: id, in: db) else {
                throw ServiceError.notFound("Not Found. Sorry but your secret has no payload.")
            }
            guard let type = SecretMediaType(rawValue: text) else {
                throw SQLError(code: .corrupt, operation: "read secret", message: "unknown content type")
            }
            return SecretPayload(bytes: bytes, type: type)
        }
    }
}

extension SQLConnection {
    /// Each resource that keeps the key, once.
    func consumers(of secret: SecretID) throws -> [KeyConsumer] {
        var seen: Set<KeyConsumer> = []
        return try KeyGraph.edges(of: secret, in: self).filter(\.keepsKey).map(\.consumer).filter {
            seen.insert($0).inserted
        }
    }
}
