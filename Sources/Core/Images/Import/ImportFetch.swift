import Logging
import NIOCore
import Persistence
import Trust

/// Bytes that come into staged blobs: what is fetched, and what steps make of it.
extension ImportRun {
    /// Downloads what a URL names. What an earlier attempt left is not gone on with: nobody says that the other server
    /// would send the same.
    func fetch(_ plan: ImportPlan) async throws -> ImportPlan {
        guard let remote = worker.remote, let uri = plan.uri else {
            throw ServiceError.conflict("The import method web-download is not enabled any more.")
        }
        let content = try await remote.open(uri)
        return try await stageElsewhereIfReadOnly(
            content.body, declaredSizeBytes: content.sizeBytes, plan, algorithms: [], check: { _ in }
        ) { _, _ in }
    }

    /// As `stage`, in one of the stores that are to have the image. Another attempt tries another one: one that takes
    /// nothing need not be all there is.
    func stageElsewhereIfReadOnly<Body: AsyncSequence & Sendable>(
        _ body: Body, declaredSizeBytes: Int64?, _ plan: ImportPlan, algorithms: Set<DigestAlgorithm>,
        check: @escaping @Sendable (UploadedBytes) throws -> Void,
        alongside: @escaping @Sendable (Image, any SQLConnection) throws -> Void
    ) async throws -> ImportPlan where Body.Element == ByteBuffer {
        let store = plan.targets[Int(job.attempts) % plan.targets.count].store
        do {
            return try await stage(
                body, declaredSizeBytes: declaredSizeBytes, in: store, plan, algorithms: algorithms, check: check,
                alongside: alongside)
        } catch let error as BlobError where error.code == .readOnly && plan.targets.count > 1 {
            throw BlobError(code: .unavailable, operation: error.operation, cause: error.cause)
        }
    }

    /// Takes a body into a new staged blob, which becomes the import's source in place of the one it has.
    /// - Parameters:
    ///   - algorithms: the digests that `check` needs.
    ///   - check: throws for bytes that are not what was to come.
    ///   - alongside: further steps of the transaction that does so.
    func stage<Body: AsyncSequence & Sendable>(
        _ body: Body, declaredSizeBytes: Int64?, in storeID: StoreID, _ plan: ImportPlan,
        algorithms: Set<DigestAlgorithm> = [], check: @escaping @Sendable (UploadedBytes) throws -> Void = { _ in },
        alongside: @escaping @Sendable (Image, any SQLConnection) throws -> Void
    ) async throws -> ImportPlan where Body.Element == ByteBuffer {
        guard let image = plan.task.image else { throw ImportLost() }
        let store = try store(storeID)
        let lease = intake.lease(in: storeID, of: image)
        intake.held.hold(lease.blob)
        defer { intake.held.letGo(lease.blob) }
        let settings = settings
        let claim = try await write(plan) { image, db in
            try ImageQuota.requireRoomForUpload(by: image.owner, besides: image.id, settings, in: db)
            return try intake.announce(
                lease, .staged, declaredSizeBytes: declaredSizeBytes, owner: image.owner,
                forgivenBytes: plan.source?.sizeBytes ?? 0, in: db)
        }
        do {
            try await intake.stream(body, into: store, claim, algorithms, nil) { bytes, writer in
                try check(bytes)
                try await writer.commit()
                let now = now
                try await write(plan) { image, db in
                    guard try BlobLedger.makeLive(lease, sizeBytes: bytes.sizeBytes, in: db) else {
                        throw BlobLeaseTaken()
                    }
                    try db.execute(
                        "UPDATE imports SET source = $1 WHERE task_id = $2", lease.blob, plan.task.id)
                    try db.execute(
                        "UPDATE images SET size = $1 WHERE id = $2 AND status = 'importing'", bytes.sizeBytes, image.id)
                    if let source = plan.source {
                        try BlobLedger.doomStaged(source.blob, .importDone, now: now, in: db)
                    }
                    try alongside(image, db)
                }
            }
        } catch {
            await giveUp(lease)
            throw error
        }
        return try await advance(plan) { _, _ in }
    }

    /// - Throws: `BlobError.unavailable` for a store that was there when the import was asked for.
    func store(_ id: StoreID) throws -> any BlobStore {
        guard let store = worker.stores[id] else {
            throw BlobError(code: .unavailable, operation: "import", cause: "store '\(id)' is not configured")
        }
        return store
    }

    /// Nothing of this attempt writes the blob any more.
    func giveUp(_ lease: BlobLease) async {
        let now = now
        do {
            try await database.write { db in
                if try BlobLedger.doom(lease, .importFailed, isLetGo: true, now: now, in: db) { return }
                try BlobLedger.letGo(lease.blob, in: db)
            }
        } catch {
            worker.logger.error(
                "bytes of an import could not be given up now; the reconciler will",
                metadata: ["image": "\(lease.image)", "blob": "\(lease.blob)", "error": "\(error)"])
        }
    }
}
