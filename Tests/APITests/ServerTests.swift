import Core
import Foundation
import NIOHTTP1
import Persistence
import Server
import Testing

/// The server as its operator meets it, in one process with the tests.
@Suite(.server) struct ServerTests {
    private var server: TestServer { TestServer.current }

    @Test func itIsHealthyUntilAnOperatorSaysOtherwise() async throws {
        try await TestServer.with { server in
            let healthy = try await server.call(.GET, "/healthcheck")
            #expect(healthy.status == 200)
            #expect(healthy.text == "OK")
            #expect(healthy.header("Content-Type") == "text/plain")
            #expect(try await server.call(.HEAD, "/healthcheck").status == 200)
            let disable = server.directory + "/disable"
            #expect(FileManager.default.createFile(atPath: disable, contents: nil))
            let disabled = try await server.call(.GET, "/healthcheck")
            #expect(disabled.status == 503)
            #expect(disabled.text == "DISABLED BY FILE")
            try FileManager.default.removeItem(atPath: disable)
            #expect(try await server.call(.GET, "/healthcheck").status == 200)
        }
    }

    @Test func theRootListsTheServices() async throws {
        let answer = try await server.call(.GET, "/")
        #expect(answer.status == 200)
        let services = try #require(answer.json["services"]?.arrayValue)
        #expect(services.compactMap { $0["type"]?.stringValue }.sorted() == ["identity", "image", "key-manager"])
        for service in services {
            let url = try #require(service["url"]?.stringValue)
            #expect(try await server.call(.GET, url).status == 300)
        }
    }

    @Test func unknownPathsAndMethodsOfTheListener() async throws {
        #expect(try await server.call(.GET, "/nothing").status == 404)
        let wrong = try await server.call(.DELETE, "/healthcheck")
        #expect(wrong.status == 405)
        #expect(wrong.header("Allow") == "GET, HEAD")
    }

    @Test func metricsCountByTemplate() async throws {
        let created = try await server.call(.POST, "/image/v2/images", as: server.demo, json: #"{"name": "counted"}"#)
        let id = try #require(created.json["id"]?.stringValue)
        _ = try await server.call(.GET, "/image/v2/images/\(id)", as: server.demo)
        // A request is counted when its response is out, which its client may know first.
        let line = try await eventually("the request is counted") {
            let page = try await server.call(.GET, "/metrics")
            #expect(page.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8")
            #expect(!page.text.contains(id))
            return page.text.split(separator: "\n").first {
                $0.hasPrefix("ambrotype_requests_total{method=\"GET\",route=\"/image/v2/images/{")
                    && $0.contains("status=\"200\"")
            }
        }
        #expect(line.contains("service=\"image\""))
        let page = try await server.call(.GET, "/metrics").text
        for name in [
            "ambrotype_request_seconds_bucket", "ambrotype_received_bytes_total", "ambrotype_sent_bytes_total",
            "ambrotype_database_write_wait_seconds_count", "ambrotype_job_queue_depth", "process_resident_memory_bytes",
            "process_open_fds", "ambrotype_build_info{version=",
        ] { #expect(page.contains("\n" + name), "\(name)") }
    }

    @Test func cloudsFileIsForTheOwnerAlone() async throws {
        let path = server.directory + "/clouds.yaml"
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        let clouds = CloudsFile(path: path)
        let passwords = try ["ambrotype-admin", "ambrotype"].map { try #require(try clouds.password(of: $0)) }
        #expect(passwords[0] != passwords[1])
        #expect(passwords.allSatisfy { $0.count >= 16 })
        let text = try String(contentsOfFile: path, encoding: .utf8)
        #expect(text.contains("auth_url: \"\(server.url)/identity/v3\""))
    }

    @Test func theCatalogueNamesTheRealAddresses() async throws {
        let catalog = try await server.call(.GET, "/identity/v3/auth/catalog", as: server.demo).json["catalog"]
        let urls = (catalog?.arrayValue ?? []).flatMap { service in
            (service["endpoints"]?.arrayValue ?? []).compactMap { $0["url"]?.stringValue }
        }
        #expect(Set(urls) == ["\(server.url)/identity", "\(server.url)/image", "\(server.url)/key-manager"])
    }

    @Test func logsHoldNoSecrets() async throws {
        try await TestServer.with { server in
            let payload = "the-payload-itself"
            let created = try await server.call(.POST, "/image/v2/images", as: server.demo, json: "{}")
            let id = try #require(created.json["id"]?.stringValue)
            _ = try await server.call(
                .PUT, "/image/v2/images/\(id)/file?secret=in-the-query", as: server.demo,
                headers: [("Content-Type", "application/octet-stream")], body: Array(payload.utf8))
            _ = try await server.call(.GET, "/image/v2/images", as: "the-wrong-token")
            _ = try await server.account()
            let clouds = CloudsFile(path: server.directory + "/clouds.yaml")
            let secrets = [
                server.admin, server.demo, payload, "in-the-query", "the-wrong-token", "password-of-",
                try #require(try clouds.password(of: "ambrotype")),
                try #require(try clouds.password(of: "ambrotype-admin")),
            ]
            let line = try await eventually("the request is logged") {
                try server.log.lines("request").first {
                    $0["method"] == "GET" && $0["path"] == "/image/v2/images" && $0["status"] == "401"
                }
            }
            #expect(line["request_id"]?.stringValue?.hasPrefix("req-") == true)
            for secret in secrets { #expect(!server.log.all.contains(secret)) }
        }
    }

    @Test func everyRequestIsLoggedOnceWithItsCaller() async throws {
        let id = "req-" + UUID().uuidString.lowercased()
        let answer = try await server.call(
            .GET, "/image/v2/images", as: server.demo, headers: [("X-Openstack-Request-Id", id)])
        #expect(answer.header("X-Openstack-Request-Id") == id)
        let line = try await eventually("the request is logged") {
            try server.log.lines("request").first { $0["request_id"]?.stringValue == id }
        }
        #expect(line["status"] == "200")
        #expect(line["user"]?.stringValue?.count == 32)
        #expect(line["project"]?.stringValue?.count == 32)
        #expect(try server.log.lines("request").filter { $0["request_id"]?.stringValue == id }.count == 1)
    }
}

/// Starts that must fail, addresses of one's own, and what a restart keeps.
@Suite struct ServerStartTests {
    private static func start(_ change: @Sendable (inout ServerSettings) -> Void) async throws -> String {
        do {
            try await TestServer.with(change) { _ in }
            return "it started"
        } catch let problem as StartProblem {
            return problem.description
        }
    }

    @Test func aSecondServerOnTheDirectoryIsRefused() async throws {
        try await TestServer.with { first in
            let problem = try await Self.start { $0.dataDirectory = first.directory }
            #expect(problem.contains(first.directory))
            #expect(problem.contains("in use by another ambrotype server (process \(getpid()))"))
            #expect(try await first.call(.GET, "/healthcheck").status == 200)
        }
    }

    @Test func anAddressThatIsTakenIsNamed() async throws {
        try await TestServer.with { first in
            let taken = ListenAddress(host: "127.0.0.1", port: first.port)
            let problem = try await Self.start { $0.listen = taken }
            #expect(problem.contains("127.0.0.1:\(first.port)"))
            #expect(problem.contains("Address already in use"))
            let own = try await Self.start { $0.listeners[.image] = taken }
            #expect(own.contains("127.0.0.1:\(first.port)"))
        }
    }

    @Test func aDirectoryThatCannotBeIsNamed() async throws {
        let problem = try await Self.start { $0.dataDirectory = "/dev/null/data" }
        #expect(problem.contains("data_dir") && problem.contains("/dev/null"))
        let store = try await Self.start { settings in
            settings.image?.stores = [.init(id: "broken", directory: "/dev/null/store")]
            settings.image?.settings.defaultStore = "broken"
        }
        #expect(store.contains("image.stores") && store.contains("broken"))
    }

    @Test func aKeystoneThatIsNotThereIsNamed() async throws {
        let resolved = try SettingSources(
            environment: [
                "AMBROTYPE_IDENTITY_MODE": "keystone", "AMBROTYPE_KEYSTONE_AUTH_URL": "http://127.0.0.1:9/v3",
                "AMBROTYPE_KEYSTONE_USERNAME": "glance", "AMBROTYPE_KEYSTONE_PASSWORD": "hush-hush",
            ]
        ).resolve()
        let identity = try ServerSettings(resolved).identity
        let problem = try await Self.start { $0.identity = identity }
        #expect(problem.contains("http://127.0.0.1:9/v3"))
        #expect(!problem.contains("hush-hush"))
    }

    @Test func aDatabaseOfANewerProgramIsRefused() async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        try await TestServer.with(directory: directory) { _ in }
        let database = try SQLiteDatabase(path: directory + "/ambrotype.db")
        try await database.write { db in
            _ = try db.execute("INSERT INTO schema_migrations (version, name, applied_at) VALUES (9999, 'later', 0)")
        }
        await #expect {
            try await TestServer.with(directory: directory) { _ in }
        } throws: { error in
            let text = (error as? StartProblem)?.description ?? ""
            return text.contains("ambrotype.db") && text.contains("schema version 9999")
        }
    }

    @Test func aServiceCanHaveAnAddressOfItsOwn() async throws {
        try await TestServer.with {
            $0.listeners[.image] = ListenAddress(host: "127.0.0.1", port: 0)
            $0.listeners[.identity] = ListenAddress(host: "127.0.0.1", port: 0)
        } body: { server in
            let image = try #require(server.urls[.image])
            #expect(image != server.url + "/image")
            let versions = try await server.call(.GET, image + "/")
            #expect(versions.status == 300)
            #expect(versions.text.contains("\"\(image)/v2/\""))
            #expect(try await server.call(.GET, image + "/v2/images", as: server.demo).status == 200)
            let list = try await server.call(.GET, "/image/v2/images", as: server.demo)
            #expect(list.status == 200)
            #expect(try await server.call(.GET, image + "/healthcheck").text == "OK")
            // What an operator looks at stays on the main listener.
            #expect(try await server.call(.GET, image + "/metrics").status != 200)
            let identity = try #require(server.urls[.identity])
            #expect(try await server.call(.GET, identity + "/v3").status == 200)
            let text = try String(contentsOfFile: server.directory + "/clouds.yaml", encoding: .utf8)
            #expect(text.contains("\"\(identity)/v3\""))
        }
    }

    /// Under the types and names that clients look for, and where the operator says that clients reach them.
    @Test func theCatalogueNamesEveryService() async throws {
        try await TestServer.with {
            $0.publicEndpoints[.image] = "https://cloud.example/image/"
        } body: { server in
            let catalog = try await server.call(.GET, "/identity/v3/auth/catalog", as: server.demo)
            let found = try #require(catalog.json["catalog"]?.arrayValue).map { service in
                let url = service["endpoints"]?.arrayValue?.first?["url"]?.stringValue
                return [service["type"]?.stringValue, service["name"]?.stringValue, url]
            }
            #expect(
                Set(found) == [
                    ["identity", "keystone", server.url + "/identity"],
                    ["image", "glance", "https://cloud.example/image"],
                    ["key-manager", "barbican", server.url + "/key-manager"],
                ])
        }
    }

    @Test func withoutImagesItIsAnIdentity() async throws {
        try await TestServer.with {
            $0.image = nil
        } body: { server in
            #expect(server.urls[.image] == nil)
            let answer = try await server.call(.GET, "/image/v2/images", as: server.demo)
            #expect(answer.status == 404)
        }
    }

    @Test func withoutMetricsThereIsNoPageOfThem() async throws {
        try await TestServer.with {
            $0.hasMetrics = false
        } body: { server in
            let page = try await server.call(.GET, "/metrics")
            #expect(page.status == 404)
        }
    }

    @Test func aRestartKeepsPasswordsAndTokensAndFollowsTheAddress() async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        let path = directory + "/clouds.yaml"
        let (token, url) = try await TestServer.with(directory: directory) { ($0.demo, $0.url) }
        let before = try #require(try CloudsFile(path: path).password(of: "ambrotype"))
        // The operator's own entries are no business of the server.
        var text = try String(contentsOfFile: path, encoding: .utf8)
        text += "  elsewhere:\n    auth: {auth_url: \"https://other.example/v3\", username: me, password: mine}\n"
        try text.write(toFile: path, atomically: false, encoding: .utf8)
        try await TestServer.with(directory: directory) { server in
            #expect(server.url != url)
            #expect(try await server.call(.GET, "/image/v2/images", as: token).status == 200)
            let text = try String(contentsOfFile: path, encoding: .utf8)
            #expect(text.contains(server.url + "/identity/v3") && !text.contains(url + "/"))
            #expect(try CloudsFile(path: path).password(of: "ambrotype") == before)
            #expect(try CloudsFile(path: path).password(of: "elsewhere") == "mine")
            #expect(text.contains("https://other.example/v3"))
        }
    }

    @Test func aLostCloudsFileIsSaid() async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        try await TestServer.with(directory: directory) { _ in }
        try FileManager.default.removeItem(atPath: directory + "/clouds.yaml")
        try await TestServer.with(directory: directory) { server in
            #expect(server.log.all.contains("ambrotype identity set-password"))
            let health = try await server.call(.GET, "/healthcheck")
            #expect(health.status == 200)
        }
    }

    @Test func aStoreThatHoldsDataMustStayConfigured() async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        try await TestServer.with(directory: directory) { server in
            let image = try await server.call(
                .POST, "/image/v2/images", as: server.demo,
                json: #"{"disk_format": "raw", "container_format": "bare"}"#)
            let id = try #require(image.json["id"]?.stringValue)
            let upload = try await server.call(
                .PUT, "/image/v2/images/\(id)/file", as: server.demo,
                headers: [("Content-Type", "application/octet-stream")], body: [1, 2, 3])
            #expect(upload.status == 204)
        }
        await #expect {
            try await TestServer.with(directory: directory) {
                $0.image?.stores = [.init(id: "new", directory: directory + "/new")]
                $0.image?.settings.defaultStore = "new"
            } body: { _ in
            }
        } throws: { error in
            (error as? StartProblem)?.description
                == "image.stores: store 'local' holds image data and is not configured"
        }
        // The disk of the store is not mounted: its directory is there, and empty.
        try FileManager.default.moveItem(atPath: directory + "/stores/local", toPath: directory + "/elsewhere")
        try FileManager.default.createDirectory(
            atPath: directory + "/stores/local", withIntermediateDirectories: false)
        // It starts without, and has it again when it is back.
        try await TestServer.with(directory: directory) { server in
            let list = try await server.call(.GET, "/image/v2/images", as: server.demo)
            #expect(list.status == 200)
        }
    }
}
