import Core
import Foundation
import Logging
import NIOCore
import Persistence
import Testing
import Trust

/// The key manager on a database of its own, beside the tables of images.
final class KeyFixture: Sendable {
    let directory: URL
    let clock = StillClock()
    let surroundings: Surroundings
    let database: SQLiteDatabase
    let secrets: Secrets

    init(_ change: (inout SecretSettings) -> Void = { _ in }) async throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "ambrotype-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        surroundings = Surroundings(clock: clock, randomness: SeededRandomness(), work: DirectWork())
        database = try SQLiteDatabase(path: directory.appending(path: "test.db").path)
        try await database.migrate(
            JobMigrations.all + ImageMigrations.all + SecretMigrations.all, at: clock.now.microseconds)
        var settings = SecretSettings()
        change(&settings)
        secrets = Secrets(
            database: database, surroundings: surroundings, settings: settings,
            ring: KeyRing(MasterKeys([MasterKeys.make()])))
        try await secrets.open()
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    func caller(
        _ project: ProjectID = "p1", user: UserID = "u1", roles: Set<String> = ["member", "reader"]
    ) -> Caller {
        Caller(userID: user, projectID: project, roles: roles, requestID: "req-test", logger: .silent)
    }

    var member: Caller { caller() }
    var admin: Caller { caller("admin", user: "boss", roles: ["admin", "member", "reader"]) }

    /// A secret without a payload.
    func secret(as caller: Caller? = nil, expiresAt: Timestamp? = nil) async throws -> SecretID {
        var draft = SecretDraft()
        draft.type = .symmetric
        draft.expiresAt = expiresAt
        return try await secrets.store(draft, as: caller ?? member)
    }

    static let base = "http://keys"
    static func ref(_ id: SecretID) -> String { "\(base)/v1/secrets/\(id)" }

    /// A container with these secrets, named `s0`, `s1`, ….
    func container(
        _ members: [SecretID] = [], name: String? = nil, type: String = "generic", as caller: Caller? = nil
    ) async throws -> ContainerID {
        var body: [String: JSONValue] = ["type": .string(type)]
        body["name"] = name.map { .string($0) }
        body["secret_refs"] = .array(
            members.enumerated().map { index, id in
                ["name": .string("s\(index)"), "secret_ref": .string(Self.ref(id))]
            })
        return try await secrets.createContainer(
            try ContainerDraft(.object(body), base: Self.base), as: caller ?? member)
    }

    func order(_ json: String, as caller: Caller? = nil) async throws -> KeyOrder {
        let id = try await secrets.place(try OrderDraft(try Self.json(json)), as: caller ?? member)
        return try await secrets.order(id, as: caller ?? member)
    }

    static func json(_ text: String) throws -> JSONValue { try JSONValue(parsing: .init(string: text)) }

    func setQuota(_ resource: String, _ limit: Int, of project: ProjectID = "p1") async throws {
        let change = try KeyQuotaChange(try Self.json(#"{"project_quotas": {"\#(resource)": \#(limit)}}"#))
        try await secrets.setProjectQuotas(change, of: project, as: admin)
    }

    /// An edge as the image service makes it.
    func imageEdge(
        _ image: String, of secret: SecretID, holds: Bool = true, state: String = "held", destroys: Bool = false
    ) async throws {
        let now = clock.now
        try await database.write { db in
            _ = try db.execute(
                """
                INSERT INTO key_edges (secret_id, service, resource_type, resource_id, via, project, holds, state,
                    destroys, created_at)
                VALUES ($1, 'image', 'image', $2, 'cinder_encryption_key_id', 'p1', $3, $4, $5, $6)
                """, secret, image, holds, state, destroys, now)
        }
    }

    func count(_ from: String) async throws -> Int {
        try await database.read { db in try db.first("SELECT COUNT(*) FROM \(from)") { try $0.get(0) } ?? -1 }
    }
}

/// The message of the `ServiceError` that `body` ends with; nil when it ends well.
func refused(by body: () async throws -> Void) async throws -> (status: Int, message: String)? {
    do {
        try await body()
        return nil
    } catch let error as ServiceError {
        return (error.status, error.message)
    }
}
