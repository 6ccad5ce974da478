import Core

/// One way to ask for what must not be fetched.
struct EgressForm: Sendable, CustomStringConvertible {
    /// What is tried.
    let family: String
    let url: String
    /// What DNS says to whatever name stands in the URL; nobody is to ask where an address stands.
    var answers: [NetworkAddress] = []

    /// Whether it keeps its meaning as a `Location`: without a scheme it would be a path.
    var isAbsolute: Bool { url.contains(":") }
    var description: String { "\(family): \(url.debugDescription) \(answers)" }
}

/// Ways to say one address, as resolvers, browsers and kernels take them, and to hide a host.
enum EgressForms {
    static let forbiddenV4: [(UInt32, UInt32, UInt32, UInt32)] = [
        (127, 0, 0, 1), (127, 1, 2, 3), (127, 255, 255, 254), (0, 0, 0, 0), (0, 1, 2, 3), (10, 0, 0, 1),
        (10, 255, 255, 255), (100, 64, 0, 1), (100, 100, 100, 200), (169, 254, 169, 254), (169, 254, 0, 1),
        (172, 16, 0, 1), (172, 31, 255, 255), (192, 168, 0, 1), (192, 168, 255, 255), (192, 0, 0, 8), (192, 0, 0, 192),
        (192, 0, 2, 1), (198, 18, 0, 1), (198, 51, 100, 1), (203, 0, 113, 1), (192, 88, 99, 1), (168, 63, 129, 16),
        (224, 0, 0, 1), (239, 255, 255, 250), (240, 0, 0, 1), (255, 255, 255, 255),
    ]

    static let forbiddenV6 = [
        "::", "::1", "::2", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1",
        "ff0e::1", "2001:db8::1", "100::1", "100:0:0:1::1", "3fff::1", "5f00::1", "2001:2::1", "2001:10::1",
        "2001:20::1", "2620:4f:8000::1", "1000::1", "4000::1", "8000::1", "e000::1", "200::1", "400::1",
    ]

    static let openAddress = NetworkAddress.v4(0x5db8_d822)  // 93.184.216.34

    /// - Parameter port: stands in every URL whose port is not what is tried, and is meant to be open.
    static func all(port: Int) -> [EgressForm] {
        var forms: [EgressForm] = []
        for (a, b, c, d) in forbiddenV4 {
            for (family, host) in spellings(a, b, c, d) + embeddings(a, b, c, d) {
                forms.append(EgressForm(family: family, url: "http://\(host):\(port)/image"))
            }
            let dotted = "\(a).\(b).\(c).\(d)"
            forms += hidings(dotted, port: port) + names(.v4(value(a, b, c, d)), port: port)
        }
        for text in forbiddenV6 {
            for (family, host) in spellings(text) {
                forms.append(EgressForm(family: family, url: "https://\(host):\(port)/image"))
            }
            forms += hidings("[\(text)]", port: port)
            if let address = NetworkAddress(text) { forms += names(address, port: port) }
        }
        return forms + schemes(port: port) + ports() + brokenURLs(port: port)
    }

    private static func value(_ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32) -> UInt32 {
        a << 24 | b << 16 | c << 8 | d
    }

    private static func hex(_ number: UInt32) -> String { String(number, radix: 16) }
    private static func octal(_ number: UInt32) -> String { String(number, radix: 8) }
    private static func percentEncoded(_ text: String) -> String {
        text.utf8.map { "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private static func digits(_ text: String, zero: UInt32) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { scalar in
                    guard ("0"..."9").contains(scalar) else { return scalar }
                    return Unicode.Scalar(zero + scalar.value - 48) ?? scalar
                }))
    }

    /// What `inet_aton` and browsers read as an IPv4 address, and more that some do.
    private static func spellings(_ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32) -> [(String, String)] {
        let whole = value(a, b, c, d)
        let parts = [a, b, c, d]
        let dotted = parts.map(String.init).joined(separator: ".")
        func join(_ write: (UInt32) -> String) -> String { parts.map(write).joined(separator: ".") }
        let plain: [(String, String)] = [
            ("dotted", dotted), ("dotted, dot at the end", dotted + "."), ("two dots at the end", dotted + ".."),
            ("integer", "\(whole)"), ("integer, dot at the end", "\(whole)."), ("integer, zeros", "0000\(whole)"),
            ("integer beyond 32 bits", "\(UInt64(whole) + 1 << 32)"),
            ("hex", "0x" + hex(whole)), ("hex, upper case", "0X" + hex(whole).uppercased()),
            ("hex, zeros", "0x00000000" + hex(whole)), ("hex, dot at the end", "0x" + hex(whole) + "."),
            ("octal", "0" + octal(whole)), ("octal, zeros", "0000000" + octal(whole)),
            ("hex parts", join { "0x" + hex($0) }), ("hex parts, zeros", join { "0x0000" + hex($0) }),
            ("hex parts, upper case", join { "0X" + hex($0).uppercased() }),
            ("octal parts", join { "0" + octal($0) }), ("octal parts, zeros", join { "000" + octal($0) }),
            ("mixed parts", "0x\(hex(a)).0\(octal(b)).\(c).\(d)"), ("one hex part", "\(a).\(b).\(c).0x\(hex(d))"),
            ("one octal part", "0\(octal(a)).\(b).\(c).\(d)"), ("one part with zeros", "\(a).\(b).\(c).00\(d)"),
            ("three parts", "\(a).\(b).\(c << 8 | d)"), ("two parts", "\(a).\(b << 16 | c << 8 | d)"),
            ("three parts, hex", "0x\(hex(a)).\(b).0x\(hex(c << 8 | d))"),
            ("two parts, hex", "0x\(hex(a)).0x\(hex(b << 16 | c << 8 | d))"),
            ("two parts, octal", "0\(octal(a)).0\(octal(b << 16 | c << 8 | d))"),
            ("part beyond a byte", "\(a + 256).\(b).\(c).\(d)"), ("five parts", dotted + ".0"),
            ("empty part", "\(a)..\(b).\(c).\(d)"), ("dot in front", "." + dotted), ("in brackets", "[\(dotted)]"),
            ("signed", "+\(dotted)"), ("comma at the end", dotted + ","),
        ]
        let firstDigit = String(String(a).prefix(1))
        let other: [(String, String)] = [
            ("percent-encoded", percentEncoded(dotted)), ("percent-encoded integer", percentEncoded("\(whole)")),
            ("percent-encoded dots", parts.map(String.init).joined(separator: "%2e")),
            ("twice percent-encoded dots", parts.map(String.init).joined(separator: "%252e")),
            ("one percent-encoded digit", "%3\(firstDigit)\(dotted.dropFirst())"),
            ("fullwidth digits", digits(dotted, zero: 0xff10)), ("arabic digits", digits(dotted, zero: 0x660)),
            ("bold digits", digits(dotted, zero: 0x1d7ce)),
            ("fullwidth digits, percent-encoded", percentEncoded(digits(dotted, zero: 0xff10))),
            ("ideographic stops", parts.map(String.init).joined(separator: "。")),
            ("fullwidth stops", parts.map(String.init).joined(separator: "．")),
            ("halfwidth stops", parts.map(String.init).joined(separator: "｡")),
            ("soft hyphen", "\(a).\(b)\u{ad}.\(c).\(d)"), ("zero width space", dotted + "\u{200b}"),
            ("zero byte", dotted + "\0"), ("percent-encoded zero byte", dotted + "%00"),
            ("space at the end", dotted + " "), ("percent-encoded space", dotted + "%20"),
            ("tab", "\(a).\(b).\t\(c).\(d)"),
            ("line feed", dotted + "\n"), ("carriage return", "\(a).\r\(b).\(c).\(d)"),
        ]
        return plain + other
    }

    /// IPv6 addresses that carry this one.
    private static func embeddings(_ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32) -> [(String, String)] {
        let high = hex(a << 8 | b)
        let low = hex(c << 8 | d)
        let padded = { (text: String) in String(repeating: "0", count: 4 - text.count) + text }
        let dotted = "\(a).\(b).\(c).\(d)"
        let inverted = "\(hex(0xffff ^ (a << 8 | b))):\(hex(0xffff ^ (c << 8 | d)))"
        let addresses: [(String, String)] = [
            ("mapped", "::ffff:\(dotted)"), ("mapped, upper case", "::FFFF:\(dotted)"),
            ("mapped, hex", "::ffff:\(high):\(low)"), ("mapped, hex, upper case", "::FFFF:\(high.uppercased()):\(low)"),
            ("mapped, whole", "0:0:0:0:0:ffff:\(high):\(low)"), ("mapped, whole, dotted", "0:0:0:0:0:ffff:\(dotted)"),
            ("mapped, padded", "0000:0000:0000:0000:0000:ffff:\(padded(high)):\(padded(low))"),
            ("mapped, other gap", "0:0::0:ffff:\(high):\(low)"),
            ("mapped, octal", "::ffff:0\(octal(a)).\(b).\(c).\(d)"),
            ("mapped, integer", "::ffff:\(value(a, b, c, d))"), ("mapped, zone", "::ffff:\(dotted)%25lo"),
            ("translated", "::ffff:0:\(dotted)"), ("translated, hex", "::ffff:0:\(high):\(low)"),
            ("compatible", "::\(dotted)"), ("compatible, hex", "::\(high):\(low)"),
            ("compatible, whole", "0:0:0:0:0:0:\(high):\(low)"),
            ("NAT64", "64:ff9b::\(dotted)"), ("NAT64, hex", "64:ff9b::\(high):\(low)"),
            ("NAT64, padded", "0064:ff9b:0:0:0:0:\(padded(high)):\(padded(low))"),
            ("NAT64, upper case", "64:FF9B::\(dotted)"), ("NAT64, local", "64:ff9b:1::\(dotted)"),
            ("NAT64, local, /48", "64:ff9b:1:\(high):0:\(low)::"),
            ("NAT64, local, longer", "64:ff9b:1:2:3:4:\(dotted)"),
            ("6to4", "2002:\(high):\(low)::"), ("6to4, host", "2002:\(high):\(low)::1"),
            ("6to4, padded", "2002:\(padded(high)):\(padded(low)):1:0:0:0:1"),
            ("Teredo", "2001:0:4136:e378:8000:63bf:\(inverted)"), ("Teredo, server", "2001::\(high):\(low):0:0:0"),
            ("ISATAP", "2a00:1450:4001:81b:0:5efe:\(high):\(low)"),
            ("ISATAP, dotted", "2a00:1450:4001:81b:200:5efe:\(dotted)"),
        ]
        return addresses.map { ($0, "[\($1)]") }
    }

    private static func spellings(_ text: String) -> [(String, String)] {
        guard case .v6(let value)? = NetworkAddress(text) else { return [] }
        let groups = (0..<8).map { UInt32(truncatingIfNeeded: value >> (112 - 16 * $0)) & 0xffff }
        let whole = groups.map(hex).joined(separator: ":")
        let padded = groups.map { String(repeating: "0", count: 4 - hex($0).count) + hex($0) }.joined(separator: ":")
        let last = groups[6] << 16 | groups[7]
        let dottedEnd = [24, 16, 8, 0].map { String(last >> $0 & 0xff) }.joined(separator: ".")
        return [
            ("v6", "[\(text)]"), ("v6, upper case", "[\(text.uppercased())]"), ("v6, whole", "[\(whole)]"),
            ("v6, padded", "[\(padded)]"), ("v6, padded, upper case", "[\(padded.uppercased())]"),
            ("v6, dotted end", "[\(groups.prefix(6).map(hex).joined(separator: ":")):\(dottedEnd)]"),
            ("v6, zone", "[\(text)%25eth0]"), ("v6, zone not encoded", "[\(text)%eth0]"),
            ("v6, number as zone", "[\(text)%1]"), ("v6, empty zone", "[\(text)%25]"), ("v6, no brackets", text),
            ("v6, encoded brackets", "%5b\(text)%5d"), ("v6, encoded colons", "[\(text.replacing(":", with: "%3a"))]"),
            ("v6, dot at the end", "[\(text)]."), ("v6, text at the end", "[\(text)]x"), ("v6, left open", "[\(text)"),
            ("v6, brackets twice", "[[\(text)]]"), ("v6, space", "[ \(text)]"), ("v6, future", "[v6.\(text)]"),
            ("v6, length", "[\(text)/128]"),
        ]
    }

    /// A host beside another that looks like the one meant.
    private static func hidings(_ host: String, port: Int) -> [EgressForm] {
        let at = "\(host):\(port)"
        let urls: [(String, String)] = [
            ("user", "http://user@\(at)/"), ("user and password", "http://user:password@\(at)/"),
            ("empty user", "http://@\(at)/"), ("empty user and password", "http://:@\(at)/"),
            ("open host as user", "http://mirror.example@\(at)/"),
            ("open host and port as user", "http://mirror.example:80@\(at)/"),
            ("encoded at", "http://mirror.example%40\(at)/"),
            ("two users", "http://mirror.example@mirror.example@\(at)/"),
            ("address as user", "http://\(host)@mirror.example/"), ("backslash", "http://mirror.example\\@\(at)/"),
            ("backslash behind", "http://\(at)\\@mirror.example/"), ("backslash host", "http:\\\\\(at)\\image"),
            ("space between", "http://mirror.example \(at)/"), ("semicolon", "http://mirror.example;\(at)/"),
            ("comma", "http://mirror.example,\(at)/"), ("line break", "http://mirror.example\r\nHost: \(at)/"),
            ("encoded line break", "http://mirror.example%0d%0aHost:%20\(at)/"),
            ("fullwidth at", "http://mirror.example＠\(at)/"),
            ("fullwidth slash", "http://\(at)／mirror.example/"), ("one slash", "http:/\(at)/image"),
            ("no slash", "http:\(at)/image"), ("three slashes", "http:///\(at)/image"),
            ("space in front", " http://\(at)/"), ("control in front", "\u{1}http://\(at)/"),
            ("tab in the scheme", "ht\ttp://\(at)/"),
            ("url: in front", "url:http://\(at)/"), ("view-source", "view-source:http://\(at)/"),
            ("no scheme", "//\(at)/"), ("two hash signs", "http://\(at)/##"),
        ]
        return urls.map { EgressForm(family: $0, url: $1) }
    }

    /// Names that lead there, alone, first and last among others.
    private static func names(_ address: NetworkAddress, port: Int) -> [EgressForm] {
        let url = { (name: String) in "http://\(name):\(port)/image" }
        return [
            EgressForm(family: "name", url: url("rebind.example"), answers: [address]),
            EgressForm(family: "name, upper case", url: url("REBIND.Example"), answers: [address]),
            EgressForm(family: "name, one label", url: url("metadata"), answers: [address]),
            EgressForm(family: "name with the address", url: url("127.0.0.1.nip.example"), answers: [address]),
            EgressForm(family: "name, after an open one", url: url("two.example"), answers: [openAddress, address]),
            EgressForm(family: "name, before an open one", url: url("two.example"), answers: [address, openAddress]),
            EgressForm(
                family: "name, among many", url: url("many.example"),
                answers: Array(repeating: openAddress, count: 20) + [address]),
            EgressForm(family: "name, https", url: "https://rebind.example:\(port)/", answers: [address]),
            EgressForm(family: "name, punycode", url: url("xn--rebind-cua.example"), answers: [address]),
            EgressForm(family: "name, dot at the end", url: url("rebind.example."), answers: [address]),
            EgressForm(family: "name, not ASCII", url: url("rébind.example"), answers: [address]),
            EgressForm(family: "name, underscore", url: url("re_bind.example"), answers: [address]),
            EgressForm(family: "localhost", url: url("localhost"), answers: [address]),
        ]
    }

    private static func schemes(port: Int) -> [EgressForm] {
        [
            "ftp", "file", "gopher", "dict", "ldap", "ldaps", "tftp", "sftp", "scp", "smb", "telnet", "imap", "pop3",
            "rtsp", "jar", "netdoc", "data", "javascript", "ws", "wss", "httpx", "httpss", "http+unix", "unix",
            "cinder",
            "rbd", "swift", "swift+http", "swift+config", "s3", "s3+https", "filesystem", "vsphere", "h2c", "", "1http",
            "-http", "ht-tp", "http ", "hťtp", "ｈttp",
        ].map { EgressForm(family: "scheme", url: "\($0)://mirror.example:\(port)/image", answers: [openAddress]) }
    }

    private static func ports() -> [EgressForm] {
        [
            "0", "00", "1", "21", "22", "23", "25", "53", "79", "110", "111", "143", "389", "445", "587", "993", "2375",
            "2379", "3306", "5000", "5432", "5672", "6379", "8000", "8080", "8443", "8774", "8776", "9200", "9292",
            "9311", "11211", "27017", "35357", "65535", "65536", "65616", "131152", "4294967376",
            "99999999999999999999",
            "-1", "+80", "080", "0080", "0x50", "0120", "80a", "80.", "80:80", "٨٠", "８０", "%38%30", "http", "8 0",
            "80,443",
        ].map { EgressForm(family: "port", url: "http://mirror.example:\($0)/image", answers: [openAddress]) }
    }

    private static func brokenURLs(port: Int) -> [EgressForm] {
        let long = String(repeating: "a", count: EgressTarget.limitBytes)
        let urls = [
            "", " ", "/", "//", ":", "://", "http", "http:", "http:/", "http://", "http:///", "http:///image",
            "http://:80/",
            "http://?", "http://#", "http://.", "http://./", "http://../", "http://-/", "http://-mirror.example/",
            "http://mirror-.example/", "http://mirror..example/", "http://.example/", "http://mirror.example%/",
            "http://mirror.example/%", "http://mirror.example/%2", "http://mirror.example/%zz",
            "http://mirror.example/a b",
            "http://mirror.example/é", "http://mirror.example/<", "http://mirror.example/\"",
            "http://mirror.example/{a}",
            "http://mirror.example/\\", "http://mirror.example/^", "http://mirror.example/`", "http://mirror.example/|",
            "http://mirror.example/\u{7f}", "http://mirror.example/\0", "http://mirror.example/a\r\nX-Header: b",
            "http://mirror.example/\u{feff}", "\u{feff}http://mirror.example/", "http://mirror.example/image\n",
            "http://mir!ror.example/", "http://mirror.example*/", "http://(mirror.example)/", "http://mirror=example/",
            "http://$HOST/", "http://~/", "http://[]/", "http://[:]/", "http://[::1/", "http://::1]/", "http://[::1]]/",
            "http://]/", "http://[", "http://\(String(repeating: "a", count: 64)).example/",
            "http://\(String(repeating: "a.", count: 127))example/", "http://mirror.example/\(long)", "http://\(long)/",
        ]
        return urls.map { EgressForm(family: "broken", url: $0, answers: [openAddress]) }
    }
}
