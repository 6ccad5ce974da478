import Logging
import Persistence

/// What the operator decides about keys.
package struct SecretSettings: Sendable {
    /// How long a deleted key can be had back, in seconds.
    package var retentionSeconds: Int64 = 604_800
    /// The largest payload, in bytes (Key Manager digest, section 2).
    package var payloadLimitBytes = 20_000
    /// How many key pairs are made at once, and how many orders may wait for that.
    package var pairConcurrency = 2
    package var pairQueueLimit = 32

    package init() {}
}

/// The key manager's use cases. One file each: `StoreSecret.swift`, `DeleteSecret.swift`, ….
package struct Secrets: Sendable {
    package let database: any SQLDatabase
    let surroundings: Surroundings
    package let settings: SecretSettings
    package let vault: KeyVault
    package let quarantine: Quarantine
    /// A pair takes seconds of a core.
    let pairGate: WorkGate

    package init(
        database: any SQLDatabase, surroundings: Surroundings, settings: SecretSettings, ring: KeyRing
    ) {
        self.database = database
        self.surroundings = surroundings
        self.settings = settings
        vault = KeyVault(ring: ring, randomness: surroundings.randomness)
        quarantine = Quarantine(database: database, clock: surroundings.clock, settings: settings)
        pairGate = WorkGate(
            work: surroundings.work, concurrency: settings.pairConcurrency, queueLimit: settings.pairQueueLimit,
            refusal: "Too many key pairs are being made; try again.")
    }

    var now: Timestamp { surroundings.clock.now }

    /// To be called once, before the first request: proves the master keys.
    /// - Throws: `KeyVaultError`, `SQLError`.
    package func open() async throws { try await vault.open(database, now: now) }

    /// The secret, if the caller may do the action with it.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    func secret(
        _ id: SecretID, _ action: SecretAction, _ caller: Caller, in db: any SQLConnection
    ) throws -> SecretRecord {
        guard let secret = try db.secret(id, now: now) else { throw ServiceError.noSecret }
        try SecretPolicy.require(action, caller, secret, in: db)
        return secret
    }
}

extension ServiceError {
    static var noSecret: ServiceError { .notFound("Secret not found.") }
}
