import API
import Core
import Foundation
import NIOHTTP1
import Server
import Testing

/// Clients that take their time, or ask for too much at once. The idle timeout is five seconds here, and all other
/// limits follow from it; the tests wait for what has to happen, whenever it does.
@Suite(.server { $0.idleTimeoutSeconds = 5 }) struct SlowClientTests {
    private var server: TestServer { TestServer.current }

    private func newImage() async throws -> String {
        let created = try await server.call(
            .POST, "/image/v2/images", as: server.demo, json: #"{"disk_format": "raw", "container_format": "bare"}"#)
        return try #require(created.json["id"]?.stringValue)
    }

    private func head(_ request: String, _ fields: String = "") -> String {
        "\(request) HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(server.demo)\r\n\(fields)\r\n"
    }

    /// Sends `bytes` over and over, until the connection does not take them any more.
    private func trickle(_ bytes: String, on connection: RawConnection, milliseconds: Int = 50) async {
        while (try? await connection.send(bytes)) != nil, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(milliseconds))
        }
    }

    @Test func aConnectionWithoutARequestIsClosed() async throws {
        let connection = try await server.connect()
        defer { connection.close() }
        #expect(try await connection.remainder().isEmpty)
    }

    @Test func aConnectionIsClosedSomeTimeAfterItsLastAnswer() async throws {
        let connection = try await server.connect()
        defer { connection.close() }
        for _ in 0..<3 {
            try await connection.send("GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(try await connection.response().status == 200)
        }
        #expect(try await connection.remainder().isEmpty)
    }

    /// However busily its bytes come.
    @Test(arguments: ["X", "X-Y: z\r\n", "\r\n"]) func aHeadThatTricklesIsAnsweredWithATimeout(
        _ part: String
    ) async throws {
        let connection = try await server.connect()
        defer { connection.close() }
        if part != "\r\n" { try await connection.send("GET /healthcheck HTTP/1.1\r\n") }
        async let trickling: Void = trickle(part, on: connection)
        let response = try await connection.response()
        #expect(response.status == 408)
        #expect(response.header("connection") == "close")
        connection.close()
        await trickling
    }

    /// The image is as before, and takes the same data from somebody faster.
    @Test(arguments: [true, false]) func anUploadThatTricklesIsEnded(_ isChunked: Bool) async throws {
        let id = try await newImage()
        let connection = try await server.connect()
        defer { connection.close() }
        try await connection.send(
            head(
                "PUT /image/v2/images/\(id)/file",
                "Content-Type: application/octet-stream\r\n"
                    + (isChunked ? "Transfer-Encoding: chunked\r\n" : "Content-Length: 1000000\r\n")))
        async let trickling: Void = trickle(isChunked ? "2\r\nxx\r\n" : "xx", on: connection)
        _ = try? await connection.remainder()
        connection.close()
        await trickling
        _ = try await eventually("the image is queued again") {
            let image = try await server.call(.GET, "/image/v2/images/\(id)", as: server.demo)
            return image.json["status"]?.stringValue == "queued" ? true : nil
        }
        let upload = try await server.call(
            .PUT, "/image/v2/images/\(id)/file", as: server.demo,
            headers: [("Content-Type", "application/octet-stream")], body: Array("data".utf8))
        #expect(upload.status == 204)
    }

    /// Bytes that are none of the body are no progress.
    @Test func aBodyOfNothingButChunkExtensionsIsEnded() async throws {
        let id = try await newImage()
        let connection = try await server.connect()
        defer { connection.close() }
        try await connection.send(
            head(
                "PUT /image/v2/images/\(id)/file",
                "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n") + "5;")
        async let trickling: Void = trickle(String(repeating: "x", count: 2000), on: connection)
        _ = try? await connection.remainder()
        connection.close()
        await trickling
        _ = try await eventually("the image is queued again") {
            let image = try await server.call(.GET, "/image/v2/images/\(id)", as: server.demo)
            return image.json["status"]?.stringValue == "queued" ? true : nil
        }
    }

    @Test func aDocumentThatTricklesIsEnded() async throws {
        let connection = try await server.connect()
        defer { connection.close() }
        try await connection.send(
            head("POST /image/v2/images", "Content-Type: application/json\r\nContent-Length: 1000000\r\n"))
        async let trickling: Void = trickle(" ", on: connection)
        _ = try? await connection.remainder()
        connection.close()
        await trickling
    }

    /// Slow, for several times the idle timeout, but faster than the floor.
    @Test func aSlowUploadGoesOn() async throws {
        let id = try await newImage()
        let connection = try await server.connect()
        defer { connection.close() }
        let part = DownloadTests.bytes(4096)
        let parts = 80
        try await connection.send(
            head(
                "PUT /image/v2/images/\(id)/file",
                "Content-Type: application/octet-stream\r\nContent-Length: \(parts * part.count)\r\n"))
        for _ in 0..<parts {
            try await connection.send(part)
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(try await connection.response().status == 204)
    }

    /// A client that takes nothing more: the connection ends, and the file is closed.
    @Test func aDownloadThatIsNotReadIsEnded() async throws {
        let id = try await newImage()
        let data = DownloadTests.bytes(DownloadTests.largeBytes + 1, seed: 7)
        let stored = try await server.call(
            .PUT, "/image/v2/images/\(id)/file", as: server.demo,
            headers: [("Content-Type", "application/octet-stream")], body: data)
        #expect(stored.status == 204)
        let connection = try await SlowConnection.open(port: server.port)
        defer { connection.close() }
        try await connection.send(head("GET /image/v2/images/\(id)/file"))
        #expect(try await connection.receive(1000).count > 0)
        _ = try await eventually(within: 60, "the download is logged as broken") {
            try server.log.lines("request").first {
                $0["path"]?.stringValue == "/image/v2/images/\(id)/file" && $0["broken"] != nil
            }
        }
        _ = try await eventually("the file is closed") {
            let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").contains {
                let path = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/" + $0)
                return path?.hasPrefix(server.directory + "/stores") == true
            }
            return open ? nil : true
        }
    }

    /// One that takes it slowly gets all of it.
    @Test func aSlowDownloadGoesOn() async throws {
        let id = try await newImage()
        let data = DownloadTests.bytes(DownloadTests.largeBytes + 2, seed: 8)
        let stored = try await server.call(
            .PUT, "/image/v2/images/\(id)/file", as: server.demo,
            headers: [("Content-Type", "application/octet-stream")], body: data)
        #expect(stored.status == 204)
        let connection = try await SlowConnection.open(port: server.port)
        defer { connection.close() }
        try await connection.send(head("GET /image/v2/images/\(id)/file", "Connection: close\r\n"))
        var got: [UInt8] = []
        for _ in 0..<60 {
            got += try await connection.receive(64 << 10)
            try await Task.sleep(for: .milliseconds(100))
        }
        while true {
            let more = try await connection.receive(1 << 20)
            if more.isEmpty { break }
            got += more
        }
        #expect(got.count > data.count)
        #expect(got.suffix(data.count).elementsEqual(data))
    }

    @Test func aHeadHasBounds() async throws {
        let fields = String(repeating: "X: y\r\n", count: ConnectionLimits.headFields)
        #expect(try await server.raw("GET /healthcheck HTTP/1.1\r\nHost: x\r\n\(fields)\r\n").status == 400)
        let long = String(repeating: "x", count: ConnectionLimits.headBytes)
        #expect(try await server.raw("GET /healthcheck HTTP/1.1\r\nHost: \(long)\r\n\r\n").status == 400)
        #expect(try await server.raw("GET /\(long) HTTP/1.1\r\nHost: x\r\n\r\n").status == 400)
        #expect(try await server.raw("GET /healthcheck HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n").status == 200)
    }

    @Test func everyEndIsCounted() async throws {
        let connection = try await server.connect()
        defer { connection.close() }
        #expect(try await connection.remainder().isEmpty)
        let page = try await server.call(.GET, "/metrics").text
        #expect(page.contains(#"ambrotype_connections_ended_total{reason="idle"}"#))
    }
}
