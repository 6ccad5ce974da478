import COpenSSL

/// A public key, or a private one with its public one: an EVP_PKEY that is freed with its last holder.
///
/// Nothing changes it after it is made, so tasks may share it: OpenSSL locks what it keeps for itself inside, and
/// every use has a context of its own.
final class AsymmetricKey: @unchecked Sendable {
    let pointer: OpaquePointer

    /// - Parameter owned: an EVP_PKEY, which is freed here.
    init(owned pointer: OpaquePointer) { self.pointer = pointer }

    deinit { EVP_PKEY_free(pointer) }

    /// Nil for a kind of key that no image is signed with.
    var family: SignatureKeyType.Family? {
        switch EVP_PKEY_get_base_id(pointer) {
        case EVP_PKEY_RSA, EVP_PKEY_RSA_PSS: .rsa
        case EVP_PKEY_DSA: .dsa
        case EVP_PKEY_EC: .ec
        default: nil
        }
    }

    /// A word for messages.
    var familyName: String {
        if let family { return family.rawValue }
        return EVP_PKEY_get0_type_name(pointer).map { String(cString: $0) } ?? "an unknown kind"
    }

    /// The named curve of an EC key, as OpenSSL calls it (`secp384r1`); nil for parameters without a name.
    var curveName: String? {
        var name = [CChar](repeating: 0, count: 64)
        var count = 0
        guard EVP_PKEY_get_group_name(pointer, &name, name.count, &count) == 1, count < name.count else {
            ERR_clear_error()
            return nil
        }
        return String(decoding: name.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Whether the two have the same public key.
    func hasPublicKey(of other: AsymmetricKey) -> Bool {
        defer { ERR_clear_error() }
        return EVP_PKEY_eq(pointer, other.pointer) == 1
    }

    /// Whether `signature` is one of `digest` by this key.
    ///
    /// RSA is PSS with a salt of any length. OpenSSL finds the length out, except where the certificate says that the
    /// key has a shortest one (RFC 4055 section 3.1): the two lengths in use are tried there.
    func verifies(_ signature: [UInt8], of digest: [UInt8], by hash: SignatureHash) -> Bool {
        guard digest.count == hash.digest.sizeBytes else { return false }
        switch family {
        case .rsa where EVP_PKEY_get_base_id(pointer) == EVP_PKEY_RSA_PSS:
            return [RSA_PSS_SALTLEN_AUTO, RSA_PSS_SALTLEN_MAX, RSA_PSS_SALTLEN_DIGEST].contains {
                verifies(signature, of: digest, by: hash, saltLength: $0)
            }
        case .rsa: return verifies(signature, of: digest, by: hash, saltLength: RSA_PSS_SALTLEN_AUTO)
        case .dsa, .ec: return verifies(signature, of: digest, by: hash, saltLength: nil)
        case nil: return false
        }
    }

    private func verifies(
        _ signature: [UInt8], of digest: [UInt8], by hash: SignatureHash, saltLength: Int32?
    ) -> Bool {
        defer { ERR_clear_error() }
        guard let context = EVP_PKEY_CTX_new_from_pkey(nil, pointer, nil) else { return false }
        defer { EVP_PKEY_CTX_free(context) }
        guard EVP_PKEY_verify_init(context) == 1, Self.prepare(context, hash, saltLength: saltLength) else {
            return false
        }
        return EVP_PKEY_verify(context, signature, signature.count, digest, digest.count) == 1
    }

    /// A signature of `digest`: of RSA by PSS with the longest salt there is room for, as cursive's documentation
    /// and tools have it. Nil if OpenSSL makes none: the key is too short for the hash.
    func signature(of digest: [UInt8], by hash: SignatureHash) -> [UInt8]? {
        precondition(digest.count == hash.digest.sizeBytes, "a digest of another hash")
        defer { ERR_clear_error() }
        guard let context = EVP_PKEY_CTX_new_from_pkey(nil, pointer, nil) else { return nil }
        defer { EVP_PKEY_CTX_free(context) }
        let saltLength = family == .rsa ? RSA_PSS_SALTLEN_MAX : nil
        var count = 0
        guard EVP_PKEY_sign_init(context) == 1, Self.prepare(context, hash, saltLength: saltLength),
            EVP_PKEY_sign(context, nil, &count, digest, digest.count) == 1
        else { return nil }
        var signature = [UInt8](repeating: 0, count: count)
        guard EVP_PKEY_sign(context, &signature, &count, digest, digest.count) == 1 else { return nil }
        return Array(signature.prefix(count))
    }

    private static func prepare(_ context: OpaquePointer, _ hash: SignatureHash, saltLength: Int32?) -> Bool {
        guard EVP_PKEY_CTX_set_signature_md(context, hash.digest.evp) == 1 else { return false }
        guard let saltLength else { return true }
        return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1
            && EVP_PKEY_CTX_set_rsa_mgf1_md(context, hash.digest.evp) == 1
            && EVP_PKEY_CTX_set_rsa_pss_saltlen(context, saltLength) == 1
    }
}
