import Core
import Foundation
import NIOCore
import NIOHTTP1
import Testing

/// Every wrong request gets the status the specification names, in the envelope its client asked for,
/// and changes nothing.
@Suite(.server) struct BadRequestTests {
    /// What the placeholders of the table stand for.
    struct Stage: Sendable {
        let places: [String: String]
        let tokens: [BadRequest.Token: String]

        func fill(_ text: String) -> String {
            places.reduce(text) { $0.replacingOccurrences(of: "{\($1.key)}", with: $1.value) }
        }
    }

    private func stage(_ server: TestServer) async throws -> Stage {
        let demo = try await server.account()
        let other = try await server.account()
        let reader = try await server.account(role: "reader", projectID: demo.projectID)
        func image(_ members: String = "", as token: String? = nil) async throws -> String {
            let fields = [#""disk_format": "raw", "container_format": "bare""#, members].filter { !$0.isEmpty }
            let answer = try await server.call(
                .POST, "/image/v2/images", as: token ?? demo.token, json: "{\(fields.joined(separator: ", "))}")
            guard answer.status == 201, let id = answer.json["id"]?.stringValue else {
                throw TestFailure("no image: \(answer.status) \(answer.text)")
            }
            return id
        }
        func act(
            _ method: String, _ path: String, _ expected: Int, headers: [(String, String)] = [], body: [UInt8]? = nil
        ) async throws {
            let answer = try await server.call(
                .init(rawValue: method), "/image/v2/images/" + path, as: demo.token, headers: headers, body: body)
            guard answer.status == expected else {
                throw TestFailure("\(method) \(path): \(answer.status) \(answer.text)")
            }
        }
        let octets = [("Content-Type", "application/octet-stream")]
        var places = ["otherProject": other.projectID, "project": demo.projectID]
        places["queued"] = try await image(#""name": "a", "os": "b""#)
        places["queuedUpper"] = try await image(
            #""id": "ABCDEF00-0000-4000-8000-\#(String(demo.projectID.prefix(12)))""#
        ).lowercased()
        places["formless"] = try await formless(server, demo.token)
        places["active"] = try await image()
        places["deactivated"] = try await image()
        for name in ["active", "deactivated"] {
            try await act("PUT", places[name]! + "/file", 204, headers: octets, body: Array("0123456789".utf8))
        }
        try await act("POST", places["deactivated"]! + "/actions/deactivate", 204)
        places["protected"] = try await image(#""protected": true"#)
        places["private"] = try await image(#""visibility": "private""#)
        places["shared"] = try await image()
        try await act(
            "POST", places["shared"]! + "/members", 200, headers: [("Content-Type", "application/json")],
            body: Array(#"{"member": "\#(other.projectID)"}"#.utf8))
        places["public"] = try await image(#""visibility": "public""#, as: server.admin)
        places["foreign"] = try await image(as: other.token)
        places["deleted"] = try await image()
        try await act("DELETE", places["deleted"]!, 204)
        return Stage(
            places: places,
            tokens: [.demo: demo.token, .other: other.token, .reader: reader.token, .admin: server.admin])
    }

    private func formless(_ server: TestServer, _ token: String) async throws -> String {
        let answer = try await server.call(.POST, "/image/v2/images", as: token, json: "{}")
        return try #require(answer.json["id"]?.stringValue)
    }

    private func bytes(_ bad: BadRequest, _ stage: Stage, accept: String) -> [UInt8] {
        let path = stage.fill(bad.path).replacingOccurrences(of: "\"", with: "%22").replacingOccurrences(
            of: " ", with: "%20")
        var head =
            "\(bad.method) /image\(path) HTTP/1.1\r\nHost: localhost\r\nAccept: \(accept)\r\nConnection: close\r\n"
        if let token = stage.tokens[bad.token] { head += "X-Auth-Token: \(token)\r\n" }
        for (name, value) in bad.headers { head += "\(name): \(value)\r\n" }
        var body: [UInt8] = []
        if let given = bad.body {
            // Placeholders stand only in bodies of text.
            body = String(validating: given, as: UTF8.self).map { Array(stage.fill($0).utf8) } ?? given
            head += "Content-Length: \(body.count)\r\n"
        }
        return Array((head + "\r\n").utf8) + body
    }

    private func listing(_ server: TestServer, _ stage: Stage) async throws -> [String] {
        var all: [String] = []
        for id in stage.places.sorted(by: { $0.key < $1.key }).map(\.value) where ImageText.isUUID(id) {
            all.append(try await server.call(.GET, "/image/v2/images/\(id)", as: server.admin).text)
            all.append(try await server.call(.GET, "/image/v2/images/\(id)/members", as: server.admin).text)
        }
        let page = try await server.call(
            .GET, "/image/v2/images?limit=1000&visibility=all&owner=\(stage.places["project"] ?? "")", as: server.admin)
        return all + [page.text]
    }

    @Test func thereAreManyCases() {
        #expect(BadRequest.all.count >= 300)
        #expect(Set(BadRequest.all.map(\.description)).count > 300)
    }

    @Test func everyBadRequestIsRefusedAsSpecifiedAndChangesNothing() async throws {
        let server = TestServer.current
        let stage = try await stage(server)
        let before = try await listing(server, stage)
        for bad in BadRequest.all {
            let response = try await server.raw(
                bytes(bad, stage, accept: "application/json"), isHead: bad.method == "HEAD")
            #expect(response.status == bad.status, "\(bad): \(response.text.prefix(300))")
            guard bad.method != "HEAD", response.status >= 400 else { continue }
            let body = try JSONValue(parsing: .init(bytes: response.body))
            #expect(body["code"]?.stringValue?.hasPrefix("\(bad.status) ") == true, "\(bad)")
            #expect(body["title"]?.stringValue?.isEmpty == false, "\(bad)")
            #expect(body["message"]?.stringValue?.hasSuffix("<br /><br />\n\n\n") == true, "\(bad)")
            #expect(response.header("x-openstack-request-id")?.hasPrefix("req-") == true, "\(bad)")
            if response.status == 401 {
                #expect(response.header("www-authenticate")?.hasPrefix("Keystone uri=") == true, "\(bad)")
            }
            if response.status == 405 { #expect(response.header("allow")?.isEmpty == false, "\(bad)") }
        }
        for (old, new) in zip(before, try await listing(server, stage)) { #expect(new == old) }
    }

    @Test(arguments: [
        ("*/*", "text/html; charset=UTF-8"), ("text/html", "text/html; charset=UTF-8"),
        ("application/json", "application/json"), ("image/png", "text/plain; charset=UTF-8"),
        ("text/plain", "text/plain; charset=UTF-8"), ("application/json, */*", "application/json"),
    ])
    func errorsComeInTheFormAskedFor(_ accept: String, _ type: String) async throws {
        let server = TestServer.current
        let answer = try await server.call(
            .GET, "/image/v2/images/nothing", as: server.demo, headers: [("Accept", accept)])
        #expect(answer.status == 404)
        #expect(answer.header("content-type") == type)
        #expect(answer.text.contains("No image found with ID nothing"))
    }

    @Test func withoutAcceptAnErrorIsPlainText() async throws {
        let server = TestServer.current
        let answer = try await server.raw(
            "GET /image/v2/images/nothing HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(server.demo)\r\n\r\n")
        #expect(answer.header("content-type") == "text/plain; charset=UTF-8")
        #expect(answer.text == "404 Not Found\n\nNo image found with ID nothing\n\n   ")
    }

    @Test func whatAClientSentIsEscapedInHTML() async throws {
        let server = TestServer.current
        let answer = try await server.call(
            .GET, "/image/v2/images/%3Cscript%3E", as: server.demo, headers: [("Accept", "text/html")])
        #expect(answer.status == 404)
        #expect(!answer.text.contains("<script>"))
    }

    /// What is no HTTP at all ends the connection and nothing else.
    @Test(arguments: [
        "nonsense\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: a\r\n\r\n",
        "POST /image/v2/images HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        "POST /image/v2/images HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}",
    ])
    func garbageIsRefused(_ text: String) async throws {
        let server = TestServer.current
        let connection = try await server.connect()
        defer { connection.close() }
        try await connection.send(text)
        try await connection.endSending()
        let answer = String(decoding: try await connection.remainder(), as: UTF8.self)
        #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.1 4"), "\(answer.prefix(100))")
        #expect(try await server.call(.GET, "/healthcheck").status == 200)
    }

    @Test(arguments: [100_000, 10_000_000])
    func hugeHeadersAreRefused(_ count: Int) async throws {
        let server = TestServer.current
        let connection = try await server.connect()
        defer { connection.close() }
        let line = "X-Large: \(String(repeating: "a", count: count))\r\n"
        try? await connection.send("GET /image/v2/images HTTP/1.1\r\nHost: x\r\n\(line)\r\n")
        let response = try await connection.response()
        #expect(response.status == 400 || response.status == 431)
        #expect(try await server.call(.GET, "/healthcheck").status == 200)
    }

    @Test func aRefusedUploadIsAnsweredBeforeItsBodyAndTheConnectionEnds() async throws {
        let server = TestServer.current
        let connection = try await server.connect()
        defer { connection.close() }
        try await connection.send(
            "PUT /image/v2/images/nothing/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(server.demo)\r\n"
                + "Content-Type: application/octet-stream\r\nContent-Length: 1000000000\r\n\r\nabc")
        let response = try await connection.response()
        #expect(response.status == 404)
        #expect(response.header("connection") == "close")
        // The client may go on for a while without being reset.
        for _ in 0..<8 { try await connection.send([UInt8](repeating: 0, count: 100_000)) }
        connection.close()
    }

    @Test func expectContinueIsAnsweredOnlyWhenTheBodyIsWanted() async throws {
        let server = TestServer.current
        let created = try await server.call(
            .POST, "/image/v2/images", as: server.demo, json: #"{"disk_format": "raw", "container_format": "bare"}"#)
        let id = try #require(created.json["id"]?.stringValue)
        func head(_ id: String) -> String {
            "PUT /image/v2/images/\(id)/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(server.demo)\r\nExpect: 100-continue\r\n"
                + "Content-Type: application/octet-stream\r\nContent-Length: 3\r\n\r\n"
        }
        let wanted = try await server.connect()
        defer { wanted.close() }
        try await wanted.send(head(id))
        #expect(try await wanted.response().status == 100)
        try await wanted.send("abc")
        #expect(try await wanted.response().status == 204)
        let refused = try await server.connect()
        defer { refused.close() }
        try await refused.send(head(id))
        #expect(try await refused.response().status == 409)
    }
}
