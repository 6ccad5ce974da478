import Persistence

/// Who works on what just now, and until when if nothing more is heard of it.
package struct Leases: Sendable {
    /// Longest held first; no more than `limit` of each kind.
    package let blobs: [WrittenBlob]
    package let jobs: [Job]
    package let instances: [Instance]
    /// All there are, and what the blobs reserve together.
    package let blobCount: Int64
    package let reservedBytes: Int64
    package let jobCount: Int64

    /// Bytes being written.
    package struct WrittenBlob: Sendable {
        package let blob: BlobID
        package let image: ImageID
        package let store: StoreID
        package let project: ProjectID?
        package let owner: InstanceID
        package let until: Timestamp
        package let epoch: Int64
        package let reservedBytes: Int64
        package let since: Timestamp
    }

    /// A process that works on the database, as far as is known.
    package struct Instance: Sendable {
        package let id: InstanceID
        package let node: String
        package let startedAt: Timestamp
        package let seenAt: Timestamp
    }
}

extension OperatorView {
    package static let writtenBlobsSQL = """
        SELECT id, image_id, store, project, lease_owner, lease_until, epoch, charged_bytes, created_at
        FROM blobs WHERE lease_owner IS NOT NULL AND state = 'writing' ORDER BY created_at, id LIMIT $1
        """

    /// - Throws: `ServiceError.forbidden`.
    package func leases(limit: Int = PageRequest.maxLimit, as caller: Caller) async throws -> Leases {
        try requireOperator(caller)
        return try await database.read { db in
            let blobs = try db.query(Self.writtenBlobsSQL, limit) { row in
                Leases.WrittenBlob(
                    blob: try row.get(0), image: try row.get(1), store: try row.get(2), project: try row.get(3),
                    owner: try row.get(4), until: try row.get(5), epoch: try row.get(6),
                    reservedBytes: try row.get(7), since: try row.get(8))
            }
            let jobs = try db.query(
                """
                SELECT \(JobRow.columns) FROM jobs WHERE state = 'running'
                ORDER BY created_at, kind, subject LIMIT $1
                """, limit, row: JobRow.read)
            let instances = try db.query(
                "SELECT id, node, started_at, seen_at FROM instances ORDER BY started_at, id LIMIT $1", limit
            ) { row in
                Leases.Instance(
                    id: try row.get(0), node: try row.get(1), startedAt: try row.get(2), seenAt: try row.get(3))
            }
            let written = try db.first(
                """
                SELECT COUNT(*), COALESCE(SUM(charged_bytes), 0) FROM blobs
                WHERE lease_owner IS NOT NULL AND state = 'writing'
                """
            ) { (count: try $0.get(0, as: Int64.self), bytes: try $0.get(1, as: Int64.self)) }
            let running = try db.first("SELECT COUNT(*) FROM jobs WHERE state = 'running'") {
                try $0.get(0, as: Int64.self)
            }
            return Leases(
                blobs: blobs, jobs: jobs, instances: instances, blobCount: written?.count ?? 0,
                reservedBytes: written?.bytes ?? 0, jobCount: running ?? 0)
        }
    }
}
