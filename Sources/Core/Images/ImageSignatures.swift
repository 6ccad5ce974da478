import Logging
import NIOCore
import Persistence
import Trust

/// The four properties of a signed image (Image API digest, section 5).
struct SignatureProperties: Sendable, Equatable {
    let signature: String
    let hash: SignatureHash
    let keyType: SignatureKeyType
    let certificate: SecretID

    /// Nil for an image that has none of the four.
    /// - Throws: `ServiceError.badRequest`, which names the property that is missing or wrong. An image with some of
    ///   them was meant to be signed: taking it without a check would be a silent one.
    init?(of image: Image) throws {
        let values = SignatureProperty.all.compactMap { name in
            (image.properties[name] ?? nil).map { (name, $0) }
        }
        guard !values.isEmpty else { return nil }
        let known = Dictionary(uniqueKeysWithValues: values)
        guard let signature = known[SignatureProperty.signature], let hash = known[SignatureProperty.hash],
            let keyType = known[SignatureProperty.keyType], let certificate = known[SignatureProperty.certificate]
        else {
            let missing = SignatureProperty.all.filter { known[$0] == nil }
            throw ServiceError.badRequest(
                "The image has some properties of a signature, but not \(missing.joined(separator: ", ")); a signed "
                    + "image has all of \(SignatureProperty.all.joined(separator: ", ")), any other has none.")
        }
        guard let id = ImageKeys.key(certificate) else {
            throw ServiceError.badRequest(
                "\(SignatureProperty.certificate) must be the UUID of a secret in the key manager.")
        }
        do {
            self.hash = try SignatureHash.named(hash)
            self.keyType = try SignatureKeyType.named(keyType)
        } catch {
            throw ServiceError.badRequest("Signature verification for the image failed: \(error)")
        }
        self.signature = signature
        self.certificate = id
    }
}

/// A signature that an upload's bytes have to match, its certificate fetched and judged.
struct ExpectedSignature: Sendable {
    let properties: SignatureProperties
    let signature: ImageSignature
    let signer: Provenance.Signer
    /// The signer's certificate, as the key manager gave it.
    let certificate: [UInt8]

    /// Parsing and checking a chain is work for a thread that may be kept.
    /// - Throws: `ServiceError.badRequest` (certificate, chain).
    init(
        _ properties: SignatureProperties, certificate bytes: [UInt8], _ rules: SignatureSettings, at now: Timestamp
    ) throws {
        do {
            let certificate = try SigningCertificate(bytes)
            signature = try ImageSignature(
                signatureBase64: properties.signature, hash: properties.hash, keyType: properties.keyType,
                certificate: certificate)
            signer = Provenance.Signer(
                subject: certificate.subject, fingerprint: Hex.encode(certificate.fingerprintSHA256),
                certificate: properties.certificate, keyType: properties.keyType, hash: properties.hash,
                chain: Provenance.Chain(of: certificate, rules.chains, rules.trusted, at: now))
        } catch {
            throw ServiceError.badRequest("Signature verification for the image failed: \(error)")
        }
        self.properties = properties
        self.certificate = bytes
        if let reason = distrust, rules.chains == .require { throw ServiceError.badRequest(reason) }
    }

    /// What is wrong with the signer's chain; nil when nothing is, or nobody looked.
    var distrust: String? {
        guard case .untrusted(let reason) = signer.chain else { return nil }
        return "Image signature certificate validation failed for certificate \(properties.certificate): \(reason)"
    }

    /// - Throws: `ServiceError.badRequest` when the bytes are not those that were signed.
    func check(_ digest: [UInt8]) throws {
        guard signature.isValid(forDigest: digest) else {
            throw ServiceError.badRequest(
                "Signature verification for the image failed: the data is not what the key of certificate "
                    + "\(properties.certificate) signed (\(properties.keyType.rawValue), \(properties.hash.rawValue)).")
        }
    }
}

extension Images {
    /// What the signature of an image asks of its bytes; nil when it has none. The certificate is read as the caller,
    /// before any of the bytes.
    /// - Throws: `ServiceError`: `.badRequest` (properties, certificate, chain), `.forbidden` (only signed images are
    ///   taken), `.unavailable` (key manager).
    func expectedSignature(
        of image: Image, as caller: Caller, token: CallerToken?
    ) async throws -> ExpectedSignature? {
        let rules = settings.signatures
        guard let properties = try SignatureProperties(of: image) else {
            guard !rules.requireSigned.includes(image.owner) else {
                throw ServiceError.forbidden(
                    "Only signed images are taken: set \(SignatureProperty.all.joined(separator: ", ")).")
            }
            return nil
        }
        let bytes = try await certificate(properties.certificate, as: caller, token: token)
        let now = now
        let expected = try await surroundings.work.run {
            try ExpectedSignature(properties, certificate: bytes, rules, at: now)
        }
        if let reason = expected.distrust {
            caller.logger.warning(
                "a signed image comes from a signer that is not trusted",
                metadata: ["image": "\(image.id)", "certificate": "\(properties.certificate)", "reason": "\(reason)"])
        }
        return expected
    }

    private func certificate(_ id: SecretID, as caller: Caller, token: CallerToken?) async throws -> [UInt8] {
        guard let certificates else {
            throw ServiceError.badRequest(
                "Signature verification for the image failed: no key manager is configured to read certificate \(id) "
                    + "from.")
        }
        do {
            return try await certificates.certificate(id, for: caller, token: token)
        } catch let error as KeyManagerError {
            switch error.code {
            case .unavailable, .unexpected:
                throw ServiceError.unavailable(
                    "The key manager cannot be asked for certificate \(id) now; upload again later.", cause: error)
            case .notFound, .refused:
                throw ServiceError.badRequest(
                    "Signature verification for the image failed: there is no certificate \(id) that you may read in "
                        + "the key manager.")
            }
        }
    }
}
