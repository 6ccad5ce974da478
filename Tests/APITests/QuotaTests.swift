import Core
import NIOHTTP1
import Server
import Testing

/// Quotas by unified limits (Image API digest, sections 7 and 12).
@Suite(.server({ $0.image?.settings.limits = .identity(region: "RegionOne") }))
struct QuotaTests {
    private var server: TestServer { TestServer.current }
    private static let mebibyte = 1 << 20

    /// An account whose project has these limits.
    private func account(_ limits: [String: Int]) async throws -> TestAccount {
        let account = try await server.account()
        let service = try await registered()
        let list = limits.sorted { $0.key < $1.key }.map { name, limit in
            """
            {"service_id": "\(service)", "region_id": "RegionOne", "resource_name": "\(name)",
             "project_id": "\(account.projectID)", "resource_limit": \(limit)}
            """
        }
        let answer = try await server.call(
            .POST, "/identity/v3/limits", as: server.admin, json: #"{"limits": [\#(list.joined(separator: ","))]}"#)
        #expect(answer.status == 201, "\(answer.text)")
        return account
    }

    /// Registers what the image service counts, unless another test did.
    /// - Returns: the service's id.
    private func registered() async throws -> String {
        let services = try await server.call(.GET, "/identity/v3/services?type=image", as: server.admin)
        let service = try #require(services.json["services"]?.arrayValue?.first?["id"]?.stringValue)
        for resource in QuotaResource.allCases {
            let answer = try await server.call(
                .POST, "/identity/v3/registered_limits", as: server.admin,
                json: """
                    {"registered_limits": [{"service_id": "\(service)", "region_id": "RegionOne",
                     "resource_name": "\(resource.rawValue)", "default_limit": 10}]}
                    """)
            #expect(answer.status == 201 || answer.status == 409, "\(answer.text)")
        }
        return service
    }

    private func image(as account: TestAccount) async throws -> String {
        let answer = try await server.call(
            .POST, "/image/v2/images", as: account.token,
            json: #"{"name": "counted", "disk_format": "raw", "container_format": "bare"}"#)
        return try #require(answer.json["id"]?.stringValue, "\(answer.status) \(answer.text)")
    }

    private func upload(_ bytes: Int, to image: String, as account: TestAccount) async throws -> Answer {
        try await server.call(
            .PUT, "/image/v2/images/\(image)/file", as: account.token,
            headers: [("Content-Type", "application/octet-stream")], body: [UInt8](repeating: 7, count: bytes))
    }

    private func usage(as account: TestAccount) async throws -> JSONValue {
        let answer = try await server.call(.GET, "/image/v2/info/usage", as: account.token)
        #expect(answer.status == 200)
        return try #require(answer.json["usage"])
    }

    /// The declared size is refused up front, with usage and delta in the text. Other than Glance, an upload of unknown
    /// length does not overshoot: every byte is reserved before it is taken.
    @Test func behaviour44_aDeclaredSizeOverTheLimitIsRefusedWithUsageAndDelta() async throws {
        let account = try await account(["image_size_total": 5])
        let first = try await image(as: account)
        let second = try await image(as: account)
        #expect(try await upload(3 * Self.mebibyte, to: first, as: account).status == 204)
        let refused = try await upload(3 * Self.mebibyte, to: second, as: account)
        #expect(refused.status == 413)
        #expect(
            refused.text.contains(
                "Resource image_size_total is over limit of 5 MiB due to current usage 3 MiB and delta 3 MiB"))
        // Its bytes were not even asked for: only the head is sent here.
        let waiting = try await server.connect()
        defer { waiting.close() }
        try await waiting.send(
            """
            PUT /image/v2/images/\(second)/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(account.token)\r
            Content-Type: application/octet-stream\r\nContent-Length: \(3 * Self.mebibyte)\r
            Expect: 100-continue\r\n\r\n
            """)
        #expect(try await waiting.response().status == 413)
        #expect(try await upload(2 * Self.mebibyte, to: second, as: account).status == 204)
        #expect(try await usage(as: account)["image_size_total"] == ["usage": 5, "limit": 5])
    }

    @Test func behaviour44_anUploadOfUnknownLengthDoesNotOvershoot() async throws {
        let account = try await account(["image_size_total": 1])
        let id = try await image(as: account)
        let chunk = "100000\r\n" + String(repeating: "x", count: Self.mebibyte) + "\r\n"
        let head = """
            PUT /image/v2/images/\(id)/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(account.token)\r
            Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n
            """
        let refused = try await server.raw(head + chunk + chunk + "0\r\n\r\n")
        #expect(refused.status == 413)
        #expect(try await usage(as: account)["image_size_total"] == ["usage": 0, "limit": 1])
        let taken = try await server.raw(head + chunk + "0\r\n\r\n")
        #expect(taken.status == 204)
        #expect(try await usage(as: account)["image_size_total"] == ["usage": 1, "limit": 1])
    }

    @Test func behaviour45_deletingFreesTheQuota() async throws {
        let account = try await account(["image_size_total": 1, "image_count_total": 1])
        for _ in 0..<2 {
            let id = try await image(as: account)
            #expect(try await upload(Self.mebibyte, to: id, as: account).status == 204)
            let second = try await server.call(.POST, "/image/v2/images", as: account.token, json: "{}")
            #expect(second.status == 413)
            #expect(second.text.contains("image_count_total is over limit of 1 due to current usage 1 and delta 1"))
            #expect(
                try await server.call(.DELETE, "/image/v2/images/\(id)", as: account.token).status == 204)
        }
    }

    @Test func behaviour46_usageIsOfTheCallersProject() async throws {
        let account = try await account(["image_count_total": 4])
        _ = try await image(as: account)
        #expect(
            try await usage(as: account) == [
                "image_size_total": ["usage": 0, "limit": 10], "image_stage_total": ["usage": 0, "limit": 10],
                "image_count_total": ["usage": 1, "limit": 4], "image_count_uploading": ["usage": 0, "limit": 10],
            ])
        let other = try await server.account()
        #expect(try await usage(as: other)["image_count_total"] == ["usage": 0, "limit": 10])
        // The operator sees a project's limits, and that they are nobody's in general.
        let view = try await server.call(
            .GET, "/image/ambrotype/v1/usage?project=\(account.projectID)", as: server.admin)
        #expect(view.json["quotas"]?["images"] == 4)
        #expect(view.json["quotas"]?["source"] == "identity")
        let all = try await server.call(.GET, "/image/ambrotype/v1/usage", as: server.admin)
        #expect(all.json["quotas"]?["images"] == .null)
    }

    /// An upload that waits for its bytes counts, and what it declared is used.
    @Test func behaviour46_anUploadUnderWayCounts() async throws {
        let account = try await account(["image_count_uploading": 1, "image_size_total": 5])
        let first = try await image(as: account)
        let second = try await image(as: account)
        let connection = try await server.connect()
        try await connection.send(
            """
            PUT /image/v2/images/\(first)/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(account.token)\r
            Content-Type: application/octet-stream\r\nContent-Length: \(2 * Self.mebibyte)\r\n\r\nbegun
            """)
        _ = try await eventually("the upload counts") {
            try await usage(as: account)["image_count_uploading"]?["usage"] == 1 ? true : nil
        }
        #expect(try await usage(as: account)["image_size_total"]?["usage"] == 2)
        let refused = try await upload(1, to: second, as: account)
        #expect(refused.status == 413)
        #expect(refused.text.contains("image_count_uploading is over limit of 1"))
        connection.close()
        _ = try await eventually("the upload is given up") {
            try await usage(as: account)["image_count_uploading"]?["usage"] == 0 ? true : nil
        }
        #expect(try await upload(1, to: second, as: account).status == 204)
    }

    @Test func withoutUnifiedLimitsUsageIsEmpty() async throws {
        try await TestServer.with { server in
            let answer = try await server.call(.GET, "/image/v2/info/usage", as: server.demo)
            #expect(answer.status == 200)
            #expect(answer.json == ["usage": [:]])
        }
    }
}
