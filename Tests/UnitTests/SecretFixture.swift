import Core
import Foundation
import NIOCore
import Persistence
import Trust

/// The key manager on a database of its own, in a directory that goes with it.
final class SecretFixture: Sendable {
    let directory: URL
    let clock = StillClock()
    let database: SQLiteDatabase
    let secrets: Secrets

    init(_ change: (inout SecretSettings) -> Void = { _ in }) async throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "ambrotype-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        database = try SQLiteDatabase(path: directory.appending(path: "test.db").path)
        try await database.migrate(
            JobMigrations.all + ImageMigrations.all + SecretMigrations.all, at: clock.now.microseconds)
        var settings = SecretSettings()
        change(&settings)
        secrets = Secrets(
            database: database,
            surroundings: Surroundings(clock: clock, randomness: SeededRandomness(), work: DirectWork()),
            settings: settings, ring: KeyRing(MasterKeys([MasterKeys.make()])))
        try await secrets.open()
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    func caller(_ project: ProjectID? = "p1", user: UserID = "u1", roles: Set<String> = ["member", "reader"]) -> Caller
    {
        Caller(userID: user, projectID: project, roles: roles, requestID: "req-test", logger: .silent)
    }

    var admin: Caller { caller("admin", user: "root", roles: ["admin", "manager", "member", "reader"]) }

    func draft(_ json: String) throws -> SecretDraft {
        try SecretDraft(body: SecretBody([ByteBuffer(string: json)]), settings: secrets.settings)
    }

    /// A secret with a text for its payload.
    static let text = #""payload": "open sesame", "payload_content_type": "text/plain""#

    /// - Parameter members: of the request's object.
    func store(_ members: String = text, as caller: Caller? = nil) async throws -> SecretID {
        try await secrets.store(try draft("{\(members)}"), as: caller ?? self.caller())
    }

    func payload(of id: SecretID, as caller: Caller? = nil) async throws -> [UInt8] {
        let payload = try await secrets.payload(of: id, as: caller ?? self.caller())
        return Array(payload.buffer.readableBytesView)
    }

    func uploaded(_ bytes: [UInt8], _ type: SecretMediaType = .octets, encoding: String? = nil) throws -> SecretPayload
    {
        try SecretPayload(
            uploaded: SecretBody([ByteBuffer(bytes: bytes)]), type: type, encoding: encoding,
            limitBytes: secrets.settings.payloadLimitBytes)
    }

    /// Runs SQL that no use case here has.
    func execute(_ sql: String, _ arguments: any SQLBindable...) async throws {
        try await database.write { db in _ = try db.execute(sql, arguments) }
    }

    func letIn(_ user: UserID, to id: SecretID, projectAccess: Bool = true) async throws {
        try await execute(
            "INSERT INTO secret_acls (resource_id, project_access, created_at, updated_at) VALUES ($1, $2, 1, 1)", id,
            projectAccess)
        try await execute("INSERT INTO secret_acl_users (resource_id, user_id) VALUES ($1, $2)", id, user)
    }

    func need(_ id: SecretID, by resource: String, via: String = "consumer", holds: Bool = true) async throws {
        try await execute(
            """
            INSERT INTO key_edges (secret_id, service, resource_type, resource_id, via, project, holds, state, destroys,
                created_at)
            VALUES ($1, 'volume', 'volume', $2, $3, 'p1', $4, 'held', 0, 1)
            """, id, resource, via, holds)
    }
}

/// What a `ServiceError` says, for expectations.
func refusal(of body: () async throws -> Void) async -> String {
    do {
        try await body()
        return "none"
    } catch let error as ServiceError {
        return "\(error.status) \(error.message)"
    } catch {
        return "\(error)"
    }
}
