import Persistence
import Trust

/// Each master key in use has a sealed canary in the database: a start with another key, or without one,
/// is noticed before anything is stored.
extension KeyVault {
    private static let canary = SecretBytes(copying: Array("ambrotype master key canary".utf8))

    private static func context(ofCanaryOf id: String) -> [UInt8] {
        SealContext(layer: .canary, keyID: id, project: "", secret: "").bytes
    }

    func sealedCanary(of key: MasterKeys.Key, nonce: [UInt8]) -> [UInt8] {
        Sealing.seal(Self.canary, with: key.bytes, nonce: nonce, context: Self.context(ofCanaryOf: key.id))
    }

    /// To be called at the start: enters the first master key of a new database, and proves every key that
    /// the database names.
    /// - Throws: `KeyVaultError`, `SQLError`.
    package func open(_ database: any SQLDatabase, now: Timestamp) async throws {
        let first = ring.first
        let sealed = sealedCanary(of: first, nonce: nonce())
        try await database.write { db in
            let isNew = try db.first("SELECT 1 FROM master_keys") { _ in false } ?? true
            guard isNew else { return }
            try db.execute(
                "INSERT INTO master_keys (id, state, canary, created_at) VALUES ($1, 'active', $2, $3)", first.id,
                sealed, now)
        }
        try await database.read { db in try checkCanaries(in: db) }
    }

    /// - Throws: `KeyVaultError`, `SQLError`.
    func checkCanaries(in db: any SQLConnection) throws {
        let known = try db.query("SELECT id, canary FROM master_keys ORDER BY created_at, id") {
            (id: try $0.get(0, as: String.self), canary: try $0.get(1, as: [UInt8].self))
        }
        for key in known {
            guard let bytes = ring[key.id] else { throw KeyVaultError.noMasterKey(key.id) }
            guard Self.opens(key.canary, of: key.id, with: bytes) else { throw KeyVaultError.wrongMasterKey(key.id) }
        }
    }

    /// Whether this is the canary of the key that the file has under this id.
    func opens(canary: [UInt8], of id: String) -> Bool {
        ring[id].map { Self.opens(canary, of: id, with: $0) } ?? false
    }

    private static func opens(_ sealed: [UInt8], of id: String, with key: SecretBytes) -> Bool {
        guard let opened = try? Sealing.open(sealed, with: key, context: context(ofCanaryOf: id)) else { return false }
        return opened.isEqual(to: canary)
    }
}
