import COpenSSL

/// A private key that signs images. Nothing prints it.
package struct SigningKey: Sendable, CustomStringConvertible {
    /// The longest PEM that is looked at.
    package static let maxBytes = 65536

    /// What `img_signature_key_type` says of its signatures.
    package let keyType: SignatureKeyType
    private let key: AsymmetricKey

    /// - Parameter pem: a private key of PKCS #8 or of the older forms of RSA, DSA and EC keys.
    /// - Parameter passphrase: for a PEM that is encrypted; it does not matter for others.
    /// - Throws: `SignatureError`, which names the curve of an EC key that no image is signed with.
    package init(pem: SecretBytes, passphrase: SecretBytes? = nil) throws(SignatureError) {
        key = try PrivateKeyReader.read(pem, passphrase: passphrase)
        switch key.family {
        case .rsa: keyType = .rsaPSS
        case .dsa: keyType = .dsa
        case .ec:
            guard let curve = key.curveName else { throw SignatureError("the private key's curve has no name") }
            guard let found = SignatureKeyType(rawValue: "ECC_" + curve.uppercased()) else {
                throw SignatureError(
                    "the private key is on the curve \(curve); there are "
                        + SignatureKeyType.allCases.filter { $0.family == .ec }.map(\.rawValue)
                        .joined(separator: ", "))
            }
            keyType = found
        case nil:
            throw SignatureError("the private key is \(key.familyName); images are signed with RSA, DSA and EC keys")
        }
    }

    /// Reads a key from a file that its owner alone may read.
    /// - Parameter passphraseFile: has the passphrase in its first line, and is its owner's alone, too.
    /// - Throws: `SignatureError`.
    package static func load(path: String, passphraseFile: String? = nil) throws(SignatureError) -> SigningKey {
        let passphrase = try passphraseFile.map { (path) throws(SignatureError) in
            firstLine(try read(path, what: "passphrase"))
        }
        return try SigningKey(pem: try read(path, what: "private key"), passphrase: passphrase)
    }

    private static func read(_ path: String, what: String) throws(SignatureError) -> SecretBytes {
        do {
            return try PrivateFile.read(path)
        } catch .tooOpen {
            throw SignatureError("the \(what) in \(path) can be read by others: chmod 600 it")
        } catch {
            throw SignatureError("the \(what) in \(path) cannot be read: \(error)")
        }
    }

    private static func firstLine(_ text: SecretBytes) -> SecretBytes {
        text.withUnsafeBytes { bytes in
            let end = bytes.firstIndex { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") } ?? bytes.count
            return SecretBytes(copying: UnsafeRawBufferPointer(rebasing: bytes[..<end]))
        }
    }

    /// Whether the certificate is of this key.
    package func isKey(of certificate: SigningCertificate) -> Bool { key.hasPublicKey(of: certificate.key) }

    /// - Parameter digest: of the image's bytes, by `hash`.
    /// - Returns: the bytes whose base64 is `img_signature`: PSS with the longest salt, or a DSS-Sig-Value
    ///   (RFC 3279 section 2.2.2).
    /// - Throws: `SignatureError` if the key is too short for the hash.
    package func sign(digest: [UInt8], hash: SignatureHash) throws(SignatureError) -> [UInt8] {
        guard digest.count == hash.digest.sizeBytes else {
            throw SignatureError("the digest is not one of \(hash.rawValue)")
        }
        guard let signature = key.signature(of: digest, by: hash) else {
            throw SignatureError("the private key makes no signature with \(hash.rawValue): it is too short for it")
        }
        return signature
    }

    package var description: String { "<private key, \(keyType.rawValue)>" }
}

/// PEM through OpenSSL's reader, which must not ask for a passphrase at the terminal.
private enum PrivateKeyReader {
    private final class Passphrase {
        let bytes: SecretBytes?
        var wasWanted = false

        init(_ bytes: SecretBytes?) { self.bytes = bytes }
    }

    static func read(_ pem: SecretBytes, passphrase: SecretBytes?) throws(SignatureError) -> AsymmetricKey {
        guard pem.count <= SigningKey.maxBytes else {
            throw SignatureError("the private key has more than \(SigningKey.maxBytes) bytes")
        }
        defer { ERR_clear_error() }
        let answer = Passphrase(passphrase)
        let found = pem.withUnsafeBytes { bytes -> OpaquePointer? in
            guard let input = BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count)) else { return nil }
            defer { BIO_free(input) }
            return withExtendedLifetime(answer) {
                PEM_read_bio_PrivateKey(
                    input, nil,
                    { out, size, _, user in
                        guard let out, let user, size > 0 else { return -1 }
                        let answer = Unmanaged<Passphrase>.fromOpaque(user).takeUnretainedValue()
                        answer.wasWanted = true
                        guard let bytes = answer.bytes, bytes.count <= Int(size) else { return -1 }
                        bytes.withUnsafeBytes {
                            UnsafeMutableRawBufferPointer(start: out, count: Int(size)).copyMemory(from: $0)
                        }
                        return Int32(bytes.count)
                    }, Unmanaged.passUnretained(answer).toOpaque())
            }
        }
        if let found { return AsymmetricKey(owned: found) }
        if answer.wasWanted {
            throw SignatureError(
                passphrase == nil
                    ? "the private key is encrypted, and there is no passphrase for it"
                    : "the passphrase does not open the private key")
        }
        throw SignatureError("the private key is not PEM of a private key")
    }
}
