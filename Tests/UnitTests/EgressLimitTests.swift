import Core
import NIOCore
import Remote
import Testing

/// How long, how much, and that nothing is left open. Where a test says that the client gives up, no other way ends it:
/// the limits that are not tried are an hour.
@Suite(.timeLimit(.minutes(5))) struct EgressLimitTests {
    private typealias Outcome = EgressFixture.Outcome
    private static let patient = ["connect_seconds": "300", "stall_seconds": "3600"]
    private static let head = "HTTP/1.1 200 OK\r\n"
    private static let chunked = head + "Transfer-Encoding: chunked\r\n\r\n"

    /// What an endless answer comes to, the connection closed.
    private func outcome(
        _ table: [String: String], start: String, then more: String, every milliseconds: Int = 0
    ) async throws -> EgressFixture.Outcome {
        try await EgressFixture.with(Self.patient.merging(table) { $1 }) { connection in
            try await connection.answer(start)
            while true {
                try await connection.send(more)
                if milliseconds > 0 { try await Task.sleep(for: .milliseconds(milliseconds)) }
            }
        } _: { fixture, peer in
            let outcome = await fixture.outcome()
            try await eventually("the connection closes") { peer.endedCount == peer.connectionCount }
            return outcome
        }
    }

    // MARK: Time

    @Test(arguments: [
        "", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
    ])
    func aServerThatFallsSilentIsLeft(_ start: String) async throws {
        try await EgressFixture.with(Self.patient.merging(["stall_seconds": "1"]) { $1 }) { connection in
            try await connection.answer(start)
            try await connection.closed()
        } _: { fixture, peer in
            #expect(await fixture.outcome() == .failed(.tooSlow))
            try await eventually("the connection closes") { peer.endedCount == 1 }
        }
    }

    @Test func bytesThatComeToNothingAreNoProgress() async throws {
        let limit = ["stall_seconds": "1"]
        #expect(try await outcome(limit, start: Self.head, then: "A", every: 50) == .failed(.tooSlow))
        #expect(try await outcome(limit, start: Self.chunked + "5;", then: "a", every: 50) == .failed(.tooSlow))
        #expect(
            try await outcome(limit, start: Self.chunked + "5\r\nhello\r\n0\r\nA: ", then: "a", every: 50)
                == .failed(.tooSlow))
    }

    @Test func theWholeHasATimeLimitToo() async throws {
        let limit = ["total_seconds": "1"]
        #expect(try await outcome(limit, start: Self.head + "\r\n", then: "a", every: 50) == .failed(.tooSlow))
    }

    @Test func aConnectionNobodyReadsFromHasATimeLimitToo() async throws {
        try await EgressFixture.with(Self.patient.merging(["total_seconds": "1"]) { $1 }) { connection in
            try await connection.answer(Self.head + "\r\nhello")
            try await connection.closed()
        } _: { fixture, peer in
            let content = try await fixture.client.open("http://mirror.example/")
            try await eventually("the connection closes") { peer.endedCount == 1 }
            let outcome = await EgressFixture.outcome { String(buffer: try await EgressFixture.read(content)) }
            #expect(outcome == .failed(.tooSlow))
        }
    }

    @Test func aServerIsNotSlowWhileNobodyReads() async throws {
        let size = 64 << 20
        try await EgressFixture.with(Self.patient.merging(["stall_seconds": "3"]) { $1 }) { connection in
            try await connection.answer(Self.head + "Content-Length: \(size)\r\n\r\n")
            let part = ByteBuffer(repeating: 1, count: 1 << 20)
            for _ in 0..<64 { try await connection.send(part) }
            try await connection.closed()
        } _: { fixture, _ in
            let content = try await fixture.client.open("http://mirror.example/")
            var count = 0
            for try await part in content.body {
                if count == 0 { try await Task.sleep(for: .seconds(5)) }
                count += part.readableBytes
            }
            #expect(count == size)
        }
    }

    @Test func aPortThatTakesNoConnectionIsLeft() async throws {
        let full = try FullPort()
        let fixture = try EgressFixture(nil, ["connect_seconds": "1"])
        fixture.connector.lead(80, to: full.port)
        #expect(await fixture.outcome() == .failed(.unreachable))
        withExtendedLifetime(full) {}
    }

    @Test func aDNSServerThatDoesNotAnswerIsLeft() async throws {
        let fixture = try EgressFixture(nil, ["connect_seconds": "1"])
        fixture.resolver.set("mirror.example", .silence)
        #expect(await fixture.outcome() == .failed(.unreachable))
        #expect(fixture.resolver.waitingCount == 0)
    }

    // MARK: What is no content

    @Test func headsAndTrailersHaveABound() async throws {
        let long = String(repeating: "a", count: 1000)
        #expect(try await outcome([:], start: Self.head, then: "A: \(long)\r\n") == .failed(.malformed))
        #expect(try await outcome([:], start: Self.head, then: "A: b\r\n") == .failed(.malformed))
        #expect(try await outcome([:], start: Self.head + "A: ", then: long) == .failed(.malformed))
        #expect(try await outcome([:], start: Self.head, then: long) == .failed(.malformed))
        #expect(try await outcome([:], start: "HTTP/1.1 200 ", then: long) == .failed(.malformed))
        #expect(try await outcome([:], start: "", then: "HTTP/1.1 103 X\r\nA: \(long)\r\n\r\n") == .failed(.malformed))
        #expect(try await outcome([:], start: Self.chunked + "0\r\n", then: "A: \(long)\r\n") == .failed(.malformed))
        #expect(try await outcome([:], start: Self.chunked + "5;", then: long) == .failed(.malformed))
        #expect(try await outcome([:], start: Self.chunked, then: "1;\(long)\r\na\r\n") == .failed(.malformed))
    }

    /// The most a head may be, and chunks that are smaller than any that make sense.
    @Test func whatHonestServersSendIsInTheBound() async throws {
        let field = "A: " + String(repeating: "a", count: 8000) + "\r\n"
        let head = Self.head + String(repeating: field, count: 7)
        try await EgressFixture.with { connection in
            try await connection.answer(head + "Transfer-Encoding: chunked\r\n\r\n")
            let chunks = ByteBuffer(string: String(repeating: "8\r\naaaaaaaa\r\n", count: 1_250))
            for _ in 0..<100 { try await connection.send(chunks) }
            try await connection.send("0\r\n\r\n")
            try await connection.closed()
        } _: { fixture, _ in
            let content = try await fixture.client.open("http://mirror.example/")
            let bytes = try await EgressFixture.read(content)
            #expect(bytes.readableBytes == 1_000_000)
        }
    }

    @Test func endlessContentEndsAtTheLimit() async throws {
        let limit = ["max_size_bytes": "\(16 << 20)"]
        let much = String(repeating: "a", count: 1 << 20)
        #expect(try await outcome(limit, start: Self.head + "\r\n", then: much) == .failed(.tooLarge))
        #expect(try await outcome(limit, start: Self.chunked, then: "100000\r\n\(much)\r\n") == .failed(.tooLarge))
    }

    // MARK: Backpressure

    @Test func whatNobodyTakesStaysWhereItIs() async throws {
        let bound = 64 << 20
        try await EgressFixture.with(Self.patient) { connection in
            try await connection.answer(Self.head + "\r\n")
            let part = ByteBuffer(repeating: 1, count: 1 << 20)
            while true { try await connection.send(part) }
        } _: { fixture, peer in
            let content = try await fixture.client.open("http://mirror.example/")
            var received = 0
            for try await part in content.body {
                if received == 0 {
                    // Time enough to send far more than fits anywhere but into memory.
                    for _ in 0..<100 where peer.sentCount < bound { try await Task.sleep(for: .milliseconds(20)) }
                }
                received += part.readableBytes
                guard peer.sentCount - received < bound else {
                    Issue.record("\(peer.sentCount) bytes were taken from the server, \(received) by the reader")
                    break
                }
                if received >= 1 << 30 { break }
            }
            #expect(received >= 1 << 30)
        }
    }

    // MARK: Giving up

    @Test func contentThatIsDroppedClosesItsConnection() async throws {
        try await EgressFixture.with(Self.patient) { connection in
            try await connection.answer(Self.head + "\r\n")
            while true { try await connection.send("hello") }
        } _: { fixture, peer in
            _ = try await fixture.client.open("http://mirror.example/")
            try await eventually("the first connection closes") { peer.endedCount == 1 }
            for try await _ in try await fixture.client.open("http://mirror.example/").body { break }
            try await eventually("the second connection closes") { peer.endedCount == 2 }
        }
    }

    @Test func refusedContentClosesItsConnection() async throws {
        for start in ["HTTP/1.1 404 X\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"] {
            #expect(try await outcome([:], start: start, then: "hello") == .failed(.refused))
        }
    }

    private func expectCancelled(
        _ fixture: EgressFixture, _ url: String = "http://mirror.example/", when what: String, _ isThere: () -> Bool
    ) async throws {
        let task = Task { await fixture.outcome(url) }
        try await eventually(what, isThere)
        task.cancel()
        #expect(await task.value == .cancelled, "\(what)")
    }

    @Test func givingUpIsPromptWhileTheNameIsLookedUp() async throws {
        let fixture = try EgressFixture(nil, Self.patient)
        fixture.resolver.set("mirror.example", .silence)
        try await expectCancelled(fixture, when: "the question") { fixture.resolver.waitingCount == 1 }
        #expect(fixture.resolver.waitingCount == 0)
        #expect(fixture.connector.connects.isEmpty)
    }

    @Test func givingUpIsPromptWhileTheConnectionIsMade() async throws {
        let full = try FullPort()
        let fixture = try EgressFixture(nil, Self.patient)
        fixture.connector.lead(80, to: full.port)
        fixture.resolver.set("mirror.example", .addresses([EgressForms.openAddress, .v4(0x0101_0101)]))
        try await expectCancelled(fixture, when: "the attempt") { fixture.connector.connects.count == 1 }
        #expect(fixture.connector.connects.count == 1, "the next address was tried")
        withExtendedLifetime(full) {}
    }

    @Test(
        arguments: [
            ("https", nil), ("http", ""), ("http", "HTTP/1.1 200 OK\r\nContent-"),
            ("http", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"),
        ] as [(String, String?)])
    func givingUpIsPromptWhileTheServerIsWaitedFor(_ scheme: String, _ start: String?) async throws {
        let isSent = Signal()
        try await EgressPeer.with { connection in
            if let start { try await connection.answer(start) }
            isSent.set()
            try await connection.closed()
        } _: { peer in
            let fixture = try EgressFixture(peer, tls: peer, Self.patient)
            let task = Task { await fixture.outcome("\(scheme)://mirror.example/") }
            try await isSent.wait()
            task.cancel()
            #expect(await task.value == .cancelled)
            try await eventually("the connection closes") { peer.endedCount == 1 }
        }
    }

    @Test func aTaskThatIsGivenUpAlreadyAsksNobody() async throws {
        let fixture = try EgressFixture(nil, Self.patient)
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await fixture.outcome()
        }
        #expect(await task.value == .cancelled)
        #expect(fixture.connector.connects.isEmpty)
    }
}
