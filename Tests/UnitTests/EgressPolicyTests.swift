import Core
import Testing

@Suite struct EgressPolicyTests {
    private func policy(_ table: [String: String] = [:]) throws -> EgressPolicy {
        EgressPolicy(try EgressSettings(table: table))
    }

    private func passes(_ url: String, _ table: [String: String]) throws -> Bool {
        let target = try EgressTarget(url)
        do {
            try policy(table).judge(target)
            return true
        } catch is EgressRefusal {
            return false
        }
    }

    private func address(_ text: String) throws -> NetworkAddress { try #require(NetworkAddress(text)) }

    // MARK: Lists

    @Test func theDefaultsAreGlances() throws {
        for url in [
            "http://a.example/", "https://a.example/", "http://a.example:80/", "http://a.example:443/",
            "https://a.example:80/", "http://93.184.216.34/", "https://[2606:2800:220:1:248:1893:25c8:1946]/",
        ] {
            #expect(try passes(url, [:]), "\(url)")
        }
        for url in [
            "http://a.example:8080/", "https://a.example:22/", "http://a.example:1/", "http://a.example:65535/",
        ] {
            #expect(try !passes(url, [:]), "\(url)")
        }
    }

    /// Rows: what is allowed, what is not, and of a listed and an unlisted one whether they pass.
    @Test(arguments: [
        ("", "", true, true), ("x", "", true, false), ("", "x", false, true), ("x", "x", true, false),
        ("y", "x", false, true), ("x y", "x y", true, true),
    ])
    func whatIsAllowedBeatsWhatIsNot(_ allowed: String, _ disallowed: String, _ x: Bool, _ y: Bool) throws {
        func tables(_ dimension: String, _ xValue: String, _ yValue: String) -> [String: String] {
            let text = { (list: String) in
                list.map { $0 == "x" ? xValue : $0 == "y" ? yValue : String($0) }.joined()
            }
            return ["allowed_" + dimension: text(allowed), "disallowed_" + dimension: text(disallowed)]
        }
        let schemes = tables("schemes", "http", "https")
        #expect(try passes("http://a.example/", schemes) == x)
        #expect(try passes("https://a.example/", schemes) == y)
        let ports = tables("ports", "80", "8080")
        #expect(try passes("http://a.example:80/", ports) == x)
        #expect(try passes("http://a.example:8080/", ports) == y)
        #expect(try passes("http://a.example/", ports), "a URL without a port passes")
        let hosts = tables("hosts", "A.example", "93.184.216.34")
        #expect(try passes("http://a.EXAMPLE/", hosts) == x)
        #expect(try passes("http://93.184.216.34/", hosts) == y)
        let v6 = tables("hosts", "2606:2800:220:1:248:1893:25C8:1946", "b.example")
        #expect(try passes("http://[2606:2800:0220:1:248:1893:25c8:1946]/", v6) == x)
        #expect(try passes("http://b.example/", v6) == y)
    }

    @Test func anAllowedHostOpensNoNetwork() throws {
        #expect(try !passes("http://127.0.0.1/", ["allowed_hosts": "127.0.0.1"]))
        #expect(try passes("http://127.0.0.1/", ["allowed_networks": "127.0.0.1"]))
    }

    // MARK: Addresses

    @Test func everyNetworkOfTheTableIsReadAndRefused() throws {
        let policy = try policy()
        for (text, kind) in SpecialNetworks.entries {
            let network = try #require(NetworkPrefix(text), "\(text)")
            let last: NetworkAddress =
                switch network.base {
                case .v4(let base): .v4(base | UInt32.max >> network.lengthBits)
                case .v6(let base): .v6(base | UInt128.max >> network.lengthBits)
                }
            #expect(policy.judge(network.base) != nil, "\(text)")
            #expect(policy.judge(last) != nil, "\(text)")
            // An end may belong to a smaller network inside.
            #expect([network.base, last].map(SpecialNetworks.kind).contains(kind), "\(text): \(kind)")
        }
    }

    @Test(arguments: [
        "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
        "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0",
        "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
        "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255", "168.63.129.15",
        "168.63.129.17", "2001:200::", "2001:db7:ffff::", "2001:db9::", "2003::", "2000::1", "2a00:1450:4001:81b::200e",
        "3ffe:ffff::", "3fff:1000::", "2620:4f:8001::",
    ])
    func theNeighboursOfSpecialNetworksAreOpen(_ text: String) throws {
        #expect(try policy().judge(address(text)) == nil)
    }

    @Test(arguments: EgressForms.forbiddenV4)
    func aForbiddenV4IsRefusedInEveryV6ThatCarriesIt(_ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32) throws {
        let v4 = a << 24 | b << 16 | c << 8 | d
        // All of IPv6 is open, so what remains is the address inside.
        let policy = try policy(["allowed_networks": "::/0"])
        #expect(policy.judge(.v4(v4)) != nil)
        let inside = UInt128(v4)
        let carriers: [UInt128] = [
            0xffff << 32 | inside, 0xffff_0000 << 32 | inside, 0x0064_ff9b << 96 | inside, 0x2002 << 112 | inside << 80,
            0x2a00_1450 << 96 | 0x5efe << 32 | inside, 0x2a00_1450 << 96 | 0x0200_5efe << 32 | inside,
        ]
        for carrier in carriers { #expect(policy.judge(.v6(carrier)) != nil, "\(NetworkAddress.v6(carrier))") }
        if v4 > 1 { #expect(policy.judge(.v6(inside)) != nil) }
    }

    @Test func anOpenV4InsideAnOpenV6Passes() throws {
        let closed = try policy()
        let open = try policy(["allowed_networks": "64:ff9b::/96"])
        #expect(closed.judge(try address("64:ff9b::93.184.216.34")) == .translatedV4)
        #expect(open.judge(try address("64:ff9b::93.184.216.34")) == nil)
        #expect(open.judge(try address("64:ff9b::10.0.0.1")) == .privateUse)
        #expect(open.judge(try address("::ffff:93.184.216.34")) == .mappedV4)
    }

    @Test func anOpenV4DoesNotOpenItsMappedForm() throws {
        let policy = try policy(["allowed_networks": "127.0.0.0/8"])
        #expect(policy.judge(try address("127.0.0.1")) == nil)
        #expect(policy.judge(try address("::ffff:127.0.0.1")) == .mappedV4)
        #expect(policy.judge(try address("10.0.0.1")) == .privateUse)
    }

    @Test func whatIsDeniedIsDeniedWhateverIsOpen() throws {
        let policy = try policy([
            "allowed_networks": "10.0.0.0/8 64:ff9b::/96", "denied_networks": "10.0.0.5 93.184.0.0/16",
        ])
        #expect(policy.judge(try address("10.0.0.4")) == nil)
        #expect(policy.judge(try address("10.0.0.5")) == .denied)
        #expect(policy.judge(try address("93.184.216.34")) == .denied)
        #expect(policy.judge(try address("64:ff9b::93.184.216.34")) == .denied)
    }

    @Test func oneForbiddenAddressCondemnsTheName() throws {
        let policy = try policy()
        let name = EgressHost.name("a.example")
        let good = EgressForms.openAddress
        let bad = try address("10.0.0.1")
        let refusal = EgressRefusal.address(bad, .privateUse, host: "a.example")
        #expect(try policy.admit([good], of: name).map(\.address) == [good])
        #expect(throws: refusal) { try policy.admit([good, bad], of: name) }
        #expect(throws: refusal) { try policy.admit([bad, good], of: name) }
        #expect(throws: EgressRefusal.unknownName("a.example")) { try policy.admit([], of: name) }
    }

    // MARK: Settings

    @Test func theTableIsRead() throws {
        var expected = EgressSettings()
        #expect(try EgressSettings(table: [:]) == expected)
        expected.allowedSchemes = [.https]
        expected.disallowedHosts = [.name("a.example"), .address(.v6(1))]
        expected.allowedPorts = []
        expected.disallowedPorts = [22, 25]
        expected.maxRedirects = 0
        expected.maxSizeBytes = 1
        expected.connectSeconds = 2
        expected.stallSeconds = 3
        expected.totalSeconds = 4
        let table = [
            "allowed_schemes": "HTTPS", "disallowed_hosts": "A.example  ::1", "allowed_ports": "",
            "disallowed_ports": "22 25", "max_redirects": "0", "max_size_bytes": "1", "connect_seconds": "2",
            "stall_seconds": "3", "total_seconds": "4",
        ]
        #expect(try EgressSettings(table: table) == expected)
        #expect(table.keys.allSatisfy(EgressSettings.keys.contains))
    }

    @Test(arguments: [
        ("allowed_schemes", "ftp"), ("disallowed_schemes", "http,https"), ("allowed_hosts", "http://a.example"),
        ("allowed_hosts", "*.example"), ("disallowed_hosts", "127.1"), ("allowed_ports", "0"),
        ("allowed_ports", "65536"),
        ("disallowed_ports", "http"), ("allowed_networks", "10.0.0.1/8"), ("denied_networks", "localhost"),
        ("max_redirects", "-1"), ("max_size_bytes", "0"), ("connect_seconds", "x"), ("stall_seconds", ""),
        ("total_seconds", "604801"), ("allowed_port", "80"),
    ])
    func whatCannotBeReadIsNamed(_ key: String, _ value: String) {
        #expect { try EgressSettings(table: [key: value]) } throws: { error in
            (error as? EgressSettings.Invalid)?.key == key && "\(error)".contains(key)
        }
    }

    @Test func everyKeyHasAnEffect() throws {
        for key in EgressSettings.keys {
            #expect(throws: EgressSettings.Invalid.self, "\(key)") { try EgressSettings(table: [key: "?"]) }
        }
    }
}
