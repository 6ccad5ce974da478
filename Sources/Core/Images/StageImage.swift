import Logging
import NIOCore
import Persistence

extension Images {
    /// `PUT /v2/images/{id}/stage`: the bytes are kept for an import. They are a blob like any other, with the role
    /// `staged`: announced, leased, charged, and taken back the same way when the stage does not end well. What they
    /// are is looked at by the import: formats need not be set yet.
    /// - Parameters:
    ///   - body: the bytes; it must throw when it ends before it is whole.
    ///   - declaredSizeBytes: the exact size, when the client told it.
    /// - Throws: `ServiceError`: `.notFound` (also when nothing could import the bytes), `.forbidden`; `.badRequest`
    ///   (size mismatch), `.conflict` (not `queued`: something may be staged already), `.gone` (deleted meanwhile),
    ///   `.tooLarge` (quota, cap, disk), `.unavailable` (store); and what `body` throws.
    package func stage<Body: AsyncSequence & Sendable>(
        _ body: Body, for id: ImageID, declaredSizeBytes: Int64?, as caller: Caller
    ) async throws where Body.Element == ByteBuffer {
        guard importMethods.contains(.glanceDirect) else {
            throw ServiceError.notFound("The import method glance-direct is not enabled at this site.")
        }
        // The store that an import goes to when it names none: there the bytes can stay.
        guard let store = stores[stores.default] else { preconditionFailure("the default store is there") }
        _ = try await database.read { try waitingImage(id, for: .uploading, as: caller, in: $0) }
        let lease = intake.lease(in: store.id, of: id)
        held.hold(lease.blob)
        defer { held.letGo(lease.blob) }
        let claim = try await database.write { db in
            let image = try waitingImage(id, for: .uploading, as: caller, in: db)
            try ImageQuota.requireRoomForUpload(by: image.owner, settings, in: db)
            let claim = try intake.announce(
                lease, .staged, declaredSizeBytes: declaredSizeBytes, owner: image.owner, in: db)
            try db.execute(
                "UPDATE images SET status = 'uploading', size = $1 WHERE id = $2 AND status = 'queued'",
                declaredSizeBytes, id)
            return claim
        }
        try await receive(body, claim, into: store, [], nil, as: caller) { bytes, writer in
            try await writer.commit()
            try await commitStage(lease, bytes.sizeBytes)
        }
        caller.logger.info("image staged", metadata: ["image": "\(id)", "store": "\(store.id)"])
    }

    private func commitStage(_ lease: BlobLease, _ sizeBytes: Int64) async throws {
        let now = now
        try await database.write { db in
            guard try BlobLedger.makeLive(lease, sizeBytes: sizeBytes, in: db) else { throw BlobLeaseTaken() }
            let changed = try db.execute(
                "UPDATE images SET size = $1, updated_at = $2 WHERE id = $3 AND status = 'uploading'", sizeBytes, now,
                lease.image)
            guard changed == 1 else { throw BlobLeaseTaken() }
        }
    }
}
