import NIOHTTP1
import Server
import Testing

/// Behaviour 52: browsers' pages of the configured origins, and of no others.
@Suite(.server { $0.crossOrigins = ["https://dashboard.example"] }) struct CrossOriginTests {
    private static let allowed = "https://dashboard.example"
    private static let others = [
        "https://dashboard.example.evil.example", "http://dashboard.example", "https://dashboard.example:8443",
        "https://DASHBOARD.example", "null", "*", "",
    ]

    private static func ask(
        _ method: HTTPMethod, from origin: String, _ headers: [(String, String)] = []
    ) async throws -> Answer {
        try await TestServer.current.call(
            method, "/image/v2/images", as: TestServer.current.demo, headers: [("Origin", origin)] + headers)
    }

    @Test func behaviour52_aConfiguredOriginMayReadAnswersAndErrors() async throws {
        let answer = try await Self.ask(.GET, from: Self.allowed)
        #expect(answer.status == 200)
        #expect(answer.header("Access-Control-Allow-Origin") == Self.allowed)
        #expect(answer.header("Access-Control-Expose-Headers")?.contains("X-OpenStack-Request-ID") == true)
        #expect(answer.header("Access-Control-Allow-Credentials") == nil)
        #expect(answer.header("Vary") == "Origin")
        let refused = try await TestServer.current.call(
            .GET, "/image/v2/images", headers: [("Origin", Self.allowed)])
        #expect(refused.status == 401)
        #expect(refused.header("Access-Control-Allow-Origin") == Self.allowed)
    }

    @Test func behaviour52_aConfiguredOriginIsToldWhatItMaySend() async throws {
        for path in ["/image/v2/images", "/identity/v3/auth/tokens", "/key-manager/v1/secrets"] {
            let answer = try await TestServer.current.call(
                .OPTIONS, path,
                headers: [
                    ("Origin", Self.allowed), ("Access-Control-Request-Method", "PATCH"),
                    ("Access-Control-Request-Headers", "x-auth-token"),
                ])
            #expect(answer.status == 204)
            #expect(answer.bytes.isEmpty)
            #expect(answer.header("Access-Control-Allow-Origin") == Self.allowed)
            #expect(answer.header("Access-Control-Allow-Methods")?.contains("PATCH") == true)
            #expect(answer.header("Access-Control-Allow-Headers")?.contains("X-Auth-Token") == true)
        }
    }

    @Test(arguments: others) func behaviour52_otherOriginsAreToldNothing(_ origin: String) async throws {
        let answer = try await Self.ask(.GET, from: origin)
        #expect(answer.status == 200)
        #expect(answer.header("Access-Control-Allow-Origin") == nil)
        #expect(answer.header("Vary") == "Origin")
        let preflight = try await Self.ask(.OPTIONS, from: origin, [("Access-Control-Request-Method", "GET")])
        #expect(preflight.status == 405)
        #expect(preflight.header("Access-Control-Allow-Origin") == nil)
    }

    @Test func optionsIsNoMethodOfTheAPI() async throws {
        #expect(try await Self.ask(.OPTIONS, from: Self.allowed).status == 405)
    }

    @Test func withoutOriginsNothingIsSaid() async throws {
        try await TestServer.with { server in
            let answer = try await server.call(
                .GET, "/image/v2/images", as: server.demo, headers: [("Origin", Self.allowed)])
            #expect(answer.header("Access-Control-Allow-Origin") == nil)
            #expect(answer.header("Vary") == nil)
        }
    }
}
