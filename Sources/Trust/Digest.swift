import COpenSSL

/// The digests the Image API names (`os_hash_algo`, `checksum`).
package enum DigestAlgorithm: String, Sendable, CaseIterable {
    case md5, sha1, sha224, sha256, sha384, sha512

    /// Whether collisions can be made today: fit for finding accidents only.
    package var isWeak: Bool { self == .md5 || self == .sha1 }

    package var sizeBytes: Int {
        switch self {
        case .md5: 16
        case .sha1: 20
        case .sha224: 28
        case .sha256: 32
        case .sha384: 48
        case .sha512: 64
        }
    }

    var evp: OpaquePointer? {
        switch self {
        case .md5: EVP_md5()
        case .sha1: EVP_sha1()
        case .sha224: EVP_sha224()
        case .sha256: EVP_sha256()
        case .sha384: EVP_sha384()
        case .sha512: EVP_sha512()
        }
    }
}

/// A digest in the making, by OpenSSL (FIPS 180-4, RFC 1321).
///
/// Not for two tasks at once: whoever holds it feeds it in order. It is `Sendable` so that the
/// feeding may move between threads.
package final class Digest: @unchecked Sendable {
    package let algorithm: DigestAlgorithm
    private let context: OpaquePointer

    package init(_ algorithm: DigestAlgorithm) {
        self.algorithm = algorithm
        guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex(context, algorithm.evp, nil) == 1 else {
            // MD5 is the one a hardened system may refuse; there is no image service without it.
            preconditionFailure("OpenSSL refuses \(algorithm.rawValue)")
        }
        self.context = context
    }

    deinit { EVP_MD_CTX_free(context) }

    package func update(_ bytes: UnsafeRawBufferPointer) {
        let result = EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
        precondition(result == 1, "EVP_DigestUpdate failed")
    }

    /// The digest of everything fed. The object is spent.
    package func finish() -> [UInt8] {
        var out = [UInt8](repeating: 0, count: algorithm.sizeBytes)
        var count: UInt32 = 0
        let result = EVP_DigestFinal_ex(context, &out, &count)
        precondition(result == 1 && Int(count) == out.count, "EVP_DigestFinal_ex failed")
        return out
    }

    package static func of(_ bytes: [UInt8], _ algorithm: DigestAlgorithm) -> [UInt8] {
        let digest = Digest(algorithm)
        bytes.withUnsafeBytes { digest.update($0) }
        return digest.finish()
    }
}
