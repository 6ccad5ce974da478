import Logging
import Persistence
import Trust

/// What bytes have to be to become an image's data, as its record stood when they were asked for. For one pass over
/// them.
struct DataExpectation: Sendable {
    let signature: ExpectedSignature?
    let format: FormatWatch?
    let algorithms: Set<DigestAlgorithm>
    /// To be kept and compared.
    let asked: String
    private let isRaw: Bool
    private let hashAlgorithm: DigestAlgorithm

    init(of image: Image, _ signature: ExpectedSignature?, _ settings: ImageSettings) {
        self.signature = signature
        format = FormatWatch(image, settings.formats)
        asked = Self.asked(of: image)
        isRaw = image.diskFormat == "raw"
        hashAlgorithm = settings.hashAlgorithm
        var algorithms: Set<DigestAlgorithm> = [.md5, settings.hashAlgorithm]
        if let signature { algorithms.insert(signature.properties.hash.digest) }
        self.algorithms = algorithms
    }

    /// Whether the bytes are what they should be, before anything of them lasts.
    /// - Throws: `ServiceError`: `.badRequest` (signature), `.unsupportedMediaType` (format).
    func verify(
        _ bytes: UploadedBytes, of image: ImageID, _ work: any WorkPool, logger: Logger
    ) async throws -> VerifiedData {
        if let signature {
            let digest = bytes[signature.properties.hash.digest]
            try await work.run { try signature.check(digest) }
        }
        // Outside a container a raw image's virtual size is its bytes', whoever looks.
        var virtualSize = isRaw ? bytes.sizeBytes : nil
        if let format {
            virtualSize = try await work.run {
                try format.virtualSizeBytes(streamBytes: bytes.sizeBytes, image: image, logger: logger)
            }
        }
        return VerifiedData(
            sizeBytes: bytes.sizeBytes, virtualSizeBytes: virtualSize, checksum: Hex.encode(bytes[.md5]),
            hashAlgorithm: hashAlgorithm.rawValue, hashValue: Hex.encode(bytes[hashAlgorithm]))
    }

    /// Whether the image's record asks the same of its bytes still: formats and signature can be changed while bytes
    /// are on their way.
    func fits(_ image: Image) -> Bool { Self.asked(of: image) == asked }

    /// Everything in a record that its bytes are held against.
    private static func asked(of image: Image) -> String {
        let signature = SignatureProperty.all.map { image.properties[$0] ?? nil }
        return ([image.diskFormat, image.containerFormat] + signature).map { $0.map { "=\($0)" } ?? "-" }
            .joined(separator: "\n")
    }
}

/// What a verified pass found of bytes.
struct VerifiedData: Sendable, Equatable {
    let sizeBytes: Int64
    let virtualSizeBytes: Int64?
    /// MD5 in hexadecimal.
    let checksum: String
    let hashAlgorithm: String
    let hashValue: String

    /// A step of the transaction that makes the bytes the image's: it is active, and what was verified is on record.
    /// - Returns: false when the image is not in `status` any more.
    func activate(
        _ image: ImageID, from status: Image.Status, _ expectation: DataExpectation, _ seal: RecordSeal,
        now: Timestamp, in db: any SQLConnection
    ) throws -> Bool {
        let changed = try db.execute(
            """
            UPDATE images SET status = 'active', size = $1, virtual_size = $2, checksum = $3, os_hash_algo = $4,
                os_hash_value = $5, updated_at = $6
            WHERE id = $7 AND status = $8
            """,
            sizeBytes, virtualSizeBytes, checksum, hashAlgorithm, hashValue, now, image, status.rawValue)
        guard changed == 1 else { return false }
        let record = Provenance(
            image: image, sizeBytes: sizeBytes, algorithm: hashAlgorithm, digest: hashValue,
            signer: expectation.signature?.signer, verifiedAt: now)
        try record.keep(sealedBy: seal, in: db)
        return true
    }
}
