import Core
import Foundation
import NIOHTTP1
import Server
import Testing

/// The cache of images (Image API digest, section 3.6, behaviours 23 and 47).
@Suite struct CacheTests {
    /// A server with a store that is cached and one that is not; the cache's directory is the body's second argument.
    private func withCache(
        bytes: Int64 = 1 << 20, directory: String? = nil,
        _ body: @Sendable (TestServer, String) async throws -> Void
    ) async throws {
        let path = try directory ?? TestServer.makeDirectory()
        defer { if directory == nil { TestServer.remove(path) } }
        let cache = path + "/cache"
        try await TestServer.with(
            directory: path,
            {
                $0.image?.stores = ["near", "far"].map {
                    ServerSettings.StoreChoice(id: StoreID($0), directory: path + "/stores/\($0)")
                }
                $0.image?.settings.defaultStore = "near"
                $0.image?.cache = ServerSettings.CacheChoice(directory: cache, bytes: bytes, stores: ["far"])
            }
        ) { server in try await body(server, cache) }
    }

    private func uploaded(
        _ server: TestServer, _ bytes: [UInt8], store: String = "near"
    ) async throws -> String {
        let made = try await server.call(
            .POST, "/image/v2/images", as: server.demo, json: #"{"disk_format": "raw", "container_format": "bare"}"#)
        let id = try #require(made.json["id"]?.stringValue)
        let answer = try await server.call(
            .PUT, "/image/v2/images/\(id)/file", as: server.demo,
            headers: [("Content-Type", "application/octet-stream"), ("X-Image-Meta-Store", store)], body: bytes)
        #expect(answer.status == 204, "\(answer.text)")
        return id
    }

    private func contents(_ server: TestServer) async throws -> (cached: [JSONValue], queued: [String]) {
        let answer = try await server.call(.GET, "/image/v2/cache", as: server.admin)
        #expect(answer.status == 200)
        return (
            answer.json["cached_images"]?.arrayValue ?? [],
            answer.json["queued_images"]?.arrayValue?.compactMap(\.stringValue) ?? []
        )
    }

    private func cached(_ server: TestServer, _ id: String) async throws -> JSONValue {
        try await eventually("\(id) is cached") {
            try await contents(server).cached.first { $0["image_id"] == .string(id) }
        }
    }

    private func expectStatus(
        _ expected: Int, _ server: TestServer, _ method: HTTPMethod, _ path: String, as token: String? = nil,
        headers: [(String, String)] = [], at location: SourceLocation = #_sourceLocation
    ) async throws {
        let answer = try await server.call(
            method, "/image/v2/cache" + path, as: token ?? server.admin, headers: headers)
        #expect(answer.status == expected, "\(answer.text)", sourceLocation: location)
    }

    private func download(
        _ server: TestServer, _ id: String, query: String = "", headers: [(String, String)] = []
    ) async throws -> Answer {
        try await server.call(.GET, "/image/v2/images/\(id)/file" + query, as: server.demo, headers: headers)
    }

    /// Blobs in the cache's directory, begun or whole.
    private static func files(_ cache: String) -> [String] {
        var names: [String] = []
        let found = FileManager.default.enumerator(atPath: cache)
        while let name = found?.nextObject() as? String {
            var isDirectory: ObjCBool = false
            let isThere = FileManager.default.fileExists(atPath: cache + "/" + name, isDirectory: &isDirectory)
            if isThere, !isDirectory.boolValue, !name.hasPrefix(".") { names.append(name) }
        }
        return names
    }

    @Test func behaviour47_aQueuedImageIsCached() async throws {
        try await withCache { server, _ in
            let bytes = [UInt8](repeating: 5, count: 1000)
            let id = try await uploaded(server, bytes)
            try await expectStatus(202, server, .PUT, "/\(id)")
            let entry = try await cached(server, id)
            #expect(entry["size"] == 1000 && entry["hits"] == 0)
            let image = try await server.call(.GET, "/image/v2/images/\(id)", as: server.demo)
            #expect(entry["checksum"] == image.json["checksum"])
            guard case .number(let time) = entry["last_modified"] else {
                Issue.record("no time: \(entry)")
                return
            }
            #expect(abs(time - Date().timeIntervalSince1970) < 60)
            let found1 = try await contents(server).queued
            #expect(found1 == [])
            // Served from there, and counted; also when the store has lost it.
            try FileManager.default.removeItem(atPath: server.directory + "/stores/near")
            let answer = try await download(server, id)
            #expect(answer.status == 200 && answer.bytes == bytes)
            #expect(answer.header("Content-MD5") == image.json["checksum"]?.stringValue)
            #expect(try await contents(server).cached.first?["hits"] == 1)
            // Again is nothing new.
            try await expectStatus(202, server, .PUT, "/\(id)")
            let found2 = try await contents(server).cached.count
            #expect(found2 == 1)
        }
    }

    @Test func behaviour47_imagesAreTakenOutOneByOneAndAllAtOnce() async throws {
        try await withCache { server, cache in
            var ids: [String] = []
            for number in 0..<3 {
                let id = try await uploaded(server, [UInt8](repeating: UInt8(number), count: 100))
                try await expectStatus(202, server, .PUT, "/\(id)")
                _ = try await cached(server, id)
                ids.append(id)
            }
            try await expectStatus(204, server, .DELETE, "/\(ids[0])")
            try await expectStatus(404, server, .DELETE, "/\(ids[0])")
            let found3 = try await contents(server).cached.count
            #expect(found3 == 2)
            try await expectStatus(
                400, server, .DELETE, "", headers: [("x-image-cache-clear-target", "everything")])
            try await expectStatus(204, server, .DELETE, "", headers: [("x-image-cache-clear-target", "queue")])
            let found4 = try await contents(server).cached.count
            #expect(found4 == 2)
            try await expectStatus(204, server, .DELETE, "", headers: [("x-image-cache-clear-target", "cache")])
            let found5 = try await contents(server).cached.isEmpty
            #expect(found5)
            try await expectStatus(202, server, .PUT, "/\(ids[1])")
            _ = try await cached(server, ids[1])
            try await expectStatus(204, server, .DELETE, "")
            _ = try await eventually("the bytes are erased") { Self.files(cache).isEmpty ? true : nil }
            #expect(try await download(server, ids[1]).status == 200)
        }
    }

    @Test func behaviour47_whatCannotBeCachedIsRefused() async throws {
        try await withCache { server, _ in
            let made = try await server.call(.POST, "/image/v2/images", as: server.demo, json: "{}")
            let queued = try #require(made.json["id"]?.stringValue)
            try await expectStatus(400, server, .PUT, "/\(queued)")
            try await expectStatus(404, server, .PUT, "/11111111-2222-4333-8444-555555555555")
            try await expectStatus(409, server, .GET, "/nodes/\(queued)")
            try await expectStatus(200, server, .POST, "/clean")
            // Who is no admin learns nothing.
            for (method, path) in [
                (HTTPMethod.GET, ""), (.PUT, "/\(queued)"), (.DELETE, "/\(queued)"), (.DELETE, ""),
                (.GET, "/nodes/\(queued)"), (.POST, "/clean"), (.POST, "/prune"),
            ] {
                try await expectStatus(403, server, method, path, as: server.demo)
            }
            // A body where none is taken.
            let body = try await server.call(.PUT, "/image/v2/cache/\(queued)", as: server.admin, json: "{}")
            #expect(body.status == 400)
        }
    }

    @Test func behaviour47_withoutACacheAdminsAreToldSo() async throws {
        try await TestServer.with { server in
            try await expectStatus(404, server, .GET, "")
            try await expectStatus(403, server, .GET, "", as: server.demo)
            let versions = try await server.call(.GET, "/image/versions").json["versions"]?.arrayValue ?? []
            #expect(versions.allSatisfy { !["v2.14", "v2.16", "v2.18"].contains($0["id"]?.stringValue) })
        }
    }

    @Test func behaviour47_discoverySaysThatThereIsACache() async throws {
        try await withCache { server, _ in
            let versions = try await server.call(.GET, "/image/versions").json["versions"]?.arrayValue ?? []
            let ids = versions.compactMap { $0["id"]?.stringValue }
            #expect(Set(["v2.14", "v2.15", "v2.16", "v2.18"]).isSubset(of: ids))
            let current = versions.filter { $0["status"] == "CURRENT" }
            #expect(current.compactMap { $0["id"]?.stringValue } == ["v2.18"])
            #expect(try await server.call(.GET, "/image/v2.18/images", as: server.demo).status == 200)
        }
    }

    @Test func behaviour47_deletingAnImagePurgesItsCopy() async throws {
        try await withCache { server, cache in
            let id = try await uploaded(server, [1, 2, 3])
            try await expectStatus(202, server, .PUT, "/\(id)")
            _ = try await cached(server, id)
            #expect(try await server.call(.DELETE, "/image/v2/images/\(id)", as: server.demo).status == 204)
            let found6 = try await contents(server).cached.isEmpty
            #expect(found6)
            _ = try await eventually("its bytes are erased") { Self.files(cache).isEmpty ? true : nil }
        }
    }

    /// A cached copy is served whatever store is preferred, even one that is not there; but only of the whole, and only
    /// of an active image.
    @Test func behaviour23_aCachedCopyIgnoresWhatIsPreferred() async throws {
        try await withCache { server, _ in
            let id = try await uploaded(server, [1, 2, 3, 4])
            #expect(try await download(server, id, query: "?prefer=nowhere").status == 400)
            try await expectStatus(202, server, .PUT, "/\(id)")
            _ = try await cached(server, id)
            #expect(try await download(server, id, query: "?prefer=nowhere").bytes == [1, 2, 3, 4])
            #expect(
                try await download(server, id, query: "?prefer=nowhere", headers: [("Range", "bytes=1-2")]).status
                    == 400)
            #expect(try await download(server, id, headers: [("Range", "bytes=1-2")]).bytes == [2, 3])
            #expect(try await contents(server).cached.first?["hits"] == 1)
            #expect(
                try await server.call(
                    .POST, "/image/v2/images/\(id)/actions/deactivate", as: server.demo
                ).status == 204)
            #expect(try await download(server, id).status == 403)
            let byAdmin = try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.admin)
            #expect(byAdmin.status == 200)
            #expect(try await contents(server).cached.first?["hits"] == 1)
        }
    }

    /// What is downloaded from a store that is cached is there the next time; from others it is not.
    @Test func aDownloadFromAFarStoreIsCached() async throws {
        try await withCache { server, _ in
            let far = try await uploaded(server, [UInt8](repeating: 3, count: 5000), store: "far")
            let near = try await uploaded(server, [1], store: "near")
            #expect(try await download(server, far, headers: [("Range", "bytes=0-1")]).status == 206)
            let found7 = try await contents(server).cached.isEmpty
            #expect(found7)
            for id in [near, far] { #expect(try await download(server, id).status == 200) }
            _ = try await cached(server, far)
            let found8 = try await contents(server).cached.count
            #expect(found8 == 1)
            #expect(try await download(server, far).bytes == [UInt8](repeating: 3, count: 5000))
            #expect(try await contents(server).cached.first?["hits"] == 1)
        }
    }

    /// What was used longest ago gives way, and the directory never holds more than it may.
    @Test func theCacheIsBounded() async throws {
        try await withCache(bytes: 2500) { server, cache in
            var ids: [String] = []
            for number in 0..<3 {
                ids.append(try await uploaded(server, [UInt8](repeating: UInt8(number), count: 1000)))
            }
            for id in ids[..<2] {
                try await expectStatus(202, server, .PUT, "/\(id)")
                _ = try await cached(server, id)
            }
            // The first is the one used last.
            #expect(try await download(server, ids[0]).status == 200)
            try await expectStatus(202, server, .PUT, "/\(ids[2])")
            _ = try await cached(server, ids[2])
            let left = try await contents(server).cached.compactMap { $0["image_id"]?.stringValue }
            #expect(Set(left) == [ids[0], ids[2]])
            _ = try await eventually("the bytes are erased") { Self.files(cache).count == 2 ? true : nil }
            // One that never fits is passed over, and keeps nobody waiting.
            let large = try await uploaded(server, [UInt8](repeating: 9, count: 3000))
            try await expectStatus(202, server, .PUT, "/\(large)")
            _ = try await eventually("it is passed over") { try await contents(server).queued.isEmpty ? true : nil }
            let found9 = try await contents(server).cached.count
            #expect(found9 == 2)
            let pruned = try await server.call(.POST, "/image/v2/cache/prune", as: server.admin)
            #expect(pruned.status == 200)
            #expect(pruned.json == ["total_files_pruned": 0, "total_bytes_pruned": 0])
        }
    }

    /// Files that no row knows go, and so do rows whose files are gone.
    @Test func cleaningMakesRowsAndFilesAgree() async throws {
        try await withCache { server, cache in
            var ids: [String] = []
            for number in 0..<2 {
                let id = try await uploaded(server, [UInt8(number)])
                try await expectStatus(202, server, .PUT, "/\(id)")
                _ = try await cached(server, id)
                ids.append(id)
            }
            let stray = "0a000000-0000-4000-8000-000000000001"
            try Data([1]).write(to: URL(filePath: cache + "/incoming/" + stray))
            let lost = try #require(Self.files(cache).first { !$0.hasPrefix("incoming") })
            try FileManager.default.removeItem(atPath: cache + "/" + lost)
            try await expectStatus(200, server, .POST, "/clean")
            #expect(Self.files(cache).count == 1)
            let found10 = try await contents(server).cached.count
            #expect(found10 == 1)
            for id in ids { #expect(try await download(server, id).status == 200) }
        }
    }

    /// A restart with less room, and after a crash in the middle of a copy.
    @Test func theCacheOutlivesARestart() async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        try await withCache(directory: directory) { server, _ in
            for number in 0..<3 {
                let id = try await uploaded(server, [UInt8](repeating: UInt8(number), count: 1000))
                try await expectStatus(202, server, .PUT, "/\(id)")
                _ = try await cached(server, id)
            }
        }
        try await withCache(directory: directory) { server, _ in
            let found11 = try await contents(server).cached.count
            #expect(found11 == 3)
        }
        try await withCache(bytes: 1500, directory: directory) { server, cache in
            _ = try await eventually("the cache is within its limit") {
                try await contents(server).cached.count == 1 ? true : nil
            }
            _ = try await eventually("the bytes are erased") { Self.files(cache).count == 1 ? true : nil }
        }
    }
}
