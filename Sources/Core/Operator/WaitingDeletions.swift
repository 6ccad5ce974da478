import Persistence

/// Bytes that are to be erased and still there: nobody can use them, and nobody is charged for them.
package struct WaitingDeletion: Sendable {
    package let blob: BlobID
    package let image: ImageID
    package let store: StoreID
    package let project: ProjectID?
    /// Nil for an upload that ended before its size was known.
    package let sizeBytes: Int64?
    package let doomedAt: Timestamp
    package let reason: String
    /// Whose upload has not let go of the bytes yet.
    package let holder: InstanceID?
    /// What erases them: it says when it is tried next, and why it failed.
    package let job: Job?
}

package struct WaitingDeletionTotal: Sendable, Equatable {
    package let count: Int64
    /// Of those whose size is known.
    package let sizeBytes: Int64
    package let unknownSizeCount: Int64

    package init(count: Int64, sizeBytes: Int64, unknownSizeCount: Int64) {
        self.count = count
        self.sizeBytes = sizeBytes
        self.unknownSizeCount = unknownSizeCount
    }
}

extension OperatorView {
    /// One entry a doomed blob, oldest first.
    /// - Throws: `ServiceError.forbidden`.
    package func waitingDeletions(
        _ page: PageRequest, as caller: Caller
    ) async throws -> (page: Page<WaitingDeletion>, total: WaitingDeletionTotal) {
        try requireOperator(caller)
        let statement = Self.waitingDeletionsStatement(page)
        let (found, total) = try await database.read { db in
            (try db.query(statement.sql, statement.arguments, row: Self.waitingDeletion), try Self.total(in: db))
        }
        return (Page(found, page) { PageMarker($0.doomedAt, $0.blob.rawValue) }, total)
    }

    package static func waitingDeletionsStatement(_ page: PageRequest) -> ListStatement {
        var statement = ListStatement(
            """
            SELECT b.id, b.image_id, b.store, b.project, b.size_bytes, b.doomed_at, b.doom_reason, b.lease_owner,
                \(JobRow.columns(of: "j"))
            FROM blobs b LEFT JOIN jobs j ON j.kind = '\(JobKind.eraseBlob)' AND j.subject = b.id
            """)
        statement.condition("b.state = 'doomed'")
        statement.page(page, by: ["b.doomed_at", "b.id"], after: page.after.map { [$0.time, $0.id] })
        return statement
    }

    private static func waitingDeletion(_ row: any SQLRow) throws -> WaitingDeletion {
        let hasJob = try row.get(8, as: String?.self) != nil
        return WaitingDeletion(
            blob: try row.get(0), image: try row.get(1), store: try row.get(2), project: try row.get(3),
            sizeBytes: try row.get(4), doomedAt: try row.get(5), reason: try row.get(6), holder: try row.get(7),
            job: hasJob ? try JobRow.read(row, from: 8) : nil)
    }

    private static func total(in db: any SQLConnection) throws -> WaitingDeletionTotal {
        let total = try db.first(
            "SELECT COUNT(*), COALESCE(SUM(size_bytes), 0), COUNT(size_bytes) FROM blobs WHERE state = 'doomed'"
        ) { row in
            let count = try row.get(0, as: Int64.self)
            return WaitingDeletionTotal(
                count: count, sizeBytes: try row.get(1), unknownSizeCount: count - (try row.get(2, as: Int64.self)))
        }
        return total ?? WaitingDeletionTotal(count: 0, sizeBytes: 0, unknownSizeCount: 0)
    }
}
