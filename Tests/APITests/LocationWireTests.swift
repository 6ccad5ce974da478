import Core
import Foundation
import NIOCore
import NIOHTTP1
import Server
import Testing
import Trust

private let servedBytes = [UInt8]("forty-two bytes behind a URL of somebody else's".utf8)

/// What other servers have for the server of these tests.
private let served = ServedContent([
    "http://images.example/disk": .bytes(servedBytes), "http://images.example/down": .down,
])

/// Several stores and locations on the wire. Names carry the numbers of the digest's list of upstream behaviours.
@Suite(
    .server(remote: served) {
        let places = [
            stores("fast", $0, weight: 10), stores("slow", $0, weight: -1),
            ServerSettings.StoreChoice(id: "web", place: .http),
        ]
        $0.image?.stores = places
        $0.image?.settings.defaultStore = "fast"
        $0.image?.settings.locations.areShown = true
        $0.image?.settings.locations.isDirectURLShown = true
    })
struct LocationWireTests {
    private static let bytes = servedBytes
    private static let url = "http://images.example/disk"
    private var server: TestServer { .current }

    private func create(as token: String, _ members: String = "") async throws -> String {
        let answer = try await server.call(
            .POST, "/image/v2/images", as: token,
            json: #"{"disk_format": "raw", "container_format": "bare"\#(members)}"#)
        return try #require(answer.json["id"]?.stringValue, "\(answer.text)")
    }

    private func show(_ id: String, as token: String) async throws -> JSONValue {
        try await server.call(.GET, "/image/v2/images/\(id)", as: token).json
    }

    private func upload(_ bytes: [UInt8], to id: String, store: String? = nil, as token: String) async throws -> Int {
        try await server.call(
            .PUT, "/image/v2/images/\(id)/file", as: token,
            headers: [("Content-Type", "application/octet-stream")]
                + (store.map { [("X-Image-Meta-Store", $0)] } ?? []),
            body: bytes
        ).status
    }

    private func patch(_ id: String, _ json: String, as token: String) async throws -> Answer {
        try await server.call(
            .PATCH, "/image/v2/images/\(id)", as: token,
            headers: [("Content-Type", "application/openstack-images-v2.1-json-patch")], json: json)
    }

    private func add(_ url: String, to id: String, as token: String) async throws -> Answer {
        try await patch(
            id, #"[{"op": "add", "path": "/locations/-", "value": {"url": "\#(url)", "metadata": {}}}]"#, as: token)
    }

    @Test func discoveryNamesTheStoresInStrings() async throws {
        let answer = try await server.call(.GET, "/image/v2/info/stores", as: server.demo)
        #expect(answer.status == 200)
        #expect(
            answer.json["stores"] == [
                ["id": "fast", "default": "true"], ["id": "slow", "description": "slow disks"],
                ["id": "web", "read-only": "true"],
            ])
        #expect(try await server.call(.GET, "/image/v2/info/stores/detail", as: server.demo).status == 403)
        let detail = try await server.call(.GET, "/image/v2/info/stores/detail", as: server.admin)
        let fast = detail.json["stores"]?.arrayValue?.first
        #expect(fast?["type"] == "file" && fast?["weight"] == 10)
        #expect(
            fast?["properties"] == [
                "data_dir": .string(server.directory + "/stores/fast"), "chunk_size": 1_048_576,
                "thin_provisioning": false,
            ])
        #expect(detail.json["stores"]?.arrayValue?.last?["type"] == "http")
        let service = try await server.account(role: "service")
        #expect(try await server.call(.GET, "/image/v2/info/stores/detail", as: service.token).status == 200)
    }

    @Test func versionsAreThoseOfSeveralStores() async throws {
        let answer = try await server.call(.GET, "/image/versions")
        let ids = answer.json["versions"]?.arrayValue?.compactMap { $0["id"]?.stringValue }
        #expect(ids?.prefix(8) == ["v2.15", "v2.13", "v2.12", "v2.11", "v2.10", "v2.9", "v2.8", "v2.17"])
        #expect(try await server.call(.GET, "/image/v2.13/images", as: server.demo).status == 200)
    }

    @Test func aNewImageIsToldOfTheStores() async throws {
        let answer = try await server.call(.POST, "/image/v2/images", as: server.demo, json: "{}")
        #expect(answer.header("OpenStack-image-store-ids") == "fast,slow,web")
    }

    @Test func behaviour03_fileLocationsAre400Never500() async throws {
        let id = try await create(as: server.demo)
        for url in ["file:///etc/passwd", "file://", "filesystem:///etc", "swift+config://x/y"] {
            #expect(try await add(url, to: id, as: server.demo).status == 400)
        }
    }

    @Test func behaviour22_aServerThatIsDownIs503AndDeletionStillWorks() async throws {
        let id = try await create(as: server.demo)
        #expect(try await add(Self.url + "#22", to: id, as: server.demo).status == 200)
        let gone = ServedContent(["http://images.example/a": .bytes(Self.bytes)])
        try await TestServer.with(
            remote: gone,
            {
                $0.image?.stores.append(.init(id: "web", place: .http))
                $0.image?.settings.locations.areShown = true
            }
        ) { other in
            let made = try await other.call(
                .POST, "/image/v2/images", as: other.demo, json: #"{"disk_format": "raw", "container_format": "bare"}"#)
            let id = try #require(made.json["id"]?.stringValue)
            let file = "/image/v2/images/\(id)/file"
            let added = try await other.call(
                .POST, "/image/v2/images/\(id)/locations", as: other.demo, json: #"{"url": "http://images.example/a"}"#)
            #expect(added.status == 202)
            #expect(try await other.call(.GET, file, as: other.demo).bytes == Self.bytes)
            let part = try await other.call(.GET, file, as: other.demo, headers: [("Range", "bytes=3-10")])
            #expect(part.status == 206 && part.bytes == Array(Self.bytes[3...10]))
            gone.set("http://images.example/a", .down)
            #expect(try await other.call(.GET, file, as: other.demo).status == 503)
            #expect(try await other.call(.DELETE, "/image/v2/images/\(id)", as: other.demo).status == 204)
            #expect(try await other.call(.GET, "/image/v2/images/\(id)", as: other.demo).status == 404)
            #expect(!other.log.all.contains("images.example/a"), "URLs may hold passwords")
        }
    }

    @Test func behaviour23_preferChoosesFallsBackAndRefuses() async throws {
        let id = try await create(as: server.demo)
        #expect(try await upload(Self.bytes, to: id, store: "slow", as: server.demo) == 204)
        #expect(try await show(id, as: server.demo)["stores"] == "slow")
        for prefer in ["slow", "fast", "fast,slow", "web"] {
            let answer = try await server.call(.GET, "/image/v2/images/\(id)/file?prefer=\(prefer)", as: server.demo)
            #expect(answer.status == 200 && answer.bytes == Self.bytes)
        }
        #expect(
            try await server.call(.GET, "/image/v2/images/\(id)/file?prefer=nowhere", as: server.demo).status == 400)
        let other = try await create(as: server.demo)
        #expect(try await upload(Self.bytes, to: other, store: "nowhere", as: server.demo) == 400)
        #expect(try await upload(Self.bytes, to: other, store: "web", as: server.demo) == 410)
        let policy = try ImagePolicy(rules: ["download_from_store": "role:admin"])
        try await TestServer.with({ $0.image?.settings.policy = policy }) { strict in
            let made = try await strict.call(
                .POST, "/image/v2/images", as: strict.demo, json: #"{"disk_format": "raw", "container_format": "bare"}"#
            )
            let id = try #require(made.json["id"]?.stringValue)
            let file = "/image/v2/images/\(id)/file"
            let type = [("Content-Type", "application/octet-stream")]
            try await strict.call(.PUT, file, as: strict.demo, headers: type, body: [1]).expect(204)
            #expect(try await strict.call(.GET, file + "?prefer=local", as: strict.demo).status == 403)
            #expect(try await strict.call(.GET, file, as: strict.demo).status == 200)
        }
    }

    @Test func behaviour32_directURLIsForAllReadersOnceThereIsData() async throws {
        let owner = try await server.account()
        let other = try await server.account()
        let id = try await create(as: owner.token, #", "visibility": "community""#)
        var image = try await show(id, as: owner.token)
        #expect(image["locations"] == [] && image["direct_url"] == nil)
        #expect(try await upload(Self.bytes, to: id, as: owner.token) == 204)
        image = try await show(id, as: other.token)
        let location = image["locations"]?.arrayValue?.first
        #expect(location?["metadata"] == ["store": "fast"])
        #expect(location?["url"]?.stringValue?.hasPrefix("file://\(server.directory)/stores/fast/") == true)
        #expect(image["direct_url"] == location?["url"])
        #expect(image["locations"]?.arrayValue?.count == 1)
    }

    @Test func behaviour33_replaceOnAQueuedImageActivatesAndSetsTheSize() async throws {
        let id = try await create(as: server.demo)
        let value = #"[{"url": "\#(Self.url)", "metadata": {"a": "b"}}]"#
        let answer = try await patch(
            id, #"[{"op": "replace", "path": "/locations", "value": \#(value)}]"#, as: server.demo)
        #expect(answer.status == 200 && answer.json["status"] == "active")
        #expect(answer.json["size"] == .integer(Int64(Self.bytes.count)))
        #expect(answer.json["locations"] == [["url": .string(Self.url), "metadata": ["a": "b", "store": "web"]]])
        #expect(try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.demo).bytes == Self.bytes)
        let other = try await create(as: server.demo)
        #expect(try await add("swift+config://a/b", to: other, as: server.demo).status == 400)
    }

    @Test func behaviour34_postedLocations() async throws {
        let owner = try await server.account()
        let id = try await create(as: owner.token)
        let path = "/image/v2/images/\(id)/locations"
        func post(_ json: String, as token: String) async throws -> Int {
            try await server.call(.POST, path, as: token, json: json).status
        }
        let plain = #"{"url": "\#(Self.url)"}"#
        #expect(try await post(plain, as: try await server.account().token) == 404)
        for data in [
            #"{"os_hash_algo": "sha512"}"#, #"{"os_hash_value": "00"}"#,
            #"{"os_hash_algo": "sha512", "os_hash_value": "00"}"#,
            #"{"os_hash_algo": "sha1024", "os_hash_value": "00"}"#,
            #"{"os_hash_algo": "md5", "os_hash_value": "xx000000000000000000000000000000"}"#,
        ] {
            #expect(try await post(#"{"url": "\#(Self.url)", "validation_data": \#(data)}"#, as: owner.token) == 400)
        }
        let sha256 = Hex.encode(Digest.of(Self.bytes, .sha256))
        let good = #"{"os_hash_algo": "sha256", "os_hash_value": "\#(sha256)"}"#
        #expect(try await post(#"{"url": "\#(Self.url)", "validation_data": \#(good)}"#, as: owner.token) == 202)
        let image = try await eventually("active") {
            let image = try await show(id, as: owner.token)
            return image["status"] == "active" ? image : nil
        }
        #expect(image["os_hash_algo"] == "sha256" && image["os_hash_value"] == .string(sha256))
        #expect(image["checksum"] == .string(Hex.encode(Digest.of(Self.bytes, .md5))))
        #expect(image["stores"] == "web")
        #expect(try await server.call(.GET, "/image/v2/images/\(id)/file", as: owner.token).bytes == Self.bytes)
        #expect(try await post(plain, as: owner.token) == 409)
        #expect(try await server.call(.GET, path, as: owner.token).status == 403)
        let seen = try await server.call(.GET, path, as: server.admin)
        #expect(seen.json == [["url": .string(Self.url), "metadata": ["store": "web"]]])
        // Without validation data: active at once, with digests later.
        let other = try await create(as: owner.token)
        #expect(
            try await server.call(.POST, "/image/v2/images/\(other)/locations", as: owner.token, json: plain).status
                == 202)
        #expect(try await show(other, as: owner.token)["status"] == "active")
        _ = try await eventually("a digest") { try await show(other, as: owner.token)["os_hash_value"]?.stringValue }
    }

    @Test func behaviour35_locationsStandByWeight() async throws {
        let id = try await create(as: server.demo)
        #expect(try await upload(Self.bytes, to: id, store: "slow", as: server.demo) == 204)
        #expect(try await add(Self.url, to: id, as: server.demo).status == 200)
        var image = try await show(id, as: server.demo)
        #expect(image["stores"] == "web,slow", "0 is heavier than -1")
        #expect(image["direct_url"] == .string(Self.url))
        #expect(image["locations"]?.arrayValue?.map { $0["metadata"]?["store"] } == ["web", "slow"])
        #expect(try await add(Self.url + "#second", to: id, as: server.demo).status == 200)
        image = try await show(id, as: server.demo)
        #expect(
            image["locations"]?.arrayValue?.prefix(2).map { $0["url"]?.stringValue } == [
                Self.url, Self.url + "#second",
            ])
    }

    @Test func behaviour38_reservedStoresAreNoStores() async throws {
        var sources = SettingSources()
        sources.commandLine["image.stores"] = "a:/a,os_glance_staging_store:/b"
        let resolved = try sources.resolve()
        #expect(throws: ConfigurationError.self) { _ = try ServerSettings(resolved) }
    }

    @Test func anAdminTakesAnImageOutOfOneStore() async throws {
        let id = try await create(as: server.demo)
        #expect(try await upload(Self.bytes, to: id, store: "slow", as: server.demo) == 204)
        #expect(try await add(Self.url, to: id, as: server.demo).status == 200)
        func delete(_ store: String, as token: String) async throws -> Int {
            try await server.call(.DELETE, "/image/v2/stores/\(store)/\(id)", as: token).status
        }
        #expect(try await delete("slow", as: server.demo) == 403)
        #expect(try await delete("nowhere", as: server.admin) == 409)
        #expect(try await delete("fast", as: server.admin) == 404)
        #expect(try await delete("slow", as: server.admin) == 204)
        #expect(try await show(id, as: server.demo)["stores"] == "web")
        #expect(try await delete("web", as: server.admin) == 403)
        _ = try await eventually("erased") {
            let stores = try await server.call(.GET, "/image/ambrotype/v1/stores", as: server.admin).json["stores"]
            let slow = stores?.arrayValue?.first { $0["id"] == "slow" }
            return slow?["blobs"]?["doomed"]?["count"] == 0 ? true : nil
        }
        let stores = try await server.call(.GET, "/image/ambrotype/v1/stores", as: server.admin).json["stores"]
        let web = stores?.arrayValue?.first { $0["id"] == "web" }
        #expect(web?["error"] == .null && (web?["blobs"]?["live"]?["count"]?.integerValue ?? 0) > 0)
    }
}

private func stores(_ name: StoreID, _ settings: ServerSettings, weight: Int) -> ServerSettings.StoreChoice {
    var choice = ServerSettings.StoreChoice(id: name, directory: settings.dataDirectory + "/stores/\(name)")
    choice.weight = weight
    if name == "slow" { choice.description = "slow disks" }
    return choice
}
