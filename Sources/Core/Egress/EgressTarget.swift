/// Where something is fetched from. What cannot be written down here is never fetched.
package struct EgressTarget: Sendable, Hashable {
    package enum Scheme: String, Sendable, CaseIterable {
        case http, https

        package var defaultPort: Int { self == .http ? 80 : 443 }
    }

    /// In bytes; signed URLs of object stores reach some 4 KiB.
    package static let limitBytes = 8192

    package let scheme: Scheme
    package let host: EgressHost
    /// Nil where the URL has none.
    package let port: Int?
    /// What the request line asks for: begins with `/`, with the query, without the fragment.
    package let pathAndQuery: String

    package var connectPort: Int { port ?? scheme.defaultPort }
    /// The `Host` header (RFC 9110 section 7.2).
    package var authority: String { host.inURL + (port.map { ":\($0)" } ?? "") }
    /// Whether what may be told to the one may be told to the other (RFC 6454).
    package func hasOrigin(of other: EgressTarget) -> Bool {
        scheme == other.scheme && host == other.host && connectPort == other.connectPort
    }
}

extension EgressTarget: CustomStringConvertible {
    /// Without the query, where signatures and tokens are.
    package var description: String { "\(scheme)://\(authority)\(pathAndQuery.prefix { $0 != "?" })" }
}

/// A host in its one spelling.
package enum EgressHost: Sendable, Hashable, CustomStringConvertible {
    case address(NetworkAddress)
    /// A DNS name in lower case, without a dot at the end.
    case name(String)

    /// - Parameter text: as in a URL, IPv6 in brackets. Nil for anything but a canonical IPv4 address, an IPv6 address
    ///   without zone, or a name of letters, digits and hyphens (RFC 1123 section 2.1) that no resolver can take
    ///   for an address: `inet_aton` reads "0x7f.1", "2130706433" and "017700000001", all of which end in a number.
    package init?(_ text: some StringProtocol) {
        if text.utf8.first == UInt8(ascii: "["), text.hasSuffix("]") {
            guard case .v6(let address)? = NetworkAddress(text.dropFirst().dropLast()) else { return nil }
            self = .address(.v6(address))
        } else if case .v4(let address)? = NetworkAddress(text) {
            self = .address(.v4(address))
        } else {
            guard Self.isName(Array(text.utf8)) else { return nil }
            self = .name(text.lowercased())
        }
    }

    private static func isName(_ bytes: [UInt8]) -> Bool {
        guard (1...253).contains(bytes.count) else { return false }
        let labels = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let areLabels = labels.allSatisfy { label in
            (1...63).contains(label.count) && label.first != UInt8(ascii: "-") && label.last != UInt8(ascii: "-")
                && label.allSatisfy { ASCII.isLetterOrDigit($0) || $0 == UInt8(ascii: "-") }
        }
        guard areLabels, let last = labels.last else { return false }
        let isHex = last.first == UInt8(ascii: "0") && last.dropFirst().first.map { $0 | 0x20 } == UInt8(ascii: "x")
        return !isHex && !last.allSatisfy(ASCII.isDigit)
    }

    package var inURL: String {
        switch self {
        case .address(let address): address.hostInURL
        case .name(let name): name
        }
    }

    package var description: String { inURL }
}

extension EgressTarget {
    /// Reads an absolute URL of RFC 3986 with nothing forgiven: what one parser overlooks, the next may act on.
    package init(_ text: some StringProtocol) throws(EgressRefusal) {
        let text = Substring(text)
        guard text.utf8.count <= Self.limitBytes else { throw .malformed(.tooLong) }
        try Self.checkCharacters(text)
        guard let colon = text.firstIndex(of: ":"), Self.isScheme(text[..<colon]),
            text[colon...].hasPrefix("://")
        else { throw .malformed(.notAbsolute) }
        let name = text[..<colon].lowercased()
        guard let scheme = Scheme(rawValue: name) else { throw .scheme(name) }
        try self.init(scheme: scheme, behindScheme: text[colon...].dropFirst(3))
    }

    /// The target of a `Location` in this one's answer (RFC 3986 section 5.2).
    package func redirected(to location: some StringProtocol) throws(EgressRefusal) -> EgressTarget {
        let location = Substring(location)
        guard !location.isEmpty else { throw .malformed(.badRedirect) }
        guard location.utf8.count <= Self.limitBytes else { throw .malformed(.tooLong) }
        try Self.checkCharacters(location)
        let beforePath = location.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        let target: EgressTarget
        if beforePath.contains(":") {
            target = try EgressTarget(location)
        } else if location.hasPrefix("//") {
            target = try EgressTarget(scheme: scheme, behindScheme: location.dropFirst(2))
        } else {
            let path = Self.withoutDotSegments(merged(location.prefix { $0 != "#" }))
            target = EgressTarget(scheme: scheme, host: host, port: port, pathAndQuery: path)
        }
        guard scheme == .http || target.scheme == .https else { throw .downgrade }
        return target
    }

    /// Path and query of a reference that has nothing before them (RFC 3986 section 5.2.2).
    private func merged(_ reference: Substring) -> String {
        let path = pathAndQuery.prefix { $0 != "?" }
        switch reference.first {
        case nil: return pathAndQuery
        case "/": return String(reference)
        case "?": return String(path + reference)
        default: return String(path[...(path.lastIndex(of: "/") ?? path.startIndex)] + reference)
        }
    }

    private init(scheme: Scheme, behindScheme rest: Substring) throws(EgressRefusal) {
        let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        guard !authority.contains("@") else { throw .credentials }
        let (host, port) = try Self.hostAndPort(authority)
        let path = rest[authority.endIndex...].prefix { $0 != "#" }
        self.init(
            scheme: scheme, host: host, port: port,
            pathAndQuery: path.hasPrefix("/") ? String(path) : "/" + path)
    }

    private static func hostAndPort(
        _ authority: Substring
    ) throws(EgressRefusal) -> (host: EgressHost, port: Int?) {
        var host = authority
        if authority.hasPrefix("[") {
            guard let end = authority.firstIndex(of: "]") else { throw .malformedHost }
            host = authority[...end]
        } else {
            host = authority.prefix { $0 != ":" }
            guard !host.isEmpty else { throw .malformed(.emptyHost) }
        }
        let rest = authority[host.endIndex...]
        guard rest.isEmpty || rest.hasPrefix(":") else { throw .malformedHost }
        guard let host = EgressHost(host) else { throw .malformedHost }
        // "host:" means the scheme's own port (RFC 3986 section 3.2.3).
        guard rest.count > 1 else { return (host, nil) }
        guard let port = NetworkAddress.decimal(Array(rest.utf8).dropFirst(), upTo: 65535), port > 0 else {
            throw .malformed(.badPort)
        }
        return (host, port)
    }

    private static func isScheme(_ text: Substring) -> Bool {
        guard let first = text.utf8.first, ASCII.isLetter(first) else { return false }
        return text.utf8.allSatisfy { ASCII.isLetterOrDigit($0) || "+-.".utf8.contains($0) }
    }

    /// Only the characters of RFC 3986, each `%` with two hex digits, and one `#` at most. Brackets are let pass in the
    /// path and the query too, where many programs leave them; what stands in the host is looked at by itself.
    private static func checkCharacters(_ text: Substring) throws(EgressRefusal) {
        let bytes = Array(text.utf8)
        var fragments = 0
        for (index, byte) in bytes.enumerated() {
            if byte == UInt8(ascii: "%") {
                let digits = bytes[(index + 1)...].prefix(2)
                guard digits.count == 2, digits.allSatisfy(ASCII.isHexDigit) else {
                    throw .malformed(.badPercentEncoding)
                }
            } else if byte == UInt8(ascii: "#") {
                fragments += 1
            } else {
                guard ASCII.isLetterOrDigit(byte) || "-._~!$&'()*+,;=:@/?[]".utf8.contains(byte) else {
                    throw .malformed(.forbiddenCharacter)
                }
            }
        }
        guard fragments <= 1 else { throw .malformed(.forbiddenCharacter) }
    }

    /// RFC 3986 section 5.2.4, of a path that begins with `/` and may have a query.
    private static func withoutDotSegments(_ pathAndQuery: String) -> String {
        let path = pathAndQuery.prefix { $0 != "?" }
        var kept: [Substring] = []
        var endsInFolder = false
        for segment in path.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
            endsInFolder = segment == "." || segment == ".."
            if segment == ".." {
                _ = kept.popLast()
            } else if segment != "." {
                kept.append(segment)
            }
        }
        if endsInFolder { kept.append("") }
        return "/" + kept.joined(separator: "/") + pathAndQuery[path.endIndex...]
    }
}

enum ASCII {
    static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
    static func isLetter(_ byte: UInt8) -> Bool { (0x61...0x7a).contains(byte | 0x20) }
    static func isLetterOrDigit(_ byte: UInt8) -> Bool { isDigit(byte) || isLetter(byte) }
    static func isHexDigit(_ byte: UInt8) -> Bool { isDigit(byte) || (0x61...0x66).contains(byte | 0x20) }
}
