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
    ///   size mismatch, signature), `.conflict` (not `queued`), `.gone` (deleted meanwhile, store that takes no data), `.tooLarge`
    ///   (quota, cap, disk), `.unsupportedMediaType` (the format of the bytes), `.unavailable` (store, key
    ///   manager); and what `body` throws.
    package func upload<Body: AsyncSequence & Sendable>(
        _ body: Body, to id: ImageID, declaredSizeBytes: Int64?, store: StoreID?, as caller: Caller,
        token: CallerToken? = nil
    ) async throws where Body.Element == ByteBuffer {
        let blobStore = try stores.forUpload(store)
        let storeID = blobStore.id
        let image = try await database.read { try uploadableImage(id, as: caller, in: $0) }
        let signature = try await expectedSignature(of: image, as: caller, token: token)
        let lease = intake.lease(in: storeID, of: id)
        held.hold(lease.blob)
        defer { held.letGo(lease.blob) }
        let claim = try await claimUpload(lease, signature, declaredSizeBytes: declaredSizeBytes, as: caller)
        try await receive(body, claim.blob, into: blobStore, claim.algorithms, claim.format, as: caller) {
            bytes, writer in
            let verified = try await claim.expectation.verify(bytes, of: id, surroundings.work, logger: caller.logger)
            try await writer.commit()
            try await commitUpload(claim, verified)
        }
        caller.logger.info("image uploaded", metadata: ["image": "\(id)", "store": "\(storeID)"])
    }

    private struct Claim: Sendable {
        let blob: BlobClaim
        let expectation: DataExpectation

        var format: FormatWatch? { expectation.format }
        var algorithms: Set<DigestAlgorithm> { expectation.algorithms }
    }

    /// An image that its caller may upload to, and that takes data.
    private func uploadableImage(_ id: ImageID, as caller: Caller, in db: any SQLConnection) throws -> Image {
        let image = try waitingImage(id, for: .saving, as: caller, in: db)
        guard image.diskFormat != nil, image.containerFormat != nil else {
            throw ServiceError.badRequest(
                "Properties disk_format, container_format must be set prior to saving data.")
        }
        return image
    }

    /// An image that its caller may send data to, and that has none.
    func waitingImage(
        _ id: ImageID, for status: Image.Status, as caller: Caller, in db: any SQLConnection
    ) throws -> Image {
        guard let image = try db.image(id) else { throw ServiceError.noImage(id) }
        try settings.policy.require(
            .uploadImage, caller, image, isMember: try db.isMember(caller.projectID, of: id))
        guard image.status == .queued else {
            throw ServiceError.conflict(
                "Image status transition from \(image.status.rawValue) to \(status.rawValue) is not allowed")
        }
        return image
    }

    private func claimUpload(
        _ lease: BlobLease, _ signature: ExpectedSignature?, declaredSizeBytes: Int64?, as caller: Caller
    ) async throws -> Claim {
        let id = lease.image
        return try await database.write { db in
            let image = try uploadableImage(id, as: caller, in: db)
            guard try SignatureProperties(of: image) == signature?.properties else {
                throw ServiceError.conflict(
                    "The properties of the signature of image \(id) changed while its certificate was fetched; upload "
                        + "again.")
            }
            try ImageQuota.requireRoomForUpload(by: image.owner, settings, in: db)
            let blob = try intake.announce(
                lease, .data, declaredSizeBytes: declaredSizeBytes, owner: image.owner, in: db)
            // `updated_at` stays until there is data: an upload that fails leaves the image as it was.
            try db.execute(
                "UPDATE images SET status = 'saving', size = $1 WHERE id = $2 AND status = 'queued'",
                declaredSizeBytes, id)
            return Claim(blob: blob, expectation: DataExpectation(of: image, signature, settings))
        }
    }

    private func commitUpload(_ claim: Claim, _ data: VerifiedData) async throws {
        let now = now
        let lease = claim.blob.lease
        try await database.write { db in
            guard try BlobLedger.makeLive(lease, sizeBytes: data.sizeBytes, in: db) else { throw BlobLeaseTaken() }
            guard try data.activate(lease.image, from: .saving, claim.expectation, seal, now: now, in: db) else {
                throw BlobLeaseTaken()
            }
        }
    }
}

/// What uploads and stages have in common: bytes that a client sends, until they are in, or everything is as before.
extension Images {
    private var uploadsInFlight: Meter { Meter(label: "ambrotype_uploads_in_flight") }

    /// - Parameter finish: as `BlobIntake.stream` has it.
    /// - Throws: as `upload` and `stage` say.
    func receive<Body: AsyncSequence & Sendable>(
        _ body: Body, _ claim: BlobClaim, into store: any BlobStore, _ algorithms: Set<DigestAlgorithm>,
        _ format: FormatWatch?, as caller: Caller,
        finish: @escaping @Sendable (UploadedBytes, any BlobWriter) async throws -> Void
    ) async throws where Body.Element == ByteBuffer {
        let id = claim.lease.image
        uploadsInFlight.increment()
        defer { uploadsInFlight.decrement() }
        do {
            try await intake.stream(body, into: store, claim, algorithms, format, finish: finish)
        } catch {
            switch await giveUp(claim.lease, caller: caller) {
            case .undone, .leftToReconciler:
                // Why the lease went could not be found out: that the image is deleted is not for sure.
                throw error is BlobLeaseTaken ? Self.leaseLost(id) : ServiceError(storage: error) ?? error
            // Without the lease the store's complaint is an echo: the bytes were taken away.
            case .imageDeleted: throw Self.vanished(id)
            case .leaseLost: throw Self.leaseLost(id)
            case .committed: break
            }
        }
    }

    private static func vanished(_ id: ImageID) -> ServiceError {
        .gone("Image \(id) was deleted while its data was being uploaded; the data was discarded.")
    }

    private static func leaseLost(_ id: ImageID) -> ServiceError {
        .unavailable("The upload to image \(id) stalled for too long and was given up; upload again.")
    }

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

    /// An image whose upload or stage is given up has nothing that speaks of data. Others are left alone: an import
    /// that is given up sees to its image itself.
    static func returnToQueued(_ id: ImageID, in db: any SQLConnection) throws {
        for status in [Image.Status.saving, .uploading] { try returnToQueued(id, from: status, in: db) }
    }

    static func returnToQueued(_ id: ImageID, from status: Image.Status, in db: any SQLConnection) throws {
        try db.execute(
            """
            UPDATE images SET status = 'queued', size = NULL, virtual_size = NULL, checksum = NULL,
                os_hash_algo = NULL, os_hash_value = NULL
            WHERE id = $1 AND status = $2
            """, id, status.rawValue)
    }
}
