import Persistence

/// The rows behind every byte in a store: written before the bytes, removed after them.
/// The functions are steps of the callers' transactions.
package struct BlobLease: Sendable, Equatable {
    package let blob: BlobID
    package let store: StoreID
    package let image: ImageID
    package let epoch: Int64
}

enum BlobLedger {
    /// Announces bytes that are about to be written.
    static func announce(
        _ lease: BlobLease, chargedTo project: ProjectID?, reservedBytes: Int64, owner: InstanceID, until: Timestamp,
        now: Timestamp, in db: any SQLConnection
    ) throws {
        try db.execute(
            """
            INSERT INTO blobs (id, store, image_id, project, state, charged_bytes, epoch, lease_owner, lease_until,
                created_at, attempts, next_attempt_at)
            VALUES ($1, $2, $3, $4, 'writing', $5, $6, $7, $8, $9, 0, $9)
            """,
            lease.blob, lease.store, lease.image, project, reservedBytes, lease.epoch, owner, until, now)
    }

    /// Extends a lease and sets its reservation. False when the lease is no longer ours.
    static func renew(
        _ lease: BlobLease, reservedBytes: Int64?, until: Timestamp, in db: any SQLConnection
    ) throws -> Bool {
        try db.execute(
            """
            UPDATE blobs SET lease_until = $1, charged_bytes = COALESCE($2, charged_bytes)
            WHERE id = $3 AND epoch = $4 AND state = 'writing'
            """,
            until, reservedBytes, lease.blob, lease.epoch) == 1
    }

    /// The bytes are durable and belong to the image from now on. False when the lease is no longer ours.
    static func makeLive(_ lease: BlobLease, sizeBytes: Int64, in db: any SQLConnection) throws -> Bool {
        try db.execute(
            """
            UPDATE blobs SET state = 'live', charged_bytes = $1, lease_owner = NULL, lease_until = NULL
            WHERE id = $2 AND epoch = $3 AND state = 'writing'
            """,
            sizeBytes, lease.blob, lease.epoch) == 1
    }

    /// Nobody may use the bytes any more; the scrubber erases them. False when the lease was not ours.
    static func doom(_ lease: BlobLease, now: Timestamp, in db: any SQLConnection) throws -> Bool {
        try db.execute(
            """
            UPDATE blobs SET state = 'doomed', charged_bytes = 0, epoch = epoch + 1, lease_owner = NULL,
                lease_until = NULL, next_attempt_at = $1
            WHERE id = $2 AND epoch = $3 AND state = 'writing'
            """,
            now, lease.blob, lease.epoch) == 1
    }

    /// Dooms all of an image's bytes, whatever is being done with them.
    static func doomAll(of image: ImageID, now: Timestamp, in db: any SQLConnection) throws {
        try db.execute(
            """
            UPDATE blobs SET state = 'doomed', charged_bytes = 0, epoch = epoch + 1, lease_owner = NULL,
                lease_until = NULL, next_attempt_at = $1
            WHERE image_id = $2 AND state <> 'doomed'
            """,
            now, image)
    }

    /// The bytes a project is charged for: stored and reserved.
    static func chargedBytes(to project: ProjectID?, in db: any SQLConnection) throws -> Int64 {
        guard let project else { return 0 }
        return try db.first(
            "SELECT COALESCE(SUM(charged_bytes), 0) FROM blobs WHERE project = $1 AND charged_bytes > 0", project
        ) { try $0.get(0) } ?? 0
    }

    /// Where the image's bytes are.
    static func live(of image: ImageID, in db: any SQLConnection) throws -> [(blob: BlobID, store: StoreID)] {
        try db.query(
            "SELECT id, store FROM blobs WHERE image_id = $1 AND state = 'live' ORDER BY created_at, id", image
        ) { (try $0.get(0), try $0.get(1)) }
    }
}
