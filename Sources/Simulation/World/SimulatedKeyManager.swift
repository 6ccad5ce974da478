import Core

/// What a key manager outside of the cloud keeps.
package struct RemoteKeys: Hashable, Sendable {
    package struct Secret: Hashable, Sendable {
        package let project: ProjectID
        package let type: SecretType
        package let payload: [UInt8]
        package var consumers: Set<KeyConsumer> = []
    }

    package var secrets: [SecretID: Secret] = [:]

    package init() {}

    /// Equal for equal contents, in every run.
    package var fingerprint: UInt64 {
        var hash: UInt64 = 1
        for (id, secret) in secrets.sorted(by: { $0.key < $1.key }) {
            hash = Hash64.combine(hash, Hash64.of(id.rawValue))
            for consumer in secret.consumers.map({ "\($0.service)/\($0.resourceID)" }).sorted() {
                hash = Hash64.combine(hash, Hash64.of(consumer))
            }
        }
        return hash
    }
}

/// A Barbican that knows consumers, outside of the cloud: no crash of a server touches it, and what it is asked
/// is done at once or not at all. Of its world's thread.
package final class SimulatedBarbican: @unchecked Sendable {
    package private(set) var keys: RemoteKeys
    /// Told after each change.
    package var onEffect: (() -> Void)?

    package init(_ keys: RemoteKeys = RemoteKeys()) { self.keys = keys }

    func change<T>(_ body: (inout RemoteKeys) throws -> T) rethrows -> T {
        let before = keys
        let result = try body(&keys)
        if keys != before { onEffect?() }
        return result
    }
}

/// How `BarbicanKeyManager` (Sources/Remote) uses it: request by request, each of which others may come between.
package struct SimulatedKeyManager: KeyManager {
    private static let rounds = 3
    private static let requestMicroseconds: Int64 = 300

    let barbican: SimulatedBarbican
    let executor: SeededExecutor
    let stall: Stall
    let mount: Mount

    package var keepsOwnConsumers: Bool { true }

    package func register(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) async throws {
        try await request()
        try barbican.change { keys in
            guard keys.secrets[key]?.project == project else {
                throw KeyManagerError(code: .notFound, operation: "register", cause: "the project has no such key")
            }
            keys.secrets[key]?.consumers.insert(consumer)
        }
    }

    package func unregister(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) async throws {
        try await request()
        remove(consumer, of: key, for: project)
    }

    private func remove(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) {
        barbican.change { keys in
            guard keys.secrets[key]?.project == project else { return }
            keys.secrets[key]?.consumers.remove(consumer)
        }
    }

    package func destroy(
        _ key: SecretID, of consumer: KeyConsumer, for project: ProjectID
    ) async throws -> KeyFate {
        try await request()
        guard let secret = barbican.keys.secrets[key], secret.project == project else { return .notFound }
        guard secret.type == .symmetric || secret.type == .passphrase else { return .kept("its type") }
        for _ in 0..<Self.rounds {
            try await request()
            guard let now = barbican.keys.secrets[key] else { return .notFound }
            if now.consumers.contains(where: { $0 != consumer }) { return .kept("something else needs it") }
            try await request()
            remove(consumer, of: key, for: project)
            try await request()
            let isGone = barbican.change { keys in
                guard keys.secrets[key]?.consumers.isEmpty ?? true else { return false }
                keys.secrets[key] = nil
                return true
            }
            if isGone { return .destroyed }
        }
        return .kept("something else needs it")
    }

    /// A process that hangs asks nobody for anything, nor does one that is dead.
    private func request() async throws {
        await executor.pause(microseconds: Self.requestMicroseconds)
        await stall.wait()
        if mount.isDead || mount.disk.isCrashed {
            throw KeyManagerError(code: .unavailable, operation: "ask", cause: "the process is dead")
        }
    }
}
