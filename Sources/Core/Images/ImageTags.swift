import Persistence

extension Images {
    /// `PUT /v2/images/{id}/tags/{tag}`; again is fine.
    /// - Throws: `ServiceError`: `.badRequest`, `.notFound`, `.forbidden`, `.tooLarge`.
    package func addTag(_ tag: String, to id: ImageID, as caller: Caller) async throws {
        _ = try ImageFields(settings: settings).tags([.string(tag)])
        let now = now
        try await database.write { db in
            let image = try visibleImage(id, .modifyImage, caller, in: db)
            guard !image.tags.contains(tag) else { return }
            try requireTagRoom(image.tags.count + 1)
            try Self.insertTag(tag, of: id, in: db)
            try Self.touch(id, now, in: db)
        }
    }

    /// `DELETE /v2/images/{id}/tags/{tag}`.
    /// - Throws: `ServiceError`: `.notFound` (image, tag), `.forbidden`.
    package func removeTag(_ tag: String, from id: ImageID, as caller: Caller) async throws {
        let now = now
        try await database.write { db in
            _ = try visibleImage(id, .modifyImage, caller, in: db)
            guard try db.execute("DELETE FROM image_tags WHERE image_id = $1 AND tag = $2", id, tag) == 1 else {
                throw ServiceError.notFound("Image \(id) has no tag '\(tag)'.")
            }
            try Self.touch(id, now, in: db)
        }
    }

    static func touch(_ id: ImageID, _ now: Timestamp, in db: any SQLConnection) throws {
        try db.execute("UPDATE images SET updated_at = $1 WHERE id = $2 AND deleted_at IS NULL", now, id)
    }
}
