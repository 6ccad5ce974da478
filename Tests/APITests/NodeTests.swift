import Core
import Foundation
import NIOHTTP1
import Server
import Testing

/// Several servers that share a data directory (`serve --node`).
@Suite struct NodeTests {
    private struct Nodes: Sendable {
        let first: TestServer
        let second: TestServer
        let directory: String
    }

    /// Two nodes, each with a cache of its own.
    private func withNodes(_ body: @Sendable (Nodes) async throws -> Void) async throws {
        let path = try TestServer.makeDirectory()
        defer { TestServer.remove(path) }
        try await TestServer.with(directory: path, settings(path, "local")) { first in
            try await TestServer.with(directory: path, node: node("b"), settings(path, "b")) { second in
                try await body(Nodes(first: first, second: second, directory: path))
            }
        }
    }

    private func node(_ name: String) throws -> NodeName { try #require(NodeName(name)) }

    private func settings(_ path: String, _ node: String) -> @Sendable (inout ServerSettings) -> Void {
        { $0.image?.cache = ServerSettings.CacheChoice(directory: path + "/cache-" + node, bytes: 1 << 20) }
    }

    private func newImage(_ server: TestServer) async throws -> String {
        let made = try await server.call(
            .POST, "/image/v2/images", as: server.demo, json: #"{"disk_format": "raw", "container_format": "bare"}"#)
        return try #require(made.json["id"]?.stringValue)
    }

    private func upload(_ bytes: [UInt8], to id: String, _ server: TestServer) async throws {
        let answer = try await server.call(
            .PUT, "/image/v2/images/\(id)/file", as: server.demo,
            headers: [("Content-Type", "application/octet-stream")], body: bytes)
        #expect(answer.status == 204, "\(answer.text)")
    }

    private func cachedImages(_ server: TestServer) async throws -> [String] {
        let answer = try await server.call(.GET, "/image/v2/cache", as: server.admin)
        return answer.json["cached_images"]?.arrayValue?.compactMap { $0["image_id"]?.stringValue } ?? []
    }

    @Test func whatOneIsToldAllKnow() async throws {
        try await withNodes { nodes in
            let data = [UInt8](repeating: 7, count: 5000)
            let id = try await newImage(nodes.first)
            try await upload(data, to: id, nodes.second)
            for server in [nodes.first, nodes.second] {
                let image = try await server.call(.GET, "/image/v2/images/\(id)", as: nodes.first.demo)
                #expect(image.json["status"] == "active")
                let file = try await server.call(.GET, "/image/v2/images/\(id)/file", as: nodes.second.demo)
                #expect(file.bytes == data)
            }
            #expect(try await nodes.second.call(.DELETE, "/image/v2/images/\(id)", as: nodes.second.demo).status == 204)
            #expect(try await nodes.first.call(.GET, "/image/v2/images/\(id)", as: nodes.first.demo).status == 404)
        }
    }

    /// Also by the one that has just answered with it, without asking anybody.
    @Test func aTokenThatOneRevokedNoneTakes() async throws {
        try await withNodes { nodes in
            for (here, there) in [(nodes.first, nodes.second), (nodes.second, nodes.first)] {
                for _ in 0..<5 {
                    let account = try await here.account(role: "member")
                    for server in [here, there, here, there] {
                        #expect(try await server.call(.GET, "/image/v2/images", as: account.token).status == 200)
                    }
                    let revoked = try await here.call(
                        .DELETE, "/identity/v3/auth/tokens", as: account.token,
                        headers: [("X-Subject-Token", account.token)])
                    #expect(revoked.status == 204)
                    for server in [there, here] {
                        #expect(try await server.call(.GET, "/image/v2/images", as: account.token).status == 401)
                    }
                }
            }
        }
    }

    @Test func eachHasACacheOfItsOwn() async throws {
        try await withNodes { nodes in
            let id = try await newImage(nodes.first)
            try await upload([1, 2, 3], to: id, nodes.first)
            for (server, others) in [(nodes.first, []), (nodes.second, [id])] {
                #expect(try await cachedImages(server).isEmpty)
                let queued = try await server.call(.PUT, "/image/v2/cache/\(id)", as: server.admin)
                #expect(queued.status == 202)
                _ = try await eventually("it is cached") { try await cachedImages(server) == [id] ? true : nil }
                let other = server.port == nodes.first.port ? nodes.second : nodes.first
                #expect(try await cachedImages(other) == others)
            }
            #expect(try await nodes.second.call(.DELETE, "/image/v2/images/\(id)", as: nodes.second.demo).status == 204)
            _ = try await eventually("both have let go of it") {
                try await cachedImages(nodes.first) + cachedImages(nodes.second) == [] ? true : nil
            }
        }
    }

    /// The catalogue says where the first one is, as before, and clouds.yaml as well.
    @Test func anotherNodeChangesNoAddress() async throws {
        try await withNodes { nodes in
            let catalogue = try await nodes.second.call(.GET, "/identity/v3/auth/catalog", as: nodes.second.admin)
            #expect(catalogue.status == 200)
            #expect(catalogue.text.contains(":\(nodes.first.port)/image"))
            #expect(!catalogue.text.contains(":\(nodes.second.port)/image"))
            let clouds = try String(contentsOfFile: nodes.directory + "/clouds.yaml", encoding: .utf8)
            #expect(clouds.contains(":\(nodes.first.port)/") && !clouds.contains(":\(nodes.second.port)/"))
        }
    }

    @Test func theFirstMayComeBackWhileOthersRun() async throws {
        let path = try TestServer.makeDirectory()
        defer { TestServer.remove(path) }
        try await TestServer.with(directory: path) { _ in }
        try await TestServer.with(directory: path, node: node("b")) { second in
            let id = try await newImage(second)
            for _ in 0..<2 {
                try await TestServer.with(directory: path) { first in
                    let answer = try await first.call(.GET, "/image/v2/images/\(id)", as: second.demo)
                    #expect(answer.status == 200)
                }
                #expect(try await second.call(.GET, "/image/v2/images/\(id)", as: second.demo).status == 200)
            }
        }
    }

    // MARK: what does not start

    private func problem(_ step: () async throws -> Void) async throws -> String {
        do {
            try await step()
        } catch let problem as StartProblem {
            return problem.description
        }
        return "it started"
    }

    @Test func oneNameIsOneProcess() async throws {
        try await withNodes { nodes in
            let first = try await problem { try await TestServer.with(directory: nodes.directory) { _ in } }
            #expect(
                first.contains("in use by another ambrotype server (process \(getpid())); one beside it needs a name"))
            let second = try await problem {
                try await TestServer.with(directory: nodes.directory, node: node("b")) { _ in }
            }
            #expect(second.contains("in use by another ambrotype server (process \(getpid())) of the name b"))
        }
    }

    @Test func aCacheIsOneServers() async throws {
        try await withNodes { nodes in
            let said = try await problem {
                try await TestServer.with(
                    directory: nodes.directory, node: node("c"), settings(nodes.directory, "b")
                ) { _ in }
            }
            #expect(said.hasSuffix("cache-b is another server's cache; each needs its own"))
        }
    }

    @Test func onlyTheFirstSetsADirectoryUp() async throws {
        let path = try TestServer.makeDirectory()
        defer { TestServer.remove(path) }
        let said = try await problem { try await TestServer.with(directory: path, node: node("b")) { _ in } }
        #expect(said.contains("only the first node, without --node, does that"))
        #expect(!FileManager.default.fileExists(atPath: path + "/clouds.yaml"))
        // And it still does.
        try await TestServer.with(directory: path) { server in #expect(!server.demo.isEmpty) }
    }
}
