import Core
import Logging
import NIOHTTP1
import Remote
import Synchronization
import Testing

/// The limits of projects, as a Keystone keeps them.
@Suite struct KeystoneLimitsTests {
    private let clock = HastyClock()

    /// What the Keystone of a test answers to the requests that limits are learnt by.
    private final class Answers: Sendable {
        struct State {
            var status = 200
            var model = "flat"
            var hasService = true
            var registered = #"{"resource_name": "image_size_total", "service_id": "s", "default_limit": 5}"#
            var limits = ""
            var asked: [String] = []
        }
        let state = Mutex(State())

        func answer(_ request: KeystoneFake.Request) -> KeystoneFake.Answer? {
            state.withLock { state in
                if request.isLogin, !request.uri.contains("nocatalog") {
                    let image = #"{"id": "s", "type": "image", "endpoints": []}"#
                    return .init(
                        status: 201, headers: ["X-Subject-Token": "own"],
                        body: """
                            {"token": {"user": {"id": "u"}, "expires_at": "2100-01-01T00:00:00Z",
                            "catalog": [{"id": "i", "type": "identity"}\(state.hasService ? ", " + image : "")]}}
                            """)
                }
                guard request.method == .GET, request.uri.contains("limits") else { return nil }
                state.asked.append(request.uri)
                guard state.status == 200 else { return .init(status: state.status, body: "{}") }
                if request.uri == "/v3/limits/model" {
                    return .init(status: 200, body: #"{"model": {"name": "\#(state.model)"}}"#)
                }
                if request.uri.hasPrefix("/v3/registered_limits") {
                    return .init(status: 200, body: #"{"registered_limits": [\#(state.registered)]}"#)
                }
                return .init(status: 200, body: #"{"limits": [\#(state.limits)]}"#)
            }
        }
    }

    private func withKeystone(
        cacheSeconds: Int64 = 60,
        _ body: (KeystoneFake, Answers, KeystoneLimits) async throws -> Void
    ) async throws {
        let keystone = KeystoneFake(clock: clock)
        let port = try await keystone.start()
        let answers = Answers()
        keystone.intercept { answers.answer($0) }
        var settings = KeystoneSettings(
            authURL: "http://127.0.0.1:\(port)/v3", username: "glance", password: "s\"ecret")
        settings.cacheSeconds = cacheSeconds
        let authenticator = KeystoneAuthenticator(settings, clock: clock)
        let limits = authenticator.limits(ofService: "image", region: "North", logger: .silent)
        do {
            try await body(keystone, answers, limits)
        } catch {
            try await authenticator.shutdown()
            try await keystone.stop()
            throw error
        }
        try await authenticator.shutdown()
        try await keystone.stop()
    }

    @Test func aProjectsLimitGoesBeforeTheRegisteredOne() async throws {
        try await withKeystone { _, answers, limits in
            answers.state.withLock { state in
                state.registered = """
                    {"resource_name": "image_size_total", "service_id": "s", "region_id": null, "default_limit": 9},
                    {"resource_name": "image_size_total", "service_id": "s", "region_id": "North", "default_limit": 5},
                    {"resource_name": "image_size_total", "service_id": "s", "region_id": "South", "default_limit": 8},
                    {"resource_name": "image_count_total", "service_id": "s", "region_id": null, "default_limit": 7}
                    """
                // One of another region, and one of another project: a Keystone that does not filter.
                state.limits = """
                    {"resource_name": "image_count_total", "service_id": "s", "region_id": null, "project_id": "p",
                     "resource_limit": -1},
                    {"resource_name": "image_size_total", "service_id": "s", "region_id": null, "project_id": "p",
                     "resource_limit": 1},
                    {"resource_name": "image_size_total", "service_id": "s", "region_id": "North", "project_id": "q",
                     "resource_limit": 2}
                    """
            }
            #expect(limits.known(of: "p") == nil)
            try await limits.learn(of: "p")
            #expect(
                limits.known(of: "p")
                    == ProjectLimits(registered: ["image_size_total": 5, "image_count_total": -1]))
            try await limits.learn(of: "a&b c")
            #expect(
                answers.state.withLock { $0.asked } == [
                    "/v3/limits/model", "/v3/registered_limits?service_id=s",
                    "/v3/limits?service_id=s&project_id=p", "/v3/limits?service_id=s&project_id=a%26b%20c",
                ])
        }
    }

    @Test func whatWasLearntIsBelievedBriefly() async throws {
        try await withKeystone { _, answers, limits in
            try await limits.learn(of: "p")
            clock.advance(seconds: 59)
            #expect(limits.known(of: "p") != nil)
            clock.advance(seconds: 2)
            #expect(limits.known(of: "p") == nil)
            answers.state.withLock {
                $0.registered = #"{"resource_name": "image_size_total", "service_id": "s", "default_limit": 6}"#
            }
            try await limits.learn(of: "p")
            #expect(limits.known(of: "p") == ProjectLimits(registered: ["image_size_total": 6]))
        }
    }

    /// While Keystone does not answer, what was learnt before is believed for ten minutes, and no longer.
    @Test(arguments: [503, 500, 429])
    func whenKeystoneIsAwayOldLimitsHoldForAStatedTime(_ status: Int) async throws {
        try await withKeystone { _, answers, limits in
            try await limits.learn(of: "p")
            let learnt = try #require(limits.known(of: "p"))
            answers.state.withLock { $0.status = status }
            for _ in 0..<9 {
                clock.advance(seconds: 61)
                #expect(limits.known(of: "p") == nil)
                try await limits.learn(of: "p")
                #expect(limits.known(of: "p") == learnt)
            }
            clock.advance(seconds: 60)
            #expect(limits.known(of: "p") == nil)
            await expectStatus(503) { try await limits.learn(of: "p") }
            // Nothing was ever known of another.
            await expectStatus(503) { try await limits.learn(of: "q") }
            answers.state.withLock { $0.status = 200 }
            try await limits.learn(of: "p")
            #expect(limits.known(of: "p") == learnt)
        }
    }

    @Test func aKeystoneThatIsGoneIsUnavailable() async throws {
        try await withKeystone { keystone, _, limits in
            try await limits.learn(of: "p")
            clock.advance(seconds: 700)
            keystone.intercept { _ in .init(status: 502, body: "") }
            await expectStatus(503) { try await limits.learn(of: "p") }
        }
    }

    /// What does not pass by itself is a mistake of the installation.
    @Test func aKeystoneThatIsNotSetUpIsAnError() async throws {
        let mistakes: [@Sendable (inout Answers.State) -> Void] = [
            { $0.model = "strict_two_level" }, { $0.hasService = false }, { $0.status = 403 }, { $0.status = 404 },
        ]
        for mistake in mistakes {
            try await withKeystone { _, answers, limits in
                answers.state.withLock { mistake(&$0) }
                await expectStatus(500) { try await limits.learn(of: "p") }
                #expect(limits.known(of: "p") == nil)
            }
        }
    }

    /// What was just learnt can be used, also where nothing is remembered of tokens.
    @Test func withoutACacheLimitsAreStillUsable() async throws {
        try await withKeystone(cacheSeconds: 0) { _, _, limits in
            try await limits.learn(of: "p")
            #expect(limits.known(of: "p") != nil)
            clock.advance(seconds: 6)
            #expect(limits.known(of: "p") == nil)
        }
    }

    private func expectStatus(
        _ expected: Int, at location: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
    ) async {
        #expect(await status(of: body) == expected, sourceLocation: location)
    }
}
