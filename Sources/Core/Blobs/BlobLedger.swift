import Persistence

/// The rows behind every byte in a store: written before the bytes, removed after them.
/// The functions are steps of the callers' transactions.
package struct BlobLease: Sendable, Equatable {
    package let blob: BlobID
    package let store: StoreID
    package let image: ImageID
    package let epoch: Int64
}

/// What a blob is to its image. Only data is served, and counts among the stores that have the image.
package enum BlobRole: String, Sendable {
    case data
    /// Bytes on their way: staged, or a copy of an import that is not finished. They become data by a change of role.
    case staged
}

/// Why bytes are to be erased, for whoever looks at what waits.
enum DoomReason: String, Sendable {
    case imageDeleted = "image deleted"
    case uploadFailed = "upload failed"
    case uploadInterrupted = "upload interrupted"
    case recycleBinEmptied = "recycle bin emptied"
    case importFailed = "import failed"
    case importDone = "import done"
    case removedFromStore = "removed from store"
}

enum BlobLedger {
    /// Announces bytes that are about to be written.
    static func announce(
        _ lease: BlobLease, _ role: BlobRole, chargedTo project: ProjectID?, reservedBytes: Int64, owner: InstanceID,
        until: Timestamp, now: Timestamp, in db: any SQLConnection
    ) throws {
        try db.execute(
            """
            INSERT INTO blobs (id, store, image_id, project, state, charged_bytes, epoch, lease_owner, lease_until,
                created_at, role)
            VALUES ($1, $2, $3, $4, 'writing', $5, $6, $7, $8, $9, $10)
            """,
            lease.blob, lease.store, lease.image, project, reservedBytes, lease.epoch, owner, until, now, role.rawValue)
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
            UPDATE blobs SET state = 'live', charged_bytes = $1, size_bytes = $1, lease_owner = NULL,
                lease_until = NULL
            WHERE id = $2 AND epoch = $3 AND state = 'writing'
            """,
            sizeBytes, lease.blob, lease.epoch) == 1
    }

    /// Takes an upload's lease away: nobody may use the bytes any more, and the job that erases them is
    /// there. False when the lease was not ours to take.
    /// - Parameter isLetGo: whether it is certain that nobody writes the bytes any more.
    static func doom(
        _ lease: BlobLease, _ reason: DoomReason, isLetGo: Bool, now: Timestamp, in db: any SQLConnection
    ) throws -> Bool {
        let isOurs = try db.first(
            "SELECT 1 FROM blobs WHERE id = $1 AND epoch = $2 AND state = 'writing'", lease.blob, lease.epoch
        ) { _ in true }
        guard isOurs ?? false else { return false }
        try doom(lease.blob, reason, isLetGo: isLetGo, now: now, in: db)
        return true
    }

    /// Dooms all of an image's bytes, data and staged, whatever is being done with them.
    /// - Returns: whether there were any.
    static func doomAll(
        of image: ImageID, _ reason: DoomReason, now: Timestamp, in db: any SQLConnection
    ) throws -> Bool {
        try doomAll(of: image, reason, now: now, in: db) { _, _ in true }
    }

    /// Dooms what of an image's bytes is no data, or not yet: all that is being written, and what is staged.
    /// - Returns: whether there were any.
    @discardableResult
    static func doomUnfinished(
        of image: ImageID, _ reason: DoomReason, now: Timestamp, in db: any SQLConnection
    ) throws -> Bool {
        try doomAll(of: image, reason, now: now, in: db) { state, role in
            state == "writing" || role == BlobRole.staged.rawValue
        }
    }

    /// Dooms what is being written of an image's bytes.
    static func doomWriting(of image: ImageID, _ reason: DoomReason, now: Timestamp, in db: any SQLConnection) throws {
        _ = try doomAll(of: image, reason, now: now, in: db) { state, _ in state == "writing" }
    }

    private static func doomAll(
        of image: ImageID, _ reason: DoomReason, now: Timestamp, in db: any SQLConnection,
        where isMeant: (_ state: String, _ role: String) -> Bool
    ) throws -> Bool {
        let blobs = try db.query(
            "SELECT id, state, role FROM blobs WHERE image_id = $1 AND state <> 'doomed' ORDER BY id", image
        ) {
            (
                id: try $0.get(0, as: BlobID.self), state: try $0.get(1, as: String.self),
                role: try $0.get(2, as: String.self)
            )
        }
        let meant = blobs.filter { isMeant($0.state, $0.role) }
        for blob in meant { try doom(blob.id, reason, isLetGo: false, now: now, in: db) }
        return !meant.isEmpty
    }

    /// Dooms bytes that are staged and complete. Does nothing to others.
    static func doomStaged(_ blob: BlobID, _ reason: DoomReason, now: Timestamp, in db: any SQLConnection) throws {
        let isStaged = try db.first(
            "SELECT 1 FROM blobs WHERE id = $1 AND state = 'live' AND role = 'staged'", blob
        ) { _ in true }
        if isStaged == true { try doom(blob, reason, isLetGo: true, now: now, in: db) }
    }

    /// Staged bytes become data. False when they are not there.
    static func makeData(_ blob: BlobID, of image: ImageID, in db: any SQLConnection) throws -> Bool {
        try db.execute(
            "UPDATE blobs SET role = 'data' WHERE id = $1 AND image_id = $2 AND state = 'live' AND role = 'staged'",
            blob, image) == 1
    }

    /// Dooms one of an image's copies.
    static func doomLive(_ blob: BlobID, _ reason: DoomReason, now: Timestamp, in db: any SQLConnection) throws {
        let isLive = try db.first("SELECT 1 FROM blobs WHERE id = $1 AND state = 'live' AND role = 'data'", blob) { _ in
            true
        }
        if isLive ?? false { try doom(blob, reason, isLetGo: true, now: now, in: db) }
    }

    /// The one place where a blob is doomed: with the job that follows.
    private static func doom(
        _ blob: BlobID, _ reason: DoomReason, isLetGo: Bool, now: Timestamp, in db: any SQLConnection
    ) throws {
        // The lease's owner stays known: until it lets go, bytes may still come.
        try db.execute(
            """
            UPDATE blobs SET state = 'doomed', charged_bytes = 0, epoch = epoch + 1, lease_until = NULL,
                doomed_at = $1, doom_reason = $2
            WHERE id = $3
            """,
            now, reason.rawValue, blob)
        if isLetGo { try letGo(blob, in: db) }
        try enqueueErasing(blob, now: now, in: db)
    }

    /// Asks for the job that erases a doomed blob, in the lane of its store.
    static func enqueueErasing(_ blob: BlobID, now: Timestamp, in db: any SQLConnection) throws {
        let found = try db.first("SELECT store, project FROM blobs WHERE id = $1", blob) {
            (store: try $0.get(0, as: StoreID.self), project: try $0.get(1, as: ProjectID?.self))
        }
        guard let found else { return }
        try Jobs.enqueue(
            JobName(.eraseBlob, blob.rawValue), in: .store(found.store), for: found.project, now: now, db)
    }

    /// Nobody writes this doomed blob any more.
    static func letGo(_ blob: BlobID, in db: any SQLConnection) throws {
        try db.execute("UPDATE blobs SET lease_owner = NULL WHERE id = $1 AND state = 'doomed'", blob)
    }

    /// An image's bytes go to the recycle bin with it: they stay, and are charged to nobody.
    static func recycle(of image: ImageID, in db: any SQLConnection) throws {
        try db.execute(
            "UPDATE blobs SET state = 'recycled', charged_bytes = 0 WHERE image_id = $1 AND state = 'live'", image)
    }

    static func unrecycle(of image: ImageID, in db: any SQLConnection) throws {
        try db.execute(
            "UPDATE blobs SET state = 'live', charged_bytes = size_bytes WHERE image_id = $1 AND state = 'recycled'",
            image)
    }

    /// The bytes a project is charged for: stored and reserved.
    static func chargedBytes(to project: ProjectID?, in db: any SQLConnection) throws -> Int64 {
        guard let project else { return 0 }
        return try db.first(
            "SELECT COALESCE(SUM(charged_bytes), 0) FROM blobs WHERE project = $1 AND charged_bytes > 0", project
        ) { try $0.get(0) } ?? 0
    }

    /// Of these, the bytes that wait for an import, or are being imported.
    static func stagedBytes(of project: ProjectID, in db: any SQLConnection) throws -> Int64 {
        try db.first(
            """
            SELECT COALESCE(SUM(charged_bytes), 0) FROM blobs
            WHERE project = $1 AND charged_bytes > 0 AND role = 'staged'
            """, project
        ) { try $0.get(0) } ?? 0
    }

    /// Where the image's data is.
    static func live(of image: ImageID, in db: any SQLConnection) throws -> [(blob: BlobID, store: StoreID)] {
        try live(.data, of: image, in: db)
    }

    static func live(
        _ role: BlobRole, of image: ImageID, in db: any SQLConnection
    ) throws -> [(blob: BlobID, store: StoreID)] {
        try db.query(
            "SELECT id, store FROM blobs WHERE image_id = $1 AND state = 'live' AND role = $2 ORDER BY created_at, id",
            image, role.rawValue
        ) { (try $0.get(0), try $0.get(1)) }
    }
}

extension SQLConnection {
    /// Every store that has a blob. From one to the next by the index: a DISTINCT would read it all, at every start.
    package func storesInUse() throws -> [StoreID] {
        var found: [StoreID] = []
        while true {
            let last = found.last?.rawValue ?? ""
            let next = try first("SELECT MIN(store) FROM blobs WHERE store > $1", last) { row in
                try row.get(0, as: StoreID?.self)
            }
            guard let next, let store = next else { return found }
            found.append(store)
        }
    }
}
