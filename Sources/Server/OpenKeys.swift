import Core
import Logging
import Persistence
import ServiceLifecycle
import Trust

/// The keys' part of the start.
enum OpenKeys {
    /// The key manager in this program. The master keys are made with a new database and at no other time: a
    /// database that lost its file would be lost for good if another took its place.
    /// - Throws: `StartProblem`.
    static func embedded(
        _ choice: ServerSettings.EmbeddedKeysChoice, _ database: any SQLDatabase, _ surroundings: Surroundings
    ) async throws -> Secrets {
        try await StartProblem.wrapping("keys.master_key_file \(choice.masterKeyFile)") {
            let hasKeys = try await database.read { db in
                try db.first("SELECT 1 FROM master_keys") { _ in true } ?? false
            }
            let path = choice.masterKeyFile
            let keys = try hasKeys ? MasterKeys.load(path: path) : MasterKeys.create(path: path)
            var settings = SecretSettings()
            settings.retentionSeconds = choice.retentionSeconds
            let secrets = Secrets(
                database: database, surroundings: surroundings, settings: settings,
                ring: KeyRing(keys) { try MasterKeys.load(path: path) })
            try await secrets.open()
            return secrets
        }
    }
}

/// Hides keys that expire and erases those that were deleted long enough ago, until the server stops.
struct KeyHousekeeping: ServiceLifecycle.Service {
    private static let everySeconds: Double = 5

    let secrets: Secrets
    let clock: any WallClock
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await secrets.keepHouse()
                } catch is CancellationError {
                } catch {
                    logger.error(
                        "keeping house of the keys failed; it will be tried again", metadata: ["error": "\(error)"])
                }
                try? await clock.sleep(seconds: Self.everySeconds)
            }
        }
    }
}
