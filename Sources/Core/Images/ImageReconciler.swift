import Logging
import Persistence

/// Finishes what was begun and undoes what was cut off. It takes no facts from whatever woke it: it
/// reads rows, and may run twice, here and in other processes.
extension Images {
    private static let wakeSeconds: Double = 5

    /// To be called once, before the first request: uploads and jobs of processes that are gone are given
    /// up at once, not when their leases end.
    package func recover(logger: Logger) async throws {
        try await instances.register()
        let undone = try await giveUpUploads()
        if undone > 0 { logger.warning("interrupted uploads undone", metadata: ["count": "\(undone)"]) }
    }

    /// Runs until cancelled: at every wake-up, and every few seconds.
    package func runReconciler(logger: Logger) async {
        while !Task.isCancelled {
            do {
                try await reconcile()
            } catch is CancellationError {
                return
            } catch {
                logger.error("reconciling failed; it will be tried again", metadata: ["error": "\(error)"])
            }
            await reconcilerWake.wait(seconds: Self.wakeSeconds, clock: surroundings.clock)
        }
    }

    /// One pass: leases that ran out, images whose time in the recycle bin is over, jobs that are due.
    package func reconcile() async throws {
        try await instances.keepSeen()
        _ = try await giveUpUploads()
        try await emptyRecycleBin()
        try await jobs.takeBack()
        try await jobs.runDue()
        try await recordGauges()
    }

    /// Takes the leases of uploads that ended without a word: of processes that are gone, of processes
    /// that are late, and of tasks of this one that could not give theirs back.
    private func giveUpUploads() async throws -> Int {
        let now = now
        let found = try await database.read { db in
            try db.query(
                """
                SELECT b.id, b.store, b.image_id, b.epoch, b.lease_owner, b.lease_until,
                    CASE WHEN n.id IS NULL THEN 1 ELSE 0 END
                FROM blobs b LEFT JOIN instances n ON n.id = b.lease_owner
                WHERE b.lease_owner IS NOT NULL ORDER BY b.id
                """
            ) { row in
                HeldBlob(
                    lease: BlobLease(
                        blob: try row.get(0), store: try row.get(1), image: try row.get(2), epoch: try row.get(3)),
                    owner: try row.get(4), until: try row.get(5), isOwnerGone: try row.get(6))
            }
        }
        // Of our own we know: a task that holds its blob is alive, and cleans up itself.
        let abandoned = found.filter { $0.owner == instance ? !held.contains($0.lease.blob) : $0.isOwnerGone }
        let others = found.filter { $0.owner != instance && !$0.isOwnerGone }
        let lateNames = uploadLeases.late(
            of: others.compactMap { blob in blob.until.map { (blob.lease.blob.rawValue, $0) } }, now: now)
        let late = others.filter { lateNames.contains($0.lease.blob.rawValue) }
        if abandoned.isEmpty, late.isEmpty { return 0 }
        return try await database.write { db in
            var count = 0
            for blob in abandoned + late where blob.isWriting {
                let isLetGo = blob.owner == instance || blob.isOwnerGone
                guard try BlobLedger.doom(blob.lease, .uploadInterrupted, isLetGo: isLetGo, now: now, in: db) else {
                    continue
                }
                try Self.returnToQueued(blob.lease.image, in: db)
                count += 1
            }
            for blob in abandoned where !blob.isWriting { try BlobLedger.letGo(blob.lease.blob, in: db) }
            return count
        }
    }

    private struct HeldBlob: Sendable {
        let lease: BlobLease
        let owner: InstanceID
        /// Nil once the lease was taken away.
        let until: Timestamp?
        let isOwnerGone: Bool

        var isWriting: Bool { until != nil }
    }
}
