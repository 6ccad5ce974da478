import Core
import Foundation
import NIOCore
import NIOHTTP1
import Server
import Testing
import Trust

/// The audit log of a running server.
@Suite struct AuditTests {
    private func withServer(
        directory: String? = nil, _ body: @Sendable (TestServer, String) async throws -> Void
    ) async throws {
        let path = try directory ?? TestServer.makeDirectory()
        defer { if directory == nil { TestServer.remove(path) } }
        let file = path + "/audit.log"
        try await TestServer.with(
            directory: path, { $0.audit = ServerSettings.AuditChoice(file: file) }
        ) { server in try await body(server, file) }
    }

    private static func lines(_ file: String) throws -> [JSONValue] {
        try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").map {
            try JSONValue(parsing: ByteBuffer(substring: $0))
        }
    }

    @Test func everyCallThatMayChangeSomethingIsOnRecord() async throws {
        try await withServer { server, file in
            let account = try await server.account()
            let before = try Self.lines(file).count
            let made = try await server.call(
                .POST, "/image/v2/images?signature=hush-query", as: account.token,
                headers: [("X-Openstack-Request-Id", "req-made")], json: #"{"name": "hush-body"}"#)
            #expect(made.status == 201)
            let id = try #require(made.json["id"]?.stringValue)
            #expect(try await server.call(.GET, "/image/v2/images/\(id)", as: account.token).status == 200)
            // Refused ones too; those of nobody change nothing and are not.
            #expect(try await server.call(.DELETE, "/image/v2/images/nothing", as: account.token).status == 404)
            #expect(try await server.call(.DELETE, "/image/v2/images/\(id)", as: "wrong").status == 401)
            #expect(
                try await server.call(
                    .POST, "/key-manager/v1/secrets", as: account.token,
                    json: #"{"payload": "hush-key", "payload_content_type": "text/plain"}"#
                ).status == 201)
            let lines = try Array(Self.lines(file)[before...])
            #expect(lines.map { $0["event"] } == ["begun", "ended", "begun", "ended", "begun", "ended"])
            #expect(lines.map { $0["status"]?.integerValue } == [nil, 201, nil, 404, nil, 201])
            #expect(lines[1]["request_id"] == "req-made" && lines[1]["service"] == "image")
            #expect(lines[1]["route"] == "/image/v2/images" && lines[1]["method"] == "POST")
            #expect(lines[1]["user"]?.stringValue == account.userID)
            #expect(lines[1]["project"]?.stringValue == account.projectID)
            #expect(lines[1]["roles"] == ["member", "reader"])
            #expect(lines[1]["client"] == "127.0.0.1")
            #expect(lines[1]["location"]?.stringValue?.hasSuffix("/image/v2/images/\(id)") == true)
            #expect(lines[3]["resource"] == ["image": "nothing"])
            #expect(lines[5]["service"] == "key-manager")
            let text = try String(contentsOfFile: file, encoding: .utf8)
            for secret in ["hush", account.token, "password-of"] { #expect(!text.contains(secret)) }
            #expect(try Self.lines(file)[1...].contains { $0["service"] == "identity" })
            var verification = AuditVerification(
                seal: try RecordSeal.loadOrCreate(path: server.directory + "/record-key"))
            try verification.add(file)
            #expect(!verification.hasFlaws, "\(verification.report())")
        }
    }

    /// What is on record before it is done: an upload that waits for its bytes stands there without a result.
    @Test func aCallIsOnRecordBeforeItIsDone() async throws {
        try await withServer { server, file in
            let account = try await server.account()
            let made = try await server.call(
                .POST, "/image/v2/images", as: account.token,
                json: #"{"disk_format": "raw", "container_format": "bare"}"#)
            let id = try #require(made.json["id"]?.stringValue)
            let connection = try await server.connect()
            try await connection.send(
                "PUT /image/v2/images/\(id)/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(account.token)\r\n"
                    + "Content-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\n01234")
            let begun = try await eventually("the upload is on record") {
                try Self.lines(file).last { $0["method"] == "PUT" && $0["service"] == "image" }
            }
            #expect(begun["event"] == "begun" && begun["resource"] == ["image": .string(id)])
            try await connection.send("56789")
            #expect(try await connection.response().status == 204)
            #expect(try Self.lines(file).last?["of"] == begun["seq"])
            connection.close()
        }
    }

    @Test func theLogGoesOnAfterARestart() async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        for _ in 0..<2 {
            try await withServer(directory: directory) { server, _ in
                let created = try await server.call(.POST, "/image/v2/images", as: server.demo, json: "{}")
                #expect(created.status == 201)
            }
        }
        let lines = try Self.lines(directory + "/audit.log")
        #expect(lines.map { $0["seq"]?.integerValue ?? 0 } == Array(1...Int64(lines.count)))
        #expect(lines.count { $0["event"] == "opened" } == 2)
    }

    /// What cannot go on record is not done; reading goes on.
    @Test func withoutTheLogNothingIsChanged() async throws {
        try await withServer { server, file in
            try Data("strange".utf8).write(to: URL(filePath: file))
            let refused = try await server.call(
                .POST, "/image/v2/images", as: server.demo, headers: [("Accept", "application/json")], json: "{}")
            #expect(refused.status == 503)
            #expect(refused.json["message"]?.stringValue?.contains("audit log") == true)
            let list = try await server.call(.GET, "/image/v2/images", as: server.demo)
            #expect(list.status == 200 && list.json["images"] == [])
        }
    }

    @Test func withoutTheSettingNothingIsRecorded() async throws {
        try await TestServer.with { server in
            _ = try await server.call(.POST, "/image/v2/images", as: server.demo, json: "{}")
            #expect(!FileManager.default.fileExists(atPath: server.directory + "/audit.log"))
        }
    }
}
