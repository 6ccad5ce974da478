import Logging
import Persistence

extension Images {
    /// `DELETE /v2/images/{id}`, in one transaction: the image is a tombstone, its children are gone,
    /// its bytes are doomed, whatever was being done with them. Erasing follows; the answer does not
    /// wait for it.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden` (policy, protected).
    package func delete(_ id: ImageID, as caller: Caller) async throws {
        let now = now
        try await database.write { db in
            let image = try visibleImage(id, .deleteImage, caller, in: db)
            guard !image.isProtected else {
                throw ServiceError.forbidden("Image \(id) is protected and cannot be deleted.")
            }
            try db.execute(
                "UPDATE images SET status = 'deleted', deleted_at = $1, updated_at = $1 WHERE id = $2", now, id)
            try BlobLedger.doomAll(of: id, now: now, in: db)
            try db.execute("DELETE FROM image_properties WHERE image_id = $1", id)
            try db.execute("DELETE FROM image_tags WHERE image_id = $1", id)
            try db.execute("DELETE FROM image_members WHERE image_id = $1", id)
        }
        scrubberWake.signal()
        caller.logger.info("image deleted", metadata: ["image": "\(id)"])
    }
}
