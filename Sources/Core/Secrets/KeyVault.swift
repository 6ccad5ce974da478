import Persistence
import Trust

/// A secret's payload as it is stored: sealed with a key of its own, which the project's key wraps.
package struct SealedSecret: Sendable {
    package let projectKey: ProjectKeyID
    package let wrappedKey: [UInt8]
    package let payload: [UInt8]
}

/// Why what is stored does not open. Never says more: the detail would help who tampers.
package enum KeyVaultError: Error, Sendable, CustomStringConvertible {
    /// The file has no master key of this id.
    case noMasterKey(String)
    /// The master key of this id is in the file and does not open what the database has of it.
    case wrongMasterKey(String)
    case brokenProjectKey(ProjectKeyID)
    case brokenSecret(SecretID)

    package var description: String {
        switch self {
        case .noMasterKey(let id):
            "the master key \(id) is not in the master key file; put the line that begins with it back"
        case .wrongMasterKey(let id): "the master key \(id) does not open what it sealed: it is another key"
        case .brokenProjectKey(let id): "the project key \(id) does not open: its row was changed"
        case .brokenSecret(let id): "the secret \(id) does not open: its row was changed"
        }
    }
}

/// Envelope encryption (Key Manager digest, section 7): the master key wraps the keys of projects, these wrap a
/// key for each secret, and that seals the payload. Each layer is AES-256-GCM bound to what it belongs to, so
/// that nothing sealed can stand in another's place.
package struct KeyVault: Sendable {
    static let nonceBytes = 12
    private static let idBytes = 16

    let ring: KeyRing
    let randomness: any Randomness

    package init(ring: KeyRing, randomness: any Randomness) {
        self.ring = ring
        self.randomness = randomness
    }

    /// All that is random in storing one payload, drawn before the transaction, whose body may run again.
    package struct Prepared: Sendable {
        let secret: SecretID
        let project: ProjectID
        let key: SecretBytes
        let payload: [UInt8]
        let nonce: [UInt8]
        let newProjectKey: NewProjectKey
    }

    struct NewProjectKey: Sendable {
        let id: ProjectKeyID
        let bytes: SecretBytes
        let nonce: [UInt8]
    }

    package func prepare(_ payload: SecretBytes, of secret: SecretID, in project: ProjectID) -> Prepared {
        let key = secretBytes()
        let context = SealContext(layer: .payload, keyID: "", project: project.rawValue, secret: secret.rawValue)
        return Prepared(
            secret: secret, project: project, key: key,
            payload: Sealing.seal(payload, with: key, nonce: nonce(), context: context.bytes), nonce: nonce(),
            newProjectKey: newProjectKey())
    }

    func newProjectKey() -> NewProjectKey {
        NewProjectKey(
            id: ProjectKeyID(Hex.encode(randomness.bytes(Self.idBytes))), bytes: secretBytes(), nonce: nonce())
    }

    func nonce() -> [UInt8] { randomness.bytes(Self.nonceBytes) }

    func secretBytes(_ count: Int = Sealing.keyBytes) -> SecretBytes {
        var drawn = randomness.bytes(count)
        defer { for index in drawn.indices { drawn[index] = 0 } }
        return SecretBytes(copying: drawn)
    }

    /// A step of the transaction that inserts the secret: wraps its key with the project's, which is made if
    /// there is none.
    /// - Throws: `KeyVaultError`, `SQLError`.
    package func wrap(_ prepared: Prepared, now: Timestamp, in db: any SQLConnection) throws -> SealedSecret {
        let (id, key) = try activeProjectKey(of: prepared.project, orNew: prepared.newProjectKey, now: now, in: db)
        try db.execute("UPDATE project_keys SET wraps = wraps + 1 WHERE id = $1", id)
        let wrapped = Sealing.seal(
            prepared.key, with: key, nonce: prepared.nonce,
            context: Self.context(ofKeyOf: prepared.secret, project: prepared.project, wrappedBy: id))
        return SealedSecret(projectKey: id, wrappedKey: wrapped, payload: prepared.payload)
    }

    static func context(ofKeyOf secret: SecretID, project: ProjectID, wrappedBy key: ProjectKeyID) -> [UInt8] {
        SealContext(
            layer: .secretKey, keyID: key.rawValue, project: project.rawValue, secret: secret.rawValue
        ).bytes
    }

    static func context(ofProjectKey key: ProjectKeyID, project: ProjectID, wrappedBy master: String) -> [UInt8] {
        SealContext(layer: .projectKey, keyID: master, project: project.rawValue, secret: key.rawValue).bytes
    }

    private func activeProjectKey(
        of project: ProjectID, orNew new: NewProjectKey, now: Timestamp, in db: any SQLConnection
    ) throws -> (ProjectKeyID, SecretBytes) {
        let found = try db.first(
            "SELECT id FROM project_keys WHERE project = $1 AND state = 'active'", project
        ) { try $0.get(0, as: ProjectKeyID.self) }
        if let found { return (found, try projectKey(found, in: db)) }
        try insert(new, for: project, now: now, in: db)
        return (new.id, new.bytes)
    }

    /// The master key that wraps is the database's, not the file's: while a rotation goes on the two differ, and
    /// nothing may be wrapped by the one that goes.
    func insert(_ key: NewProjectKey, for project: ProjectID, now: Timestamp, in db: any SQLConnection) throws {
        let found = try db.first("SELECT id FROM master_keys WHERE state = 'active'") { try $0.get(0, as: String.self) }
        guard let master = found, let masterKey = ring[master] else {
            throw KeyVaultError.noMasterKey(found ?? "(none is active)")
        }
        let wrapped = Sealing.seal(
            key.bytes, with: masterKey, nonce: key.nonce,
            context: Self.context(ofProjectKey: key.id, project: project, wrappedBy: master))
        try db.execute(
            """
            INSERT INTO project_keys (id, project, master_key, state, wrapped, wraps, created_at)
            VALUES ($1, $2, $3, 'active', $4, 0, $5)
            """, key.id, project, master, wrapped, now)
    }

    /// A project's key, opened.
    /// - Throws: `KeyVaultError`, `SQLError`.
    func projectKey(_ id: ProjectKeyID, in db: any SQLConnection) throws -> SecretBytes {
        let found = try db.first("SELECT project, master_key, wrapped FROM project_keys WHERE id = $1", id) {
            (
                project: try $0.get(0, as: ProjectID.self), master: try $0.get(1, as: String.self),
                wrapped: try $0.get(2, as: [UInt8].self)
            )
        }
        guard let found else { throw KeyVaultError.brokenProjectKey(id) }
        guard let master = ring[found.master] else { throw KeyVaultError.noMasterKey(found.master) }
        do {
            return try Sealing.open(
                found.wrapped, with: master,
                context: Self.context(ofProjectKey: id, project: found.project, wrappedBy: found.master))
        } catch {
            throw KeyVaultError.brokenProjectKey(id)
        }
    }

    /// A secret's payload, opened, deleted or not; nil when it has none.
    /// - Throws: `KeyVaultError`, `SQLError`.
    package func payload(of secret: SecretID, in db: any SQLConnection) throws -> SecretBytes? {
        let found = try db.first(
            """
            SELECT project, project_key, wrapped_key, sealed_payload FROM secrets
            WHERE id = $1 AND sealed_payload IS NOT NULL
            """, secret
        ) {
            (
                project: try $0.get(0, as: ProjectID.self), projectKey: try $0.get(1, as: ProjectKeyID.self),
                wrapped: try $0.get(2, as: [UInt8].self), payload: try $0.get(3, as: [UInt8].self)
            )
        }
        guard let found else { return nil }
        let projectKey = try projectKey(found.projectKey, in: db)
        do {
            let key = try Sealing.open(
                found.wrapped, with: projectKey,
                context: Self.context(ofKeyOf: secret, project: found.project, wrappedBy: found.projectKey))
            let context = SealContext(
                layer: .payload, keyID: "", project: found.project.rawValue, secret: secret.rawValue)
            return try Sealing.open(found.payload, with: key, context: context.bytes)
        } catch {
            throw KeyVaultError.brokenSecret(secret)
        }
    }
}
