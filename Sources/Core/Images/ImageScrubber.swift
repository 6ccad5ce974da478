import Logging
import Metrics
import Persistence

/// The reconciler of images and bytes: finishes what was begun and undoes what was cut off. It takes
/// no facts from whatever woke it; it reads rows, and may run twice.
extension Images {
    private static let batch = 100

    /// To be called once before the first request, by a process that knows it is the only one on
    /// this database: uploads of processes that are gone are given up at once, not when their
    /// leases end.
    package func recover(logger: Logger) async throws {
        let undone = try await giveUpUploads { instance, _ in
            ("lease_owner <> $1", [instance])
        }
        if undone > 0 { logger.warning("interrupted uploads undone", metadata: ["count": "\(undone)"]) }
        _ = try await scrubDoomed()
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
            await scrubberWake.wait(seconds: 5, clock: surroundings.clock)
        }
    }

    /// One pass: leases that ran out, then bytes that are due to be erased.
    package func reconcile() async throws {
        // A process never takes a lease from itself: the task that holds it is alive and cleans up.
        _ = try await giveUpUploads { instance, now in
            ("lease_until < $1 AND lease_owner <> $2", [now, instance])
        }
        while try await scrubDoomed() == Self.batch {}
        let waiting = try await database.read { db in
            try db.first("SELECT COUNT(*) FROM blobs WHERE state = 'doomed'") { try $0.get(0, as: Int.self) } ?? 0
        }
        Gauge(label: "ambrotype_job_queue_depth", dimensions: [("queue", "erase")]).record(waiting)
    }

    private func giveUpUploads(
        where condition: @escaping @Sendable (InstanceID, Timestamp) -> (String, [any SQLBindable])
    ) async throws -> Int {
        let now = now
        let instance = instance
        return try await database.write { db in
            let (sql, arguments) = condition(instance, now)
            let leases = try db.query(
                "SELECT id, store, image_id, epoch FROM blobs WHERE state = 'writing' AND \(sql)", arguments
            ) {
                BlobLease(blob: try $0.get(0), store: try $0.get(1), image: try $0.get(2), epoch: try $0.get(3))
            }
            for lease in leases where try BlobLedger.doom(lease, now: now, in: db) {
                try Self.returnToQueued(lease.image, in: db)
            }
            return leases.count
        }
    }

    /// Erases a batch of what is due. Returns how many were tried.
    private func scrubDoomed() async throws -> Int {
        let now = now
        let due = try await database.read { db in
            try db.query(
                """
                SELECT id FROM blobs WHERE state = 'doomed' AND next_attempt_at <= $1
                ORDER BY next_attempt_at, id LIMIT $2
                """,
                now, Self.batch
            ) { try $0.get(0, as: BlobID.self) }
        }
        for blob in due {
            try Task.checkCancellation()
            await scrub(blob)
        }
        return due.count
    }

    /// Erases one doomed blob, then its row: never the row before the bytes. A failure is kept in the
    /// row, with the time of the next attempt.
    func scrub(_ blob: BlobID) async {
        do {
            let found = try await database.read { db in
                try db.first("SELECT store FROM blobs WHERE id = $1 AND state = 'doomed'", blob) {
                    try $0.get(0, as: StoreID.self)
                }
            }
            guard let storeID = found else { return }
            guard let store = stores[storeID] else {
                throw BlobError(code: .unavailable, operation: "erase", cause: "store '\(storeID)' is not configured")
            }
            try await store.erase(blob)
            _ = try await database.write {
                try $0.execute("DELETE FROM blobs WHERE id = $1 AND state = 'doomed'", blob)
            }
        } catch {
            await postpone(blob, error)
        }
    }

    private func postpone(_ blob: BlobID, _ error: any Error) async {
        let now = now
        // Spreads the attempts of many blobs over time: half of the wait is drawn.
        let draw = Int64(surroundings.randomness.bytes(1)[0])
        let text = "\(error)"
        _ = try? await database.write { db in
            let attempts = try db.first("SELECT attempts FROM blobs WHERE id = $1", blob) {
                try $0.get(0, as: Int64.self)
            }
            let limit: Int64 = 1 << min(9, (attempts ?? 0) + 1)
            let wait = limit * 500_000 + limit * 500_000 * draw / 255
            try db.execute(
                """
                UPDATE blobs SET attempts = attempts + 1, next_attempt_at = $1, last_error = $2
                WHERE id = $3 AND state = 'doomed'
                """,
                Timestamp(microseconds: now.microseconds + wait), text, blob)
        }
    }
}
