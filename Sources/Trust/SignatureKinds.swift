/// The names of the four properties by which an image says that it is signed (Image API digest, section 5).
package enum SignatureProperty {
    package static let signature = "img_signature"
    package static let hash = "img_signature_hash_method"
    package static let keyType = "img_signature_key_type"
    package static let certificate = "img_signature_certificate_uuid"
    package static let all = [signature, hash, keyType, certificate]
}

/// The hash methods that an image's `img_signature_hash_method` names.
package enum SignatureHash: String, CaseIterable, Sendable {
    case sha224 = "SHA-224"
    case sha256 = "SHA-256"
    case sha384 = "SHA-384"
    case sha512 = "SHA-512"

    package var digest: DigestAlgorithm {
        switch self {
        case .sha224: .sha224
        case .sha256: .sha256
        case .sha384: .sha384
        case .sha512: .sha512
        }
    }

    /// The one that has this name, which is taken letter for letter.
    /// - Throws: `SignatureError`, which lists the names there are.
    package static func named(_ name: String) throws(SignatureError) -> SignatureHash {
        guard let found = SignatureHash(rawValue: name) else {
            throw .unknown(name, what: "signature hash method", known: allCases.map(\.rawValue))
        }
        return found
    }
}

/// The kinds of key that an image's `img_signature_key_type` names.
package enum SignatureKeyType: String, CaseIterable, Sendable {
    /// RSASSA-PSS (RFC 8017 section 8.1), with MGF1 of the same hash.
    case rsaPSS = "RSA-PSS"
    case dsa = "DSA"
    case sect571k1 = "ECC_SECT571K1"
    case sect409k1 = "ECC_SECT409K1"
    case sect571r1 = "ECC_SECT571R1"
    case sect409r1 = "ECC_SECT409R1"
    case secp521r1 = "ECC_SECP521R1"
    case secp384r1 = "ECC_SECP384R1"

    /// What a certificate's public key is compared by. cursive does not compare the curve that a name tells, so
    /// signatures exist that name another one than their certificate has.
    enum Family: String, Sendable {
        case rsa = "RSA"
        case dsa = "DSA"
        case ec = "EC"
    }

    var family: Family {
        switch self {
        case .rsaPSS: .rsa
        case .dsa: .dsa
        case .sect571k1, .sect409k1, .sect571r1, .sect409r1, .secp521r1, .secp384r1: .ec
        }
    }

    /// The one that has this name, which is taken letter for letter.
    /// - Throws: `SignatureError`, which lists the names there are.
    package static func named(_ name: String) throws(SignatureError) -> SignatureKeyType {
        guard let found = SignatureKeyType(rawValue: name) else {
            throw .unknown(name, what: "signature key type", known: allCases.map(\.rawValue))
        }
        return found
    }
}
