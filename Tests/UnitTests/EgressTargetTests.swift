import Core
import Testing

@Suite struct EgressTargetTests {
    private static let policy = EgressPolicy(EgressSettings())

    /// What happens up to the connection.
    private static func admitted(_ form: EgressForm, _ read: (String) throws -> EgressTarget) throws {
        let target = try read(form.url)
        try policy.judge(target)
        // An address has passed already: that it is the one tried would be our mistake.
        if case .name = target.host { _ = try policy.admit(form.answers, of: target.host) }
    }

    @Test func noFormOfAForbiddenTargetPasses() throws {
        let forms = EgressForms.all(port: 80)
        #expect(Set(forms.map { "\($0.url) \($0.answers)" }).count >= 3000)
        for form in forms {
            #expect(throws: EgressRefusal.self, "\(form)") { try Self.admitted(form) { try EgressTarget($0) } }
        }
    }

    @Test func noFormOfAForbiddenTargetPassesInARedirect() throws {
        let origin = try EgressTarget("http://mirror.example/images/a")
        var count = 0
        for form in EgressForms.all(port: 80) where form.isAbsolute {
            #expect(throws: EgressRefusal.self, "\(form)") { try Self.admitted(form) { try origin.redirected(to: $0) } }
            count += 1
            guard form.url.hasPrefix("http://") else { continue }
            let relative = EgressForm(family: form.family, url: String(form.url.dropFirst(5)), answers: form.answers)
            #expect(throws: EgressRefusal.self, "\(relative)") {
                try Self.admitted(relative) { try origin.redirected(to: $0) }
            }
            count += 1
        }
        #expect(count >= 5000)
    }

    @Test(arguments: [
        ("http://mirror.example", "http", "mirror.example", nil, "/"),
        ("HTTP://Mirror.EXAMPLE/a", "http", "mirror.example", nil, "/a"),
        ("https://mirror.example:443/a/b?c=d&e=/f?g", "https", "mirror.example", 443, "/a/b?c=d&e=/f?g"),
        ("http://mirror.example:/a", "http", "mirror.example", nil, "/a"),
        ("http://mirror.example?a@b", "http", "mirror.example", nil, "/?a@b"),
        ("http://mirror.example#a@b", "http", "mirror.example", nil, "/"),
        (
            "http://mirror.example/a%20b;c,d!$&'()*+=:@~-._#top", "http", "mirror.example", nil,
            "/a%20b;c,d!$&'()*+=:@~-._"
        ),
        ("http://93.184.216.34:80/", "http", "93.184.216.34", 80, "/"),
        ("http://[2606:2800:220:1:248:1893:25C8:1946]/", "http", "[2606:2800:220:1:248:1893:25c8:1946]", nil, "/"),
        ("https://[2A00:0::0:1]:8443/", "https", "[2a00::1]", 8443, "/"),
        ("http://a/", "http", "a", nil, "/"), ("http://1.2.3.a/", "http", "1.2.3.a", nil, "/"),
        ("http://3com.example/", "http", "3com.example", nil, "/"),
        ("http://0x7f.example/", "http", "0x7f.example", nil, "/"),
        ("http://xn--bcher-kva.example/", "http", "xn--bcher-kva.example", nil, "/"),
        ("http://mirror.example/../a/./b", "http", "mirror.example", nil, "/../a/./b"),
        ("http://mirror.example/a[1]", "http", "mirror.example", nil, "/a[1]"),
    ])
    func aURLIsTakenApart(_ url: String, _ scheme: String, _ host: String, _ port: Int?, _ path: String) throws {
        let target = try EgressTarget(url)
        #expect(target.scheme.rawValue == scheme)
        #expect(target.host.inURL == host)
        #expect(target.port == port)
        #expect(target.pathAndQuery == path)
        #expect(target.authority == host + (port.map { ":\($0)" } ?? ""))
        #expect(target.connectPort == port ?? (scheme == "http" ? 80 : 443))
    }

    @Test(arguments: [
        // RFC 3986 section 5.4, as far as it is HTTP's.
        ("g", "/b/c/g"), ("./g", "/b/c/g"), ("g/", "/b/c/g/"), ("/g", "/g"), ("?y", "/b/c/d;p?y"), ("g?y", "/b/c/g?y"),
        ("#s", "/b/c/d;p?q"), ("g#s", "/b/c/g"), ("g?y#s", "/b/c/g?y"), (";x", "/b/c/;x"), ("g;x", "/b/c/g;x"),
        (".", "/b/c/"), ("./", "/b/c/"), ("..", "/b/"), ("../", "/b/"), ("../g", "/b/g"), ("../..", "/"),
        ("../../", "/"), ("../../g", "/g"), ("../../../g", "/g"), ("/./g", "/g"), ("/../g", "/g"), ("g.", "/b/c/g."),
        (".g", "/b/c/.g"), ("g..", "/b/c/g.."), ("..g", "/b/c/..g"), ("./../g", "/b/g"), ("./g/.", "/b/c/g/"),
        ("g/./h", "/b/c/g/h"), ("g/../h", "/b/c/h"), ("g?y/./x", "/b/c/g?y/./x"), ("/g:80@h", "/g:80@h"),
    ])
    func aRelativeRedirectStaysAtItsHost(_ location: String, _ path: String) throws {
        let origin = try EgressTarget("https://a.example:8443/b/c/d;p?q")
        let target = try origin.redirected(to: location)
        #expect(target.pathAndQuery == path)
        #expect(target.hasOrigin(of: origin) && target.authority == "a.example:8443")
    }

    @Test func aRedirectMayLeaveItsHostButNotTLS() throws {
        let plain = try EgressTarget("http://a.example/b")
        #expect(try plain.redirected(to: "//b.example/c") == EgressTarget("http://b.example/c"))
        #expect(try plain.redirected(to: "https://b.example/c") == EgressTarget("https://b.example/c"))
        let secure = try EgressTarget("https://a.example/b")
        #expect(try secure.redirected(to: "//b.example/c") == EgressTarget("https://b.example/c"))
        #expect(throws: EgressRefusal.downgrade) { try secure.redirected(to: "http://a.example/b") }
        #expect(throws: EgressRefusal.malformed(.badRedirect)) { try secure.redirected(to: "") }
    }

    @Test func anOriginIsSchemeHostAndPort() throws {
        let origin = try EgressTarget("https://a.example/b")
        #expect(origin.hasOrigin(of: try EgressTarget("https://A.example:443/c?d")))
        for other in ["http://a.example/b", "https://a.example:444/b", "https://b.example/b"] {
            #expect(!origin.hasOrigin(of: try EgressTarget(other)))
        }
    }

    /// Neither to the user nor to a log that more people read than the database.
    @Test func whatMayBeSecretIsNotRepeated() throws {
        #expect(throws: EgressRefusal.credentials) { try EgressTarget("http://bob:hunter2@mirror.example/") }
        #expect(!EgressRefusal.credentials.message.contains("hunter2"))
        #expect("\(try EgressTarget("http://mirror.example/a?signature=1"))" == "http://mirror.example/a")
        let inside = EgressRefusal.address(.v4(0x0a00_0001), .privateUse, host: "db.internal.example")
        #expect(inside.message == EgressRefusal.unknownName("db.internal.example").message)
        #expect(inside.message.contains("does not pass filtering"))
        #expect("\(inside)" == "'db.internal.example' leads to 10.0.0.1 (privateUse)")
    }
}
