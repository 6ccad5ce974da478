import Persistence

/// The job that takes a doomed blob out of its store: the bytes first, then their row, and the row only
/// once nobody can write the bytes any more. An upload whose lease was taken away may still be between
/// two calls of its store: it lets go when it notices, or is gone with its process.
struct EraseBlob: Sendable {
    private static let retrySeconds: Int64 = 2

    let database: any SQLDatabase
    let stores: StoreSet
    let clock: any WallClock
    let instance: InstanceID
    let held: HeldBlobs

    func run(_ job: Job) async throws -> JobOutcome {
        let blob = BlobID(job.name.subject)
        let found = try await database.read { db in
            try db.first("SELECT store, lease_owner, image_id FROM blobs WHERE id = $1 AND state = 'doomed'", blob) {
                (
                    store: try $0.get(0, as: StoreID.self), holder: try $0.get(1, as: InstanceID?.self),
                    image: try $0.get(2, as: ImageID.self)
                )
            }
        }
        guard let found else { return .done { _ in } }
        guard let store = stores[found.store] else {
            throw BlobError(
                code: .unavailable, operation: "erase", cause: "store '\(found.store)' is not configured")
        }
        // Asked before the bytes are erased: what is let go by then stays so.
        let isHeld = try await isHeld(blob, by: found.holder)
        try await store.erase(blob)
        if isHeld { return .notYet("the upload has not let go yet", seconds: Self.retrySeconds) }
        let now = clock.now
        return .done { db in
            try db.execute("DELETE FROM blobs WHERE id = $1 AND state = 'doomed'", blob)
            // The key goes after the data that needed it.
            try ImageKeys.releaseIfErased(found.image, now: now, in: db)
        }
    }

    private func isHeld(_ blob: BlobID, by holder: InstanceID?) async throws -> Bool {
        guard let holder else { return false }
        if holder == instance { return held.contains(blob) }
        return try await database.read { db in
            try db.first("SELECT 1 FROM instances WHERE id = $1", holder) { _ in true } ?? false
        }
    }
}
