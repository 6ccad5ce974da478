import Glibc

/// Why no chain leads from a signing certificate to a root among the trusted certificates. Certificates are named by
/// their subjects.
package enum ChainError: Error, Equatable, CustomStringConvertible {
    case signerExpired(subject: String, notAfter: Int64)
    case signerNotYetValid(subject: String, notBefore: Int64)
    /// The signing certificate vouches for itself and is not one of the trusted ones.
    case selfSignedNotTrusted(subject: String)
    /// No trusted certificate has the issuer's name: another authority's, or a link is missing.
    case issuerNotFound(issuer: String, subject: String)
    /// A trusted certificate has the issuer's name, and not the key that signed.
    case issuerDidNotSign(issuer: String, subject: String)
    case issuerNotAuthority(subject: String)
    /// There is no key usage, or none for signing certificates.
    case issuerLacksKeyCertSign(subject: String)
    case issuerExpired(subject: String, notAfter: Int64)
    case issuerNotYetValid(subject: String, notBefore: Int64)
    case pathLengthExceeded(subject: String, allowed: Int, intermediates: Int)
    /// The issuer forbids the name of a certificate below it.
    case nameForbidden(subject: String, issuer: String)
    /// An extension that must be understood and is not, or one that cannot be read.
    case unknownExtension(subject: String)
    /// Signed by way of MD5 or SHA-1: others can make a certificate that the signature is good for as well.
    case weakSignature(subject: String)
    /// The issuers vouch for each other and no root for any.
    case loop(subject: String)
    case tooLong(limit: Int)
    /// So many trusted certificates have the same names that the search was given up.
    case tooManyAttempts(limit: Int)

    /// A word for programs.
    package var code: String {
        switch self {
        case .signerExpired: "signer_expired"
        case .signerNotYetValid: "signer_not_yet_valid"
        case .selfSignedNotTrusted: "self_signed_not_trusted"
        case .issuerNotFound: "issuer_not_found"
        case .issuerDidNotSign: "issuer_did_not_sign"
        case .issuerNotAuthority: "issuer_not_authority"
        case .issuerLacksKeyCertSign: "issuer_lacks_key_cert_sign"
        case .issuerExpired: "issuer_expired"
        case .issuerNotYetValid: "issuer_not_yet_valid"
        case .pathLengthExceeded: "path_length_exceeded"
        case .nameForbidden: "name_forbidden"
        case .unknownExtension: "unknown_extension"
        case .weakSignature: "weak_signature"
        case .loop: "loop"
        case .tooLong: "too_long"
        case .tooManyAttempts: "too_many_attempts"
        }
    }

    package var description: String {
        switch self {
        case .signerExpired(let subject, let notAfter):
            "the signing certificate \"\(subject)\" expired on \(Self.day(notAfter))"
        case .signerNotYetValid(let subject, let notBefore):
            "the signing certificate \"\(subject)\" is not valid before \(Self.day(notBefore))"
        case .selfSignedNotTrusted(let subject):
            "the signing certificate \"\(subject)\" is signed by itself and is not a trusted certificate"
        case .issuerNotFound(let issuer, let subject):
            "no trusted certificate is \"\(issuer)\", the issuer of \"\(subject)\""
        case .issuerDidNotSign(let issuer, let subject):
            "the signature of \"\(subject)\" is not by the trusted certificate \"\(issuer)\""
        case .issuerNotAuthority(let subject): "\"\(subject)\" is not a certificate authority"
        case .issuerLacksKeyCertSign(let subject): "the key usage of \"\(subject)\" does not let it sign certificates"
        case .issuerExpired(let subject, let notAfter): "the authority \"\(subject)\" expired on \(Self.day(notAfter))"
        case .issuerNotYetValid(let subject, let notBefore):
            "the authority \"\(subject)\" is not valid before \(Self.day(notBefore))"
        case .pathLengthExceeded(let subject, let allowed, let intermediates):
            "\"\(subject)\" allows a path of \(allowed) intermediate certificates below it, and there are "
                + "\(intermediates)"
        case .nameForbidden(let subject, let issuer): "the name constraints of \"\(issuer)\" forbid \"\(subject)\""
        case .unknownExtension(let subject): "\"\(subject)\" has a critical extension that is not understood"
        case .weakSignature(let subject):
            "the certificate \"\(subject)\" is signed by way of MD5 or SHA-1, which proves nothing any more"
        case .loop(let subject): "the issuers of \"\(subject)\" lead back to it, and not to a root"
        case .tooLong(let limit): "the chain has more than \(limit) certificates"
        case .tooManyAttempts(let limit):
            "the trusted certificates allow more than \(limit) ways to build the chain"
        }
    }

    /// `2030-12-31 23:59:59 UTC`.
    private static func day(_ seconds: Int64) -> String {
        var time = time_t(seconds)
        var parts = tm()
        guard gmtime_r(&time, &parts) != nil else { return "second \(seconds)" }
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) "
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) UTC"
    }
}
