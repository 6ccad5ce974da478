import Persistence

/// The key manager in this program: it reads the same edges, so there is nothing to register.
package struct EmbeddedKeyManager: KeyManager {
    private let secrets: Secrets

    package init(_ secrets: Secrets) { self.secrets = secrets }

    package var keepsOwnConsumers: Bool { false }

    package func register(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) async throws {}
    package func unregister(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) async throws {}

    package func destroy(
        _ key: SecretID, of consumer: KeyConsumer, for project: ProjectID
    ) async throws -> KeyFate {
        let now = secrets.now
        return try await secrets.database.write { db in
            guard let secret = try db.secret(key, now: now) else { return .notFound }
            guard secret.project == project else { return .kept("it belongs to another project") }
            guard secret.type.isImageKey else { return .kept("it is of the type \(secret.type.rawValue)") }
            if try KeyGraph.isHeld(key, exceptBy: consumer, in: db) { return .kept("something else needs it") }
            try secrets.quarantine.add(key, .withImage, now: now, in: db)
            return .destroyed
        }
    }
}
