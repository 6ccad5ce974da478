import Core
import Foundation
import NIOHTTP1
import Server
import Testing

/// A policy file as clients meet it.
@Suite struct PolicyWireTests {
    private static let file = """
        "publicize_image": "role:member and project_id:%(owner)s"
        "deactivate": "!"
        "property_protections":
          - pattern: "^hidden_"
            create: ["member"]
            read: "role:admin"
            update: "@"
            delete: "@"
          - pattern: "^fixed$"
            create: "@"
            read: "@"
            update: "!"
            delete: "!"
          - pattern: "^os_"
            create: "@"
            read: "@"
            update: "@"
            delete: "@"
        """

    private func with(_ body: @Sendable (TestServer) async throws -> Void) async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        let path = directory + "/policy.yaml"
        try Self.file.write(toFile: path, atomically: false, encoding: .utf8)
        let policy = try PolicyFile(path: path).policy
        try await TestServer.with({ $0.image?.settings.policy = policy }, body: body)
    }

    private func patch(_ server: TestServer, _ path: String, _ operation: String) async throws -> Answer {
        try await server.call(
            .PATCH, path, as: server.demo, headers: [("Content-Type", "application/openstack-images-v2.1-json-patch")],
            json: "[\(operation)]")
    }

    @Test func rulesOfTheFileDecide() async throws {
        try await with { server in
            let made = try await server.call(
                .POST, "/image/v2/images", as: server.demo, json: #"{"visibility": "public", "name": "a"}"#)
            try made.expect(201)
            let path = "/image/v2/images/" + (made.json["id"]?.stringValue ?? "")
            for token in [server.demo, server.admin] {
                let answer = try await server.call(.POST, path + "/actions/deactivate", as: token)
                try answer.expect(403)
                #expect(answer.text.contains("You are not authorized to complete deactivate action."))
            }
            try await server.call(.DELETE, path, as: server.demo).expect(204)
        }
    }

    @Test func propertiesAreHiddenAndKept() async throws {
        try await with { server in
            let made = try await server.call(
                .POST, "/image/v2/images", as: server.demo,
                json: #"{"hidden_note": "secret", "fixed": "for ever", "os_type": "linux"}"#)
            try made.expect(201)
            #expect(made.json["hidden_note"] == nil && made.json["fixed"] == "for ever")
            let path = "/image/v2/images/" + (made.json["id"]?.stringValue ?? "")
            #expect(try await server.call(.GET, path, as: server.demo).json["hidden_note"] == nil)
            #expect(try await server.call(.GET, path, as: server.admin).json["hidden_note"] == "secret")
            let changed = try await patch(server, path, #"{"op": "replace", "path": "/os_type", "value": "bsd"}"#)
            try changed.expect(200)
            #expect(changed.json["hidden_note"] == nil && changed.json["os_type"] == "bsd")
            for operation in [
                #"{"op": "replace", "path": "/hidden_note", "value": "x"}"#,
                #"{"op": "add", "path": "/hidden_note", "value": "x"}"#, #"{"op": "remove", "path": "/hidden_note"}"#,
                #"{"op": "remove", "path": "/fixed"}"#, #"{"op": "replace", "path": "/fixed", "value": "x"}"#,
                #"{"op": "add", "path": "/nobodys", "value": "x"}"#,
            ] {
                let answer = try await patch(server, path, operation)
                #expect(answer.status == 403 && answer.text.contains("is protected."), "\(operation)")
            }
            #expect(try await server.call(.GET, path, as: server.admin).json["hidden_note"] == "secret")
            try await server.call(
                .POST, "/image/v2/images", as: server.demo, json: #"{"nobodys": "x"}"#
            ).expect(403)
            for (token, count) in [(server.demo, 0), (server.admin, 1)] {
                let list = try await server.call(.GET, "/image/v2/images?hidden_note=secret", as: token)
                #expect(list.json["images"]?.arrayValue?.count == count)
            }
        }
    }
}
