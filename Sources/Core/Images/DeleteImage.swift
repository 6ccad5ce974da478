import Logging
import Persistence

extension Images {
    /// `DELETE /v2/images/{id}`, in one transaction: the image is a tombstone, its children are gone, its
    /// bytes are doomed, whatever was being done with them, and the jobs that erase them are there. The
    /// answer does not wait for those. With a recycle bin, children and bytes stay for its time.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden` (policy, protected).
    package func delete(_ id: ImageID, as caller: Caller) async throws {
        let now = now
        let (asksForWork, wasCached) = try await database.write { db in
            let image = try visibleImage(id, .deleteImage, caller, in: db)
            guard !image.isProtected else {
                throw ServiceError.forbidden("Image \(id) is protected and cannot be deleted.")
            }
            try ImportEnd.imageDeleted(id, settings, now: now, in: db)
            let wasCached = try ImageCache.forget(id, in: db)
            if settings.recycleBinSeconds > 0 { return (try recycle(image, now: now, in: db), wasCached) }
            try db.execute(
                "UPDATE images SET status = 'deleted', deleted_at = $1, updated_at = $1 WHERE id = $2", now, id)
            return (try Self.discard(id, .imageDeleted, now: now, in: db), wasCached)
        }
        if asksForWork { reconcilerWake.signal() }
        if wasCached { cache?.wake() }
        caller.logger.info("image deleted", metadata: ["image": "\(id)"])
    }

    /// Everything of a deleted image but its tombstone. Its keys are let go of when its bytes are erased.
    /// - Returns: whether there is work for jobs.
    @discardableResult
    static func discard(
        _ id: ImageID, _ reason: DoomReason, now: Timestamp, in db: any SQLConnection
    ) throws -> Bool {
        let hadBytes = try BlobLedger.doomAll(of: id, reason, now: now, in: db)
        try ImageLocations.cancel(of: id, in: db)
        try ImageKeys.letGo(of: id, in: db)
        let hasKeys = try ImageKeys.releaseIfErased(id, now: now, in: db)
        for table in ImageChildren.tables { try db.execute("DELETE FROM \(table) WHERE image_id = $1", id) }
        return hadBytes || hasKeys
    }
}
