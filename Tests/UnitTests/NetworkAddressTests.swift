import Core
import Glibc
import Testing

@Suite struct NetworkAddressTests {
    private static let seed: UInt64 = 0x6567_7265_7373

    /// What the C library makes of it: 16 or 4 bytes.
    private static func oracle(_ text: String) -> NetworkAddress? {
        var v4 = in_addr()
        if inet_pton(AF_INET, text, &v4) == 1 { return .v4(UInt32(bigEndian: v4.s_addr)) }
        var v6 = in6_addr()
        guard inet_pton(AF_INET6, text, &v6) == 1 else { return nil }
        return .v6(withUnsafeBytes(of: v6) { $0.reduce(0) { $0 << 8 | UInt128($1) } })
    }

    @Test(arguments: [
        "0.0.0.0", "255.255.255.255", "1.2.3.4", "::", "::1", "1::", "1::8", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8", "1:2:3:4:5:6:1.2.3.4", "::1.2.3.4", "::ffff:1.2.3.4", "FFFF::aBcD",
    ])
    func anAddressIsReadAsTheSystemReadsIt(_ text: String) {
        let address = NetworkAddress(text)
        #expect(address != nil && address == Self.oracle(text))
    }

    @Test(arguments: [
        "", ".", ":", ":::", "::::", "1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.04", "256.1.1.1", "1.2.3.", ".1.2.3",
        "1..2.3", "+1.2.3.4", "1.2.3.4 ", " 1.2.3.4", "0x1.2.3.4", "1.2.3.4/32", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
        "1:2:3:4::5:6:7:8", "1::2::3", ":1:2:3:4:5:6:7", "1:2:3:4:5:6:7:", "12345::", "g::", "::1%lo", "[::1]",
        "1.2.3.4::", "::1.2.3.4:5", "::1.2.3", "::01.2.3.4", "::1.2.3.256", "1:2:3:4:5:6:7:1.2.3.4", "１.2.3.4", "::１",
    ])
    func whatIsNoAddressIsNotRead(_ text: String) {
        #expect(NetworkAddress(text) == nil)
        #expect(Self.oracle(text) == nil)
    }

    @Test(arguments: [
        ("0:0:0:0:0:0:0:0", "::"), ("0:0:0:0:0:0:0:1", "::1"), ("1:0:0:0:0:0:0:0", "1::"),
        ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"), ("::ffff:7f00:1", "::ffff:127.0.0.1"),
        ("0:1:0:2:0:3:0:4", "0:1:0:2:0:3:0:4"),
    ])
    func anAddressIsWrittenAsRFC5952Says(_ text: String, _ expected: String) throws {
        #expect("\(try #require(NetworkAddress(text)))" == expected)
    }

    @Test func everyAddressIsReadBackAsItWasWritten() {
        var random = SplitMix(state: Self.seed)
        for _ in 0..<20_000 {
            let v4 = NetworkAddress.v4(UInt32(truncatingIfNeeded: random.next()))
            #expect(NetworkAddress("\(v4)") == v4)
            // Zero groups, so that there is something to leave out.
            let mask = random.next()
            let value = (0..<8).reduce(UInt128(0)) { value, group in
                value << 16 | (mask >> group & 1 == 0 ? 0 : UInt128(random.next() & 0xffff))
            }
            let v6 = NetworkAddress.v6(value)
            #expect(NetworkAddress("\(v6)") == v6)
            #expect(Self.oracle("\(v6)") == v6)
        }
    }

    @Test func damagedTextIsReadAsTheSystemReadsIt() {
        var random = SplitMix(state: Self.seed)
        let beginnings = ["1.2.3.4", "::ffff:10.20.30.40", "2001:db8::1", "1:2:3:4:5:6:7:8", "::", "fe80::a:b:1.2.3.4"]
        let alphabet = Array("0123456789abcdefABCDEFgx.:::..% ".utf8)
        var read = 0
        for round in 0..<60_000 {
            var text = Array(beginnings[round % beginnings.count].utf8)
            for _ in 0...random.next() % 3 {
                let position = Int(random.next() % UInt64(text.count + 1))
                let letter = alphabet[Int(random.next() % UInt64(alphabet.count))]
                switch random.next() % 3 {
                case 0: text.insert(letter, at: position)
                case 1 where position < text.count: text.remove(at: position)
                default: if position < text.count { text[position] = letter }
                }
            }
            let string = String(decoding: text, as: UTF8.self)
            let address = NetworkAddress(string)
            #expect(address == Self.oracle(string), "\(string), seed \(Self.seed)")
            if address != nil { read += 1 }
        }
        #expect(read > 5000)
    }

    @Test func aPrefixHoldsItsAddressesAlone() throws {
        let network = try #require(NetworkPrefix("10.1.0.0/16"))
        for (text, isInside) in [
            ("10.1.0.0", true), ("10.1.255.255", true), ("10.0.255.255", false), ("10.2.0.0", false),
            ("::ffff:10.1.0.0", false), ("::10.1.0.0", false),
        ] {
            #expect(network.contains(try #require(NetworkAddress(text))) == isInside, "\(text)")
        }
        let all = try #require(NetworkPrefix("::/0"))
        #expect(all.contains(.v6(.max)) && all.contains(.v6(0)) && !all.contains(.v4(0)))
        let one = try #require(NetworkPrefix("2001:db8::1"))
        #expect("\(one)" == "2001:db8::1/128")
        #expect(one.contains(one.base) && !one.contains(.v6(0)))
        #expect(try #require(NetworkPrefix("0.0.0.0/0")).contains(.v4(.max)))
    }

    @Test(arguments: [
        "", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.1/8", "10.0.0.0/8/8", "10/8",
        "::/129",
        "::1/127", "[::]/0", "10.0.0.0/255.0.0.0", "10.0.0.0/ 8", "localhost/8",
    ])
    func whatIsNoPrefixIsNotRead(_ text: String) {
        #expect(NetworkPrefix(text) == nil)
    }
}

/// Sebastiano Vigna's splitmix64: the same numbers on every machine.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
