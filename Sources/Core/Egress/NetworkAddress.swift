/// An IP address as a value; how it was spelled is forgotten.
package enum NetworkAddress: Sendable, Hashable {
    /// In the order a person reads it: `127.0.0.1` is 0x7f000001.
    case v4(UInt32)
    case v6(UInt128)
}

extension NetworkAddress {
    /// Reads the one canonical spelling of IPv4 (four decimal numbers without leading zeros, RFC 3986 `IPv4address`)
    /// or any spelling of IPv6 (RFC 4291 section 2.2), without brackets and zone. Nil for everything else, in
    /// particular for what `inet_aton` takes beyond it: integers, hex, octal, fewer than four parts.
    package init?(_ text: some StringProtocol) {
        let bytes = Array(text.utf8)
        if let address = Self.parseV4(bytes[...]) {
            self = .v4(address)
        } else if let address = Self.parseV6(bytes) {
            self = .v6(address)
        } else {
            return nil
        }
    }

    private static func parseV4(_ text: ArraySlice<UInt8>) -> UInt32? {
        // "255.255.255.255"
        guard text.count <= 15 else { return nil }
        let parts = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var address: UInt32 = 0
        for part in parts {
            guard let number = decimal(part, upTo: 255) else { return nil }
            address = address << 8 | UInt32(number)
        }
        return address
    }

    /// Digits alone, without leading zeros.
    static func decimal(_ digits: ArraySlice<UInt8>, upTo limit: Int) -> Int? {
        guard let first = digits.first, digits.count <= 5, digits.count == 1 || first != UInt8(ascii: "0") else {
            return nil
        }
        var value = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            value = value * 10 + Int(digit - UInt8(ascii: "0"))
        }
        return value <= limit ? value : nil
    }

    private static func parseV6(_ text: [UInt8]) -> UInt128? {
        // "0000:0000:0000:0000:0000:ffff:255.255.255.255"
        guard text.count <= 45 else { return nil }
        let colon = UInt8(ascii: ":")
        guard let gap = text.indices.dropLast().first(where: { text[$0] == colon && text[$0 + 1] == colon }) else {
            guard let groups = groups(text[...], mayEndInV4: true), groups.count == 8 else { return nil }
            return joined(groups)
        }
        guard let before = groups(text[..<gap], mayEndInV4: false),
            let after = groups(text[(gap + 2)...], mayEndInV4: true), before.count + after.count <= 7
        else { return nil }
        return joined(before + Array(repeating: 0, count: 8 - before.count - after.count) + after)
    }

    /// Groups of one to four hex digits with a colon between each two; none for the empty text.
    private static func groups(_ text: ArraySlice<UInt8>, mayEndInV4: Bool) -> [UInt16]? {
        guard !text.isEmpty else { return [] }
        let parts = text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        var groups: [UInt16] = []
        for (index, part) in parts.enumerated() {
            if mayEndInV4, index == parts.count - 1, let v4 = parseV4(part) {
                groups += [UInt16(v4 >> 16), UInt16(v4 & 0xffff)]
            } else {
                guard (1...4).contains(part.count) else { return nil }
                var value: UInt16 = 0
                for byte in part {
                    guard let digit = hexDigit(byte) else { return nil }
                    value = value << 4 | UInt16(digit)
                }
                groups.append(value)
            }
        }
        return groups
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    private static func joined(_ groups: [UInt16]) -> UInt128 {
        groups.reduce(0) { $0 << 16 | UInt128($1) }
    }
}

extension NetworkAddress: CustomStringConvertible {
    /// The canonical spelling; of IPv6 the one of RFC 5952, with the dotted end of mapped addresses.
    package var description: String {
        switch self {
        case .v4(let address): Self.dotted(address)
        case .v6(let address): Self.colons(address)
        }
    }

    /// As it stands in a URL.
    package var hostInURL: String {
        switch self {
        case .v4: description
        case .v6: "[\(description)]"
        }
    }

    private static func dotted(_ address: UInt32) -> String {
        [24, 16, 8, 0].map { String(address >> $0 & 0xff) }.joined(separator: ".")
    }

    private static func colons(_ address: UInt128) -> String {
        if address >> 32 == 0xffff { return "::ffff:" + dotted(UInt32(truncatingIfNeeded: address)) }
        let groups = (0..<8).map { UInt16(truncatingIfNeeded: address >> (112 - 16 * $0)) }
        func text(_ groups: ArraySlice<UInt16>) -> String {
            groups.map { String($0, radix: 16) }.joined(separator: ":")
        }
        guard let gap = longestZeros(groups) else { return text(groups[...]) }
        return text(groups[..<gap.lowerBound]) + "::" + text(groups[gap.upperBound...])
    }

    /// The first of the longest runs of two or more zero groups.
    private static func longestZeros(_ groups: [UInt16]) -> Range<Int>? {
        var longest: Range<Int>?
        var start = 0
        for index in 0...groups.count where index == groups.count || groups[index] != 0 {
            if index - start >= 2, index - start > longest?.count ?? 0 { longest = start..<index }
            start = index + 1
        }
        return longest
    }
}

/// A block of addresses: `192.0.2.0/24`.
package struct NetworkPrefix: Sendable, Hashable {
    package let base: NetworkAddress
    /// 0…32 or 0…128
    package let lengthBits: Int

    /// Nil unless the text is an address, or one with `/` and a length behind which all its bits are zero.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let first = parts.first, let base = NetworkAddress(first) else { return nil }
        var length = base.widthBits
        if parts.count == 2 {
            guard let number = NetworkAddress.decimal(Array(parts[1].utf8)[...], upTo: length) else { return nil }
            length = number
        }
        self.base = base
        lengthBits = length
        guard base.isZero(behind: length) else { return nil }
    }

    package func contains(_ address: NetworkAddress) -> Bool {
        // A shift by the whole width gives zero.
        switch (base, address) {
        case (.v4(let base), .v4(let address)): (base ^ address) >> (32 - lengthBits) == 0
        case (.v6(let base), .v6(let address)): (base ^ address) >> (128 - lengthBits) == 0
        default: false
        }
    }
}

extension NetworkPrefix: CustomStringConvertible {
    package var description: String { "\(base)/\(lengthBits)" }
}

extension NetworkAddress {
    fileprivate var widthBits: Int {
        switch self {
        case .v4: 32
        case .v6: 128
        }
    }

    fileprivate func isZero(behind lengthBits: Int) -> Bool {
        switch self {
        case .v4(let address): address << lengthBits == 0
        case .v6(let address): address << lengthBits == 0
        }
    }
}
