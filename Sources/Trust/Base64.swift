/// base64 of secrets (RFC 4648 section 4). `Secret` has base64url, for what is no bytes of a buffer.
package enum Base64 {
    /// Nil for a character that is neither base64's nor white space, and for missing or needless padding.
    /// White space (ASCII) is skipped wherever it stands; bits left over at the end are not looked at. Both
    /// as Python's `b64decode` does it, hence Barbican.
    package static func decode(_ text: UnsafeRawBufferPointer) -> SecretBytes? {
        var characters = 0
        var padding = 0
        for byte in text where !isSpace(byte) {
            if byte == pad {
                padding += 1
            } else if padding == 0 {
                characters += 1
            } else {
                return nil
            }
        }
        guard padding <= 2, (characters + padding).isMultiple(of: 4) else { return nil }
        struct Malformed: Error {}
        return try? SecretBytes(count: characters * 3 / 4) { out in
            let significant = text.lazy.filter { !isSpace($0) && $0 != pad }
            guard Base64Alphabet.standard.decode(significant, into: out) == out.count else { throw Malformed() }
        }
    }

    /// With padding, in one line. What comes back is as secret as what went in, and nobody wipes it.
    package static func encode(_ secret: SecretBytes) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: encodedCount(secret.count)) { out, count in
            encode(secret, into: UnsafeMutableRawBufferPointer(out))
            count = encodedCount(secret.count)
        }
    }

    /// How many characters encode so many bytes.
    package static func encodedCount(_ bytes: Int) -> Int { (bytes + 2) / 3 * 4 }

    /// Fills the first `encodedCount` bytes of `out`.
    package static func encode(_ secret: SecretBytes, into out: UnsafeMutableRawBufferPointer) {
        let used = secret.withUnsafeBytes { Base64Alphabet.standard.encode($0, into: out) }
        for index in used..<encodedCount(secret.count) { out[index] = pad }
    }

    private static let pad = UInt8(ascii: "=")

    /// What C's `isspace` says.
    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }
}

/// What base64 and base64url have in common: everything but two characters, and padding.
struct Base64Alphabet: Sendable {
    static let standard = Base64Alphabet(value62: UInt8(ascii: "+"), value63: UInt8(ascii: "/"))
    static let url = Base64Alphabet(value62: UInt8(ascii: "-"), value63: UInt8(ascii: "_"))

    let value62: UInt8
    let value63: UInt8

    /// Writes the characters of `bytes`, without padding.
    /// - Returns: their number, `(4 n + 2) / 3`. `out` must have room for it.
    func encode(_ bytes: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer) -> Int {
        var count = 0
        var bits = 0
        var held = 0
        func put(_ value: Int) {
            out[count] = character(of: UInt8(value))
            count += 1
        }
        for byte in bytes {
            held = held << 8 | Int(byte)
            bits += 8
            while bits >= 6 {
                bits -= 6
                put(held >> bits & 63)
            }
            held &= (1 << bits) - 1
        }
        if bits > 0 { put(held << (6 - bits) & 63) }
        return count
    }

    /// Writes the bytes of `characters`, which have no padding.
    /// - Returns: their number, `n * 3 / 4`; nil for a foreign character and for an impossible length. `out`
    ///   must have room for it.
    func decode(_ characters: some Sequence<UInt8>, into out: UnsafeMutableRawBufferPointer) -> Int? {
        var count = 0
        var bits = 0
        var held = 0
        for character in characters {
            guard let value = value(of: character) else { return nil }
            held = held << 6 | value
            bits += 6
            if bits >= 8 {
                bits -= 8
                out[count] = UInt8(held >> bits & 255)
                count += 1
            }
            held &= (1 << bits) - 1
        }
        return bits < 6 ? count : nil
    }

    private func character(of value: UInt8) -> UInt8 {
        switch value {
        case 0..<26: value + 65
        case 26..<52: value + 71
        case 52..<62: value - 4
        case 62: value62
        default: value63
        }
    }

    private func value(of character: UInt8) -> Int? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): Int(character) - 65
        case UInt8(ascii: "a")...UInt8(ascii: "z"): Int(character) - 71
        case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(character) + 4
        case value62: 62
        case value63: 63
        default: nil
        }
    }
}
