import Core
import NIOCore
import NIOPosix
import Remote
import Testing

/// What the client makes of what servers send.
@Suite(.timeLimit(.minutes(5))) struct EgressClientTests {
    private typealias Outcome = EgressFixture.Outcome

    private func outcome(
        of answer: String, range: Range<Int64>? = nil, _ table: [String: String] = [:]
    ) async throws -> EgressFixture.Outcome {
        try await EgressFixture.with(table) { connection in
            try await connection.answer(answer)
        } _: { fixture, _ in
            await fixture.outcome(range: range)
        }
    }

    // MARK: The request

    @Test func aRequestSaysWhatItMustAndNoMore() async throws {
        try await EgressFixture.with { connection in
            try await connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        } _: { fixture, peer in
            #expect(await fixture.outcome("HTTP://Mirror.Example:80/a/../b?c=d&e#f") == .content("ok"))
            #expect(await fixture.outcome("http://93.184.216.34", range: 3..<5) != .content("ok"))
            let own = [(name: "X-Auth-Token", value: "t"), (name: "Accept-Encoding", value: "gzip")]
            #expect(await fixture.outcome("http://mirror.example/", headers: own) == .content("ok"))
            let common = "Accept-Encoding: identity\r\nConnection: close\r\nAccept: */*\r\nUser-Agent: Ambrotype\r\n"
            #expect(
                peer.requests == [
                    "GET /a/../b?c=d&e HTTP/1.1\r\nHost: mirror.example:80\r\n\(common)\r\n",
                    "GET / HTTP/1.1\r\nHost: 93.184.216.34\r\n\(common)Range: bytes=3-4\r\n\r\n",
                    "GET / HTTP/1.1\r\nX-Auth-Token: t\r\nHost: mirror.example\r\n\(common)\r\n",
                ])
        }
    }

    @Test func aHeaderThatIsNoneIsNotSent() async throws {
        try await EgressFixture.with { connection in
            try await connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        } _: { fixture, peer in
            let outcome = await fixture.outcome(headers: [(name: "X-Auth-Token", value: "t\r\nHost: other.example")])
            #expect(outcome == .failed(.malformed))
            #expect(peer.requests.isEmpty)
        }
    }

    // MARK: Content

    @Test(
        arguments: [
            ("Content-Length: 5\r\n\r\nhello", "hello"),
            ("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello and more", nil),
            ("content-length: 5\r\ncontent-encoding: identity\r\n\r\nhello, and more than that", "hello"),
            ("Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\n\r\n", "hello"),
            ("Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", "hello"),
            ("Connection: close\r\n\r\nhello", "hello"), ("\r\nhello", "hello"), ("Content-Length: 0\r\n\r\n", ""),
            ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""), ("Content-Type: text/html\r\n\r\n", ""),
        ] as [(String, String?)])
    func contentComesHoweverItIsFramed(_ rest: String, _ content: String?) async throws {
        let expected = content.map { Outcome.content($0) } ?? .failed(.malformed)
        #expect(try await outcome(of: "HTTP/1.1 200 OK\r\n" + rest) == expected)
    }

    @Test func olderHTTPAndInformationalAnswersAreUnderstood() async throws {
        #expect(try await outcome(of: "HTTP/1.0 200 OK\r\n\r\nhello") == .content("hello"))
        let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        #expect(
            try await outcome(of: early + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") == .content("hello"))
    }

    @Test func theLengthIsToldWhenItIsKnown() async throws {
        try await EgressFixture.with { connection in
            let rest = connection.number == 0 ? "Content-Length: 5\r\n\r\nhello" : "\r\nhello"
            try await connection.answer("HTTP/1.1 200 OK\r\n" + rest)
        } _: { fixture, _ in
            for size in [5, nil] as [Int64?] {
                let content = try await fixture.client.open("http://mirror.example/")
                #expect(content.sizeBytes == size)
            }
        }
    }

    @Test func anEndIsReachedOnceAndStaysReached() async throws {
        try await EgressFixture.with { connection in
            try await connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        } _: { fixture, _ in
            let body = try await fixture.client.open("http://mirror.example/").body
            var parts = body.makeAsyncIterator()
            let first = try await parts.next()
            #expect(first == ByteBuffer(string: "hello"))
            for _ in 0..<3 {
                let next = try await parts.next()
                #expect(next == nil)
            }
        }
    }

    // MARK: Answers without content

    @Test func aStatusSaysWhetherItMayBeTriedAgain() async throws {
        var expected: [Int: RemoteContentError.Code] = [:]
        for status in [201, 202, 203, 204, 205, 207, 300, 304, 305, 306, 309] { expected[status] = .refused }
        for status in [400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 415, 416, 418, 451, 499, 600, 999] {
            expected[status] = .refused
        }
        for status in [408, 425, 429, 500, 501, 502, 503, 504, 505, 507, 511, 599] { expected[status] = .unreachable }
        expected[206] = .malformed
        expected[101] = .malformed
        for (status, code) in expected.sorted(by: { $0.key < $1.key }) {
            let answer = "HTTP/1.1 \(status) X\r\nContent-Length: 2\r\nContent-Range: bytes 0-1/2\r\n\r\nok"
            #expect(try await outcome(of: answer) == .failed(code), "\(status)")
        }
    }

    @Test(arguments: [
        "hello\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "220 mail.example ESMTP\r\n", "-ERR unknown command\r\n",
        "HTTP/2.0 200 OK\r\n\r\n", "HTTP/0.9 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n", "<html>\r\n", "\u{16}\u{3}\u{1}\u{2}", "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", "HTTP/1.1 200 OK\r\nContent-Length: 5,5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
    ])
    func whatIsNoHTTPIsNotTaken(_ answer: String) async throws {
        #expect(try await outcome(of: answer) == .failed(.malformed))
    }

    @Test(arguments: ["gzip", "br", "zstd", "identity, gzip", "x"])
    func contentIsNotTakenEncoded(_ encoding: String) async throws {
        let answer = "HTTP/1.1 200 OK\r\nContent-Encoding: \(encoding)\r\nContent-Length: 5\r\n\r\nhello"
        #expect(try await outcome(of: answer) == .failed(.refused))
    }

    // MARK: Content that breaks off

    @Test(arguments: [
        "Content-Length: 6\r\n\r\nhello", "Content-Length: 6\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "Transfer-Encoding: chunked\r\n\r\n6\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", "Transfer-Encoding: chunked\r\n\r\n",
    ])
    func contentThatEndsEarlyIsNoContent(_ rest: String) async throws {
        #expect(try await outcome(of: "HTTP/1.1 200 OK\r\n" + rest) == .failed(.cutShort))
    }

    @Test func aConnectionThatBreaksIsNoEnd() async throws {
        let isOpen = Signal()
        try await EgressFixture.with { connection in
            try await connection.answer("HTTP/1.1 200 OK\r\n\r\nhello")
            try await isOpen.wait()
            try await connection.reset()
        } _: { fixture, _ in
            let content = try await fixture.client.open("http://mirror.example/")
            isOpen.set()
            let outcome = await EgressFixture.outcome { String(buffer: try await EgressFixture.read(content)) }
            #expect(outcome == .failed(.cutShort))
        }
    }

    @Test(arguments: ["", "\r\n", "H", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"])
    func noAnswerMayBeAnAnswerLater(_ start: String) async throws {
        let outcome = try await outcome(of: start)
        #expect(outcome == .failed(.unreachable), "\(start)")
    }

    @Test func whatCameBeforeABreakIsTaken() async throws {
        try await EgressFixture.with { connection in
            try await connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello")
        } _: { fixture, _ in
            let content = try await fixture.client.open("http://mirror.example/")
            var text = ""
            let outcome = await EgressFixture.outcome {
                for try await part in content.body { text += String(buffer: part) }
                return text
            }
            #expect(outcome == .failed(.cutShort))
            #expect(text == "hello")
        }
    }

    // MARK: Parts

    @Test(
        arguments: [
            ("206 X\r\nContent-Range: bytes 3-4/9\r\nContent-Length: 2\r\n\r\nok", nil),
            ("206 X\r\nContent-Range: bytes 3-4/*\r\nContent-Length: 2\r\n\r\nok", nil),
            ("206 X\r\nContent-Range: bytes 3-4/5\r\n\r\nok", nil),
            ("206 X\r\nContent-Range: bytes 3-4/5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", nil),
            ("200 X\r\nContent-Length: 2\r\n\r\nok", .refused), ("416 X\r\nContent-Range: bytes */2\r\n\r\n", .refused),
            ("206 X\r\nContent-Length: 2\r\n\r\nok", .malformed),
            ("206 X\r\nContent-Range: bytes 3-4/4\r\nContent-Length: 2\r\n\r\nok", .malformed),
            ("206 X\r\nContent-Range: bytes 3-4/\r\nContent-Length: 2\r\n\r\nok", .malformed),
            ("206 X\r\nContent-Range: bytes 3-5/9\r\nContent-Length: 3\r\n\r\noks", .malformed),
            ("206 X\r\nContent-Range: bytes 2-4/9\r\nContent-Length: 3\r\n\r\noks", .malformed),
            ("206 X\r\nContent-Range: bytes 3-3/9\r\nContent-Length: 1\r\n\r\no", .malformed),
            ("206 X\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok", .malformed),
            ("206 X\r\nContent-Range: items 3-4/9\r\nContent-Length: 2\r\n\r\nok", .malformed),
            ("206 X\r\nContent-Range: bytes 3-4/9\r\nContent-Length: 1\r\n\r\no", .malformed),
            ("206 X\r\nContent-Range: bytes 3-4/9\r\nContent-Length: 3\r\n\r\noks", .malformed),
            ("206 X\r\nContent-Range: bytes 3-4/9\r\nContent-Range: bytes 3-4/9\r\n\r\nok", .malformed),
            ("206 X\r\nContent-Type: multipart/byteranges; boundary=x\r\n\r\n--x\r\n", .malformed),
            ("206 X\r\nContent-Range: bytes 3-4/9\r\n\r\no", .cutShort),
            ("206 X\r\nContent-Range: bytes 3-4/9\r\n\r\noks", .tooLarge),
            ("206 X\r\nContent-Range: bytes 3-4/9\r\nContent-Encoding: gzip\r\n\r\nok", .refused),
        ] as [(String, RemoteContentError.Code?)])
    func aPartIsExactlyTheOneAskedFor(_ answer: String, _ code: RemoteContentError.Code?) async throws {
        let expected = code.map { Outcome.failed($0) } ?? .content("ok")
        #expect(try await outcome(of: "HTTP/1.1 " + answer, range: 3..<5) == expected)
    }

    // MARK: Size

    @Test func contentIsTakenUpToASize() async throws {
        let limit = ["max_size_bytes": "5"]
        let ok = "HTTP/1.1 200 OK\r\n"
        #expect(try await outcome(of: ok + "Content-Length: 5\r\n\r\nhello", limit) == .content("hello"))
        #expect(try await outcome(of: ok + "\r\nhello", limit) == .content("hello"))
        #expect(try await outcome(of: ok + "Content-Length: 6\r\n\r\nhello!", limit) == .failed(.tooLarge))
        #expect(try await outcome(of: ok + "\r\nhello!", limit) == .failed(.tooLarge))
        let chunks = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
        #expect(try await outcome(of: ok + chunks, limit) == .failed(.tooLarge))
        let part = "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-5/6\r\nContent-Length: 6\r\n\r\nhello!"
        #expect(try await outcome(of: part, range: 0..<6, limit) == .failed(.tooLarge))
    }

    // MARK: Addresses

    @Test func oneAddressAfterTheOtherIsTried() async throws {
        try await EgressFixture.with { connection in
            try await connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        } _: { fixture, _ in
            let first = NetworkAddress.v4(0x0101_0101)
            let second = try #require(NetworkAddress("2606:4700::1111"))
            fixture.resolver.set("mirror.example", .addresses([first, second, EgressForms.openAddress]))
            #expect(await fixture.outcome() == .content("ok"))
            #expect(fixture.connector.connects.map(\.address) == [first, second, EgressForms.openAddress])
            #expect(fixture.resolver.asked == ["mirror.example"])
        }
    }

    @Test func theNumberOfAddressesTriedHasABound() async throws {
        let fixture = try EgressFixture()
        fixture.resolver.set("mirror.example", .addresses((1...100).map { .v4(0x0101_0100 + $0) }))
        #expect(await fixture.outcome() == .failed(.unreachable))
        #expect(fixture.connector.connects.count == 8)
    }

    @Test func whatAnsweredOnceIsNotAskedAtAnotherAddress() async throws {
        try await EgressFixture.with { connection in
            try await connection.answer("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
        } _: { fixture, peer in
            let second = NetworkAddress.v4(0x0101_0101)
            fixture.connector.lead(80, of: second, to: peer.port)
            fixture.resolver.set("mirror.example", .addresses([EgressForms.openAddress, second]))
            #expect(await fixture.outcome() == .failed(.unreachable))
            #expect(peer.connectionCount == 1)
        }
    }

    @Test func aNameWithoutAddressIsRefusedAndOneThatCannotBeLookedUpIsNot() async throws {
        let fixture = try EgressFixture()
        fixture.resolver.set("mirror.example", .addresses([]), .failure)
        #expect(await fixture.outcome() == .refused(.unknownName("mirror.example")))
        #expect(await fixture.outcome() == .failed(.unreachable))
        #expect(fixture.connector.connects.isEmpty)
    }

    // MARK: The machine's resolver

    @Test func theMachineKnowsItsOwnName() async throws {
        let resolver = SystemResolver(work: InlineWork())
        let own = try await resolver.addresses(of: "localhost")
        #expect(own.contains(.v4(0x7f00_0001)) || own.contains(.v6(1)))
        // RFC 6761: there never is one.
        do {
            let none = try await resolver.addresses(of: "ambrotype.invalid")
            #expect(none.isEmpty)
        } catch let error as RemoteContentError {
            // A machine without a DNS server cannot know that.
            #expect(error.code == .unreachable)
        }
    }
}

/// Does what it is given at once.
private struct InlineWork: WorkPool {
    func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T { try body() }
}
