import Glibc

/// Where a listener stands: `HOST:PORT`.
package struct ListenAddress: Sendable, Equatable, CustomStringConvertible {
    /// A name or an IP address, IPv6 without brackets.
    package let host: String
    /// 0 lets the system choose.
    package let port: Int

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Nil for anything but `HOST:PORT`, `IPV4:PORT` and `[IPV6]:PORT`.
    package init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let digits = text[text.index(after: colon)...]
        guard (1...5).contains(digits.utf8.count), digits.utf8.allSatisfy({ (48...57).contains($0) }),
            let port = Int(digits), port <= 65535
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
            var address = in6_addr()
            guard inet_pton(AF_INET6, String(host), &address) == 1 else { return nil }
        } else {
            let isName = host.utf8.allSatisfy {
                (48...57).contains($0) || (97...122).contains($0 | 0x20) || $0 == UInt8(ascii: "-")
                    || $0 == UInt8(ascii: ".")
            }
            guard !host.isEmpty, isName else { return nil }
        }
        self.init(host: String(host), port: port)
    }

    package var description: String { "\(hostInURL):\(port)" }
    package var hostInURL: String { host.contains(":") ? "[\(host)]" : host }

    package var isLoopback: Bool {
        if host == "localhost" || host == "::1" { return true }
        var address = in_addr()
        return inet_pton(AF_INET, host, &address) == 1 && UInt32(bigEndian: address.s_addr) >> 24 == 127
    }

    /// Whether it stands for all of the machine's addresses, and so cannot be called itself.
    package var isWildcard: Bool {
        if host == "::" { return true }
        var address = in_addr()
        return inet_pton(AF_INET, host, &address) == 1 && address.s_addr == 0
    }
}

enum ServiceURL {
    /// `http://` or `https://`, an authority, perhaps a path; no spaces, query or fragment.
    static func isValid(_ text: String) -> Bool {
        guard let scheme = ["http://", "https://"].first(where: text.hasPrefix) else { return false }
        let rest = text.dropFirst(scheme.count)
        let authority = rest.prefix { $0 != "/" }
        return !authority.isEmpty && !authority.contains("@")
            && rest.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
    }
}
