import COpenSSL

/// The search for a chain, depth first, in the order of the trusted certificates.
///
/// swift-certificates, which would be the usual choice, cannot do it: a certificate whose key is DSA or on a SECT
/// curve it does not even parse, and images are signed with those. So libcrypto reads certificates and checks their
/// signatures, and the rules are written out here. libcrypto's own search (X509_verify_cert) has other rules: it
/// ends at any trusted certificate if told so, wants no key usage, and reads the clock of the machine.
struct ChainSearch {
    /// Of certificates. Real chains have two to four.
    static let maxLength = 16
    /// Of signatures looked at: trusted certificates with one name and one key would otherwise be tried in every
    /// order there is.
    static let maxAttempts = 256

    let certificates: [SigningCertificate]
    let now: Int64
    private var attempts = 0
    private var failure: (error: ChainError, progress: Int)?

    init(certificates: [SigningCertificate], now: Int64) {
        self.certificates = certificates
        self.now = now
    }

    mutating func run(from signer: SigningCertificate) -> Result<[SigningCertificate], ChainError> {
        if let chain = extend([], with: signer) { return .success(chain) }
        if attempts >= Self.maxAttempts { return .failure(.tooManyAttempts(limit: Self.maxAttempts)) }
        return .failure(failure?.error ?? .issuerNotFound(issuer: signer.issuer, subject: signer.subject))
    }

    /// - Returns: nil if no way from here ends at a root; why is noted.
    private mutating func extend(
        _ below: [SigningCertificate], with last: SigningCertificate
    ) -> [SigningCertificate]? {
        let path = below + [last]
        // Checked already, as an issuer: it is trusted.
        if !below.isEmpty, last.isSigned(by: last) { return path }
        let issuers = certificates.filter { last.names(asIssuer: $0) }
        if issuers.isEmpty { note(.issuerNotFound(issuer: last.issuer, subject: last.subject), 2 * path.count) }
        for issuer in issuers {
            if let refusal = refusal(of: issuer, for: last, in: path) {
                note(refusal.error, 2 * path.count + (refusal.hasSigned ? 1 : 0))
            } else if let chain = extend(path, with: issuer) {
                return chain
            }
            if attempts >= Self.maxAttempts { return nil }
        }
        return nil
    }

    /// - Parameter path: ends with `subject`.
    private mutating func refusal(
        of issuer: SigningCertificate, for subject: SigningCertificate, in path: [SigningCertificate]
    ) -> (error: ChainError, hasSigned: Bool)? {
        guard path.count < Self.maxLength else { return (.tooLong(limit: Self.maxLength), false) }
        attempts += 1
        guard subject.isSigned(by: issuer) else {
            return (.issuerDidNotSign(issuer: issuer.subject, subject: subject.subject), false)
        }
        if path.contains(issuer) { return (.loop(subject: issuer.subject), true) }
        if subject.hasWeakSignature { return (.weakSignature(subject: subject.subject), true) }
        return issuer.refusalAsIssuer(at: now, below: path).map { ($0, true) }
    }

    /// - Parameter progress: how far the attempt came; the first of those that came farthest is told.
    private mutating func note(_ error: ChainError, _ progress: Int) {
        if progress > failure?.progress ?? -1 { failure = (error, progress) }
    }
}

extension SigningCertificate {
    func names(asIssuer other: SigningCertificate) -> Bool {
        X509_NAME_cmp(X509_get_issuer_name(x509), X509_get_subject_name(other.x509)) == 0
    }

    /// Whether `other` has the name and the key of who signed this certificate.
    func isSigned(by other: SigningCertificate) -> Bool {
        defer { ERR_clear_error() }
        return names(asIssuer: other) && X509_verify(x509, other.key.pointer) == 1
    }

    /// Whether collisions of the hash that was signed can be made.
    var hasWeakSignature: Bool {
        var hash: Int32 = 0
        guard X509_get_signature_info(x509, &hash, nil, nil, nil) == 1 else { return true }
        return [NID_md2, NID_md4, NID_md5, NID_sha1, NID_md5_sha1, NID_ripemd160].contains(hash)
    }

    var hasUnknownExtension: Bool {
        X509_get_extension_flags(x509) & UInt32(EXFLAG_CRITICAL | EXFLAG_INVALID) != 0
    }

    /// Why this certificate vouches for nothing; nil if it may.
    /// - Parameter path: the certificates from the signer's to the one that this one issued.
    func refusalAsIssuer(at now: Int64, below path: [SigningCertificate]) -> ChainError? {
        let flags = X509_get_extension_flags(x509)
        if hasUnknownExtension { return .unknownExtension(subject: subject) }
        if flags & UInt32(EXFLAG_CA) == 0 { return .issuerNotAuthority(subject: subject) }
        // Without the extension, X509_get_key_usage says that everything is allowed.
        if flags & UInt32(EXFLAG_KUSAGE) == 0 || X509_get_key_usage(x509) & UInt32(KU_KEY_CERT_SIGN) == 0 {
            return .issuerLacksKeyCertSign(subject: subject)
        }
        if now < notBefore { return .issuerNotYetValid(subject: subject, notBefore: notBefore) }
        if now > notAfter { return .issuerExpired(subject: subject, notAfter: notAfter) }
        let allowed = X509_get_pathlen(x509)
        let intermediates = max(0, path.count - 1)
        if allowed >= 0, intermediates > allowed {
            return .pathLengthExceeded(subject: subject, allowed: allowed, intermediates: intermediates)
        }
        return path.first { isForbidden($0) }.map { .nameForbidden(subject: $0.subject, issuer: subject) }
    }

    /// Whether the name constraints here (RFC 5280 section 4.2.1.10) are against a name there.
    private func isForbidden(_ other: SigningCertificate) -> Bool {
        defer { ERR_clear_error() }
        guard let found = X509_get_ext_d2i(x509, NID_name_constraints, nil, nil) else { return false }
        let constraints = found.assumingMemoryBound(to: NAME_CONSTRAINTS.self)
        defer { NAME_CONSTRAINTS_free(constraints) }
        return NAME_CONSTRAINTS_check(other.x509, constraints) != X509_V_OK
    }
}
