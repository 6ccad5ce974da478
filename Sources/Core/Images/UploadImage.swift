import Logging
import Metrics
import NIOCore
import Persistence
import Trust

/// `PUT /v2/images/{id}/file`, from permission to `active`.
///
/// 1. If the image is signed, the signer's certificate is fetched and judged.
/// 2. One transaction claims: the image goes from `queued` to `saving`, a row announces the bytes,
///    with a lease and the quota they may use.
/// 3. The bytes stream to the store, through the digests and past the format's inspector, while the lease is
///    renewed; then the signature and the format have to fit.
/// 4. The store makes them durable.
/// 5. One transaction commits: the bytes are the image's, what was verified is on record, the image is `active`.
///
/// Whatever fails on the way, the image goes back to `queued` and the bytes are doomed, in one
/// transaction; the reconciler does the same for an upload that a crash cut off.
extension Images {
    /// - Parameters:
    ///   - body: the bytes; it must throw when it ends before it is whole.
    ///   - declaredSizeBytes: the exact size, when the client told it.
    ///   - token: what `caller` came with, for the key manager.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden`; `.badRequest` (formats unset, unknown store,
    ///   size mismatch, signature), `.conflict` (not `queued`), `.gone` (deleted meanwhile), `.tooLarge`
    ///   (quota, cap, disk), `.unsupportedMediaType` (the format of the bytes), `.unavailable` (store, key
    ///   manager); and what `body` throws.
    package func upload<Body: AsyncSequence & Sendable>(
        _ body: Body, to id: ImageID, declaredSizeBytes: Int64?, store: StoreID?, as caller: Caller,
        token: CallerToken? = nil
    ) async throws where Body.Element == ByteBuffer {
        let storeID = store ?? stores.default
        guard let blobStore = stores[storeID] else {
            throw ServiceError.badRequest("There is no store '\(storeID)' to upload to.")
        }
        let image = try await database.read { try uploadableImage(id, as: caller, in: $0) }
        let signature = try await expectedSignature(of: image, as: caller, token: token)
        let lease = BlobLease(blob: BlobID(surroundings.uuid()), store: storeID, image: id, epoch: 1)
        held.hold(lease.blob)
        defer { held.letGo(lease.blob) }
        let claim = try await claimUpload(lease, signature, declaredSizeBytes: declaredSizeBytes, as: caller)
        uploadsInFlight.increment()
        defer { uploadsInFlight.decrement() }
        do {
            try await stream(body, claim, into: blobStore, logger: caller.logger)
        } catch {
            switch await giveUp(lease, caller: caller) {
            case .undone, .leftToReconciler:
                // Why the lease went could not be found out: that the image is deleted is not for sure.
                throw error is LeaseTaken ? Self.leaseLost(id) : ServiceError(storage: error) ?? error
            // Without the lease the store's complaint is an echo: the bytes were taken away.
            case .imageDeleted: throw Self.vanished(id)
            case .leaseLost: throw Self.leaseLost(id)
            case .committed: break
            }
        }
        caller.logger.info("image uploaded", metadata: ["image": "\(id)", "store": "\(storeID)"])
    }

    private var uploadsInFlight: Meter { Meter(label: "ambrotype_uploads_in_flight") }

    private struct Claim: Sendable {
        let lease: BlobLease
        let signature: ExpectedSignature?
        let format: FormatWatch?
        /// Outside a container a raw image's virtual size is its bytes', whoever looks.
        let isRaw: Bool
        let declaredSizeBytes: Int64?
        /// What the quota was charged when the claim was made.
        let reservedBytes: Int64
    }

    /// An image that its caller may upload to, and that takes data.
    private func uploadableImage(_ id: ImageID, as caller: Caller, in db: any SQLConnection) throws -> Image {
        guard let image = try db.image(id) else { throw ServiceError.noImage(id) }
        try settings.policy.require(
            .uploadImage, caller, image, isMember: try db.isMember(caller.projectID, of: id))
        guard image.status == .queued else {
            throw ServiceError.conflict(
                "Image status transition from \(image.status.rawValue) to saving is not allowed")
        }
        guard image.diskFormat != nil, image.containerFormat != nil else {
            throw ServiceError.badRequest(
                "Properties disk_format, container_format must be set prior to saving data.")
        }
        return image
    }

    private func claimUpload(
        _ lease: BlobLease, _ signature: ExpectedSignature?, declaredSizeBytes: Int64?, as caller: Caller
    ) async throws -> Claim {
        if let size = declaredSizeBytes, size > settings.sizeCapBytes { throw sizeCapExceeded }
        let id = lease.image
        let now = now
        return try await database.write { db in
            let image = try uploadableImage(id, as: caller, in: db)
            guard try SignatureProperties(of: image) == signature?.properties else {
                throw ServiceError.conflict(
                    "The properties of the signature of image \(id) changed while its certificate was fetched; upload "
                        + "again.")
            }
            try ImageQuota.requireRoomForUpload(by: image.owner, settings, in: db)
            let reserved = try ImageQuota.reservation(
                forDeclared: declaredSizeBytes, receivedBytes: 0, alreadyReserved: 0, owner: image.owner, settings,
                in: db)
            try BlobLedger.announce(
                lease, chargedTo: image.owner, reservedBytes: reserved, owner: instance, until: leaseEnd(now), now: now,
                in: db)
            // `updated_at` stays until there is data: an upload that fails leaves the image as it was.
            try db.execute(
                "UPDATE images SET status = 'saving', size = $1 WHERE id = $2 AND status = 'queued'",
                declaredSizeBytes, id)
            return Claim(
                lease: lease, signature: signature, format: FormatWatch(image, settings.formats),
                isRaw: image.diskFormat == "raw", declaredSizeBytes: declaredSizeBytes, reservedBytes: reserved)
        }
    }

    private func leaseEnd(_ now: Timestamp) -> Timestamp { now.adding(seconds: settings.leaseSeconds) }

    private var sizeCapExceeded: ServiceError {
        .tooLarge("The maximum image size of \(settings.sizeCapBytes) bytes is exceeded.")
    }

    /// Steps 3 to 5.
    private func stream<Body: AsyncSequence & Sendable>(
        _ body: Body, _ claim: Claim, into store: any BlobStore, logger: Logger
    ) async throws where Body.Element == ByteBuffer {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await keepLease(claim.lease) }
            group.addTask {
                let writer = try await store.begin(claim.lease.blob, expectedBytes: claim.declaredSizeBytes)
                do {
                    var algorithms: Set<DigestAlgorithm> = [.md5, settings.hashAlgorithm]
                    if let signature = claim.signature { algorithms.insert(signature.properties.hash.digest) }
                    let pipeline = UploadPipeline(
                        work: surroundings.work, budget: uploads, algorithms: algorithms, format: claim.format)
                    let admission = Admission(images: self, claim: claim)
                    let bytes = try await pipeline.run(body, to: writer) { try await admission.admit($0) }
                    if let declared = claim.declaredSizeBytes, declared != bytes.sizeBytes {
                        throw ServiceError.badRequest(
                            "The declared size of \(declared) bytes does not match the \(bytes.sizeBytes) bytes sent.")
                    }
                    let virtualSize = try await verified(bytes, claim, logger: logger)
                    try await writer.commit()
                    try await commitUpload(claim, bytes, virtualSizeBytes: virtualSize)
                } catch {
                    await writer.abandon()
                    throw error
                }
            }
            // The keeper never ends by itself: the first to end is the upload, or the loss of its lease.
            try await group.next()
            group.cancelAll()
        }
    }

    /// Renews the lease three times in its length, until cancelled.
    /// - Throws: when somebody else took it; `giveUp` finds out why.
    private func keepLease(_ lease: BlobLease) async throws {
        while true {
            try await surroundings.clock.sleep(seconds: Double(settings.leaseSeconds) / 3)
            let until = leaseEnd(now)
            let isOurs = try await database.write {
                try BlobLedger.renew(lease, reservedBytes: nil, until: until, in: $0)
            }
            guard isOurs else { throw LeaseTaken() }
        }
    }

    private static func vanished(_ id: ImageID) -> ServiceError {
        .gone("Image \(id) was deleted while its data was being uploaded; the data was discarded.")
    }

    private static func leaseLost(_ id: ImageID) -> ServiceError {
        .unavailable("The upload to image \(id) stalled for too long and was given up; upload again.")
    }

    /// Whether the bytes are what they should be, before anything of them lasts.
    /// - Returns: the virtual size, if there is one.
    /// - Throws: `ServiceError`: `.badRequest` (signature), `.unsupportedMediaType` (format).
    private func verified(_ bytes: UploadedBytes, _ claim: Claim, logger: Logger) async throws -> Int64? {
        if let signature = claim.signature {
            let digest = bytes[signature.properties.hash.digest]
            try await surroundings.work.run { try signature.check(digest) }
        }
        guard let format = claim.format else { return claim.isRaw ? bytes.sizeBytes : nil }
        let image = claim.lease.image
        return try await surroundings.work.run {
            try format.virtualSizeBytes(streamBytes: bytes.sizeBytes, image: image, logger: logger)
        }
    }

    private func commitUpload(
        _ claim: Claim, _ bytes: UploadedBytes, virtualSizeBytes virtualSize: Int64?
    ) async throws {
        let now = now
        let lease = claim.lease
        let algorithm = settings.hashAlgorithm.rawValue
        let hashValue = Hex.encode(bytes[settings.hashAlgorithm])
        let checksum = Hex.encode(bytes[.md5])
        let record = Provenance(
            image: lease.image, sizeBytes: bytes.sizeBytes, algorithm: algorithm, digest: hashValue,
            signer: claim.signature?.signer, verifiedAt: now)
        try await database.write { db in
            guard try BlobLedger.makeLive(lease, sizeBytes: bytes.sizeBytes, in: db) else {
                throw LeaseTaken()
            }
            let changed = try db.execute(
                """
                UPDATE images SET status = 'active', size = $1, virtual_size = $2, checksum = $3, os_hash_algo = $4,
                    os_hash_value = $5, updated_at = $6
                WHERE id = $7 AND status = 'saving'
                """,
                bytes.sizeBytes, virtualSize, checksum, algorithm, hashValue, now, lease.image)
            guard changed == 1 else { throw LeaseTaken() }
            try record.keep(sealedBy: seal, in: db)
        }
    }

    /// Somebody took the upload's lease; `giveUp` finds out why.
    private struct LeaseTaken: Error {}

    private enum WayBack: Sendable { case undone, leaseLost, imageDeleted, committed, leftToReconciler }

    /// The way back, the same as the reconciler's for an upload that a crash cut off. Nothing of the
    /// upload touches the store any more.
    private func giveUp(_ lease: BlobLease, caller: Caller) async -> WayBack {
        let now = now
        do {
            let (way, mustErase) = try await database.write { db in
                if try BlobLedger.doom(lease, .uploadFailed, isLetGo: true, now: now, in: db) {
                    try Self.returnToQueued(lease.image, in: db)
                    return (WayBack.undone, true)
                }
                let (state, reason) =
                    try db.first("SELECT state, doom_reason FROM blobs WHERE id = $1", lease.blob) {
                        (try $0.get(0, as: String.self), try $0.get(1, as: String?.self))
                    } ?? ("gone", nil)
                // The commit was there, although its caller was told otherwise.
                if state == "live" { return (.committed, false) }
                try BlobLedger.letGo(lease.blob, in: db)
                let wasDeleted = try reason == DoomReason.imageDeleted.rawValue || db.image(lease.image) == nil
                return (wasDeleted ? .imageDeleted : .leaseLost, state == "doomed")
            }
            if mustErase { await jobs.run(JobName(.eraseBlob, lease.blob.rawValue)) }
            return way
        } catch {
            caller.logger.error(
                "upload could not be undone now; the reconciler will",
                metadata: ["image": "\(lease.image)", "blob": "\(lease.blob)", "error": "\(error)"])
            return .leftToReconciler
        }
    }

    /// An image whose upload is given up has nothing that speaks of data.
    static func returnToQueued(_ id: ImageID, in db: any SQLConnection) throws {
        try db.execute(
            """
            UPDATE images SET status = 'queued', size = NULL, virtual_size = NULL, checksum = NULL,
                os_hash_algo = NULL, os_hash_value = NULL
            WHERE id = $1 AND status = 'saving'
            """, id)
    }

    /// Lets bytes in as far as the cap and the quota go, reserving ahead when the size is unknown.
    private actor Admission {
        private let images: Images
        private let claim: Claim
        private var reservedBytes: Int64

        init(images: Images, claim: Claim) {
            self.images = images
            self.claim = claim
            reservedBytes = claim.reservedBytes
        }

        func admit(_ receivedBytes: Int64) async throws {
            let settings = images.settings
            guard receivedBytes <= settings.sizeCapBytes else { throw images.sizeCapExceeded }
            if let declared = claim.declaredSizeBytes {
                guard receivedBytes <= declared else {
                    throw ServiceError.badRequest("More than the declared \(declared) bytes were sent.")
                }
                return
            }
            guard settings.imageBytesQuota >= 0, receivedBytes > reservedBytes else { return }
            let lease = claim.lease
            let until = images.leaseEnd(images.now)
            let current = reservedBytes
            reservedBytes = try await images.database.write { db in
                // The image may have got another owner since.
                let owner = try db.first("SELECT project FROM blobs WHERE id = $1", lease.blob) {
                    try $0.get(0, as: ProjectID?.self)
                }
                let wanted = try ImageQuota.reservation(
                    forDeclared: nil, receivedBytes: receivedBytes, alreadyReserved: current, owner: owner ?? nil,
                    settings,
                    in: db)
                guard try BlobLedger.renew(lease, reservedBytes: wanted, until: until, in: db) else {
                    throw LeaseTaken()
                }
                return wanted
            }
        }
    }
}
