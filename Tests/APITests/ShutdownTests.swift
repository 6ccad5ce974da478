import Core
import NIOHTTP1
import Server
import Testing

/// A graceful stop: no more connections, requests under way are finished, and all within a deadline.
@Suite struct ShutdownTests {
    private static let half = [UInt8](repeating: 7, count: 300_000)

    /// An upload of which one half was sent and the server has begun to receive.
    private static func beginUpload(_ server: TestServer) async throws -> (id: String, RawConnection) {
        let created = try await server.call(
            .POST, "/image/v2/images", as: server.demo, json: #"{"disk_format": "raw", "container_format": "bare"}"#)
        let id = try #require(created.json["id"]?.stringValue)
        let connection = try await server.connect()
        try await connection.send(
            """
            PUT /image/v2/images/\(id)/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(server.demo)\r
            Content-Type: application/octet-stream\r\nContent-Length: \(half.count * 2)\r\n\r\n
            """)
        try await connection.send(half)
        _ = try await eventually("the image is saving") {
            let status = try await server.call(.GET, "/image/v2/images/\(id)", as: server.demo).json["status"]
            return status == "saving" ? true : nil
        }
        return (id, connection)
    }

    private static func isRefused(_ server: TestServer) async -> Bool {
        guard let connection = try? await server.connect() else { return true }
        connection.close()
        return false
    }

    @Test func aRunningUploadIsFinished() async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        let id = try await TestServer.with(directory: directory) { server in
            let (id, connection) = try await Self.beginUpload(server)
            async let stopped: Void = server.stop()
            _ = try await eventually("connections are refused") { await Self.isRefused(server) ? true : nil }
            try await connection.send(Self.half)
            #expect(try await connection.response().status == 204)
            await stopped
            return id
        }
        try await TestServer.with(directory: directory) { server in
            let image = try await server.call(.GET, "/image/v2/images/\(id)", as: server.demo).json
            #expect(image["status"] == "active")
            #expect(image["size"]?.integerValue == Int64(Self.half.count * 2))
            let data = try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.demo)
            #expect(data.bytes == Self.half + Self.half)
        }
    }

    @Test func anIdleConnectionDoesNotHoldItUp() async throws {
        try await TestServer.with { server in
            let idle = try await server.connect()
            defer { idle.close() }
            try await idle.send("GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(try await idle.response().status == 200)
            await server.stop()
            #expect(try await idle.remainder().isEmpty)
        }
    }

    @Test func theDeadlineCutsOffWhoeverIsStillThere() async throws {
        let directory = try TestServer.makeDirectory()
        defer { TestServer.remove(directory) }
        let (id, connection) = try await TestServer.with(directory: directory) {
            $0.shutdownDeadlineSeconds = 1
        } body: { server in
            let upload = try await Self.beginUpload(server)
            await server.stop()
            return upload
        }
        // The server is gone, although the client neither sent the rest nor hung up.
        connection.close()
        try await TestServer.with(directory: directory) { server in
            let image = try await server.call(.GET, "/image/v2/images/\(id)", as: server.demo).json
            #expect(image["status"] == "queued")
            let again = try await server.call(
                .PUT, "/image/v2/images/\(id)/file", as: server.demo,
                headers: [("Content-Type", "application/octet-stream")], body: Self.half)
            #expect(again.status == 204)
        }
    }
}
