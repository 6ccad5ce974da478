import Persistence

/// The database by itself. Each check is one statement, hence one snapshot: what a transaction changes
/// together is seen together, whatever servers do meanwhile.
extension FsckRun {
    struct Check: Sendable {
        let sql: String
        var arguments: [any SQLBindable] = []
        let finding: @Sendable (any SQLRow) throws -> Finding?
    }

    /// Repairs come at once, so that a later check sees what an earlier one changed.
    func checkDatabase() async throws {
        let checks =
            imageChecks + locationChecks + uploadChecks + importChecks + placeChecks + jobChecks + keyChecks
            + storeChecks
        let total = Int64(checks.count + 1)
        report(.progress(FsckProgress(phase: .database, done: 0, total: total)))
        for problem in try await integrityProblems() { try await settle(.databaseDamaged(problem)) }
        for (index, check) in checks.enumerated() {
            try Task.checkCancellation()
            report(.progress(FsckProgress(phase: .database, done: Int64(index + 1), total: total)))
            for finding in try await findings(of: check) { try await settle(finding) }
        }
        report(.progress(FsckProgress(phase: .database, done: total, total: total)))
    }

    private func integrityProblems() async throws -> [String] {
        guard let database = database as? any SelfCheckingDatabase else { return [] }
        return try await database.integrityProblems()
    }

    private func findings(of check: Check) async throws -> [Finding] {
        do {
            return try await database.read { db in
                try db.query(check.sql, check.arguments, row: check.finding).compactMap { $0 }
            }
        } catch let error as SQLError where error.code == .corrupt {
            // The other checks may still have something to say.
            return [.databaseDamaged("\(error)")]
        }
    }

    private var imageChecks: [Check] {
        let location = "SELECT 1 FROM image_locations l WHERE l.image_id = i.id AND l.state = 'live'"
        let children = ImageChildren.tables.map { "SELECT image_id FROM \($0)" }.joined(separator: " UNION ALL ")
        return [
            Check(
                sql: """
                    SELECT i.id, i.status FROM images i
                    WHERE i.status IN ('active', 'deactivated') AND NOT EXISTS (
                        SELECT 1 FROM blobs b
                        WHERE b.image_id = i.id AND b.state IN ('live', 'recycled') AND b.role = 'data')
                        AND NOT EXISTS (\(location))
                    UNION ALL
                    SELECT i.id, 'in the recycle bin' FROM images i
                    WHERE i.recycled_until IS NOT NULL AND i.status_before_deletion IN ('active', 'deactivated')
                        AND NOT EXISTS (
                            SELECT 1 FROM blobs b
                            WHERE b.image_id = i.id AND b.state IN ('live', 'recycled') AND b.role = 'data')
                        AND NOT EXISTS (\(location))
                    ORDER BY 1
                    """
            ) { .imageWithoutBytes(try $0.get(0), status: try $0.get(1)) },
            Check(
                sql: """
                    SELECT b.id, b.image_id, b.store FROM blobs b LEFT JOIN images i ON i.id = b.image_id
                    WHERE i.id IS NULL ORDER BY b.id
                    """
            ) { .bytesOfMissingImage(try $0.get(0), try $0.get(1), try $0.get(2)) },
            Check(
                sql: """
                    SELECT i.id, b.id, i.size, b.size_bytes FROM blobs b JOIN images i ON i.id = b.image_id
                    WHERE b.state IN ('live', 'recycled') AND b.role = 'data' AND b.size_bytes <> COALESCE(i.size, -1)
                        AND (i.status IN ('active', 'deactivated') OR i.recycled_until IS NOT NULL)
                    ORDER BY i.id, b.id
                    """
            ) {
                .sizesDiffer(
                    try $0.get(0), try $0.get(1), imageBytes: try $0.get(2), blobBytes: try $0.get(3))
            },
            Check(
                sql: """
                    SELECT i.id, COUNT(*) FROM (\(children)) c JOIN images i ON i.id = c.image_id
                    WHERE i.status = 'deleted' AND i.recycled_until IS NULL
                    GROUP BY i.id ORDER BY i.id
                    """
            ) { .remainsOfDeletedImage(try $0.get(0), rows: try $0.get(1)) },
            Check(
                sql: """
                    SELECT i.id FROM image_provenance p JOIN images i ON i.id = p.image_id
                    WHERE p.digest <> i.os_hash_value OR p.algorithm <> i.os_hash_algo
                    ORDER BY i.id
                    """
            ) { .recordDiffers(try $0.get(0)) },
        ]
    }

    /// Of bytes that other servers keep, what the database says; those servers are not asked.
    private var locationChecks: [Check] {
        [
            Check(
                sql: """
                    SELECT i.id, l.id, i.size, l.size_bytes FROM image_locations l JOIN images i ON i.id = l.image_id
                    WHERE l.state = 'live' AND l.size_bytes <> COALESCE(i.size, -1)
                        AND (i.status IN ('active', 'deactivated') OR i.recycled_until IS NOT NULL)
                    ORDER BY i.id, l.id
                    """
            ) {
                .locationSizeDiffers(
                    try $0.get(0), try $0.get(1), imageBytes: try $0.get(2), locationBytes: try $0.get(3))
            },
            Check(
                sql: """
                    SELECT i.id, l.id, l.state, i.status FROM image_locations l JOIN images i ON i.id = l.image_id
                    WHERE l.state = 'live' AND i.status NOT IN ('active', 'deactivated', 'deleted')
                        OR l.state = 'checking' AND i.status <> 'importing'
                        OR l.state = 'rejected' AND i.status IN ('active', 'deactivated') AND NOT EXISTS (
                            SELECT 1 FROM blobs b WHERE b.image_id = i.id AND b.state = 'live')
                    ORDER BY i.id, l.id
                    """
            ) { .locationUnexpected(try $0.get(0), try $0.get(1), state: try $0.get(2), status: try $0.get(3)) },
        ]
    }

    private var uploadChecks: [Check] {
        [
            Check(
                sql: """
                    SELECT b.id, b.image_id, b.lease_owner, b.lease_until FROM blobs b
                    WHERE b.state = 'writing' AND b.lease_until < $1
                        AND NOT EXISTS (SELECT 1 FROM instances n WHERE n.id = b.lease_owner)
                    ORDER BY b.id
                    """, arguments: [leaseCutoff]
            ) { .uploadAbandoned(try $0.get(0), try $0.get(1), by: try $0.get(2), leaseUntil: try $0.get(3)) },
            Check(
                sql: """
                    SELECT i.id, i.status FROM images i
                    WHERE i.status IN ('saving', 'uploading') AND NOT EXISTS (
                            SELECT 1 FROM blobs b WHERE b.image_id = i.id AND b.state IN ('writing', 'live'))
                        OR i.status = 'importing' AND NOT EXISTS (\(Self.openTask("i.id")))
                            AND NOT EXISTS (\(Self.checkedLocation("i.id")))
                    ORDER BY i.id
                    """
            ) { .imageStuck(try $0.get(0), status: try $0.get(1)) },
            Check(
                sql: """
                    SELECT b.id, b.image_id, i.status FROM blobs b JOIN images i ON i.id = b.image_id
                    WHERE b.state = 'writing' AND i.status NOT IN ('saving', 'uploading', 'importing')
                        AND NOT EXISTS (\(Self.openTask("i.id")))
                    ORDER BY b.id
                    """
            ) { .uploadUnexpected(try $0.get(0), try $0.get(1), status: try $0.get(2)) },
        ]
    }

    private var importChecks: [Check] {
        [
            Check(
                sql: """
                    SELECT t.id, t.image_id FROM tasks t
                    WHERE t.status IN ('pending', 'processing') AND t.type IN ('import', 'api_image_import')
                        AND NOT EXISTS (
                            SELECT 1 FROM jobs j WHERE j.kind = 'import-image' AND j.subject = t.id)
                    ORDER BY t.id
                    """
            ) { .importLost(try $0.get(0), try $0.get(1)) },
            Check(
                sql: """
                    SELECT p.image_id, p.value FROM image_properties p
                    WHERE p.name = 'os_glance_import_task' AND NOT EXISTS (
                        SELECT 1 FROM tasks t
                        WHERE t.id = p.value AND t.image_id = p.image_id AND t.status IN ('pending', 'processing'))
                    ORDER BY p.image_id
                    """
            ) { .importLockStray(try $0.get(0), task: try $0.get(1)) },
            Check(
                sql: """
                    SELECT b.id, b.image_id, i.status FROM blobs b JOIN images i ON i.id = b.image_id
                    WHERE b.state = 'live' AND b.role = 'staged'
                        AND i.status NOT IN ('uploading', 'importing', 'deleted')
                        AND NOT EXISTS (\(Self.openTask("i.id")))
                    ORDER BY b.id
                    """
            ) { .stagedStray(try $0.get(0), try $0.get(1), status: try $0.get(2)) },
        ]
    }

    /// Whether something is done with an image that may bring bytes.
    static func openTask(_ image: String) -> String {
        "SELECT 1 FROM tasks t WHERE t.image_id = \(image) AND t.status IN ('pending', 'processing')"
    }

    /// Before this, a lease ran out long ago.
    var leaseCutoff: Timestamp { now.adding(seconds: -options.leaseGraceSeconds) }

    private var placeChecks: [Check] {
        [
            Check(
                sql: """
                    SELECT b.id, b.image_id, b.state FROM blobs b JOIN images i ON i.id = b.image_id
                    WHERE b.state IN ('live', 'recycled') AND i.status = 'deleted' AND i.recycled_until IS NULL
                    ORDER BY b.id
                    """
            ) { .bytesOfDeletedImage(try $0.get(0), try $0.get(1), state: try $0.get(2)) },
            Check(
                sql: """
                    SELECT b.id, b.image_id FROM blobs b JOIN images i ON i.id = b.image_id
                    WHERE b.state = 'live' AND i.recycled_until IS NOT NULL ORDER BY b.id
                    """
            ) { .bytesOutsideBin(try $0.get(0), try $0.get(1)) },
            Check(
                sql: """
                    SELECT b.id, b.image_id FROM blobs b JOIN images i ON i.id = b.image_id
                    WHERE b.state = 'recycled' AND i.status IN ('active', 'deactivated') ORDER BY b.id
                    """
            ) { .bytesInsideBin(try $0.get(0), try $0.get(1)) },
            Check(
                sql: """
                    SELECT b.id, b.image_id, i.status FROM blobs b JOIN images i ON i.id = b.image_id
                    WHERE b.state IN ('live', 'recycled') AND b.role = 'data'
                        AND i.status NOT IN ('active', 'deactivated', 'deleted')
                    ORDER BY b.id
                    """
            ) { .bytesOfUnfinishedImage(try $0.get(0), try $0.get(1), status: try $0.get(2)) },
            Check(
                sql: """
                    SELECT b.id, b.image_id, b.project, i.owner FROM blobs b JOIN images i ON i.id = b.image_id
                    WHERE b.state <> 'doomed' AND COALESCE(b.project, '') <> COALESCE(i.owner, '') ORDER BY b.id
                    """
            ) { .chargedToOther(try $0.get(0), try $0.get(1), charged: try $0.get(2), owner: try $0.get(3)) },
        ]
    }

    private var jobChecks: [Check] {
        [
            Check(
                sql: """
                    SELECT b.id FROM blobs b WHERE b.state = 'doomed' AND NOT EXISTS (
                        SELECT 1 FROM jobs j WHERE j.kind = 'erase-blob' AND j.subject = b.id)
                    ORDER BY b.id
                    """
            ) { .eraseJobMissing(try $0.get(0)) },
            Check(
                sql: """
                    SELECT j.subject FROM jobs j WHERE j.kind = 'erase-blob' AND NOT EXISTS (
                        SELECT 1 FROM blobs b WHERE b.id = j.subject AND b.state = 'doomed')
                    ORDER BY j.subject
                    """
            ) { .eraseJobStray(subject: try $0.get(0)) },
            Check(
                sql: """
                    SELECT kind, subject, last_error FROM jobs WHERE state = 'parked' ORDER BY kind, subject
                    """
            ) { .jobParked(JobName(try $0.get(0), try $0.get(1)), lastError: try $0.get(2)) },
        ]
    }

    private var storeChecks: [Check] {
        let configured = Set(stores.map(\.id) + unopened.map(\.id) + (remote.map { [$0] } ?? []))
        return [
            Check(
                sql: """
                    SELECT store, COUNT(*), COALESCE(SUM(size_bytes), 0) FROM (
                        SELECT store, size_bytes FROM blobs
                        UNION ALL SELECT store, size_bytes FROM image_locations) s
                    GROUP BY store ORDER BY store
                    """
            ) { row in
                let store = try row.get(0, as: StoreID.self)
                if configured.contains(store) { return nil }
                return .storeNotConfigured(store, blobs: try row.get(1), sizeBytes: try row.get(2))
            }
        ]
    }
}
