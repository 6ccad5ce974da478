import Core
import NIOCore
import Remote
import Testing

/// Where servers send the client on to, and what it takes along.
@Suite(.timeLimit(.minutes(5))) struct EgressRedirectTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    private static func redirect(to location: String, _ status: Int = 302) -> String {
        "HTTP/1.1 \(status) X\r\nLocation: \(location)\r\nContent-Length: 0\r\n\r\n"
    }

    /// Answers in turn.
    private static func script(_ answers: [String]) -> EgressPeer.Script {
        { connection in try await connection.answer(answers[min(connection.number, answers.count - 1)]) }
    }

    private static func requestLine(_ request: String) -> String { String(request.prefix { $0 != "\r\n" }) }

    @Test(arguments: [301, 302, 303, 307, 308])
    func aRedirectIsFollowed(_ status: Int) async throws {
        let answers = [
            Self.redirect(to: "../b?c", status), Self.redirect(to: "http://other.example/d", status), Self.ok,
        ]
        try await EgressFixture.with([:], Self.script(answers)) { fixture, peer in
            #expect(await fixture.outcome("http://mirror.example/a/b") == .content("ok"))
            #expect(
                peer.requests.map(Self.requestLine) == ["GET /a/b HTTP/1.1", "GET /b?c HTTP/1.1", "GET /d HTTP/1.1"])
            // Each of them is looked up anew: judged afresh.
            #expect(fixture.resolver.asked == ["mirror.example", "mirror.example", "other.example"])
        }
    }

    @Test func theBodyOfARedirectIsNotRead() async throws {
        try await EgressFixture.with([:]) { connection in
            try await connection.request()
            guard connection.number == 0 else { return try await connection.send(Self.ok) }
            try await connection.send("HTTP/1.1 302 X\r\nLocation: /b\r\nTransfer-Encoding: chunked\r\n\r\n")
            while true { try await connection.send("5\r\nhello\r\n") }
        } _: { fixture, peer in
            #expect(await fixture.outcome() == .content("ok"))
            try await eventually("the redirecting connection closes") { peer.endedCount == 2 }
        }
    }

    @Test(arguments: [0, 1, 3])
    func redirectsHaveABound(_ limit: Int) async throws {
        try await EgressFixture.with(["max_redirects": "\(limit)"], Self.script([Self.redirect(to: "/again")])) {
            fixture, peer in
            #expect(await fixture.outcome() == .refused(.tooManyRedirects(limit: limit)))
            #expect(peer.connectionCount == limit + 1)
        }
        let answers = Array(repeating: Self.redirect(to: "/again"), count: limit) + [Self.ok]
        try await EgressFixture.with(["max_redirects": "\(limit)"], Self.script(answers)) { fixture, _ in
            #expect(await fixture.outcome() == .content("ok"))
        }
    }

    @Test(arguments: [
        "HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 X\r\nLocation: /a\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
    ])
    func aRedirectLeadsToOnePlace(_ answer: String) async throws {
        try await EgressFixture.with([:], Self.script([answer])) { fixture, peer in
            #expect(await fixture.outcome() == .failed(.malformed))
            #expect(peer.connectionCount == 1)
        }
    }

    @Test func aRedirectDoesNotLeaveTLS() async throws {
        let tls = try EgressCertificates.server("mirror")
        try await EgressPeer.with(tls: tls, Self.script([Self.redirect(to: "http://mirror.example/")])) { peer in
            let fixture = try EgressFixture(peer, tls: peer)
            #expect(await fixture.outcome("https://mirror.example/") == .refused(.downgrade))
            #expect(fixture.connector.connects.map(\.port) == [443])
        }
    }

    @Test func ownHeadersGoToTheirOwnOriginAlone() async throws {
        let answers = [
            Self.redirect(to: "/there"), Self.redirect(to: "http://mirror.example:80/port"),
            Self.redirect(to: "http://evil.example/"), Self.redirect(to: "http://mirror.example/back"), Self.ok,
        ]
        try await EgressFixture.with([:], Self.script(answers)) { fixture, peer in
            let own = [(name: "X-Auth-Token", value: "secret")]
            #expect(await fixture.outcome(headers: own) == .content("ok"))
            // Not back at home either: who sent it there was not the user.
            #expect(peer.requests.map { $0.contains("secret") } == [true, true, true, false, false])
        }
    }

    @Test func aRangeIsAskedForAfterARedirectToo() async throws {
        let part = "HTTP/1.1 206 X\r\nContent-Range: bytes 3-4/9\r\nContent-Length: 2\r\n\r\nok"
        try await EgressFixture.with([:], Self.script([Self.redirect(to: "http://other.example/"), part])) {
            fixture, peer in
            #expect(await fixture.outcome(range: 3..<5) == .content("ok"))
            #expect(peer.requests.allSatisfy { $0.contains("Range: bytes=3-4\r\n") })
        }
    }

    @Test func theTimeOfAllRedirectsTogetherHasABound() async throws {
        // Each of them in time, all of them not.
        try await EgressFixture.with(["max_redirects": "20", "total_seconds": "1", "stall_seconds": "3600"]) {
            connection in
            try await connection.request()
            try await Task.sleep(for: .milliseconds(300))
            try await connection.send(Self.redirect(to: "/again"))
        } _: { fixture, peer in
            #expect(await fixture.outcome() == .failed(.tooSlow))
            #expect(peer.connectionCount < 20)
        }
    }
}
