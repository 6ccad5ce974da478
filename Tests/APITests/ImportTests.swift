import Core
import Foundation
import NIOCore
import NIOHTTP1
import Server
import Testing

/// Other servers as imports see them: the path says what comes.
private struct ScriptedRemote: RemoteContentSource {
    static let content = String(repeating: "imported ", count: 20_000)

    func judge(_ url: String) throws(EgressRefusal) {
        guard url.hasPrefix("http://mirror.example/") else { throw .host(url) }
    }

    func open(
        _ url: String, range: Range<Int64>?, headers: [(name: String, value: String)]
    ) async throws -> RemoteContent {
        try judge(url)
        switch URL(string: url)?.lastPathComponent {
        case "image": return RemoteContent(sizeBytes: nil, body: Once(bytes: ByteBuffer(string: Self.content)))
        case "slow":
            try await Task.sleep(for: .seconds(600))
            throw RemoteContentError(.tooSlow, "it never came")
        case "redirect": throw EgressRefusal.host("inside.example")
        default: throw RemoteContentError(.refused, "The server has no such content.")
        }
    }

    private struct Once: AsyncSequence, Sendable {
        typealias Failure = any Error
        let bytes: ByteBuffer
        struct AsyncIterator: AsyncIteratorProtocol {
            var bytes: ByteBuffer?
            mutating func next() async throws -> ByteBuffer? { try await next(isolation: nil) }
            mutating func next(isolation actor: isolated (any Actor)?) async throws(any Error) -> ByteBuffer? {
                defer { bytes = nil }
                return bytes
            }
        }
        func makeAsyncIterator() -> AsyncIterator { AsyncIterator(bytes: bytes) }
    }
}

extension TestServer {
    fileprivate func createImage(
        _ json: String = #"{"disk_format": "raw", "container_format": "bare"}"#, as token: String? = nil
    ) async throws -> String {
        let answer = try await call(.POST, "/image/v2/images", as: token ?? demo, json: json)
        return try #require(answer.json["id"]?.stringValue, "\(answer.status) \(answer.text)")
    }

    fileprivate func send(
        _ text: String, to id: String, _ what: String = "stage", as token: String? = nil,
        headers: [(String, String)] = []
    ) async throws -> Answer {
        try await call(
            .PUT, "/image/v2/images/\(id)/\(what)", as: token ?? demo,
            headers: [("Content-Type", "application/octet-stream")] + headers, body: Array(text.utf8))
    }

    fileprivate func importImage(
        _ id: String, _ json: String, as token: String? = nil, headers: [(String, String)] = []
    ) async throws -> Answer {
        try await call(.POST, "/image/v2/images/\(id)/import", as: token ?? demo, headers: headers, json: json)
    }

    fileprivate func image(_ id: String) async throws -> JSONValue {
        try await call(.GET, "/image/v2/images/\(id)", as: admin).json
    }

    fileprivate func tasks(of id: String, as token: String? = nil) async throws -> [JSONValue] {
        let answer = try await call(.GET, "/image/v2/images/\(id)/tasks", as: token ?? demo)
        return try #require(answer.json["tasks"]?.arrayValue, "\(answer.status) \(answer.text)")
    }

    fileprivate func wait(for status: String, of id: String) async throws -> JSONValue {
        try await eventually("image \(id) is \(status)") {
            let image = try await image(id)
            return image["status"]?.stringValue == status && image["os_glance_import_task"] == nil ? image : nil
        }
    }
}

private let direct = #"{"method": {"name": "glance-direct"}}"#
private func download(_ path: String) -> String {
    #"{"method": {"name": "web-download", "uri": "http://mirror.example/\#(path)"}}"#
}

/// Imports as clients see them, with one store.
@Suite(.server(remote: ScriptedRemote()) { _ in }) struct ImportWireTests {
    private var server: TestServer { TestServer.current }

    @Test func behaviour36_glanceDirectUploadingThenActive() async throws {
        let id = try await server.createImage()
        let staged = try await server.send("0123456789", to: id, headers: [("X-Openstack-Image-Size", "10")])
        #expect(
            staged.status == 204 && staged.header("content-length") == nil || staged.header("content-length") == "0")
        var image = try await server.image(id)
        #expect(image["status"] == "uploading" && image["size"] == 10)
        #expect(image["os_hash_value"] == .null && image["checksum"] == .null)
        #expect(try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.demo).status == 204)
        let accepted = try await server.importImage(id, #"{"method": {"name": "glance-direct"}, "all_stores": true}"#)
        #expect(accepted.status == 202 && accepted.bytes.isEmpty)
        image = try await server.wait(for: "active", of: id)
        #expect(image["os_hash_algo"] == "sha512" && image["checksum"] == "781e5e245d69b566979b86e28d23f2c7")
        #expect(image["os_glance_importing_to_stores"] == "" && image["os_glance_failed_import"] == "")
        let data = try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.demo)
        #expect(data.status == 200 && data.text == "0123456789")
        let tasks = try await server.tasks(of: id)
        #expect(tasks.count == 1)
        #expect(tasks[0]["request_id"]?.stringValue == accepted.header("x-openstack-request-id"))
        #expect(tasks[0]["input"]?["import_req"]?["method"]?["name"] == "glance-direct")
        #expect(tasks[0]["status"] == "success" && tasks[0]["type"] == "api_image_import")
    }

    @Test func webDownloadBecomesActive() async throws {
        let id = try await server.createImage()
        #expect(try await server.importImage(id, download("image")).status == 202)
        let image = try await server.wait(for: "active", of: id)
        #expect(image["size"] == .integer(Int64(ScriptedRemote.content.utf8.count)))
        let data = try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.demo)
        #expect(data.text == ScriptedRemote.content)
    }

    @Test func behaviour37_aFilteredURLIs400AndARedirectToOneFailsTheTask() async throws {
        let id = try await server.createImage()
        let refused = try await server.importImage(
            id, #"{"method": {"name": "web-download", "uri": "http://0x7f.1/"}}"#)
        #expect(refused.status == 400 && refused.text.contains("does not pass filtering"))
        #expect(try await server.importImage(id, download("redirect")).status == 202)
        _ = try await server.wait(for: "queued", of: id)
        let task = try #require(try await server.tasks(of: id).last)
        #expect(task["status"] == "failure")
        #expect(task["message"]?.stringValue?.contains("does not pass filtering") == true)
        #expect(task["expires_at"]?.stringValue != nil)
        // And it can be had another way.
        #expect(try await server.send("0123456789", to: id, "file").status == 204)
    }

    @Test func theWrongStatusIs409AndADeletedImageEndsItsImport() async throws {
        let id = try await server.createImage()
        #expect(try await server.importImage(id, direct).status == 409)
        #expect(try await server.importImage(id, download("slow")).status == 202)
        #expect(try await server.importImage(id, download("image")).status == 409)
        #expect(try await server.send("1", to: id).status == 409)
        #expect(try await server.send("1", to: id, "file").status == 409)
        let task = try #require(try await server.tasks(of: id).first?["id"]?.stringValue)
        #expect(try await server.image(id)["os_glance_import_task"] == .string(task))
        try await server.call(.DELETE, "/image/v2/images/\(id)", as: server.demo).expect(204)
        let ended = try await server.call(.GET, "/image/v2/tasks/\(task)", as: server.admin)
        #expect(ended.json["status"] == "failure")
        #expect(try await server.call(.GET, "/image/v2/images/\(id)/tasks", as: server.demo).status == 404)
    }

    @Test(
        arguments: [
            ("abc", [], 415, "text/plain"), ("abc", [("X-Openstack-Image-Size", "4")], 400, "application/octet-stream"),
            ("abc", [("X-Openstack-Image-Size", "many")], 400, "application/octet-stream"),
        ] as [(String, [(String, String)], Int, String)])
    func stagesAreRefused(_ text: String, _ headers: [(String, String)], _ status: Int, _ type: String) async throws {
        let id = try await server.createImage()
        let answer = try await server.call(
            .PUT, "/image/v2/images/\(id)/stage", as: server.demo, headers: headers + [("Content-Type", type)],
            body: Array(text.utf8))
        #expect(answer.status == status)
        #expect(try await server.image(id)["status"] == "queued")
    }

    @Test func theMethodsAreTold() async throws {
        let methods: JSONValue = ["glance-direct", "web-download", "copy-image"]
        let info = try await server.call(.GET, "/image/v2/info/import", as: server.demo)
        #expect(info.json["import-methods"]?["value"] == methods)
        let made = try await server.call(.POST, "/image/v2/images", as: server.demo, json: "{}")
        #expect(made.header("OpenStack-image-import-methods") == "glance-direct,web-download,copy-image")
        #expect(made.header("OpenStack-image-store-ids") == nil)
        let versions = try await server.call(.GET, "/image/versions")
        let ids = versions.json["versions"]?.arrayValue?.compactMap { $0["id"]?.stringValue } ?? []
        #expect(!ids.contains("v2.12") && ids.contains("v2.9"))
    }

    @Test func nobodyWritesWhatTheServerSays() async throws {
        let made = try await server.call(
            .POST, "/image/v2/images", as: server.admin, json: #"{"os_glance_import_task": "mine"}"#)
        #expect(made.status == 403)
        let id = try await server.createImage()
        let patched = try await server.call(
            .PATCH, "/image/v2/images/\(id)", as: server.admin,
            headers: [("Content-Type", "application/openstack-images-v2.1-json-patch")],
            json: #"[{"op": "add", "path": "/os_glance_failed_import", "value": ""}]"#)
        #expect(patched.status == 403)
    }

    // MARK: tasks

    private static let task = """
        {"type": "import", "input": {"import_from": "http://mirror.example/image", "import_from_format": "qcow2",
        "image_properties": {"name": "made by a task", "disk_format": "raw", "container_format": "bare",
        "os_distro": "debian"}}}
        """

    @Test func behaviour48_tasksAreTheAdmins() async throws {
        for (method, path) in [(HTTPMethod.GET, ""), (.GET, "/x")] {
            #expect(try await server.call(method, "/image/v2/tasks" + path, as: server.demo).status == 403)
        }
        #expect(try await server.call(.POST, "/image/v2/tasks", as: server.demo, json: Self.task).status == 403)
        let made = try await server.call(.POST, "/image/v2/tasks", as: server.admin, json: Self.task)
        #expect(made.status == 201)
        let task = try #require(made.json.objectValue)
        #expect(
            Set(task.keys) == [
                "created_at", "id", "input", "message", "owner", "schema", "self", "status", "type", "result",
                "updated_at", "request_id", "user_id",
            ])
        #expect(task["status"] == "pending" && task["message"] == "" && task["result"] == .null)
        #expect(task["request_id"]?.stringValue == made.header("x-openstack-request-id"))
        let path = try #require(task["self"]?.stringValue)
        #expect(made.header("location") == server.url + "/image" + path)
        let deleted = try await server.call(.DELETE, "/image" + path, as: server.admin)
        #expect(deleted.status == 405 && deleted.header("allow") == "GET")
        let ended = try await eventually("the task ends") {
            let now = try await server.call(.GET, "/image" + path, as: server.admin)
            return now.json["status"] == "success" ? now.json : nil
        }
        #expect(ended["expires_at"]?.stringValue?.hasSuffix("Z") == true)
        let image = try await server.image(try #require(ended["result"]?["image_id"]?.stringValue))
        #expect(image["status"] == "active" && image["name"] == "made by a task" && image["os_distro"] == "debian")
        #expect(ended["input"]?["import_from_format"] == "qcow2")
    }

    @Test func tasksAreListedInPagesWithoutTheirInput() async throws {
        for _ in 0..<3 {
            let made = try await server.call(.POST, "/image/v2/tasks", as: server.admin, json: Self.task)
            #expect(made.status == 201)
        }
        let first = try await server.call(.GET, "/image/v2/tasks?limit=2&type=import", as: server.admin)
        let page = try #require(first.json["tasks"]?.arrayValue)
        #expect(
            page.count == 2 && page.allSatisfy { $0["input"] == nil && $0["result"] == nil && $0["message"] == nil })
        #expect(first.json["first"] == "/v2/tasks?limit=2&type=import" && first.json["schema"] == "/v2/schemas/tasks")
        let next = try #require(first.json["next"]?.stringValue)
        let second = try await server.call(.GET, "/image" + next, as: server.admin)
        let ids = page.compactMap { $0["id"]?.stringValue }
        let rest = second.json["tasks"]?.arrayValue?.compactMap { $0["id"]?.stringValue } ?? []
        #expect(!rest.isEmpty && Set(ids).isDisjoint(with: rest))
        for query in ["limit=-1", "marker=nothing", "sort_key=input", "sort_dir=up", "status=lost", "limit=x"] {
            #expect(try await server.call(.GET, "/image/v2/tasks?" + query, as: server.admin).status == 400, "\(query)")
        }
        for query in ["limit=0", "status=pending", "sort_key=id&sort_dir=asc", "sort_key=type", "sort_key=updated_at"] {
            #expect(try await server.call(.GET, "/image/v2/tasks?" + query, as: server.admin).status == 200, "\(query)")
        }
    }

    @Test(arguments: [
        "[]", "{}", #"{"type": "export", "input": {}}"#, #"{"type": "import"}"#, #"{"type": "import", "input": []}"#,
        #"{"type": "import", "input": {}, "status": "success"}"#,
        #"{"type": "import", "input": {"import_from": "http://mirror.example/image"}}"#,
        #"{"type": "import", "input": {"import_from": "http://mirror.example/image", "import_from_format": "raw"}}"#,
        #"{"type": "import", "input": {"import_from": "file:///etc/passwd", "import_from_format": "raw", "image_properties": {"disk_format": "raw", "container_format": "bare"}}}"#,
        #"{"type": "import", "input": {"import_from": 5, "import_from_format": "raw", "image_properties": {"disk_format": "raw", "container_format": "bare"}}}"#,
        #"{"type": "import", "input": {"import_from": "http://mirror.example/image", "import_from_format": "raw", "image_properties": {"disk_format": "raw"}}}"#,
        #"{"type": "import", "input": {"import_from": "http://mirror.example/image", "import_from_format": "raw", "image_properties": {"container_format": "bare", "min_disk": "much"}}}"#,
    ])
    func badTasksAre400(_ json: String) async throws {
        let answer = try await server.call(.POST, "/image/v2/tasks", as: server.admin, json: json)
        #expect(answer.status == 400, "\(answer.text)")
    }

    @Test func theTasksOfAnImageAreRows() async throws {
        let id = try await server.createImage()
        #expect(try await server.importImage(id, download("nothing")).status == 202)
        _ = try await server.wait(for: "queued", of: id)
        let row = try #require(try await server.tasks(of: id).first?.objectValue)
        #expect(
            Set(row.keys) == [
                "id", "type", "status", "owner", "input", "result", "message", "image_id", "request_id", "user_id",
                "created_at", "updated_at", "expires_at", "deleted", "deleted_at",
            ])
        #expect(row["deleted"] == false && row["deleted_at"] == .null && row["image_id"] == .string(id))
        let created = try #require(row["created_at"]?.stringValue)
        #expect(created.count == "2026-01-01T00:00:00.000000".count && !created.hasSuffix("Z"))
        let stranger = try await server.account()
        let answer = try await server.call(.GET, "/image/v2/images/\(id)/tasks", as: stranger.token)
        #expect(answer.status == 404)
    }
}

/// Imports with several stores.
@Suite(
    .server(remote: ScriptedRemote()) { settings in
        settings.image?.stores = ["one", "three", "two"].map {
            .init(id: StoreID($0), directory: settings.dataDirectory + "/stores/" + $0)
        }
        settings.image?.settings.defaultStore = "one"
    }) struct ImportToStoresTests
{
    private var server: TestServer { TestServer.current }

    @Test func behaviour38_importToSeveralStoresAndToAll() async throws {
        let info = try await server.call(.GET, "/image/v2/info/stores", as: server.demo)
        let ids = info.json["stores"]?.arrayValue?.compactMap { $0["id"]?.stringValue } ?? []
        #expect(ids == ["one", "three", "two"])
        for (extra, stores) in [
            (#", "stores": ["two", "one"]"#, ["one", "two"]), (#", "all_stores": true"#, ["one", "three", "two"]),
            ("", ["one"]),
        ] {
            let made = try await server.call(
                .POST, "/image/v2/images", as: server.demo, json: #"{"disk_format": "raw", "container_format": "bare"}"#
            )
            #expect(made.header("OpenStack-image-store-ids") == "one,three,two")
            let id = try #require(made.json["id"]?.stringValue)
            #expect(try await server.send("0123456789", to: id).status == 204)
            #expect(
                try await server.importImage(id, #"{"method": {"name": "glance-direct"}\#(extra)}"#).status == 202)
            let image = try await server.wait(for: "active", of: id)
            #expect(image["stores"]?.stringValue?.split(separator: ",").map(String.init).sorted() == stores)
            for store in stores {
                let data = try await server.call(
                    .GET, "/image/v2/images/\(id)/file?prefer=\(store)", as: server.demo)
                #expect(data.text == "0123456789")
            }
        }
    }

    @Test func behaviour39_copyAppendsStores() async throws {
        let id = try await server.createImage()
        #expect(try await server.send("0123456789", to: id, "file").status == 204)
        let body = #"{"method": {"name": "copy-image"}, "stores": ["two"]}"#
        #expect(try await server.importImage(id, body).status == 403)
        #expect(try await server.importImage(id, body, as: server.admin).status == 202)
        let image = try await eventually("the copy is there") {
            let image = try await server.image(id)
            return image["os_glance_importing_to_stores"] == "" ? image : nil
        }
        #expect(image["stores"] == "one,two" && image["status"] == "active")
        #expect(try await server.importImage(id, body, as: server.admin).status == 400)
        let all = #"{"method": {"name": "copy-image"}, "all_stores": true}"#
        #expect(try await server.importImage(id, all, as: server.admin).status == 202)
        _ = try await eventually("all stores have it") {
            try await server.image(id)["stores"] == "one,two,three" ? true : nil
        }
        #expect(try await server.importImage(id, all, as: server.admin).status == 202)
        #expect(try await server.tasks(of: id).count == 2)
    }

    @Test func aStoreOfTheHeaderIsATarget() async throws {
        let id = try await server.createImage()
        #expect(try await server.send("0123456789", to: id).status == 204)
        let both = #"{"method": {"name": "glance-direct"}, "stores": ["two"]}"#
        #expect(try await server.importImage(id, both, headers: [("X-Image-Meta-Store", "one")]).status == 400)
        #expect(try await server.importImage(id, direct, headers: [("X-Image-Meta-Store", "nowhere")]).status == 409)
        #expect(try await server.importImage(id, direct, headers: [("X-Image-Meta-Store", "three")]).status == 202)
        #expect(try await server.wait(for: "active", of: id)["stores"] == "three")
    }

    @Test func versionsOfSeveralStoresAreTold() async throws {
        let versions = try await server.call(.GET, "/image/versions")
        let ids = versions.json["versions"]?.arrayValue?.compactMap { $0["id"]?.stringValue } ?? []
        for minor in [13, 12, 11, 9, 8, 7, 0] { #expect(ids.contains("v2.\(minor)"), "\(minor)") }
        #expect(try await server.call(.GET, "/image/v2.12/images", as: server.demo).status == 200)
        #expect(versions.json["versions"]?.arrayValue?.filter { $0["status"] == "CURRENT" }.count == 1)
    }
}
