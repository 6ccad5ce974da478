import Logging
import Persistence

extension Secrets {
    /// What castellan looks for in the body of a refusal (Key Manager digest, section 4).
    static let hasConsumers = "Secret cannot be deleted as it has consumers."

    /// `DELETE /v1/secrets/{id}`: the secret is gone for everyone, and kept for the operator for a time. While
    /// anything needs it that is refused at every microversion (rule K1); check and deletion are one transaction.
    /// - Parameter force: whether a needed key goes all the same (from microversion 1.2): its owner or an
    ///   administrator says so, it is logged, and what is left of the key is kept while anything needs it.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden`, `.badRequest` (it is needed).
    package func delete(_ id: SecretID, force: Bool, as caller: Caller) async throws {
        let now = now
        let needing = try await database.write { db in
            _ = try secret(id, .delete, caller, in: db)
            let needing = try KeyGraph.edges(of: id, in: db).filter(\.keepsKey)
            guard needing.isEmpty || force else { throw ServiceError.badRequest(Self.hasConsumers) }
            try quarantine.add(id, force ? .forced : .deleted, now: now, in: db)
            return needing
        }
        var metadata: Logger.Metadata = ["secret": "\(id)"]
        if !needing.isEmpty {
            metadata["needed_by"] = "\(needing.map { "\($0.consumer.service)/\($0.consumer.resourceID)" })"
            caller.logger.warning("secret deleted by force", metadata: metadata)
        } else {
            caller.logger.notice("secret deleted", metadata: metadata)
        }
    }
}
