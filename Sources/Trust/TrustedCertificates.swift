/// The certificates that an operator or a user trusts to vouch for signers: roots, and every intermediate between.
package struct TrustedCertificates: Sendable {
    /// Of a PEM file.
    package static let maxBytes = 4 << 20

    /// In their order, each once.
    package let certificates: [SigningCertificate]

    package init(_ certificates: [SigningCertificate]) {
        var seen: Set<[UInt8]> = []
        self.certificates = certificates.filter { seen.insert($0.der).inserted }
    }

    /// - Parameter pem: certificates one after the other; text between them does not matter.
    /// - Throws: `SignatureError`, which says which one it is that does not parse.
    package init(pem: [UInt8]) throws(SignatureError) {
        guard pem.count <= Self.maxBytes else {
            throw SignatureError("the trusted certificates have more than \(Self.maxBytes) bytes")
        }
        let blocks = PEMBlocks.certificates(in: pem)
        guard !blocks.isEmpty else { throw SignatureError("there is no certificate in PEM") }
        var found: [SigningCertificate] = []
        for (index, block) in blocks.enumerated() {
            let place = "certificate \(index + 1) of \(blocks.count)"
            guard let der = block else { throw SignatureError("\(place): its PEM is damaged") }
            do {
                found.append(try SigningCertificate(der: der))
            } catch {
                throw SignatureError("\(place): \(error)")
            }
        }
        self.init(found)
    }

    /// A chain from the signer to a root: every certificate but the signer's is one of these, and each is signed by
    /// the next. The last one is signed by itself.
    ///
    /// The rules are cursive's, by which Nova accepts an image (RFC 5280 section 6.1 in part):
    /// - everything is valid at the moment given;
    /// - an issuer's subject is the issuer's name, and its key verifies the signature;
    /// - an issuer is an authority (basicConstraints) whose key usage has keyCertSign, and as many intermediates
    ///   are below it as its pathLenConstraint allows, self-issued ones counted; without one, any number;
    /// - a signer that signed itself is trusted and an authority, or refused.
    ///
    /// Beyond them: name constraints count, a critical extension that is not understood refuses, and so do
    /// signatures by way of MD5 and SHA-1, except a root's of itself. Nothing is asked about revocation.
    ///
    /// Names may be ambiguous: after a key was renewed, or cross-signed. Each candidate is tried.
    /// - Returns: the chain, the signer first; or the reason why the attempt that came farthest failed.
    package func chain(
        of signer: SigningCertificate, atUnixSeconds now: Int64
    ) -> Result<[SigningCertificate], ChainError> {
        if now < signer.notBefore {
            return .failure(.signerNotYetValid(subject: signer.subject, notBefore: signer.notBefore))
        }
        if now > signer.notAfter {
            return .failure(.signerExpired(subject: signer.subject, notAfter: signer.notAfter))
        }
        if signer.isSigned(by: signer) {
            guard certificates.contains(signer) else {
                return .failure(.selfSignedNotTrusted(subject: signer.subject))
            }
            if let refusal = signer.refusalAsIssuer(at: now, below: []) { return .failure(refusal) }
            return .success([signer])
        }
        if signer.hasUnknownExtension { return .failure(.unknownExtension(subject: signer.subject)) }
        var search = ChainSearch(certificates: certificates, now: now)
        return search.run(from: signer)
    }
}
