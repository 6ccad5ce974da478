import API
import Core
import Foundation
import NIOHTTP1
import Server
import Testing

/// Requests that are answered on the event loop are answered as all others, and so are many at once.
@Suite(.server) struct BriefRequestTests {
    private func image(_ server: TestServer, _ name: String, as token: String) async throws -> String {
        let answer = try await server.call(.POST, "/image/v2/images", as: token, json: #"{"name": "\#(name)"}"#)
        return try #require(answer.json["id"]?.stringValue)
    }

    private func get(_ path: String, _ token: String, _ fields: String = "") -> String {
        "GET /image/v2/\(path) HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(token)\r\n\(fields)\r\n"
    }

    /// Brief ones between others, all sent at once.
    @Test func answersComeInTheOrderOfTheirRequests() async throws {
        let server = TestServer.current
        let account = try await server.account(role: "member")
        let first = try await image(server, "first", as: account.token)
        let second = try await image(server, "second", as: account.token)
        let connection = try await server.connect()
        defer { connection.close() }
        let paths = [
            "images/\(first)", "images/\(second)", "images?limit=1", "images/\(first)", "images/nowhere",
            "images/\(second)", "images/\(second)/members", "images/\(first)",
        ]
        for _ in 0..<20 {
            try await connection.send(paths.map { get($0, account.token) }.joined())
            for path in paths {
                let response = try await connection.response()
                let body = String(decoding: response.body, as: UTF8.self)
                let last = String(path.split(separator: "/").last ?? "")
                switch last {
                case first, second:
                    #expect(response.status == 200 && body.contains(#""id":"\#(last)""#), "\(path): \(body)")
                case "nowhere": #expect(response.status == 404)
                default: #expect(response.status == 200, "\(path): \(body)")
                }
            }
        }
    }

    /// Also by a client that sends the next ones before the server has put the last of them away.
    @Test func asManyRequestsAsMayWaitAreAnswered() async throws {
        let connection = try await TestServer.current.connect()
        defer { connection.close() }
        let request = "GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n"
        for _ in 0..<20 {
            try await connection.send(String(repeating: request, count: ConnectionLimits.pipelinedRequests))
            for _ in 0..<ConnectionLimits.pipelinedRequests { #expect(try await connection.response().status == 200) }
        }
    }

    /// What was taken is answered, and the rest never.
    @Test func moreRequestsAtOnceCostTheConnection() async throws {
        let connection = try await TestServer.current.connect()
        defer { connection.close() }
        let sent = 20 * ConnectionLimits.pipelinedRequests
        try await connection.send(String(repeating: "GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n", count: sent))
        for _ in 0..<ConnectionLimits.pipelinedRequests { #expect(try await connection.response().status == 200) }
        let rest = String(decoding: try await connection.remainder(), as: UTF8.self)
        #expect(rest.components(separatedBy: "HTTP/1.1 200").count - 1 < sent - ConnectionLimits.pipelinedRequests)
    }

    /// Whatever a request asks of the connection, the answer is the same.
    @Test(arguments: [
        "", "Connection: keep-alive\r\n", "Connection: close\r\n", "Expect: 100-continue\r\n", "Content-Length: 0\r\n",
        "X-Openstack-Request-Id: req-mine\r\n",
    ])
    func theAnswerIsTheSame(_ fields: String) async throws {
        let server = TestServer.current
        let id = try await image(server, "same", as: server.demo)
        let plain = try await server.call(.GET, "/image/v2/images/\(id)?as=ever", as: server.demo)
        let response = try await server.raw(get("images/\(id)", server.demo, fields))
        #expect(response.status == 200 && response.body == plain.bytes)
        #expect(response.header("content-type") == "application/json")
        #expect(response.header("content-length") == "\(plain.bytes.count)")
        #expect(response.header("date")?.hasSuffix(" GMT") == true)
        #expect(response.header("x-openstack-request-id")?.hasPrefix("req-") == true)
        if fields.contains("mine") { #expect(response.header("x-openstack-request-id") == "req-mine") }
    }

    @Test func aBodyIsRefused() async throws {
        let server = TestServer.current
        let id = try await image(server, "bodiless", as: server.demo)
        let sized = try await server.raw(get("images/\(id)", server.demo, "Content-Length: 2\r\n") + "{}")
        #expect(sized.status == 400)
        let chunked = try await server.raw(
            get("images/\(id)", server.demo, "Transfer-Encoding: chunked\r\n") + "2\r\n{}\r\n0\r\n\r\n")
        #expect(chunked.status == 400)
    }

    /// A token that was good a moment ago is asked for again.
    @Test func aRevokedTokenIsRefused() async throws {
        let server = TestServer.current
        let account = try await server.account(role: "member")
        let id = try await image(server, "mine", as: account.token)
        for _ in 0..<3 {
            #expect(try await server.call(.GET, "/image/v2/images/\(id)", as: account.token).status == 200)
        }
        let revoked = try await server.call(
            .DELETE, "/identity/v3/auth/tokens", as: server.admin, headers: [("X-Subject-Token", account.token)])
        #expect(revoked.status == 204)
        #expect(try await server.call(.GET, "/image/v2/images/\(id)", as: account.token).status == 401)
    }

    @Test func itIsLogged() async throws {
        let server = TestServer.current
        let id = try await image(server, "logged", as: server.demo)
        _ = try await server.call(.GET, "/image/v2/images/\(id)", as: server.demo)
        let lines = try server.log.lines("request").filter {
            $0["path"] == .string("/image/v2/images/\(id)") && $0["method"] == .string("GET")
        }
        #expect(lines.count == 1)
        #expect(lines.first?["status"] == .string("200"))
        #expect(lines.first?["project"]?.stringValue?.isEmpty == false)
    }
}

@Suite(.server { $0.crossOrigins = ["https://dashboard.example"] }) struct BriefCrossOriginTests {
    @Test func pagesOfAConfiguredOriginMayReadTheAnswer() async throws {
        let server = TestServer.current
        let made = try await server.call(.POST, "/image/v2/images", as: server.demo, json: "{}")
        let id = try #require(made.json["id"]?.stringValue)
        for _ in 0..<2 {
            let answer = try await server.call(
                .GET, "/image/v2/images/\(id)", as: server.demo, headers: [("Origin", "https://dashboard.example")])
            #expect(answer.status == 200)
            #expect(answer.header("Access-Control-Allow-Origin") == "https://dashboard.example")
            #expect(answer.header("Vary") == "Origin")
        }
    }
}
