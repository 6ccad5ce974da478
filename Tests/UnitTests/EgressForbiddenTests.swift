import Core
import NIOCore
import NIOPosix
import Remote
import Testing

/// However a forbidden target is named, found or pointed to, no connection goes out. What is counted: the attempts of the
/// one place from which connections go out, and what arrives at ports of loopback that wait for them.
@Suite(.timeLimit(.minutes(10))) struct EgressForbiddenTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    /// Listeners on both loopback addresses, on one port that the operator's list lets pass.
    private func withTraps(_ body: (_ port: Int, _ caught: () -> Int) async throws -> Void) async throws {
        let trap: EgressPeer.Script = { connection in try await connection.answer(Self.ok) }
        try await EgressPeer.with(trap) { v4 in
            do {
                try await EgressPeer.with(host: "::1", port: v4.port, trap) { v6 in
                    try await body(v4.port) { v4.connectionCount + v6.connectionCount }
                }
            } catch is IOError {
                // A machine without IPv6.
                try await body(v4.port) { v4.connectionCount }
            }
        }
    }

    /// Otherwise the others would pass because nothing works.
    @Test func whatTheOperatorOpensIsReached() async throws {
        try await withTraps { port, caught in
            let fixture = try EgressFixture(
                nil, ["allowed_ports": "\(port)", "allowed_networks": "127.0.0.1 10.0.0.1"])
            #expect(await fixture.outcome("http://127.0.0.1:\(port)/") == .content("ok"))
            fixture.resolver.set("inside.example", .addresses([.v4(0x7f00_0001)]))
            #expect(await fixture.outcome("http://inside.example:\(port)/") == .content("ok"))
            #expect(caught() == 2)
            // An attempt is counted even where it comes to nothing.
            #expect(await fixture.outcome("http://10.0.0.1:\(port)/") == .failed(.unreachable))
            #expect(
                fixture.connector.connects.map(\.description) == [
                    "127.0.0.1:\(port)", "127.0.0.1:\(port)", "10.0.0.1:\(port)",
                ])
        }
    }

    @Test func noFormOfAForbiddenTargetIsReached() async throws {
        try await withTraps { port, caught in
            let forms = Self.forms(port)
            #expect(Set(forms.map { "\($0.url) \($0.answers)" }).count >= 3000)
            let fixture = try EgressFixture(nil, ["allowed_ports": "80 443 \(port)"])
            for form in forms {
                fixture.resolver.setAll(form.answers)
                let outcome = await fixture.outcome(form.url)
                guard case .refused = outcome else {
                    Issue.record("\(form): \(outcome)")
                    continue
                }
                // Where the URL itself says it, nobody is asked.
                if form.answers.isEmpty { #expect(fixture.resolver.asked.isEmpty, "\(form): DNS was asked") }
                fixture.resolver.forget()
            }
            #expect(fixture.connector.connects.isEmpty)
            #expect(caught() == 0)
        }
    }

    @Test func noRedirectLeadsToAForbiddenTarget() async throws {
        try await withTraps { port, caught in
            let forms = Self.forms(port).filter { $0.isAbsolute && Self.fitsIntoAHeader($0.url) }
            #expect(forms.count >= 2000)
            // The request says which one it wants to be sent to.
            try await EgressPeer.with { connection in
                let number = Int(try await connection.request().split(separator: " ")[1].dropFirst()) ?? 0
                try await connection.send(
                    "HTTP/1.1 307 X\r\nLocation: \(forms[number].url)\r\nContent-Length: 0\r\n\r\n")
            } _: { peer in
                let fixture = try EgressFixture(peer, ["allowed_ports": "80 443 \(port)"])
                for (number, form) in forms.enumerated() {
                    fixture.resolver.setAll(form.answers)
                    fixture.resolver.set("origin.test", .addresses([EgressForms.openAddress]))
                    let outcome = await fixture.outcome("http://origin.test/\(number)")
                    // What no header may hold breaks the answer off.
                    guard case .refused = outcome else {
                        Issue.record("\(form): \(outcome)")
                        continue
                    }
                }
                #expect(fixture.connector.connects.count == forms.count)
                #expect(Set(fixture.connector.connects.map(\.description)) == ["93.184.216.34:80"])
                #expect(peer.connectionCount == forms.count)
            }
            #expect(caught() == 0)
        }
    }

    /// Without the port that is open this time, should it be one of those that are not to be.
    private static func forms(_ port: Int) -> [EgressForm] {
        EgressForms.all(port: port).filter { $0.family != "port" || !$0.url.contains(":\(port)/") }
    }

    /// What a server could send as a `Location`: no line ends, nothing a parser strips or does not let pass.
    private static func fitsIntoAHeader(_ url: String) -> Bool {
        !url.isEmpty && url.count < 10_000 && url.first != " " && url.last != " "
            && !url.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7f }
    }

    // MARK: Names that change where they lead

    private static let open = EgressForms.openAddress
    private static let inside: [NetworkAddress] =
        EgressForms.forbiddenV4.map { .v4($0 << 24 | $1 << 16 | $2 << 8 | $3) }
        + EgressForms.forbiddenV6.compactMap { NetworkAddress($0) }

    @Test func aNameThatChangesWhereItLeadsIsAskedOnceARequest() async throws {
        try await EgressFixture.with { connection in
            try await connection.answer(Self.ok)
        } _: { fixture, peer in
            for (index, address) in Self.inside.enumerated() {
                // Whoever looked again between judging and connecting would go inside.
                fixture.resolver.set("rebind.example", .addresses([Self.open]), .addresses([address]))
                #expect(await fixture.outcome("http://rebind.example/") == .content("ok"))
                #expect(fixture.resolver.asked.count == 1)
                guard case .refused = await fixture.outcome("http://rebind.example/") else {
                    Issue.record("\(address) was let pass")
                    continue
                }
                #expect(fixture.resolver.asked.count == 2)
                #expect(peer.connectionCount == index + 1)
                fixture.resolver.forget()
            }
            #expect(Set(fixture.connector.connects.map(\.address)) == [Self.open])
        }
    }

    @Test func aNameThatChangesWhileItRedirectsToItselfIsLeft() async throws {
        try await EgressFixture.with { connection in
            try await connection.answer("HTTP/1.1 302 X\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")
        } _: { fixture, peer in
            for (index, address) in Self.inside.enumerated() {
                fixture.resolver.set(
                    "rebind.example", .addresses([Self.open]), .addresses([Self.open, address]))
                guard case .refused(.address) = await fixture.outcome("http://rebind.example/") else {
                    Issue.record("\(address) was let pass")
                    continue
                }
                #expect(peer.connectionCount == index + 1)
            }
            #expect(Set(fixture.connector.connects.map(\.address)) == [Self.open])
        }
    }

    /// The first address does not answer; whoever goes on to the next must not go there.
    @Test func noAddressIsTriedOfANameThatHasAForbiddenOne() async throws {
        let fixture = try EgressFixture()
        for address in Self.inside {
            for answers in [
                [Self.open, address], [address, Self.open], Array(repeating: Self.open, count: 50) + [address],
            ] {
                fixture.resolver.set("mixed.example", .addresses(answers))
                guard case .refused(.address) = await fixture.outcome("http://mixed.example/") else {
                    Issue.record("\(answers) were let pass")
                    continue
                }
            }
        }
        #expect(fixture.connector.connects.isEmpty)
    }
}
