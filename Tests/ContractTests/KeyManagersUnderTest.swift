import AsyncHTTPClient
import Core
import Foundation
import NIOCore
import NIOHTTP1
import Persistence
import Remote
import Synchronization
import Testing
import Trust

/// An implementation of `KeyManager` under contract, and what its users and those of other services do with it. A
/// new one joins by standing in `all`.
struct KeyManagerUnderTest: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let with: @Sendable (_ body: (Bench) async throws -> Void) async throws -> Void

    struct Bench: Sendable {
        let keys: any KeyManager
        let project: ProjectID
        let otherProject: ProjectID
        let makeKey: @Sendable (_ type: String, _ project: ProjectID) async throws -> SecretID
        /// Whether its project still has it.
        let exists: @Sendable (SecretID) async throws -> Bool
        /// Another service says that it needs the key, in the key's project.
        let consume: @Sendable (SecretID, KeyConsumer) async throws -> Void

        func makeKey(_ type: String = "symmetric") async throws -> SecretID { try await makeKey(type, project) }
    }

    static var all: [KeyManagerUnderTest] {
        var all = [
            KeyManagerUnderTest(testDescription: "embedded", with: withEmbedded),
            KeyManagerUnderTest(testDescription: "Barbican fake") { body in
                let fake = BarbicanFake(clock: ImpatientClock())
                try await fake.start()
                var peer = BarbicanPeer(identityURL: fake.identityURL, url: fake.url, password: "s\"ecret")
                peer.sleeps = false
                let result = await Result { try await peer.with(body) }
                try await fake.stop()
                try result.get()
            },
        ]
        let environment = ProcessInfo.processInfo.environment
        if let url = environment["AMBROTYPE_TEST_BARBICAN"], let identity = environment["AMBROTYPE_TEST_KEYSTONE"] {
            let peer = BarbicanPeer(
                identityURL: identity, url: url, password: environment["AMBROTYPE_TEST_PASSWORD"] ?? "")
            all.append(KeyManagerUnderTest(testDescription: "real Barbican") { try await peer.with($0) })
        }
        return all
    }

    // MARK: In this program

    @Sendable private static func withEmbedded(_ body: (Bench) async throws -> Void) async throws {
        try await withTemporaryDirectory { directory in
            let clock = ImpatientClock()
            let database = try SQLiteDatabase(path: directory + "/test.db")
            try await database.migrate(
                JobMigrations.all + ImageMigrations.all + SecretMigrations.all, at: clock.now.microseconds)
            let surroundings = Surroundings.forTests(clock: clock)
            let secrets = Secrets(
                database: database, surroundings: surroundings, settings: SecretSettings(),
                ring: KeyRing(MasterKeys([MasterKeys.make()])))
            try await body(
                Bench(
                    keys: EmbeddedKeyManager(secrets), project: "p1", otherProject: "p2",
                    makeKey: { type, project in
                        let id = SecretID(surroundings.uuid())
                        let now = clock.now
                        _ = try await database.write { db in
                            try db.execute(
                                """
                                INSERT INTO secrets (id, project, creator, secret_type, created_at, updated_at)
                                VALUES ($1, $2, 'u', $3, $4, $4)
                                """, id, project, type, now)
                        }
                        return id
                    },
                    exists: { key in
                        try await database.read { db in
                            try db.first("SELECT 1 FROM secrets WHERE id = $1 AND deleted_at IS NULL", key) { _ in true
                            }
                        } ?? false
                    },
                    consume: { key, consumer in
                        let now = clock.now
                        _ = try await database.write { db in
                            try db.execute(
                                """
                                INSERT INTO key_edges (secret_id, service, resource_type, resource_id, via, project,
                                    holds, state, destroys, created_at)
                                VALUES ($1, $2, $3, $4, 'consumer', 'p1', 1, 'held', 0, $5)
                                """, key, consumer.service, consumer.resourceType, consumer.resourceID, now)
                        }
                    }))
        }
    }
}

/// A Barbican and its Keystone, real or not, with the users of the lab: demo and alt_demo, members of projects of
/// their names, and glance, whom a domain has made member of all of them.
struct BarbicanPeer: Sendable {
    let identityURL: String
    let url: String
    let password: String
    var sleeps = true

    var settings: BarbicanSettings {
        BarbicanSettings(
            keystone: KeystoneSettings(authURL: identityURL, username: "glance", password: password), url: url)
    }

    func with(_ body: (KeyManagerUnderTest.Bench) async throws -> Void) async throws {
        let keys = BarbicanKeyManager(settings, surroundings: .forTests(clock: ImpatientClock(sleeps: sleeps)))
        let made = Mutex<[(key: SecretID, token: String)]>([])
        let result = await Result {
            let demo = try await logIn("demo")
            let other = try await logIn("alt_demo")
            try await body(
                KeyManagerUnderTest.Bench(
                    keys: keys, project: demo.project, otherProject: other.project,
                    makeKey: { type, project in
                        let token = project == demo.project ? demo.token : other.token
                        let (status, answer) = try await send(
                            .POST, "/secrets", "{\"name\": \"contract\", \"secret_type\": \"\(type)\"}", token)
                        guard status == 201, let reference = answer["secret_ref"]?.stringValue,
                            let id = reference.split(separator: "/").last
                        else { throw Unexpected(status: status) }
                        let key = SecretID(String(id))
                        made.withLock { $0.append((key, token)) }
                        return key
                    },
                    exists: { key in
                        for token in [demo.token, other.token] {
                            switch try await send(.GET, "/secrets/\(key)", nil, token).0 {
                            case 200: return true
                            case 403, 404: continue
                            case let status: throw Unexpected(status: status)
                            }
                        }
                        return false
                    },
                    consume: { key, consumer in
                        let (status, _) = try await send(
                            .POST, "/secrets/\(key)/consumers",
                            """
                            {"service": "\(consumer.service)", "resource_type": "\(consumer.resourceType)", \
                            "resource_id": "\(consumer.resourceID)"}
                            """, demo.token)
                        guard status == 200 else { throw Unexpected(status: status) }
                    }))
        }
        try await keys.shutdown()
        // Nothing is left behind in a Barbican that is somebody else's.
        for (key, token) in made.withLock({ $0 }) {
            _ = try await send(.DELETE, "/secrets/\(key)?force=true", nil, token)
        }
        try result.get()
    }

    private struct Unexpected: Error { let status: Int }

    private func logIn(_ user: String) async throws -> (token: String, project: ProjectID) {
        let domain = "\"domain\": {\"name\": \"Default\"}"
        var request = HTTPClientRequest(url: identityURL + "/auth/tokens?nocatalog")
        request.method = .POST
        request.headers = ["Content-Type": "application/json"]
        let secret = password.replacingOccurrences(of: "\"", with: "\\\"")
        request.body = .bytes(
            ByteBuffer(
                string: """
                    {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "\(user)", \(domain), \
                    "password": "\(secret)"}}}, "scope": {"project": {"name": "\(user)", \(domain)}}}}
                    """))
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(30))
        let document = try JSONValue(parsing: try await response.body.collect(upTo: 1 << 20))
        guard let token = response.headers.first(name: "X-Subject-Token"),
            let project = document["token"]?["project"]?["id"]?.stringValue
        else { throw Unexpected(status: Int(response.status.code)) }
        return (token, ProjectID(project))
    }

    private func send(
        _ method: HTTPMethod, _ path: String, _ json: String?, _ token: String
    ) async throws -> (Int, JSONValue) {
        var request = HTTPClientRequest(url: url + "/v1" + path)
        request.method = method
        request.headers = [
            "X-Auth-Token": token, "Content-Type": "application/json", "OpenStack-API-Version": "key-manager 1.2",
        ]
        if let json { request.body = .bytes(ByteBuffer(string: json)) }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(30))
        let body = try await response.body.collect(upTo: 1 << 20)
        return (Int(response.status.code), body.readableBytes > 0 ? try JSONValue(parsing: body) : .null)
    }
}

extension Result where Failure == any Error {
    /// What `body` came to, so that something can be done before it is looked at.
    init(_ body: () async throws -> Success) async {
        do {
            self = .success(try await body())
        } catch {
            self = .failure(error)
        }
    }
}
