import Persistence
import Trust

/// What the server itself saw of an image's bytes when they came in: their digest, and who had signed them. Kept under
/// a seal, and written in the transaction that makes the image active: no client writes it. Whoever writes to the
/// database alone can take a record away, and cannot make one, nor change it and not be found out.
package struct Provenance: Sendable, Equatable {
    package let image: ImageID
    package let sizeBytes: Int64
    package let algorithm: String
    /// Hexadecimal.
    package let digest: String
    /// Nil when the image was not signed.
    package let signer: Signer?
    /// When the last byte was there and everything fitted.
    package let verifiedAt: Timestamp

    /// Whose signature fitted.
    package struct Signer: Sendable, Equatable {
        /// The certificate's subject (RFC 4514).
        package let subject: String
        /// SHA-256 of the certificate (DER), in hexadecimal.
        package let fingerprint: String
        package let certificate: SecretID
        package let keyType: SignatureKeyType
        package let hash: SignatureHash
        package let chain: Chain

        /// As the properties of the image spell them.
        package var keyTypeName: String { keyType.rawValue }
        package var hashName: String { hash.rawValue }
    }

    /// Whether the signer's certificate led to one that the operator trusts.
    package enum Chain: Sendable, Equatable {
        case unchecked
        /// The subjects of its certificates, the signer's own first.
        case trusted([String])
        case untrusted(reason: String)

        init(
            of certificate: SigningCertificate, _ rule: SignatureSettings.Chains, _ trusted: TrustedCertificates,
            at now: Timestamp
        ) {
            guard rule != .off else {
                self = .unchecked
                return
            }
            switch trusted.chain(of: certificate, atUnixSeconds: now.seconds) {
            case .success(let chain): self = .trusted(chain.map(\.subject))
            case .failure(let reason): self = .untrusted(reason: "\(reason)")
            }
        }
    }

    /// How much of a record can be believed.
    package enum Seal: String, Sendable {
        case intact, broken
        /// It was made with a key that is not here any more.
        case unknownKey = "unknown key"
    }

    /// A record as it was found.
    package struct Sealed: Sendable, Equatable {
        package let provenance: Provenance
        package let seal: Seal
    }
}

extension Provenance {
    private static let kind = "image provenance 1"

    /// Everything there is in a record, in this order: what the seal is over.
    fileprivate var fields: [String?] {
        let chain = signer.map { ChainColumns($0.chain) }
        return [
            Self.kind, image.rawValue, String(sizeBytes), algorithm, digest, signer?.subject, signer?.fingerprint,
            signer?.certificate.rawValue, signer?.keyType.rawValue, signer?.hash.rawValue, chain?.result,
            chain?.detail, String(verifiedAt.microseconds),
        ]
    }

    func keep(sealedBy seal: RecordSeal, in db: any SQLConnection) throws {
        let chain = signer.map { ChainColumns($0.chain) }
        try db.execute(
            """
            INSERT INTO image_provenance (image_id, size_bytes, algorithm, digest, signer_subject, signer_fingerprint,
                certificate, key_type, hash_method, chain, chain_detail, verified_at, seal_key, seal)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            """, image, sizeBytes, algorithm, digest, signer?.subject, signer?.fingerprint, signer?.certificate,
            signer?.keyType.rawValue, signer?.hash.rawValue, chain?.result, chain?.detail, verifiedAt, seal.keyID,
            Hex.encode(seal.seal(fields)))
    }

    /// A chain in two columns: what it came to, and a subject a line or the reason.
    private struct ChainColumns {
        let result: String
        let detail: String?

        init(_ chain: Chain) {
            switch chain {
            case .unchecked: (result, detail) = ("unchecked", nil)
            case .trusted(let subjects): (result, detail) = ("trusted", subjects.joined(separator: "\n"))
            case .untrusted(let reason): (result, detail) = ("untrusted", reason)
            }
        }

        static func chain(_ result: String, _ detail: String?) -> Chain? {
            switch (result, detail) {
            case ("unchecked", nil): .unchecked
            case ("trusted", let detail?): .trusted(detail.split(separator: "\n").map(String.init))
            case ("untrusted", let detail?): .untrusted(reason: detail)
            default: nil
            }
        }
    }
}

extension Provenance.Sealed {
    private static let columns = """
        image_id, size_bytes, algorithm, digest, signer_subject, signer_fingerprint, certificate, key_type, \
        hash_method, chain, chain_detail, verified_at, seal_key, seal
        """

    /// Nil for an image that came in before records were kept, or has no data.
    static func find(_ id: ImageID, _ seal: RecordSeal, in db: any SQLConnection) throws -> Self? {
        try db.first("SELECT \(columns) FROM image_provenance WHERE image_id = $1", id) { try read($0, seal) } ?? nil
    }

    private static func read(_ row: any SQLRow, _ seal: RecordSeal) throws -> Self {
        let record = Provenance(
            image: try row.get(0), sizeBytes: try row.get(1), algorithm: try row.get(2), digest: try row.get(3),
            signer: try Provenance.Signer(row), verifiedAt: try row.get(11))
        let keyID: String = try row.get(12)
        guard keyID == seal.keyID else { return Self(provenance: record, seal: .unknownKey) }
        let bytes = Hex.decode(try row.get(13)) ?? []
        return Self(provenance: record, seal: seal.isIntact(bytes, over: record.fields) ? .intact : .broken)
    }
}

extension Provenance.Signer {
    /// Nil when the record has no signer.
    fileprivate init?(_ row: any SQLRow) throws {
        guard let subject = try row.get(4, as: String?.self) else { return nil }
        guard let keyType = try row.get(7, as: String?.self).flatMap(SignatureKeyType.init(rawValue:)),
            let hash = try row.get(8, as: String?.self).flatMap(SignatureHash.init(rawValue:)),
            let result = try row.get(9, as: String?.self),
            let chain = Provenance.ChainColumns.chain(result, try row.get(10, as: String?.self)),
            let fingerprint = try row.get(5, as: String?.self), let certificate = try row.get(6, as: SecretID?.self)
        else { throw SQLError(code: .corrupt, operation: "read provenance", message: "a signer in part") }
        self.init(
            subject: subject, fingerprint: fingerprint, certificate: certificate, keyType: keyType, hash: hash,
            chain: chain)
    }
}

extension Images {
    /// `GET /ambrotype/v1/images/{id}/provenance`: for whoever may see the image.
    /// - Throws: `ServiceError.notFound`, also when there is no record.
    package func provenance(
        of id: ImageID, as caller: Caller
    ) async throws -> (record: Provenance.Sealed, flag: ImageFlag?) {
        try await database.read { db in
            let image = try visibleImage(id, .getImage, caller, in: db)
            guard let record = try Provenance.Sealed.find(image.id, seal, in: db) else {
                throw ServiceError.notFound(
                    "Nothing is recorded of the data of image \(id): it has none, or came in before records were kept.")
            }
            return (record, try ImageFlag.find(id, in: db))
        }
    }
}
