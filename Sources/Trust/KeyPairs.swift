import COpenSSL

/// Key pairs for orders of asymmetric keys, as PEM: private PKCS #8 (RFC 5958), public SubjectPublicKeyInfo
/// (RFC 5280), both in the envelope of RFC 7468.
package enum KeyPairs {
    /// Barbican's software store makes the first two; it hands out DSA keys as DER.
    package enum Algorithm: String, Sendable, CaseIterable {
        /// With the public exponent 65537.
        case rsa
        /// With parameters of its own (FIPS 186-4 appendix A).
        case dsa
        /// On the NIST curves P-256, P-384 and P-521, by name.
        case ec

        /// The sizes that are made. 1024 bits are too few for anything new; Barbican takes them.
        package var allowedBits: [Int] {
            switch self {
            case .rsa, .dsa: [1024, 2048, 3072, 4096]
            case .ec: [256, 384, 521]
            }
        }
    }

    package struct Pair: Sendable {
        package let privateKey: SecretBytes
        package let publicKey: [UInt8]
    }

    /// What was asked for is not made; the text says what would be.
    package enum Unsupported: Error, CustomStringConvertible {
        case bits(Algorithm, Int)
        case passphrase

        package var description: String {
            switch self {
            case .bits(let algorithm, let bits):
                "\(algorithm.rawValue) keys of \(bits) bits are not made, but of "
                    + algorithm.allowedBits.map(String.init).joined(separator: ", ")
            case .passphrase: "a passphrase has at most \(maxPassphraseBytes) bytes"
            }
        }
    }

    /// OpenSSL could not: out of memory or of randomness.
    package struct Failed: Error, CustomStringConvertible {
        package let description: String

        fileprivate init(_ step: String) {
            let reason = ERR_reason_error_string(ERR_peek_last_error()).map { String(cString: $0) }
            ERR_clear_error()
            description = "\(step): \(reason ?? "OpenSSL gives no reason")"
        }
    }

    /// OpenSSL's own readers of PEM take no longer one (PEM_BUFSIZE).
    package static let maxPassphraseBytes = 1024

    /// PBKDF2 with HMAC-SHA-256: what OWASP's Password Storage Cheat Sheet asked for in 2023.
    private static let iterations: Int32 = 600_000
    private static let saltBytes: Int32 = 16

    /// Makes a pair. Call it on a thread that may block: RSA and DSA search primes, for about a second at 3072
    /// bits, for ten seconds to a minute at 4096 of DSA. It cannot be interrupted.
    /// - Parameter passphrase: encrypts the private key (PBES2, RFC 8018, with AES-256-CBC). Nil and empty: it is
    ///   not encrypted, as in Barbican.
    /// - Throws: `Unsupported`, `Failed`.
    package static func make(_ algorithm: Algorithm, bits: Int, passphrase: SecretBytes?) throws -> Pair {
        guard algorithm.allowedBits.contains(bits) else { throw Unsupported.bits(algorithm, bits) }
        guard passphrase?.count ?? 0 <= maxPassphraseBytes else { throw Unsupported.passphrase }
        let key = try generate(algorithm, bits: Int32(bits))
        defer { EVP_PKEY_free(key) }
        let publicKey = try pem { PEM_write_bio_PUBKEY($0, key) }
        return Pair(
            privateKey: try privatePEM(key, passphrase: passphrase), publicKey: publicKey.withUnsafeBytes { Array($0) })
    }

    /// - Returns: an EVP_PKEY, to be freed.
    private static func generate(_ algorithm: Algorithm, bits: Int32) throws -> OpaquePointer {
        switch algorithm {
        case .rsa:
            return try generate(EVP_PKEY_CTX_new_from_name(nil, "RSA", nil)) {
                EVP_PKEY_keygen_init($0) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits($0, bits) == 1
            }
        case .dsa:
            let parameters = try generate(EVP_PKEY_CTX_new_from_name(nil, "DSA", nil)) {
                EVP_PKEY_paramgen_init($0) == 1 && EVP_PKEY_CTX_set_dsa_paramgen_bits($0, bits) == 1
                    && EVP_PKEY_CTX_set_dsa_paramgen_q_bits($0, bits == 1024 ? 160 : 256) == 1
            }
            defer { EVP_PKEY_free(parameters) }
            return try generate(EVP_PKEY_CTX_new_from_pkey(nil, parameters, nil)) { EVP_PKEY_keygen_init($0) == 1 }
        case .ec:
            return try generate(EVP_PKEY_CTX_new_from_name(nil, "EC", nil)) {
                EVP_PKEY_keygen_init($0) == 1 && EVP_PKEY_CTX_set_group_name($0, "P-\(bits)") == 1
            }
        }
    }

    /// - Parameter context: an EVP_PKEY_CTX, freed here.
    private static func generate(_ context: OpaquePointer?, prepare: (OpaquePointer) -> Bool) throws -> OpaquePointer {
        guard let context else { throw Failed("prepare a key") }
        defer { EVP_PKEY_CTX_free(context) }
        var key: OpaquePointer?
        guard prepare(context), EVP_PKEY_generate(context, &key) == 1, let key else { throw Failed("make a key") }
        return key
    }

    private static func privatePEM(_ key: OpaquePointer, passphrase: SecretBytes?) throws -> SecretBytes {
        guard let plain = EVP_PKEY2PKCS8(key) else { throw Failed("encode a private key") }
        defer { PKCS8_PRIV_KEY_INFO_free(plain) }  // wipes it
        guard let passphrase, passphrase.count > 0 else {
            return try pem { PEM_write_bio_PKCS8_PRIV_KEY_INFO($0, plain) }
        }
        let encrypted = passphrase.withUnsafeBytes {
            PKCS8_encrypt(
                NID_hmacWithSHA256, EVP_aes_256_cbc(), $0.baseAddress?.assumingMemoryBound(to: CChar.self),
                Int32($0.count), nil, saltBytes, iterations, plain)
        }
        guard let encrypted else { throw Failed("encrypt a private key") }
        defer { X509_SIG_free(encrypted) }
        return try pem { PEM_write_bio_PKCS8($0, encrypted) }
    }

    /// What `write` puts into memory that OpenSSL wipes.
    private static func pem(_ write: (OpaquePointer) -> Int32) throws -> SecretBytes {
        guard let out = BIO_new(BIO_s_secmem()) else { throw Failed("write PEM") }
        defer { BIO_free(out) }
        var start: UnsafeMutableRawPointer?
        guard write(out) == 1 else { throw Failed("write PEM") }
        let count = BIO_ctrl(out, BIO_CTRL_INFO, 0, &start)
        guard count > 0 else { throw Failed("write PEM") }
        return SecretBytes(copying: UnsafeRawBufferPointer(start: start, count: count))
    }
}
