import Core
import Persistence
import Synchronization

/// A key manager that says what the test wants, and remembers what it was asked.
final class ScriptedKeyManager: KeyManager {
    enum Verb: String, Sendable { case register, unregister, destroy }

    struct Call: Sendable, Hashable, CustomStringConvertible {
        let verb: Verb
        let key: SecretID
        let image: String
        let project: ProjectID
        var description: String { "\(verb) \(key) \(image) \(project)" }
    }

    private struct State {
        var calls: [Call] = []
        var script: (@Sendable (Call) async throws -> KeyFate)?
    }
    private let state = Mutex(State())
    let keepsOwnConsumers: Bool

    init(keepsOwnConsumers: Bool = true) { self.keepsOwnConsumers = keepsOwnConsumers }

    var calls: [Call] { state.withLock { $0.calls } }
    var verbs: [Verb] { calls.map(\.verb) }
    func forgetCalls() { state.withLock { $0.calls = [] } }
    /// Without one all goes well. What it says of a registration is not looked at.
    func answer(_ script: (@Sendable (Call) async throws -> KeyFate)?) { state.withLock { $0.script = script } }
    func fail(_ code: KeyManagerError.Code) {
        answer { call in throw KeyManagerError(code: code, operation: call.verb.rawValue, cause: "scripted") }
    }

    private func take(
        _ verb: Verb, _ key: SecretID, _ consumer: KeyConsumer, _ project: ProjectID
    ) async throws -> KeyFate {
        let call = Call(verb: verb, key: key, image: consumer.resourceID, project: project)
        let script = state.withLock { state in
            state.calls.append(call)
            return state.script
        }
        return try await script?(call) ?? .destroyed
    }

    func register(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) async throws {
        _ = try await take(.register, key, consumer, project)
    }

    func unregister(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) async throws {
        _ = try await take(.unregister, key, consumer, project)
    }

    func destroy(_ key: SecretID, of consumer: KeyConsumer, for project: ProjectID) async throws -> KeyFate {
        try await take(.destroy, key, consumer, project)
    }
}

/// The keys of images, as the tests of their jobs look at them.
extension ImageFixture {
    static let keyProperty = "cinder_encryption_key_id"
    static let policyProperty = "cinder_encryption_key_deletion_policy"

    /// An image that names a key, with bytes.
    func imageNaming(
        _ key: SecretID, policy: String? = "on_image_deletion", as caller: Caller? = nil, bytes: [UInt8]? = [1, 2, 3]
    ) async throws -> ImageID {
        let image = try await createImage(
            {
                $0.properties[Self.keyProperty] = key.rawValue
                if let policy { $0.properties[Self.policyProperty] = policy }
            }, as: caller)
        if let bytes { try await upload(bytes, to: image.id, as: caller) }
        return image.id
    }

    func set(_ name: String, to value: String?, of id: ImageID) async throws {
        let patch = ImagePatch(
            verb: value == nil ? .remove : .add, path: [name], value: value.map(JSONValue.string) ?? .null,
            addRefusesExisting: false)
        _ = try await images.patch(id, [patch], as: caller())
    }

    /// Does what is due until nothing is left to do, with pauses that outlast every wait but that after a failure.
    func settle() async throws {
        for _ in 0..<6 {
            try await images.reconcile()
            clock.advance(seconds: 3)
        }
    }

    func keyJobs() async throws -> [Job] {
        let all = try await JobAdministration(database: database, clock: clock).jobs().entries
        return all.filter { [.releaseKeys, .registerKey].contains($0.name.kind) }
    }

    /// `KEY IMAGE STATE` of every edge, `!` after those that do not hold.
    func edges() async throws -> [String] {
        try await database.read { db in
            try db.query(
                "SELECT secret_id, resource_id, state, holds FROM key_edges ORDER BY secret_id, resource_id, via"
            ) {
                let holds = try $0.get(3, as: Bool.self)
                return "\(try $0.get(0, as: String.self)) \(try $0.get(1, as: String.self)) "
                    + "\(try $0.get(2, as: String.self))\(holds ? "" : "!")"
            }
        }
    }

    /// A secret that is kept here.
    func addSecret(_ key: SecretID, in project: ProjectID) async throws {
        let now = clock.now
        _ = try await database.write { db in
            try db.execute(
                """
                INSERT INTO secrets (id, project, creator, secret_type, created_at, updated_at)
                VALUES ($1, $2, 'someone', 'symmetric', $3, $3)
                """, key, project, now)
        }
    }
}
