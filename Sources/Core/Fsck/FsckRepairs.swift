import Persistence

/// What `--repair` does. Each repair is one transaction that asks once more for all that made the finding,
/// so it cannot undo what a server did since, and none takes bytes that an image refers to: only bytes whose
/// image is deleted for good, bytes that were never committed, and bytes without a row are given up.
extension FsckRun {
    /// - Returns: whether anything was changed; false when the finding is settled without us.
    func repair(_ finding: Finding) async throws -> Bool {
        switch finding {
        case .imageStuck(let image, let status): try await release(image, from: status)
        case .uploadAbandoned(let blob, let image, _, _): try await giveUp(blob, of: image)
        case .uploadUnexpected(let blob, _, _):
            try await doom(
                blob, .uploadInterrupted,
                where: """
                    state = 'writing' AND NOT EXISTS (\(Self.waitingImage))
                    AND NOT EXISTS (\(Self.openTask("blobs.image_id")))
                    """)
        case .importLost(let task, _): try await endImport(task)
        case .importLockStray(let image, _):
            try await change(
                """
                DELETE FROM image_properties WHERE image_id = $1 AND name = 'os_glance_import_task' AND NOT EXISTS (
                    SELECT 1 FROM tasks t
                    WHERE t.id = image_properties.value AND t.image_id = image_properties.image_id
                        AND t.status IN ('pending', 'processing'))
                """, image)
        case .stagedStray(let blob, _, _):
            try await doom(
                blob, .importFailed,
                where: """
                    state = 'live' AND role = 'staged' AND EXISTS (
                        SELECT 1 FROM images i
                        WHERE i.id = blobs.image_id AND i.status NOT IN ('uploading', 'importing', 'deleted'))
                    AND NOT EXISTS (\(Self.openTask("blobs.image_id")))
                    """)
        case .bytesOfDeletedImage(let blob, _, _):
            try await doom(
                blob, .imageDeleted,
                where: "state IN ('live', 'recycled') AND EXISTS (\(Self.tombstone("blobs.image_id")))")
        case .bytesOutsideBin(let blob, _):
            try await change(
                """
                UPDATE blobs SET state = 'recycled', charged_bytes = 0
                WHERE id = $1 AND state = 'live' AND EXISTS (
                    SELECT 1 FROM images i WHERE i.id = blobs.image_id AND i.recycled_until IS NOT NULL)
                """, blob)
        case .bytesInsideBin(let blob, _):
            try await change(
                """
                UPDATE blobs SET state = 'live', charged_bytes = size_bytes
                WHERE id = $1 AND state = 'recycled' AND EXISTS (
                    SELECT 1 FROM images i WHERE i.id = blobs.image_id AND i.status IN ('active', 'deactivated'))
                """, blob)
        case .eraseJobMissing(let blob): try await askForErasing(blob)
        case .eraseJobStray(let subject):
            try await change(
                """
                DELETE FROM jobs WHERE kind = 'erase-blob' AND subject = $1 AND NOT EXISTS (
                    SELECT 1 FROM blobs b WHERE b.id = jobs.subject AND b.state = 'doomed')
                """, subject)
        case .chargedToOther(let blob, _, _, _): try await chargeOwner(blob)
        case .remainsOfDeletedImage(let image, _): try await removeRemains(of: image)
        case .bytesUnowned(let store, let blob, _, _, false): try await eraseUnowned(blob, in: store)
        case .keyEdgeMissing(let key, let image, let via), .keyEdgeLetGo(let key, let image, let via, _):
            try await holdKey(key, by: image, via: via)
        case .keyEdgeOfOther(let key, let image, let via, _, _): try await chargeEdge(key, of: image, via: via)
        case .keyEdgeStray(let key, let image, let via): try await removeStrayEdge(key, of: image, via: via)
        case .keyEdgeOfDeletedImage(let key, let image, let via): try await letGoOfKey(key, by: image, via: via)
        case .releaseJobMissing(let image): try await askForRelease(image)
        case .databaseDamaged, .imageWithoutBytes, .bytesOfMissingImage, .sizesDiffer, .bytesOfUnfinishedImage,
            .locationSizeDiffers, .locationUnexpected,
            .recordDiffers, .jobParked, .storeNotConfigured, .storeOutOfReach, .bytesMissing, .bytesWrongSize,
            .bytesUnreadable,
            .digestWrong, .digestUnknown, .bytesUnowned, .bytesInOtherStore, .nameLeftOver, .fileForeign,
            .keyEdgeOfMissingImage, .secretOverdue, .secretWithoutProjectKey, .projectKeyWithoutMaster:
            preconditionFailure("\(finding.kind) has no repair")
        }
    }

    private static let waitingImage = """
        SELECT 1 FROM images i
        WHERE i.id = blobs.image_id AND i.status IN ('saving', 'uploading', 'importing')
        """

    static func tombstone(_ image: String) -> String {
        "SELECT 1 FROM images i WHERE i.id = \(image) AND i.status = 'deleted' AND i.recycled_until IS NULL"
    }

    private func change(_ sql: String, _ arguments: any SQLBindable...) async throws -> Bool {
        try await database.write { try $0.execute(sql, arguments) > 0 }
    }

    private func release(_ image: ImageID, from status: String) async throws -> Bool {
        let now = now
        return try await database.write { db in
            if status == Image.Status.importing.rawValue { return try Self.releaseImport(image, now: now, in: db) }
            return try Self.release(image, from: status, in: db)
        }
    }

    /// An image that no task imports waits for data again; what was staged for it is of no use.
    private static func releaseImport(_ image: ImageID, now: Timestamp, in db: any SQLConnection) throws -> Bool {
        let isStuck = try db.first(
            "SELECT 1 FROM images i WHERE i.id = $1 AND i.status = 'importing' AND NOT EXISTS (\(openTask("i.id")))",
            image
        ) { _ in true }
        guard isStuck == true else { return false }
        try BlobLedger.doomUnfinished(of: image, .importFailed, now: now, in: db)
        try Images.returnToQueued(image, from: .importing, in: db)
        return true
    }

    private func endImport(_ id: TaskID) async throws -> Bool {
        let now = now
        return try await database.write { db in
            guard let task = try ImageTask.lost(in: db).first(where: { $0.id == id }) else { return false }
            try ImportEnd.fail(task, "The import was lost.", ImageSettings(), now: now, in: db)
            return true
        }
    }

    /// An image nothing is uploaded to waits for data again.
    private static func release(_ image: ImageID, from status: String?, in db: any SQLConnection) throws -> Bool {
        let changed = try db.execute(
            """
            UPDATE images SET status = 'queued', size = NULL, virtual_size = NULL, checksum = NULL,
                os_hash_algo = NULL, os_hash_value = NULL
            WHERE id = $1 AND status IN ('saving', 'uploading') AND status = COALESCE($2, status)
                AND NOT EXISTS (
                    SELECT 1 FROM blobs b WHERE b.image_id = images.id AND b.state IN ('writing', 'live'))
                AND NOT EXISTS (\(checkedLocation("images.id")))
            """, image, status)
        // What nobody checks any more.
        if changed == 1 {
            try db.execute("DELETE FROM image_locations WHERE image_id = $1 AND state = 'checking'", image)
        }
        return changed == 1
    }

    /// A location of the image that a job is to check.
    static func checkedLocation(_ image: String) -> String {
        """
        SELECT 1 FROM image_locations l JOIN jobs j ON j.kind = 'hash-location' AND j.subject = l.id
        WHERE l.image_id = \(image) AND l.state = 'checking'
        """
    }

    private func giveUp(_ blob: BlobID, of image: ImageID) async throws -> Bool {
        let cutoff = leaseCutoff
        let now = now
        return try await database.write { db in
            let isOurs = try db.first(
                """
                SELECT 1 FROM blobs b WHERE b.id = $1 AND b.state = 'writing' AND b.lease_until < $2
                    AND NOT EXISTS (SELECT 1 FROM instances n WHERE n.id = b.lease_owner)
                """, blob, cutoff
            ) { _ in true }
            guard isOurs == true else { return false }
            guard try Self.doom(blob, .uploadInterrupted, where: "state = 'writing'", now: now, in: db) else {
                return false
            }
            _ = try Self.release(image, from: nil, in: db)
            return true
        }
    }

    private func doom(_ blob: BlobID, _ reason: DoomReason, where condition: String) async throws -> Bool {
        let now = now
        return try await database.write { try Self.doom(blob, reason, where: condition, now: now, in: $0) }
    }

    /// Bytes nobody may use any more, with the job that erases them. Whoever writes them and still runs
    /// stays known, since until it lets go, bytes may come.
    private static func doom(
        _ blob: BlobID, _ reason: DoomReason, where condition: String, now: Timestamp, in db: any SQLConnection
    ) throws -> Bool {
        let changed = try db.execute(
            """
            UPDATE blobs SET state = 'doomed', charged_bytes = 0, epoch = epoch + 1, lease_until = NULL,
                lease_owner = (SELECT n.id FROM instances n WHERE n.id = blobs.lease_owner),
                doomed_at = $1, doom_reason = $2
            WHERE id = $3 AND \(condition)
            """, now, reason.rawValue, blob)
        guard changed == 1 else { return false }
        try BlobLedger.enqueueErasing(blob, now: now, in: db)
        return true
    }

    private func askForErasing(_ blob: BlobID) async throws -> Bool {
        let now = now
        return try await database.write { db in
            let isMissing = try db.first(
                """
                SELECT 1 FROM blobs b WHERE b.id = $1 AND b.state = 'doomed' AND NOT EXISTS (
                    SELECT 1 FROM jobs j WHERE j.kind = 'erase-blob' AND j.subject = b.id)
                """, blob
            ) { _ in true }
            guard isMissing == true else { return false }
            try BlobLedger.enqueueErasing(blob, now: now, in: db)
            return true
        }
    }

    private func chargeOwner(_ blob: BlobID) async throws -> Bool {
        try await change(
            """
            UPDATE blobs SET project = (SELECT i.owner FROM images i WHERE i.id = blobs.image_id)
            WHERE id = $1 AND state <> 'doomed' AND EXISTS (
                SELECT 1 FROM images i
                WHERE i.id = blobs.image_id AND COALESCE(i.owner, '') <> COALESCE(blobs.project, ''))
            """, blob)
    }

    private func removeRemains(of image: ImageID) async throws -> Bool {
        try await database.write { db in
            var removed = 0
            for table in ImageChildren.tables {
                removed += try db.execute(
                    "DELETE FROM \(table) WHERE image_id = $1 AND EXISTS (\(Self.tombstone("\(table).image_id")))",
                    image)
            }
            return removed > 0
        }
    }

    /// The row was not there twice, with the bytes there between: since a row is older than its bytes and
    /// goes after them, there is none that could still come. It is asked for a third time all the same.
    private func eraseUnowned(_ blob: BlobID, in store: StoreID) async throws -> Bool {
        guard let place = stores.first(where: { $0.id == store }) else { return false }
        let isKnown = try await database.read { db in
            try db.first("SELECT 1 FROM blobs WHERE id = $1", blob) { _ in true } ?? false
        }
        if isKnown { return false }
        try await place.erase(blob)
        return true
    }
}
