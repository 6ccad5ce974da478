import Core
import Foundation
import Logging
import NIOCore
import Persistence
import Synchronization
import Testing
import Trust

/// A clock that moves only when told to, and on which every sleep is over at once; it remembers them.
final class SkippingClock: WallClock {
    private let time = Mutex(Timestamp(seconds: 1_800_000_000))
    private let sleeps = Mutex<[Double]>([])

    var now: Timestamp { time.withLock { $0 } }
    var slept: [Double] { sleeps.withLock { $0 } }
    func advance(seconds: Int64) { time.withLock { $0 = $0.adding(seconds: seconds) } }
    func sleep(seconds: Double) async throws { sleeps.withLock { $0.append(seconds) } }
}

/// The embedded Identity after its first start, on a database of its own.
final class IdentityFixture: Sendable {
    static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    static let catalog = [
        CatalogEntry(type: "image", name: "glance", url: "http://cloud/image"),
        CatalogEntry(type: "identity", name: "keystone", url: "http://cloud/identity/v3"),
    ]

    let directory: URL
    let clock = SkippingClock()
    let surroundings: Surroundings
    let database: SQLiteDatabase
    let keys: TokenKeys
    let identity: IdentityService
    let authenticator: EmbeddedAuthenticator
    let passwords: [String: String]
    /// An admin of the project admin, not logged in.
    let admin: Caller

    init(_ change: (inout IdentitySettings) -> Void = { _ in }) async throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "ambrotype-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        surroundings = Surroundings(clock: clock, randomness: SeededRandomness(), work: DirectWork())
        database = try SQLiteDatabase(path: directory.appending(path: "test.db").path)
        try await database.migrate(IdentityMigrations.all, at: clock.now.microseconds)
        keys = try await TokenKeys.loadOrCreate(path: directory.appending(path: "tokens.pem").path)
        var settings = IdentitySettings()
        settings.scryptCost = 4
        change(&settings)
        identity = IdentityService(database: database, surroundings: surroundings, settings: settings, keys: keys)
        authenticator = EmbeddedAuthenticator(identity: identity)
        passwords = try await identity.bootstrap(BootstrapPlan(catalog: Self.catalog)).createdPasswords
        admin = Caller(
            userID: "someone", projectID: "somewhere", projectDomainID: "default", roles: ["admin"],
            requestID: "req-test", logger: Self.logger)
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    // MARK: logging in

    func password(_ user: String) throws -> String { try #require(passwords[user]) }

    static func body(_ method: String, _ content: JSONValue, scope: JSONValue?) -> JSONValue {
        var auth: [String: JSONValue] = [
            "identity": .object(["methods": [.string(method)], method: content])
        ]
        auth["scope"] = scope
        return .object(["auth": .object(auth)])
    }

    static func named(_ name: String) -> JSONValue {
        .object(["name": .string(name), "domain": ["id": "default"]])
    }

    /// The scope of a project of the default domain.
    static func project(_ name: String) -> JSONValue { .object(["project": named(name)]) }

    /// A token by password.
    func login(
        _ user: String, _ password: String? = nil, scope: JSONValue? = nil
    ) async throws -> (token: String, validated: ValidatedToken) {
        let password = try password ?? self.password(user)
        let user: JSONValue = [
            "name": .string(user), "domain": ["id": "default"], "password": .string(password),
        ]
        return try await identity.issueToken(
            Self.body("password", ["user": user], scope: scope), logger: Self.logger)
    }

    /// A token from a token.
    func rescope(_ token: String, scope: JSONValue? = nil) async throws -> (token: String, validated: ValidatedToken) {
        try await identity.issueToken(
            Self.body("token", ["id": .string(token)], scope: scope), logger: Self.logger)
    }

    func demoToken() async throws -> String { try await login("demo", scope: Self.project("demo")).token }

    func isValid(_ token: String) async throws -> Bool { try await identity.validate(token) != nil }

    // MARK: presenting tokens

    func caller(
        _ token: String?, service: String? = nil, method: String = "GET", path: String = "/v2/images",
        type: String = "image"
    ) async throws -> Caller {
        try await authenticator.authenticate(
            token: token, serviceToken: service,
            for: CredentialContext(
                method: method, path: path, serviceType: type, requestID: "req-1", logger: Self.logger))
    }

    // MARK: finding and making

    func userID(_ name: String) async throws -> UserID {
        try #require(await identity.users(UserFilter(name: name), as: admin).first).id
    }

    func projectID(_ name: String) async throws -> ProjectID {
        try #require(await identity.projects(ProjectFilter(name: name), as: admin).first).id
    }

    func roleID(_ name: String) async throws -> RoleID {
        try #require(await identity.roles(name: name, as: admin).first).id
    }

    /// A user of a project of its own.
    func member(_ name: String, role: String = "member") async throws -> (user: User, project: Project) {
        let project = try await identity.createProject(["project": ["name": .string(name)]], as: admin)
        let user = try await identity.createUser(
            ["user": ["name": .string(name), "password": .string("password of " + name)]], as: admin)
        try await identity.grant(try await roleID(role), to: user.id, on: .project(project.id), as: admin)
        return (user, project)
    }
}

/// The error that a call ends with.
func serviceError<T>(_ body: () async throws -> T) async -> ServiceError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? ServiceError ?? .internalError(cause: error)
    }
}
