import Core
import Foundation
import NIOCore
import NIOHTTP1
import Testing

/// Every wrong request gets the status and the words the specification names, in an envelope that clients can
/// read, and changes nothing.
@Suite(.server) struct SecretBadRequestTests {
    private func stage(_ server: TestServer) async throws -> (
        places: [String: String], tokens: [BadRequest.Token: String]
    ) {
        let owner = try await server.account()
        let other = try await server.account()
        let reader = try await server.account(role: "reader", projectID: owner.projectID)
        func store(_ json: String) async throws -> String {
            let answer = try await server.call(.POST, SecretTests.path, as: owner.token, json: json)
            guard answer.status == 201, let ref = answer.json["secret_ref"]?.stringValue else {
                throw TestFailure("no secret: \(answer.status) \(answer.text)")
            }
            return String(ref.suffix(36))
        }
        var places = ["unknown": "6f0d4c5a-1b2c-4d3e-8f90-a1b2c3d4e5f6"]
        places["full"] = try await store(#"{"name": "a", "payload": "x", "payload_content_type": "text/plain"}"#)
        places["empty"] = try await store("{}")
        places["needed"] = try await store("{}")
        places["deleted"] = try await store("{}")
        places["upper"] = places["full"]?.uppercased()
        places["compact"] = places["full"]?.replacingOccurrences(of: "-", with: "")
        let gone = try await server.call(.DELETE, "\(SecretTests.path)/\(places["deleted"] ?? "")", as: owner.token)
        let image = try await server.call(
            .POST, "/image/v2/images", as: owner.token,
            json: #"{"cinder_encryption_key_id": "\#(places["needed"] ?? "")"}"#)
        guard gone.status == 204, image.status == 201 else { throw TestFailure("no stage") }
        return (
            places, [.demo: owner.token, .other: other.token, .reader: reader.token, .admin: server.admin]
        )
    }

    @Test func everyBadRequestIsRefusedAsSpecifiedAndChangesNothing() async throws {
        let server = TestServer.current
        let (places, tokens) = try await stage(server)
        func fill(_ text: String) -> String {
            places.reduce(text) { $0.replacingOccurrences(of: "{\($1.key)}", with: $1.value) }
        }
        func listing() async throws -> String {
            try await server.call(
                .GET, SecretTests.path + "?limit=100", as: tokens[.demo],
                headers: [("OpenStack-API-Version", "key-manager latest")]
            ).text
        }
        let before = try await listing()
        #expect(SecretBadRequest.all.count > 200)
        for bad in SecretBadRequest.all {
            let request = bad.request
            var head =
                "\(request.method) /key-manager\(fill(request.path)) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            if let token = tokens[request.token] { head += "X-Auth-Token: \(token)\r\n" }
            for (name, value) in request.headers { head += "\(name): \(value)\r\n" }
            if let body = request.body { head += "Content-Length: \(body.count)\r\n" }
            let response = try await server.raw(
                Array((head + "\r\n").utf8) + (request.body ?? []), isHead: request.method == "HEAD")
            let name = "\(request): \(response.text.prefix(300))"
            #expect(response.status == request.status, "\(name)")
            #expect(response.header("openstack-api-version")?.hasPrefix("key-manager 1.") == true, "\(name)")
            guard request.method != "HEAD" else { continue }
            #expect(response.header("content-type") == "application/json", "\(name)")
            let body = try JSONValue(parsing: .init(bytes: response.body))
            #expect(body["code"]?.integerValue == Int64(request.status), "\(name)")
            #expect(body["title"]?.stringValue == Self.titles[request.status], "\(name)")
            let description = body["description"]?.stringValue ?? ""
            #expect(bad.text.map { description.contains($0) } ?? !description.isEmpty, "\(name)")
            if response.status == 401 {
                #expect(response.header("www-authenticate")?.hasPrefix("Keystone uri=") == true)
            }
            if response.status == 405 { #expect(response.header("allow")?.isEmpty == false, "\(name)") }
        }
        #expect(try await listing() == before)
    }

    private static let titles = [
        400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
        406: "Not Acceptable", 409: "Conflict", 413: "Request Entity Too Large", 415: "Unsupported Media Type",
    ]
}
