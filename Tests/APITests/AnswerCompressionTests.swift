import Core
import NIOHTTP1
import Server
import Testing

/// Behaviour 52: JSON is packed for those who ask for it.
@Suite(.server { _ in }) struct AnswerCompressionTests {
    private var server: TestServer { TestServer.current }

    private func get(_ path: String, _ accepted: String?) async throws -> Answer {
        try await server.call(
            .GET, path, as: server.demo, headers: accepted.map { [("Accept-Encoding", $0)] } ?? [])
    }

    private func image(_ name: String = "packed", propertyBytes: Int) async throws -> String {
        let value = String(repeating: "a", count: propertyBytes)
        let created = try await server.call(
            .POST, "/image/v2/images", as: server.demo, json: #"{"name": "\#(name)", "long": "\#(value)"}"#)
        return try #require(created.json["id"]?.stringValue)
    }

    /// A brief answer, one that is too long to be brief, and a list.
    @Test(arguments: [5000, 60_000]) func behaviour52_longAnswersArePackedWhenAskedFor(_ count: Int) async throws {
        let id = try await image("packed-\(count)", propertyBytes: count)
        for path in ["/image/v2/images/\(id)", "/image/v2/images?name=packed-\(count)"] {
            let plain = try await get(path, nil)
            #expect(
                plain.header("Content-Encoding") == nil && plain.header("Vary")?.contains("Accept-Encoding") == true)
            for accepted in ["gzip", "deflate, GZIP;q=0.5", "br;q=1, *;q=0.1", "x-gzip"] {
                let packed = try await get(path, accepted)
                #expect(packed.status == 200 && packed.header("Content-Encoding") == "gzip", "\(accepted)")
                #expect(packed.header("Vary")?.contains("Accept-Encoding") == true)
                #expect(packed.header("Content-Type") == "application/json")
                #expect(packed.header("Content-Length") == String(packed.bytes.count))
                #expect(packed.bytes.starts(with: [0x1f, 0x8b]) && packed.bytes.count < plain.bytes.count / 4)
            }
            for accepted in ["identity", "gzip;q=0", "gzip; q=0.0, *", "*;q=0", "br, gzipped", ""] {
                let answer = try await get(path, accepted)
                #expect(answer.header("Content-Encoding") == nil && answer.bytes == plain.bytes, "\(accepted)")
            }
        }
    }

    @Test func shortAnswersAndImageDataGoOutAsTheyAre() async throws {
        let id = try await image(propertyBytes: 1)
        let answer = try await get("/image/v2/images/\(id)", "gzip")
        #expect(answer.header("Content-Encoding") == nil && answer.header("Vary") == nil)
        #expect(answer.json["id"]?.stringValue == id)
        let formats =
            #"[{"op": "add", "path": "/disk_format", "value": "raw"}, {"op": "add", "path": "/container_format", "value": "bare"}]"#
        let patched = try await server.call(
            .PATCH, "/image/v2/images/\(id)", as: server.demo,
            headers: [("Content-Type", "application/openstack-images-v2.1-json-patch")], body: Array(formats.utf8))
        #expect(patched.status == 200)
        let bytes = [UInt8](repeating: 0, count: 100_000)
        try await server.call(
            .PUT, "/image/v2/images/\(id)/file", as: server.demo,
            headers: [("Content-Type", "application/octet-stream")], body: bytes
        ).expect(204)
        let data = try await get("/image/v2/images/\(id)/file", "gzip")
        #expect(data.header("Content-Encoding") == nil && data.bytes == bytes)
    }

    @Test func schemasArePackedAndErrorsAreShort() async throws {
        let got = try await get("/image/v2/schemas/image", "gzip")
        #expect(got.header("Content-Encoding") == "gzip")
        let unknown = try await get("/image/v2/images/none", "gzip")
        #expect(unknown.status == 404 && unknown.header("Content-Encoding") == nil)
    }
}
