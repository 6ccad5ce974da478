import Logging
import Persistence

/// Keys: what needs them, and deleted ones that can still be had back.
extension OperatorView {
    /// Of what was deleted already: the retention is none of its business.
    private var quarantine: Quarantine { Quarantine(database: database, clock: clock, settings: SecretSettings()) }

    /// What breaks if the key goes.
    /// - Throws: `ServiceError`: `.forbidden`, `.notFound` (nothing here knows of such a key).
    package func keyGraph(_ id: SecretID, as caller: Caller) async throws -> KeyGraphView {
        try requireOperator(caller)
        guard let graph = try await KeyGraphView.read(id, in: database) else { throw KeyGraphView.nothing(id) }
        return graph
    }

    /// - Throws: `ServiceError.forbidden`.
    package func deletedKeys(
        _ page: PageRequest, as caller: Caller
    ) async throws -> (page: Page<Quarantine.Entry>, counts: KeyCounts) {
        try requireOperator(caller)
        let counts = try await quarantine.counts()
        return (try await quarantine.entries(page), counts)
    }

    /// - Throws: `ServiceError`: `.forbidden`, `.notFound` (not in quarantine).
    package func undeleteKey(_ id: SecretID, as caller: Caller) async throws {
        try requireOperator(caller)
        try await quarantine.undelete(id)
        caller.logger.notice("key undeleted by an operator", metadata: ["secret": "\(id)"])
    }

    /// - Throws: `ServiceError`: `.forbidden`, `.notFound` (not in quarantine), `.conflict` (something needs it).
    package func eraseKey(_ id: SecretID, as caller: Caller) async throws {
        try requireOperator(caller)
        try await quarantine.erase(id)
        caller.logger.notice("deleted key erased by an operator", metadata: ["secret": "\(id)"])
    }
}

extension KeyGraphView {
    package static func nothing(_ id: SecretID) -> ServiceError {
        .notFound("Nothing here knows of a key \(id): it is not kept here, and nothing names it.")
    }
}
