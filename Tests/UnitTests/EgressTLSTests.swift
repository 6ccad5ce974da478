import Core
import NIOCore
import NIOSSL
import Remote
import Testing

/// Who is believed to be the server that was asked for.
@Suite(.timeLimit(.minutes(5))) struct EgressTLSTests {
    private func outcome(
        _ certificate: String, _ url: String, resolver: [NetworkAddress]? = nil
    ) async throws -> EgressFixture.Outcome {
        try await EgressPeer.with(tls: try EgressCertificates.server(certificate)) { connection in
            try await connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        } _: { peer in
            let fixture = try EgressFixture(tls: peer)
            let outcome = await fixture.outcome(url)
            if outcome != .content("ok") { #expect(peer.requests.isEmpty, "asked before it was sure") }
            return outcome
        }
    }

    @Test(arguments: [
        ("mirror", "https://mirror.example/"), ("mirror", "https://MIRROR.example/"),
        ("mirror", "https://other.example/"), ("wildcard", "https://a.mirror.example/"),
        ("wildcard", "https://A-1.mirror.example/"), ("address", "https://93.184.216.34/"),
        ("other-and-address", "https://other.example/"),
    ])
    func aServerThatProvesItsNameIsAsked(_ certificate: String, _ url: String) async throws {
        #expect(try await outcome(certificate, url) == .content("ok"))
    }

    @Test(arguments: [
        ("other", "https://mirror.example/"), ("mirror", "https://a.mirror.example/"),
        ("wildcard", "https://mirror.example/"), ("wildcard", "https://a.b.mirror.example/"),
        ("wide", "https://mirror.example/"), ("common-name", "https://mirror.example/"),
        ("expired", "https://mirror.example/"), ("future", "https://mirror.example/"),
        ("self-signed", "https://mirror.example/"), ("mirror", "https://93.184.216.34/"),
        // The address is right, and no proof of a name.
        ("address", "https://mirror.example/"), ("other-and-address", "https://mirror.example/"),
    ])
    func aServerThatDoesNotProveItsNameIsNotAsked(_ certificate: String, _ url: String) async throws {
        #expect(try await outcome(certificate, url) == .failed(.refused))
    }

    @Test func whatSpeaksNoTLSIsNotAsked() async throws {
        try await EgressPeer.with { connection in
            try await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            try await connection.closed()
        } _: { peer in
            let outcome = try await EgressFixture(tls: peer).outcome("https://mirror.example/")
            #expect(outcome == .failed(.refused))
        }
    }

    @Test func aServerThatDoesNotFinishTheHandshakeIsLeft() async throws {
        try await EgressPeer.with { connection in
            try await connection.closed()
        } _: { peer in
            let fixture = try EgressFixture(tls: peer, ["connect_seconds": "1"])
            #expect(await fixture.outcome("https://mirror.example/") == .failed(.unreachable))
            try await eventually("the connection closes") { peer.endedCount == 1 }
        }
        try await EgressPeer.with { _ in
        } _: { peer in
            let outcome = try await EgressFixture(tls: peer).outcome("https://mirror.example/")
            #expect(outcome == .failed(.unreachable))
        }
    }

    /// Without a length, nothing but TLS's own end says that all came.
    @Test func contentWithoutLengthNeedsTLSsEnd() async throws {
        let tls = try EgressCertificates.server("mirror")
        for isPolite in [true, false] {
            try await EgressPeer.with(tls: tls) { connection in
                try await connection.answer("HTTP/1.1 200 OK\r\n\r\nhello")
                guard !isPolite else { return }
                // The TCP connection alone.
                try await connection.breakTLS()
            } _: { peer in
                let outcome = try await EgressFixture(tls: peer).outcome("https://mirror.example/")
                #expect(outcome == (isPolite ? .content("hello") : .failed(.cutShort)))
            }
        }
    }

    @Test func aLengthIsEnoughOfAnEnd() async throws {
        let tls = try EgressCertificates.server("mirror")
        try await EgressPeer.with(tls: tls) { connection in
            try await connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            try await connection.breakTLS()
        } _: { peer in
            let outcome = try await EgressFixture(tls: peer).outcome("https://mirror.example/")
            #expect(outcome == .content("hello"))
        }
    }

    @Test func muchComesThroughTLSToo() async throws {
        let tls = try EgressCertificates.server("mirror")
        let part = ByteBuffer(repeating: 7, count: 1 << 20)
        try await EgressPeer.with(tls: tls) { connection in
            try await connection.answer("HTTP/1.1 200 OK\r\nContent-Length: \(32 << 20)\r\n\r\n")
            for _ in 0..<32 { try await connection.send(part) }
            try await connection.closed()
        } _: { peer in
            let content = try await EgressFixture(tls: peer).client.open("https://mirror.example/")
            var count = 0
            for try await part in content.body { count += part.readableBytes }
            #expect(count == 32 << 20)
        }
    }
}
