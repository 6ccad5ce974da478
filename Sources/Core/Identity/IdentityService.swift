import Persistence
import Trust

/// The embedded Identity: its state is the database; in memory it keeps only what may be lost (the
/// cache of validated tokens, the delays after wrong passwords). Its use cases stand in the files
/// of their resources.
package struct IdentityService: Sendable {
    package let settings: IdentitySettings
    let database: any SQLDatabase
    let surroundings: Surroundings
    let keys: TokenKeys
    let hashing: WorkGate
    let tokenCache: TokenCache
    let loginDelays: LoginDelays
    let onProjectDeletion: ProjectDeletionStep?

    /// What another service does in the transaction that deletes a project.
    package typealias ProjectDeletionStep = @Sendable (ProjectID, any SQLConnection) throws -> Void

    /// - Parameters:
    ///   - database: with `IdentityMigrations` applied.
    ///   - changes: shared by all processes that write to the database.
    package init(
        database: any SQLDatabase, surroundings: Surroundings, settings: IdentitySettings, keys: TokenKeys,
        changes: any ChangeCounter = OwnChangeCounter(), onProjectDeletion: ProjectDeletionStep? = nil
    ) {
        self.onProjectDeletion = onProjectDeletion
        self.settings = settings
        self.database = database
        self.surroundings = surroundings
        self.keys = keys
        hashing = WorkGate(
            work: surroundings.work, concurrency: settings.hashingConcurrency, queueLimit: settings.hashingQueueLimit,
            refusal: "Too many logins are waiting; try again.")
        tokenCache = TokenCache(
            limit: settings.tokenCacheLimit, lifetimeSeconds: settings.tokenCacheSeconds, changes: changes)
        loginDelays = LoginDelays(windowSeconds: settings.lockoutSeconds)
    }

    var now: Timestamp { surroundings.clock.now }

    /// A write that may change what a token is worth: once it returns, no token is accepted on what
    /// was known before it, by no process.
    func change<T: Sendable>(_ body: @escaping @Sendable (any SQLConnection) throws -> T) async throws -> T {
        defer { tokenCache.invalidate() }
        return try await database.write(body)
    }

    /// Hashes what a person chose.
    func hash(_ password: String) async throws -> PasswordHash {
        let cost = settings.scryptCost
        let salt = surroundings.randomness.bytes(16)
        return try await hashing.run { PasswordHash(password: password, costLog2: cost, salt: salt) }
    }
}

extension SQLConnection {
    /// Runs an INSERT or UPDATE, telling a broken UNIQUE constraint as `conflict`.
    func execute(_ sql: String, _ arguments: [any SQLBindable], orConflict conflict: ServiceError) throws {
        do {
            try execute(sql, arguments)
        } catch let error as SQLError where error.code == .unique {
            throw conflict
        }
    }
}
