import Core
import Logging
import Persistence
import Remote
import ServiceLifecycle
import Trust

/// The keys' part of the start.
enum OpenKeys {
    /// The key manager in this program. The master keys are made with a new database and at no other time: a
    /// database that lost its file would be lost for good if another took its place.
    /// - Parameter mayCreate: false for a server beside the one that makes them.
    /// - Throws: `StartProblem`.
    static func embedded(
        _ choice: ServerSettings.EmbeddedKeysChoice, _ database: any SQLDatabase, _ surroundings: Surroundings,
        mayCreate: Bool
    ) async throws -> Secrets {
        try await StartProblem.wrapping("keys.master_key_file \(choice.masterKeyFile)") {
            let hasKeys = try await database.read { db in
                try db.first("SELECT 1 FROM master_keys") { _ in true } ?? false
            }
            let path = choice.masterKeyFile
            let keys = try hasKeys || !mayCreate ? MasterKeys.load(path: path) : MasterKeys.create(path: path)
            var settings = SecretSettings()
            settings.retentionSeconds = choice.retentionSeconds
            let secrets = Secrets(
                database: database, surroundings: surroundings, settings: settings,
                ring: KeyRing(keys) { try MasterKeys.load(path: path) })
            try await secrets.open()
            return secrets
        }
    }

    /// A Barbican. One that is out of reach keeps nobody from images: what it has to be told waits in jobs.
    static func barbican(
        _ choice: ServerSettings.BarbicanChoice, _ keystone: KeystoneSettings, region: String,
        _ process: Application.Process
    ) async -> BarbicanKeyManager {
        var settings = BarbicanSettings(keystone: keystone, url: choice.url)
        settings.region = region
        let keys = BarbicanKeyManager(settings, surroundings: process.surroundings)
        do {
            if try await !keys.checkReachable() {
                process.logger.warning(
                    "the Barbican knows no consumers of secrets: its users can delete keys that images need")
            }
        } catch {
            process.logger.error(
                "the Barbican is out of reach; what it has to be told waits", metadata: ["error": "\(error)"])
        }
        return keys
    }
}

/// Closes the connections to the Barbican once nobody asks it any more.
struct BarbicanConnections: ServiceLifecycle.Service {
    let keys: BarbicanKeyManager

    func run() async throws {
        try? await gracefulShutdown()
        try await keys.shutdown()
    }
}

/// Hides keys that expire and erases those that were deleted long enough ago, until the server stops.
struct KeyHousekeeping: ServiceLifecycle.Service {
    private static let everySeconds: Double = 5
    private static let passesAGauge = 3

    let secrets: Secrets
    let clock: any WallClock
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var pass = 0
            while !Task.isCancelled {
                do {
                    try await secrets.keepHouse()
                    if pass % Self.passesAGauge == 0 {
                        try await KeyGauges(database: secrets.database, clock: clock).record()
                    }
                } catch is CancellationError {
                } catch {
                    logger.error(
                        "keeping house of the keys failed; it will be tried again", metadata: ["error": "\(error)"])
                }
                pass += 1
                try? await clock.sleep(seconds: Self.everySeconds)
            }
        }
    }
}
