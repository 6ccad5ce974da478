import Core
import Logging
import NIOHTTP1
import Remote
import Synchronization
import Testing

/// The outcomes a service owes its clients when a Keystone proves the tokens
/// (keystonemiddleware's rules).
@Suite struct KeystoneAuthenticatorTests {
    private let clock = HastyClock()

    /// `PORT` stands for the port that the test's Keystone gets.
    private var settings: KeystoneSettings {
        KeystoneSettings(authURL: "http://127.0.0.1:PORT/v3", username: "glance", password: "s\"ecret")
    }

    private func withKeystone(
        _ settings: KeystoneSettings? = nil, _ body: (KeystoneFake, KeystoneAuthenticator) async throws -> Void
    ) async throws {
        let keystone = KeystoneFake(clock: clock)
        let port = try await keystone.start()
        var settings = settings ?? self.settings
        settings.authURL = settings.authURL.replacing("PORT", with: "\(port)")
        let authenticator = KeystoneAuthenticator(settings, clock: clock)
        do {
            try await body(keystone, authenticator)
        } catch {
            try await authenticator.shutdown()
            try await keystone.stop()
            throw error
        }
        try await authenticator.shutdown()
        try await keystone.stop()
    }

    private func request(_ method: String = "GET", _ path: String = "/v2/images") -> CredentialContext {
        CredentialContext(
            method: method, path: path, serviceType: "image", requestID: "req-1", logger: Logger(label: "test"))
    }

    private func expectUnauthorized(
        at location: SourceLocation = #_sourceLocation, _ body: () async throws -> Caller
    ) async {
        do {
            _ = try await body()
            Issue.record("expected 401, was let in", sourceLocation: location)
        } catch ServiceError.unauthorized {
        } catch {
            Issue.record("expected 401, got \(error)", sourceLocation: location)
        }
    }

    /// - Returns: what the log is told.
    @discardableResult
    private func expectUnavailable(
        _ code: KeystoneError.Code, at location: SourceLocation = #_sourceLocation, _ body: () async throws -> Caller
    ) async -> String {
        do {
            _ = try await body()
            Issue.record("expected 503, was let in", sourceLocation: location)
        } catch ServiceError.unavailable(let message, let cause) {
            #expect((cause as? KeystoneError)?.code == code, "\(String(describing: cause))", sourceLocation: location)
            #expect(!message.contains("127.0.0.1"), sourceLocation: location)
            return "\(String(describing: cause))"
        } catch {
            Issue.record("expected 503, got \(error)", sourceLocation: location)
        }
        return ""
    }

    // MARK: Good tokens

    @Test func tokenBecomesACaller() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t", roles: ["Member", "reader"])
            let caller = try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            #expect(caller.userID == "user-1")
            #expect(caller.userName == "demo")
            #expect(caller.projectID == "project-1")
            #expect(caller.projectName == "demo")
            #expect(caller.projectDomainID == "default")
            #expect(caller.domainID == nil)
            #expect(!caller.hasSystemScope)
            #expect(caller.roles == ["member", "reader"])
            #expect(caller.serviceRoles == [])
            #expect(caller.auditID == "audit-t")
            #expect(caller.requestID == "req-1")
        }
    }

    @Test func systemAndDomainScopeAreSeen() async throws {
        try await withKeystone { keystone, authenticator in
            let rest = "\"expires_at\": \"2100-01-01T00:00:00.000000Z\", \"user\": {\"id\": \"u\"}"
            keystone.issue("system", document: "{\"token\": {\(rest), \"system\": {\"all\": true}}}")
            keystone.issue("domain", document: "{\"token\": {\(rest), \"domain\": {\"id\": \"d\", \"name\": \"D\"}}}")
            keystone.issue("unscoped", document: "{\"token\": {\(rest)}}")
            let system = try await authenticator.authenticate(token: "system", serviceToken: nil, for: request())
            #expect(system.hasSystemScope && system.projectID == nil)
            let domain = try await authenticator.authenticate(token: "domain", serviceToken: nil, for: request())
            #expect(domain.domainID == "d" && domain.projectID == nil && !domain.hasSystemScope)
            let unscoped = try await authenticator.authenticate(token: "unscoped", serviceToken: nil, for: request())
            #expect(unscoped.projectID == nil && unscoped.roles == [])
        }
    }

    @Test func requestsAreAsKeystoneWantsThem() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t")
            _ = try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            let validation = try #require(keystone.validations.first)
            #expect(validation.uri == "/v3/auth/tokens?nocatalog")
            #expect(validation.headers["X-Auth-Token"] == ["own-1"])
            #expect(validation.headers["X-Subject-Token"] == ["t"])
            #expect(validation.headers["OpenStack-Identity-Access-Rules"] == ["1"])
            let login = try #require(keystone.requests.first)
            #expect(
                login.body == """
                    {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "glance", \
                    "domain": {"name": "Default"}, "password": "s\\"ecret"}}}, \
                    "scope": {"project": {"name": "service", "domain": {"name": "Default"}}}}}
                    """)
        }
    }

    @Test(arguments: ["", "/", "/v3", "/v3/"])
    func authURLMayEndInEitherWay(_ end: String) async throws {
        var settings = settings
        settings.authURL = settings.authURL.replacing("/v3", with: end)
        try await withKeystone(settings) { keystone, authenticator in
            keystone.issue("t")
            _ = try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
        }
    }

    @Test func challengeNamesKeystone() async throws {
        var settings = settings
        settings.authURL = "http://k:5000/v3"
        try await withKeystone(settings) { _, authenticator in
            #expect(authenticator.challenge == "Keystone uri=\"http://k:5000/v3\"")
        }
        settings.publicURL = "https://id.example"
        try await withKeystone(settings) { _, authenticator in
            #expect(authenticator.challenge == "Keystone uri=\"https://id.example\"")
        }
    }

    // MARK: Bad tokens: 401

    @Test(arguments: [nil, "", "with space", "line\r\nX-Injected: 1", "ünïcode", "nul\0"])
    func whatIsNoTokenIsNotEvenAskedFor(_ token: String?) async throws {
        try await withKeystone { keystone, authenticator in
            await expectUnauthorized {
                try await authenticator.authenticate(token: token, serviceToken: nil, for: request())
            }
            #expect(keystone.requests.isEmpty)
        }
    }

    @Test func unknownTokenIsRefusedAndAskedForAgain() async throws {
        try await withKeystone { keystone, authenticator in
            for _ in 0..<2 {
                await expectUnauthorized {
                    try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
                }
            }
            #expect(keystone.validations.count == 2)
            keystone.issue("t")
            _ = try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
        }
    }

    @Test func expiryIsLookedAtOnEveryUse() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t", expiresIn: 20)
            _ = try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            clock.advance(seconds: 19)
            _ = try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            clock.advance(seconds: 1)
            await expectUnauthorized {
                try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            }
            #expect(keystone.validations.count == 1)
        }
    }

    // MARK: The memory

    @Test func answerIsRememberedForAMinuteAtMost() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t")
            _ = try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            keystone.revoke("t")
            clock.advance(seconds: 59)
            _ = try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            #expect(keystone.validations.count == 1)
            clock.advance(seconds: 1)
            await expectUnauthorized {
                try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            }
            #expect(keystone.validations.count == 2)
        }
    }

    @Test func requestsThatComeTogetherAskOnce() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t")
            keystone.hold()
            let callers = Atomic40()
            try await withThrowingTaskGroup(of: Caller.self) { group in
                for _ in 0..<40 {
                    group.addTask {
                        callers.arrive()
                        return try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
                    }
                }
                for await _ in callers.all {}
                for await _ in keystone.validationsSeen { break }
                keystone.release()
                for try await caller in group { #expect(caller.userID == "user-1") }
            }
            #expect(keystone.validations.count == 1)
            #expect(keystone.loginCount == 1)
        }
    }

    /// Ends its stream when forty have arrived.
    private final class Atomic40: Sendable {
        private let count = Atomic<Int>(0)
        let all: AsyncStream<Void>
        private let continuation: AsyncStream<Void>.Continuation
        init() { (all, continuation) = AsyncStream.makeStream(of: Void.self) }
        func arrive() {
            if count.add(1, ordering: .relaxed).newValue == 40 { continuation.finish() }
        }
    }

    // MARK: Keystone's own troubles: 503

    @Test func ownTokenThatRanOutIsRenewedOnce() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("a")
            keystone.issue("b")
            _ = try await authenticator.authenticate(token: "a", serviceToken: nil, for: request())
            keystone.revokeOwnTokens()
            _ = try await authenticator.authenticate(token: "b", serviceToken: nil, for: request())
            #expect(keystone.loginCount == 2)
            #expect(keystone.validations.map { $0.headers["X-Auth-Token"] } == [["own-1"], ["own-1"], ["own-2"]])
        }
    }

    @Test func ownTokenIsRenewedBeforeItsEnd() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.setOwnLifetime(seconds: 100)
            for token in ["a", "b", "c"] { keystone.issue(token) }
            _ = try await authenticator.authenticate(token: "a", serviceToken: nil, for: request())
            clock.advance(seconds: 69)
            _ = try await authenticator.authenticate(token: "b", serviceToken: nil, for: request())
            #expect(keystone.loginCount == 1)
            clock.advance(seconds: 1)
            _ = try await authenticator.authenticate(token: "c", serviceToken: nil, for: request())
            #expect(keystone.loginCount == 2)
            #expect(keystone.validations.last?.headers["X-Auth-Token"] == ["own-2"])
        }
    }

    @Test func freshOwnTokenThatIsRefusedMeansUnavailable() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t")
            keystone.intercept { $0.isValidation ? .init(status: 401) : nil }
            await expectUnavailable(.refused) {
                try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            }
            #expect(keystone.validations.count == 2)
            #expect(keystone.loginCount == 2)
        }
    }

    @Test func wrongCredentialsOfOurOwnMeanUnavailable() async throws {
        var settings = settings
        settings.password = "my-wrong-password"
        try await withKeystone(settings) { keystone, authenticator in
            keystone.issue("t")
            let told = await expectUnavailable(.refused) {
                try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            }
            #expect(told.contains("glance"))
            #expect(!told.contains("my-wrong-password"))
            await #expect(throws: KeystoneError.self) { try await authenticator.checkReachable() }
        }
    }

    @Test(arguments: [400, 403, 429, 500, 502, 503, 300])
    func otherAnswersMeanUnavailable(_ status: Int) async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("secret-token")
            keystone.intercept { $0.isValidation ? .init(status: status) : nil }
            let told = await expectUnavailable(.unexpected) {
                try await authenticator.authenticate(token: "secret-token", serviceToken: nil, for: request())
            }
            #expect(!told.contains("secret-token"))
            // Nothing of it is remembered.
            keystone.intercept(nil)
            _ = try await authenticator.authenticate(token: "secret-token", serviceToken: nil, for: request())
        }
    }

    @Test(arguments: [
        "", "<html>", "[]", "{}", "{\"token\": {}}", "{\"token\": {\"user\": {\"id\": \"u\"}}}",
        "{\"token\": {\"user\": {\"id\": \"u\"}, \"expires_at\": \"soon\"}}",
        """
        {"token": {"user": {"id": "u"}, "expires_at": "2100-01-01T00:00:00Z",
          "application_credential": {"access_rules": "all"}}}
        """,
        """
        {"token": {"user": {"id": "u"}, "expires_at": "2100-01-01T00:00:00Z",
          "application_credential": {"access_rules": [{"method": "GET"}]}}}
        """,
    ])
    func answersThatCannotBeReadMeanUnavailable(_ document: String) async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t", document: document)
            await expectUnavailable(.unexpected) {
                try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            }
        }
    }

    @Test func silenceMeansUnavailableAndIsNotAskedForAgain() async throws {
        var settings = settings
        settings.timeoutSeconds = 4
        try await withKeystone(settings) { keystone, authenticator in
            keystone.issue("t")
            keystone.intercept { $0.isValidation ? .init(status: 0) : nil }
            await expectUnavailable(.unreachable) {
                try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            }
            #expect(keystone.validations.count == 1)
            #expect(clock.pauses == [])
        }
    }

    @Test func connectionIsTriedFourTimes() async throws {
        try await withKeystone { keystone, authenticator in
            try await keystone.stop()
            await expectUnavailable(.unreachable) {
                try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            }
            #expect(clock.pauses == [0.5, 1, 2])
        }
    }

    @Test func keystoneThatComesBackInTimeIsFound() async throws {
        let keystone = KeystoneFake(clock: clock)
        let port = try await keystone.start()
        try await keystone.stop()
        keystone.issue("t")
        clock.wakes.withLock { $0 = { count in if count == 3 { try await keystone.start(port: port) } } }
        let authenticator = KeystoneAuthenticator(
            KeystoneSettings(authURL: "http://127.0.0.1:\(port)", username: "glance", password: "s\"ecret"),
            clock: clock)
        let caller = try? await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
        #expect(caller?.userID == "user-1")
        try await authenticator.shutdown()
        try await keystone.stop()
    }

    // MARK: Service tokens

    @Test func serviceTokenLetsAnExpiredUserTokenPass() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t", isExpired: true)
            keystone.issue("s", roles: ["service"])
            await expectUnauthorized {
                try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            }
            let caller = try await authenticator.authenticate(token: "t", serviceToken: "s", for: request())
            #expect(caller.serviceRoles == ["service"])
            #expect(caller.isService)
            #expect(keystone.validations.last?.uri == "/v3/auth/tokens?nocatalog&allow_expired=1")
            // What a service was told is not told to the user alone.
            await expectUnauthorized {
                try await authenticator.authenticate(token: "t", serviceToken: nil, for: request())
            }
        }
    }

    @Test func serviceTokenItselfMustNotBeExpired() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t")
            keystone.issue("s", roles: ["service"], expiresIn: 20)
            _ = try await authenticator.authenticate(token: "t", serviceToken: "s", for: request())
            clock.advance(seconds: 20)
            await expectUnauthorized {
                try await authenticator.authenticate(token: "t", serviceToken: "s", for: request())
            }
        }
    }

    @Test func unknownServiceTokenSpoilsAGoodUserToken() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t")
            await expectUnauthorized {
                try await authenticator.authenticate(token: "t", serviceToken: "s", for: request())
            }
        }
    }

    @Test func serviceTokenNeedsARole() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t")
            keystone.issue("s", roles: ["member"])
            await expectUnauthorized {
                try await authenticator.authenticate(token: "t", serviceToken: "s", for: request())
            }
        }
    }

    @Test func serviceTokenWithoutARolePermitsNothingWhereNoneIsRequired() async throws {
        var settings = settings
        settings.serviceTokenRolesRequired = false
        try await withKeystone(settings) { keystone, authenticator in
            keystone.issue("t")
            keystone.issue("old", isExpired: true)
            keystone.issue("s", roles: ["member"])
            let caller = try await authenticator.authenticate(token: "t", serviceToken: "s", for: request())
            #expect(!caller.isService)
            await expectUnauthorized {
                try await authenticator.authenticate(token: "old", serviceToken: "s", for: request())
            }
        }
    }

    // MARK: Access rules

    private let restriction = """
        , "application_credential": {"id": "c", "name": "n", "restricted": true, "access_rules": [
            {"id": "1", "service": "image", "method": "GET", "path": "/v2/images/*"},
            {"id": "2", "service": "identity", "method": "GET", "path": "/v2/images"}]}
        """

    @Test func accessRulesDecideWhatAnApplicationCredentialMayDo() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t", extra: restriction)
            _ = try await authenticator.authenticate(token: "t", serviceToken: nil, for: request("GET", "/v2/images/1"))
            for refused in [
                request("DELETE", "/v2/images/1"), request("GET", "/v2/images/1/file"), request("GET", "/v2/images"),
            ] {
                await expectUnauthorized {
                    try await authenticator.authenticate(token: "t", serviceToken: nil, for: refused)
                }
            }
        }
    }

    @Test func serviceTokenLiftsAccessRules() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("t", extra: restriction)
            keystone.issue("s", roles: ["service"])
            let other = request("DELETE", "/v2/images/1")
            _ = try await authenticator.authenticate(token: "t", serviceToken: "s", for: other)
        }
    }

    @Test func emptyAccessRulesAllowNothingAndAbsentOnesEverything() async throws {
        try await withKeystone { keystone, authenticator in
            keystone.issue("none", extra: ", \"application_credential\": {\"id\": \"c\", \"access_rules\": []}")
            keystone.issue("all", extra: ", \"application_credential\": {\"id\": \"c\"}")
            await expectUnauthorized {
                try await authenticator.authenticate(token: "none", serviceToken: nil, for: request())
            }
            _ = try await authenticator.authenticate(token: "all", serviceToken: nil, for: request())
        }
    }

    // MARK: The check at start

    @Test func reachableKeystonePassesTheCheck() async throws {
        try await withKeystone { keystone, authenticator in
            try await authenticator.checkReachable()
            #expect(keystone.loginCount == 1)
        }
    }

    @Test func whatIsNoKeystoneFailsTheCheck() async throws {
        try await withKeystone { keystone, authenticator in
            for answer in [KeystoneFake.Answer(status: 404), .init(status: 200, body: "hello")] {
                keystone.intercept { _ in answer }
                await #expect { try await authenticator.checkReachable() } throws: {
                    ($0 as? KeystoneError)?.code == .unexpected
                }
            }
        }
        try await withKeystone { keystone, authenticator in
            try await keystone.stop()
            await #expect { try await authenticator.checkReachable() } throws: {
                ($0 as? KeystoneError)?.code == .unreachable
            }
        }
    }

    // MARK: The catalogue

    @Test func aCatalogueIsReadAsTheTokensBearer() async throws {
        let catalogue = """
            {"catalog": [
              {"type": "compute", "endpoints": [{"region_id": "one", "interface": "public", "url": "http://nova"}]},
              {"type": "image", "endpoints": [
                {"region_id": "one", "region": "one", "interface": "internal", "url": "http://inside"},
                {"region_id": "one", "region": "one", "interface": "public", "url": "http://glance-one"},
                {"region_id": "two", "interface": "public", "url": "http://glance-two/v2"}]}]}
            """
        try await withKeystone { keystone, authenticator in
            func url(_ token: String, _ region: String, _ interface: String) async throws -> String? {
                try await authenticator.catalogue.url(
                    ofService: "image", region: region, interface: interface, for: CallerToken(token))
            }
            keystone.intercept { request in
                guard request.uri == "/v3/auth/catalog" else { return nil }
                switch request.headers.first(name: "X-Auth-Token") {
                case "good": return KeystoneFake.Answer(status: 200, body: catalogue)
                case "busy": return KeystoneFake.Answer(status: 503)
                default: return KeystoneFake.Answer(status: 401)
                }
            }
            let found = [
                try await url("good", "one", "public"), try await url("good", "two", "public"),
                try await url("good", "two", "internal"), try await url("good", "three", "public"),
            ]
            #expect(found == ["http://glance-one", "http://glance-two/v2", nil, nil])
            #expect(keystone.loginCount == 0)
            for (token, status) in [("forged", 401), ("busy", 503)] {
                let error = try await #require(throws: ServiceError.self) { _ = try await url(token, "one", "public") }
                #expect(error.status == status)
            }
        }
    }

    @Test func settingsNeverShowThePassword() {
        let settings = KeystoneSettings(authURL: "http://k", username: "u", password: "my-secret")
        for text in ["\(settings)", String(reflecting: settings), String(describing: [settings])] {
            #expect(!text.contains("my-secret"))
        }
    }
}
