import COpenSSL

/// Marks records as this server's own: HMAC-SHA-256 (RFC 2104) under a key that is in a file beside the database,
/// not in it. Who can write the database alone cannot make a record that passes, nor move one to another image.
package struct RecordSeal: Sendable {
    /// Of the key: tells a record of another key from one that was changed.
    package let keyID: String
    private let key: SecretBytes

    private static let keyBytes = 32

    package enum Failure: Error, CustomStringConvertible {
        case unreadable(path: String, reason: String)
        case malformed(path: String)

        package var description: String {
            switch self {
            case .unreadable(let path, let reason): "the key in \(path) cannot be used: \(reason)"
            case .malformed(let path):
                "there is no key in \(path): it must be 64 hexadecimal digits; bring it back from its backup"
            }
        }
    }

    /// - Parameter key: 32 bytes.
    package init(key: SecretBytes) {
        precondition(key.count == Self.keyBytes, "a seal's key of another length")
        self.key = key
        keyID = Hex.encode(Self.code(of: Array("ambrotype record seal".utf8), key).prefix(8))
    }

    /// A key that lasts as long as the process: for what keeps no records.
    package static func passing() -> RecordSeal { RecordSeal(key: .random(keyBytes)) }

    /// Reads the key, or makes it: a file of mode 0600 with 64 hexadecimal digits.
    /// - Throws: `Failure`.
    package static func loadOrCreate(path: String) throws(Failure) -> RecordSeal {
        do {
            do {
                return try RecordSeal(file: try PrivateFile.read(path), path: path)
            } catch PrivateFile.Failure.missing {
                let text = SecretBytes.random(keyBytes).withUnsafeBytes { Hex.encode(Array($0)) + "\n" }
                // Of two servers that start at once both use the key that was first.
                try PrivateFile.create(path, holding: SecretBytes(copying: Array(text.utf8)))
                return try RecordSeal(file: try PrivateFile.read(path), path: path)
            }
        } catch let failure as Failure {
            throw failure
        } catch PrivateFile.Failure.tooOpen {
            throw .unreadable(path: path, reason: "others have rights to it; chmod 600 it")
        } catch {
            throw .unreadable(path: path, reason: "\(error)")
        }
    }

    private init(file: SecretBytes, path: String) throws(Failure) {
        let digits = file.withUnsafeBytes { $0.prefix { $0 != UInt8(ascii: "\n") }.map { $0 } }
        guard digits.count == 2 * Self.keyBytes, let bytes = Hex.decode(String(decoding: digits, as: UTF8.self)) else {
            throw .malformed(path: path)
        }
        self.init(key: SecretBytes(copying: bytes))
    }

    /// - Parameter fields: their order and number are part of what is sealed; each has its length in front (8
    ///   bytes, big-endian), so no two lists of fields look the same. Nil is other than empty.
    package func seal(_ fields: [String?]) -> [UInt8] { Self.code(of: Self.message(fields), key) }

    /// Whether the seal is this key's over these fields, in time that tells nothing.
    package func isIntact(_ seal: [UInt8], over fields: [String?]) -> Bool {
        ConstantTime.equal(seal, self.seal(fields))
    }

    /// Closes what has to be kept for a while and nobody is to read in the database: AES-256-GCM under a key that is
    /// made of this one (HMAC as a key derivation function in one step, NIST SP 800-108).
    /// - Parameters:
    ///   - nonce: random, never used before.
    ///   - context: where it is kept. It is needed again to read it.
    package func conceal(_ text: String, nonce: [UInt8], in context: [String]) -> [UInt8] {
        Sealing.seal(
            SecretBytes(copying: Array(text.utf8)), with: concealingKey, nonce: nonce, context: Self.message(context))
    }

    /// - Returns: nil for what is not this key's, was changed, or was kept elsewhere.
    package func reveal(_ sealed: [UInt8], in context: [String]) -> String? {
        let text = try? Sealing.open(sealed, with: concealingKey, context: Self.message(context))
        return text?.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    }

    private var concealingKey: SecretBytes {
        SecretBytes(copying: Self.code(of: Array("ambrotype concealed text".utf8), key))
    }

    private static func message(_ fields: [String?]) -> [UInt8] {
        var out: [UInt8] = [1]
        for field in fields {
            let length = field.map { UInt64($0.utf8.count) } ?? .max
            withUnsafeBytes(of: length.bigEndian) { out.append(contentsOf: $0) }
            out.append(contentsOf: (field ?? "").utf8)
        }
        return out
    }

    private static func code(of message: [UInt8], _ key: SecretBytes) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: DigestAlgorithm.sha256.sizeBytes)
        var count = 0
        let result = key.withUnsafeBytes { key in
            EVP_Q_mac(
                nil, "HMAC", nil, "SHA256", nil, key.baseAddress, key.count, message, message.count, &out, out.count,
                &count)
        }
        precondition(result != nil && count == out.count, "OpenSSL refuses HMAC-SHA-256")
        return out
    }
}
