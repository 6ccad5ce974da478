import Core
import Foundation
import NIOCore
import NIOHTTP1
import Testing

/// What clients see on the wire, beyond what the unit tests of the use cases say.
@Suite(.server) struct ImageWireTests {
    private var server: TestServer { TestServer.current }

    private func createImage(_ json: String = #"{"disk_format": "raw", "container_format": "bare"}"#, as token: String)
        async throws -> String
    {
        let answer = try await server.call(.POST, "/image/v2/images", as: token, json: json)
        guard answer.status == 201, let id = answer.json["id"]?.stringValue else {
            throw TestFailure("no image: \(answer.status) \(answer.text)")
        }
        return id
    }

    private func upload(_ text: String, to id: String, as token: String) async throws {
        let answer = try await server.call(
            .PUT, "/image/v2/images/\(id)/file", as: token, headers: [("Content-Type", "application/octet-stream")],
            body: Array(text.utf8))
        guard answer.status == 204 else { throw TestFailure("upload: \(answer.status) \(answer.text)") }
    }

    @Test(arguments: ["/image", "/image/", "/image/foo", "/image/v1/images", "/image/v2.99/images", "/image/v3"])
    func unknownVersionsGetTheChoice(_ path: String) async throws {
        let answer = try await server.call(.GET, path)
        #expect(answer.status == 300)
        let current = answer.json["versions"]?.arrayValue?.filter { $0["status"] == "CURRENT" }
        #expect(current?.map { $0["id"]?.stringValue } == ["v2.17"])
        let link = answer.json["versions"]?.arrayValue?.first?["links"]?.arrayValue?.first?["href"]?.stringValue
        #expect(link == server.url + "/image/v2/")
    }

    @Test(arguments: ["/image/versions", "/image/versions/"])
    func versionsAreListed(_ path: String) async throws {
        let answer = try await server.call(.GET, path)
        #expect(answer.status == 200)
        #expect((answer.json["versions"]?.arrayValue?.count ?? 0) > 5)
    }

    @Test func bareVersionRedirects() async throws {
        let answer = try await server.call(.GET, "/image/v2")
        #expect(answer.status == 302)
        #expect(answer.header("location") == server.url + "/image/v2/")
    }

    @Test func minorVersionsAreAliases() async throws {
        #expect(try await server.call(.GET, "/image/v2.7/images", as: server.demo).status == 200)
    }

    @Test func createdImageHasEveryBaseAttributeAndALocation() async throws {
        let answer = try await server.call(
            .POST, "/image/v2/images", as: server.demo,
            json: #"{"name": "a", "os_distro": "debian", "tags": ["b", "a", "a"]}"#)
        #expect(answer.status == 201)
        let id = try #require(answer.json["id"]?.stringValue)
        #expect(answer.header("location") == server.url + "/image/v2/images/" + id)
        let members = try #require(answer.json.objectValue)
        for name in [
            "id", "name", "status", "visibility", "os_hidden", "protected", "owner", "container_format", "disk_format",
            "min_disk", "min_ram", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "created_at",
            "updated_at", "tags", "self", "file", "schema", "os_distro",
        ] { #expect(members[name] != nil, "\(name)") }
        #expect(members["tags"] == ["a", "b"])
        #expect(members["self"] == .string("/v2/images/" + id))
        #expect(members["created_at"] == members["updated_at"])
        #expect(members["stores"] == nil && members["locations"] == nil && members["direct_url"] == nil)
    }

    @Test func downloadBeforeDataIsEmptyAndAfterwardsWhole() async throws {
        let id = try await createImage(as: server.demo)
        let before = try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.demo)
        #expect(before.status == 204)
        #expect(before.bytes.isEmpty)
        try await upload("0123456789", to: id, as: server.demo)
        let after = try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.demo)
        #expect(after.status == 200)
        #expect(after.text == "0123456789")
        #expect(after.header("content-type") == "application/octet-stream")
        #expect(after.header("content-length") == "10")
        #expect(after.header("content-md5") == "781e5e245d69b566979b86e28d23f2c7")
        try await server.call(.DELETE, "/image/v2/images/\(id)", as: server.demo)
            .expect(204)
        #expect(try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.demo).status == 404)
    }

    @Test(arguments: [
        ("Range", "bytes=3-5", "345", "bytes 3-5/10"), ("Range", "bytes=7-", "789", "bytes 7-9/10"),
        ("Range", "bytes=-2", "89", "bytes 8-9/10"), ("Range", "bytes=-20", "0123456789", "bytes 0-9/10"),
        ("Range", "bytes=8-100", "89", "bytes 8-9/10"), ("Range", "bytes=8-99999999999999999999", "89", "bytes 8-9/10"),
        ("Range", "bytes=0-0", "0", "bytes 0-0/10"),
        ("Content-Range", "bytes 3-5/10", "345", "bytes 3-5/10"),
        ("Content-Range", "bytes 3-5/*", "345", "bytes 3-5/10"),
    ])
    func rangesAreServed(_ header: String, _ value: String, _ text: String, _ contentRange: String) async throws {
        let id = try await createImage(as: server.demo)
        try await upload("0123456789", to: id, as: server.demo)
        let answer = try await server.call(
            .GET, "/image/v2/images/\(id)/file", as: server.demo, headers: [(header, value)])
        #expect(answer.status == 206)
        #expect(answer.text == text)
        #expect(answer.header("content-range") == contentRange)
        #expect(answer.header("content-length") == String(text.count))
    }

    @Test func bothPatchDialectsWork() async throws {
        let id = try await createImage(as: server.demo)
        let new = try await server.call(
            .PATCH, "/image/v2/images/\(id)", as: server.demo,
            headers: [("Content-Type", "application/openstack-images-v2.1-json-patch")],
            json:
                #"[{"op": "add", "path": "/a~1b~0c", "value": "x"}, {"op": "replace", "path": "/name", "value": "n"}]"#)
        #expect(new.status == 200)
        #expect(new.json["a/b~c"] == "x")
        #expect(new.json["name"] == "n")
        let old = try await server.call(
            .PATCH, "/image/v2/images/\(id)", as: server.demo,
            headers: [("Content-Type", "application/openstack-images-v2.0-json-patch")],
            json: #"[{"remove": "/a~1b~0c"}, {"replace": "/tags", "value": ["t"]}, {"add": "/k", "value": "v"}]"#)
        #expect(old.status == 200)
        #expect(old.json["a/b~c"] == nil)
        #expect(old.json["tags"] == ["t"])
        #expect(old.json["k"] == "v")
    }

    @Test func listLinksKeepEveryParameter() async throws {
        let account = try await server.account()
        for _ in 0..<5 { _ = try await createImage(#"{"tags": ["x y", "z"]}"#, as: account.token) }
        var path = "/v2/images?limit=2&tag=x%20y&tag=z&sort=name:asc,created_at:desc"
        var seen: Set<String> = []
        var pages = 0
        while true {
            let answer = try await server.call(.GET, "/image" + path, as: account.token)
            try #require(answer.status == 200, "\(answer.text)")
            #expect(answer.json["first"] == "/v2/images?limit=2&tag=x%20y&tag=z&sort=name%3Aasc%2Ccreated_at%3Adesc")
            for image in answer.json["images"]?.arrayValue ?? [] { seen.insert(image["id"]?.stringValue ?? "") }
            pages += 1
            guard let next = answer.json["next"]?.stringValue else { break }
            path = next
        }
        #expect(seen.count == 5)
        #expect(pages == 3)
    }

    @Test func aFullLastPageOffersANextThatIsEmpty() async throws {
        let account = try await server.account()
        for _ in 0..<2 { _ = try await createImage(as: account.token) }
        let first = try await server.call(.GET, "/image/v2/images?limit=2&visibility=shared", as: account.token)
        let next = try #require(first.json["next"]?.stringValue)
        let second = try await server.call(.GET, "/image" + next, as: account.token)
        #expect(second.json["images"] == [])
        #expect(second.json["next"] == nil)
    }

    @Test func quotedFilterValues() async throws {
        let account = try await server.account()
        for name in ["a,b", "c", "d\\\"e"] {
            _ = try await createImage(#"{"name": "\#(name)"}"#, as: account.token)
        }
        func names(_ filter: String) async throws -> Set<String> {
            let answer = try await server.call(
                .GET, "/image/v2/images?visibility=shared&name=" + filter, as: account.token)
            return Set((answer.json["images"]?.arrayValue ?? []).compactMap { $0["name"]?.stringValue })
        }
        #expect(try await names("in:%22a,b%22,c") == ["a,b", "c"])
        #expect(try await names("a,b") == ["a,b"])
        #expect(try await names("in:%22d%5C%22e%22") == ["d\"e"])
        #expect(try await names("in:c") == ["c"])
    }

    @Test func theCallersRequestIDIsKept() async throws {
        let given = try await server.call(
            .GET, "/image/v2/images", as: server.demo, headers: [("X-Openstack-Request-Id", "abc")])
        #expect(given.header("x-openstack-request-id") == "req-abc")
        let kept = try await server.call(
            .GET, "/image/v2/images", as: server.demo, headers: [("X-Openstack-Request-Id", "req-abc")])
        #expect(kept.header("x-openstack-request-id") == "req-abc")
    }

    @Test(arguments: ["image", "images", "member", "members"])
    func schemasAreServed(_ name: String) async throws {
        let answer = try await server.call(.GET, "/image/v2/schemas/" + name, as: server.demo)
        #expect(answer.status == 200)
        #expect(answer.json["name"] == .string(name))
        #expect(answer.json["properties"]?.objectValue?.isEmpty == false)
    }

    @Test func keyPropertiesAreTypedAndDescribed() async throws {
        let answer = try await server.call(.GET, "/image/v2/schemas/image", as: server.demo)
        for name in ["cinder_encryption_key_id", "cinder_encryption_key_deletion_policy"] {
            let property = answer.json["properties"]?[name]
            #expect(property?["type"] == "string")
            #expect(property?["is_base"] == false)
            #expect(property?["description"]?.stringValue?.isEmpty == false)
        }
        #expect(answer.json["properties"]?["name"]?["is_base"] == nil)
    }

    @Test func anUploadCutOffByTheClientLeavesTheImageQueued() async throws {
        let id = try await createImage(as: server.demo)
        for framing in ["Content-Length: 1000000\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
            let connection = try await server.connect()
            try await connection.send(
                "PUT /image/v2/images/\(id)/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(server.demo)\r\n"
                    + "Content-Type: application/octet-stream\r\n\(framing)")
            _ = try await eventually("the upload begins") {
                let status = try await server.call(.GET, "/image/v2/images/\(id)", as: server.demo).json["status"]
                return status == "saving" ? true : nil
            }
            connection.close()
            _ = try await eventually("the image is queued again") {
                let status = try await server.call(.GET, "/image/v2/images/\(id)", as: server.demo).json["status"]
                return status == "queued" ? true : nil
            }
        }
        try await upload("whole", to: id, as: server.demo)
        #expect(try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.demo).text == "whole")
    }

    /// Clients that begin an upload and stall hold nothing that others need.
    @Test func stalledUploadsDelayNobody() async throws {
        var stalled: [RawConnection] = []
        defer { for connection in stalled { connection.close() } }
        for _ in 0..<150 {
            let id = try await createImage(as: server.demo)
            let connection = try await server.connect()
            stalled.append(connection)
            try await connection.send(
                "PUT /image/v2/images/\(id)/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(server.demo)\r\n"
                    + "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        }
        let id = try await createImage(as: server.demo)
        try await upload(String(repeating: "x", count: 6 << 20), to: id, as: server.demo)
    }

    @Test func anImageDeletedDuringItsUploadIsGone() async throws {
        let id = try await createImage(as: server.demo)
        let connection = try await server.connect()
        defer { connection.close() }
        try await connection.send(
            "PUT /image/v2/images/\(id)/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(server.demo)\r\n"
                + "Content-Type: application/octet-stream\r\nContent-Length: 6\r\n\r\nabc")
        _ = try await eventually("the upload begins") {
            let status = try await server.call(.GET, "/image/v2/images/\(id)", as: server.demo).json["status"]
            return status == "saving" ? true : nil
        }
        try await server.call(.DELETE, "/image/v2/images/\(id)", as: server.demo).expect(204)
        try await connection.send("def")
        #expect(try await connection.response().status == 410)
    }

    @Test func chunkedUploadsOfAnyChunkSizeWork() async throws {
        let id = try await createImage(as: server.demo)
        let connection = try await server.connect()
        defer { connection.close() }
        try await connection.send(
            "PUT /image/v2/images/\(id)/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(server.demo)\r\n"
                + "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        var expected = 0
        for size in [1, 2, 1000, 65_536, 1 << 20, 3 << 20] {
            try await connection.send("\(String(size, radix: 16))\r\n")
            try await connection.send([UInt8](repeating: 65, count: size) + [13, 10])
            expected += size
        }
        try await connection.send("0\r\n\r\n")
        #expect(try await connection.response().status == 204)
        let image = try await server.call(.GET, "/image/v2/images/\(id)", as: server.demo).json
        #expect(image["size"] == .integer(Int64(expected)))
    }
}

extension Answer {
    func expect(_ status: Int) throws {
        guard self.status == status else { throw TestFailure("\(self.status) instead of \(status): \(text)") }
    }
}
