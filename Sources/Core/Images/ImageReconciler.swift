import Logging
import Persistence

/// Finishes what was begun and undoes what was cut off. It takes no facts from whatever woke it: it
/// reads rows, and may run twice, here and in other processes.
extension Images {
    private static let wakeSeconds: Double = 5
    private static let passesAGauge = 3

    /// To be called once, before the first request: uploads and jobs of processes that are gone are given
    /// up at once, not when their leases end.
    package func recover(logger: Logger) async throws {
        try await instances.register()
        let undone = try await giveUpUploads()
        if undone > 0 { logger.warning("interrupted uploads undone", metadata: ["count": "\(undone)"]) }
        _ = try await jobs.takeBack()
        try await cache?.takeBack()
    }

    /// Runs until cancelled: the house is kept every few seconds; what jobs there are is done at every wake-up
    /// and every few seconds, each lane by itself.
    package func runReconciler(logger: Logger) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await keepHouse(logger) }
            if let cache {
                group.addTask { await cache.run { try await fillCache(cache, logger) } }
            }
            for (lane, wake) in reconcilerWake.lanes {
                group.addTask {
                    if lane == .imports {
                        return await jobs.runSideBySide(
                            lane, width: settings.imports.width, wake: wake, pauseSeconds: Self.wakeSeconds,
                            logger: logger
                        ) { wakeLanes(if: true) }
                    }
                    while !Task.isCancelled {
                        await attempt("jobs failed", logger) { wakeLanes(if: try await jobs.runLane(lane)) }
                        await wake.wait(seconds: Self.wakeSeconds, clock: surroundings.clock)
                    }
                }
            }
        }
    }

    private func keepHouse(_ logger: Logger) async {
        var pass = 0
        while !Task.isCancelled {
            for (failure, step) in housekeeping { await attempt(failure, logger, step) }
            if pass % Self.passesAGauge == 0 { await attempt("gauges failed", logger) { try await recordGauges() } }
            pass += 1
            try? await surroundings.clock.sleep(seconds: Self.wakeSeconds)
        }
    }

    /// One step that fails keeps no other from being tried.
    private func attempt(_ failure: String, _ logger: Logger, _ step: () async throws -> Void) async {
        do {
            try await step()
        } catch is CancellationError {
        } catch {
            logger.error("reconciling: \(failure); it will be tried again", metadata: ["error": "\(error)"])
        }
    }

    /// Leases that ran out, and images whose time in the recycle bin is over.
    private var housekeeping: [(failure: String, step: @Sendable () async throws -> Void)] {
        [
            ("saying that this process lives failed", { try await instances.keepSeen() }),
            ("looking for processes that ended failed", { wakeLanes(if: try await instances.forgetGone()) }),
            ("giving up uploads failed", { wakeLanes(if: try await giveUpUploads() > 0) }),
            ("emptying the recycle bin failed", { wakeLanes(if: try await emptyRecycleBin()) }),
            ("ending imports that nobody does failed", { wakeLanes(if: try await endLostImports()) }),
            ("forgetting tasks failed", { try await forgetTasks() }),
            ("taking back jobs failed", { wakeLanes(if: try await jobs.takeBack() > 0) }),
        ]
    }

    private func wakeLanes(if thereIsWork: Bool) {
        if thereIsWork { reconcilerWake.signal() }
    }

    /// One pass over everything.
    package func reconcile() async throws {
        for (_, step) in housekeeping { try await step() }
        try await jobs.runDue()
        try await recordGauges()
    }

    package static let heldBlobsSQL = """
        SELECT b.id, b.store, b.image_id, b.epoch, b.lease_owner, b.lease_until,
            CASE WHEN n.id IS NULL THEN 1 ELSE 0 END
        FROM blobs b LEFT JOIN instances n ON n.id = b.lease_owner
        WHERE b.lease_owner IS NOT NULL ORDER BY b.lease_owner, b.id
        """

    /// Takes the leases of uploads that ended without a word: of processes that are gone, of processes
    /// that are late, and of tasks of this one that could not give theirs back.
    private func giveUpUploads() async throws -> Int {
        let now = now
        let found = try await database.read { db in
            try db.query(Self.heldBlobsSQL) { row in
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
