import API
import Blobs
import Core
import Foundation
import Glibc
import NIOCore
import NIOHTTP1
import Testing

/// Image data on its way out, where the kernel sends it: connections in clear, blobs in files.
@Suite(.server) struct DownloadTests {
    private var server: TestServer { TestServer.current }

    /// Several parts of a file and a rest, larger than what sockets buffer, each byte where only it can be.
    static let largeBytes = 21 << 20 + 12_345

    static func bytes(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
        var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count {
            state ^= state >> 12
            state ^= state << 25
            state ^= state >> 27
            withUnsafeBytes(of: state &* 0x2545_F491_4F6C_DD1D) { bytes.append(contentsOf: $0) }
        }
        return Array(bytes.prefix(count))
    }

    private func image(_ bytes: [UInt8]) async throws -> String {
        let created = try await server.call(
            .POST, "/image/v2/images", as: server.demo, json: #"{"disk_format": "raw", "container_format": "bare"}"#)
        let id = try #require(created.json["id"]?.stringValue)
        let stored = try await server.call(
            .PUT, "/image/v2/images/\(id)/file", as: server.demo,
            headers: [("Content-Type", "application/octet-stream")], body: bytes)
        #expect(stored.status == 204)
        return id
    }

    private func request(_ id: String, _ headers: String = "") -> String {
        "GET /image/v2/images/\(id)/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \(server.demo)\r\n\(headers)\r\n"
    }

    /// The one blob of this size in the server's store.
    private func blobFile(sizeBytes: Int) throws -> String {
        let all = FileManager.default.enumerator(atPath: server.directory)?.compactMap { $0 as? String } ?? []
        let found = all.map { server.directory + "/" + $0 }.filter {
            let attributes = try? FileManager.default.attributesOfItem(atPath: $0)
            return attributes?[.type] as? FileAttributeType == .typeRegular && attributes?[.size] as? Int == sizeBytes
        }
        try #require(found.count == 1)
        return found[0]
    }

    @Test(arguments: [1, 4095, 4096, 65_536, 2 << 20, 2 << 20 + 1, 4 << 20, largeBytes])
    func everyByteArrives(_ count: Int) async throws {
        let data = Self.bytes(count, seed: UInt64(count))
        let id = try await image(data)
        let answer = try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.demo)
        #expect(answer.status == 200)
        #expect(answer.header("content-length") == "\(count)")
        #expect(answer.bytes == data)
    }

    @Test func rangesAreExact() async throws {
        let data = Self.bytes(Self.largeBytes)
        let id = try await image(data)
        let part = 2 << 20
        let last = data.count - 1
        for (from, to) in [
            (0, 0), (0, part - 1), (0, part), (1, part + 1), (part - 1, part), (part, 3 * part - 1), (4097, 8193),
            (last, last), (last - part, last), (5_000_001, 12_345_678),
        ] {
            let answer = try await server.call(
                .GET, "/image/v2/images/\(id)/file", as: server.demo, headers: [("Range", "bytes=\(from)-\(to)")])
            #expect(answer.status == 206)
            #expect(answer.header("content-range") == "bytes \(from)-\(to)/\(data.count)")
            #expect(answer.bytes.elementsEqual(data[from...to]), "\(from)-\(to)")
        }
    }

    /// A file that is not in memory is loaded first.
    @Test func aColdFileArrivesWhole() async throws {
        let data = Self.bytes(9 << 20 + 77, seed: 9)
        let id = try await image(data)
        let file = open(try blobFile(sizeBytes: data.count), O_RDONLY)
        defer { close(file) }
        for _ in 0..<3 {
            #expect(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0)
            #expect(try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.demo).bytes == data)
        }
    }

    /// What comes after the file's last part is the next response, on the same connection.
    @Test func theConnectionStaysForMore() async throws {
        let data = Self.bytes(5 << 20 + 3, seed: 3)
        let id = try await image(data)
        let connection = try await server.connect()
        defer { connection.close() }
        for _ in 0..<3 {
            try await connection.send(request(id))
            #expect(try await connection.response().body == data)
            try await connection.send("GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(try await connection.response().text == "OK")
        }
        // Asked for all at once, answered in order.
        try await connection.send(
            request(id, "Range: bytes=0-9\r\n") + request(id) + request(id, "Connection: close\r\n"))
        #expect(try await connection.response().body.elementsEqual(data[..<10]))
        #expect(try await connection.response().body == data)
        #expect(try await connection.response().body == data)
        #expect(try await connection.remainder().isEmpty)
    }

    @Test func manyDownloadsAtOnce() async throws {
        let data = Self.bytes(6 << 20 + 5, seed: 4)
        let id = try await image(data)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<24 {
                group.addTask {
                    let from = number * 1000
                    let answer = try await server.call(
                        .GET, "/image/v2/images/\(id)/file", as: server.demo, headers: [("Range", "bytes=\(from)-")])
                    #expect(answer.bytes.elementsEqual(data[from...]))
                }
            }
            try await group.waitForAll()
        }
    }

    /// A client that went away gives everything back: the file is closed.
    @Test func aClientThatLeavesHoldsNothing() async throws {
        let data = Self.bytes(Self.largeBytes - 1, seed: 5)
        let id = try await image(data)
        let path = try blobFile(sizeBytes: data.count)
        func isOpen() throws -> Bool {
            try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").contains {
                (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/" + $0)) == path
            }
        }
        for _ in 0..<4 {
            let connection = try await SlowConnection.open(port: server.port)
            try await connection.send(request(id))
            #expect(try await connection.receive(100_000).count > 0)
            #expect(try isOpen())
            connection.close()
        }
        let line = try await eventually("the downloads are logged as broken") {
            let lines = try server.log.lines("request").filter {
                $0["path"]?.stringValue == "/image/v2/images/\(id)/file" && $0["broken"] != nil
            }
            return lines.count == 4 ? lines[0] : nil
        }
        #expect(line["status"] == "200")
        #expect(try await eventually("the file is closed") { try isOpen() ? nil : true })
        #expect(try await server.call(.GET, "/image/v2/images/\(id)/file", as: server.demo).bytes == data)
    }

    /// The blob's file is cut while a client is slow to take it. The client must notice.
    @Test func aFileThatBecomesTooShortBreaksTheConnection() async throws {
        let data = Self.bytes(Self.largeBytes - 2, seed: 6)
        let id = try await image(data)
        let path = try blobFile(sizeBytes: data.count)
        let connection = try await SlowConnection.open(port: server.port)
        defer { connection.close() }
        try await connection.send(request(id))
        var got = try await connection.receive(100_000).count
        // In the middle of a page, so that the kernel's last page of the file stays.
        #expect(truncate(path, 12 << 20 + 100) == 0)
        while true {
            let more = try await connection.receive(1 << 20).count
            if more == 0 { break }
            got += more
        }
        #expect(got < data.count)
        let line = try await eventually("the download is logged as broken") {
            try server.log.lines("request").first {
                $0["path"]?.stringValue == "/image/v2/images/\(id)/file" && $0["broken"] != nil
            }
        }
        #expect(line["broken"]?.stringValue?.contains("corrupt") == true, "\(line)")
    }
}

/// A connection whose bytes are taken only when asked for: a client that is as slow as it wants.
final class SlowConnection: Sendable {
    /// Its calls block, and the tests' own threads are few.
    private static let work = ThreadWorkPool(threadCount: 8)

    private let number: Int32

    private init(number: Int32) { self.number = number }

    static func open(port: Int) async throws -> SlowConnection {
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        // Small, so that the server cannot get rid of much.
        var room: Int32 = 64 << 10
        setsockopt(number, SOL_SOCKET, SO_RCVBUF, &room, socklen_t(MemoryLayout<Int32>.size))
        var patience = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { throw TestFailure("connect: \(errno)") }
        return SlowConnection(number: number)
    }

    func send(_ text: String) async throws {
        try await Self.work.run { [number] in
            let bytes = Array(text.utf8)
            guard Glibc.send(number, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
                throw TestFailure("send: \(errno)")
            }
        }
    }

    /// What has come, at most `limit` bytes; nothing at the end or when the connection broke.
    func receive(_ limit: Int) async throws -> [UInt8] {
        try await Self.work.run { [number] in
            try [UInt8](unsafeUninitializedCapacity: limit) { space, count in
                let got = recv(number, space.baseAddress, limit, 0)
                guard got >= 0 || errno == ECONNRESET else { throw TestFailure("recv: \(errno)") }
                count = max(0, got)
            }
        }
    }

    func close() { _ = Glibc.close(number) }
}

/// What is copied for a client, and so held for it.
@Suite struct ChunkSizeTests {
    @Test func aClientThatTakesNothingHoldsLittle() {
        var size = ChunkSize()
        // As much as sockets swallow by themselves.
        for _ in 0..<32 { size.note(written: size.bytes, in: .microseconds(20)) }
        #expect(size.bytes <= 2 * ChunkSize.least)
    }

    @Test func chunksGrowForAFastClientAndShrinkForASlowOne() {
        var size = ChunkSize()
        for _ in 0..<1000 { size.note(written: size.bytes, in: .milliseconds(1)) }
        #expect(size.bytes == ChunkSize.most)
        for _ in 0..<5 { size.note(written: size.bytes, in: .milliseconds(150)) }
        #expect(size.bytes == ChunkSize.least)
    }
}
