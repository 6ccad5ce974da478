/// Text forms of random bytes: what a person or a configuration file can carry.
package enum Secret {
    /// Bytes in a generated password or secret: 256 bits.
    package static let sizeBytes = 32

    /// base64url (RFC 4648 section 5) without padding: printable, and safe in URLs, YAML and shells.
    package static func base64URL(_ bytes: [UInt8]) -> String {
        let out = [UInt8](unsafeUninitializedCapacity: (bytes.count * 4 + 2) / 3) { out, count in
            count = bytes.withUnsafeBytes { Base64Alphabet.url.encode($0, into: UnsafeMutableRawBufferPointer(out)) }
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// Nil for other characters than base64url's, for padding, and for an impossible length.
    package static func decodeBase64URL(_ text: some StringProtocol) -> [UInt8]? {
        var isWhole = false
        let out = [UInt8](unsafeUninitializedCapacity: text.utf8.count * 3 / 4) { out, count in
            guard let used = Base64Alphabet.url.decode(text.utf8, into: UnsafeMutableRawBufferPointer(out)) else {
                return
            }
            isWhole = true
            count = used
        }
        return isWhole ? out : nil
    }
}
