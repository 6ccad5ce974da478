import Logging
import Persistence

/// Deleted images that can still be had back. To everyone but the operator they are deleted.
extension Images {
    /// A step of the deletion: what was being uploaded or imported is given up, all else stays as it is.
    /// - Returns: whether there is work for jobs.
    func recycle(_ image: Image, now: Timestamp, in db: any SQLConnection) throws -> Bool {
        // Without its bytes an image that was being uploaded is one that waits for data.
        try Self.returnToQueued(image.id, in: db)
        try Self.returnToQueued(image.id, from: .importing, in: db)
        try ImageLocations.cancel(of: image.id, in: db)
        try db.execute(
            """
            UPDATE images SET status_before_deletion = status, status = 'deleted', deleted_at = $1, updated_at = $1,
                recycled_until = $2
            WHERE id = $3
            """,
            now, now.adding(seconds: settings.recycleBinSeconds), image.id)
        let isThereWork = try BlobLedger.doomUnfinished(of: image.id, .imageDeleted, now: now, in: db)
        try BlobLedger.recycle(of: image.id, in: db)
        return isThereWork
    }

    /// Empties the bin of what was there for its time.
    /// - Returns: whether there was something.
    func emptyRecycleBin() async throws -> Bool {
        let bin = RecycleBin(database: database, clock: surroundings.clock, settings: settings)
        // What is more waits for the next pass, so that other work gets its turn.
        var wasAny = false
        for _ in 0..<20 {
            let count = try await bin.discardExpired()
            if count > 0 { wasAny = true }
            if count < RecycleBin.batch { break }
        }
        return wasAny
    }
}

/// The recycle bin as its operator has it, while servers run.
package struct RecycleBin: Sendable {
    static let batch = 100

    private let database: any SQLDatabase
    private let clock: any WallClock
    private let settings: ImageSettings

    package init(database: any SQLDatabase, clock: any WallClock, settings: ImageSettings) {
        self.database = database
        self.clock = clock
        self.settings = settings
    }

    /// An image in the bin.
    package struct Entry: Sendable, Equatable {
        package let id: ImageID
        package let name: String?
        package let owner: ProjectID?
        /// What it will be again when it is undeleted.
        package let status: Image.Status
        package let sizeBytes: Int64
        package let deletedAt: Timestamp
        /// When its bytes go.
        package let recycledUntil: Timestamp
    }

    /// What is in the bin, the next to go first.
    /// - Throws: `SQLError`.
    package func entries(_ page: PageRequest = PageRequest()) async throws -> Page<Entry> {
        let statement = Self.statement(page)
        let found = try await database.read { db in
            try db.query(statement.sql, statement.arguments) { row in
                guard let status = Image.Status(rawValue: try row.get(3)) else {
                    throw SQLError(code: .corrupt, operation: "read image", message: "unknown status")
                }
                return Entry(
                    id: try row.get(0), name: try row.get(1), owner: try row.get(2), status: status,
                    sizeBytes: try row.get(4), deletedAt: try row.get(5), recycledUntil: try row.get(6))
            }
        }
        return Page(found, page) { PageMarker($0.recycledUntil, $0.id.rawValue) }
    }

    package static func statement(_ page: PageRequest) -> ListStatement {
        var statement = ListStatement(
            """
            SELECT i.id, i.name, i.owner, i.status_before_deletion, (
                SELECT COALESCE(SUM(b.size_bytes), 0) FROM blobs b WHERE b.image_id = i.id AND b.state = 'recycled'),
                i.deleted_at, i.recycled_until
            FROM images i
            """)
        statement.condition("i.recycled_until IS NOT NULL")
        statement.page(page, by: ["i.recycled_until", "i.id"], after: page.after.map { [$0.time, $0.id] })
        return statement
    }

    /// Images and bytes in the bin.
    /// - Throws: `SQLError`.
    package func size() async throws -> (images: Int64, bytes: Int64) {
        try await database.read { db in (try Self.number(Self.countSQL, in: db), try Self.number(Self.bytesSQL, in: db))
        }
    }

    package static let countSQL = "SELECT COUNT(*) FROM images WHERE recycled_until IS NOT NULL"
    package static let bytesSQL = "SELECT COALESCE(SUM(size_bytes), 0) FROM blobs WHERE state = 'recycled'"

    private static func number(_ sql: String, in db: any SQLConnection) throws -> Int64 {
        try db.first(sql) { try $0.get(0) } ?? 0
    }

    /// Takes an image out of the bin: it is as it was before it was deleted.
    /// - Parameter mayExceedQuota: whether its project may have more than its quotas by that.
    /// - Throws: `ServiceError`: `.notFound` (not in the bin), `.tooLarge` (quota).
    package func undelete(_ id: ImageID, mayExceedQuota: Bool = false) async throws {
        let now = clock.now
        try await database.write { db in
            let found = try db.first(
                "SELECT owner FROM images WHERE id = $1 AND recycled_until IS NOT NULL", id
            ) { try $0.get(0, as: ProjectID?.self) }
            guard let owner = found else { throw Self.notThere(id) }
            if !mayExceedQuota { try requireRoom(for: id, of: owner, in: db) }
            try db.execute(
                """
                UPDATE images SET status = status_before_deletion, status_before_deletion = NULL, deleted_at = NULL,
                    recycled_until = NULL, updated_at = $1
                WHERE id = $2
                """,
                now, id)
            try BlobLedger.unrecycle(of: id, in: db)
            try ImageLocations.resume(of: id, now: now, in: db)
        }
    }

    private func requireRoom(for id: ImageID, of owner: ProjectID?, in db: any SQLConnection) throws {
        let bytes = try db.first(
            "SELECT COALESCE(SUM(size_bytes), 0) FROM blobs WHERE image_id = $1 AND state = 'recycled'", id
        ) { try $0.get(0, as: Int64.self) }
        try ImageQuota.requireRoomForImage(of: owner, settings, in: db)
        _ = try ImageQuota.reservation(
            forDeclared: bytes ?? 0, receivedBytes: 0, alreadyReserved: 0, owner: owner, settings, in: db)
    }

    /// Takes an image out of the bin for good: its bytes go now.
    /// - Throws: `ServiceError.notFound`.
    package func discard(_ id: ImageID) async throws {
        let now = clock.now
        try await database.write { db in
            guard try Self.discard(id, now: now, in: db) else { throw Self.notThere(id) }
        }
    }

    /// - Returns: how many images were due; a whole batch means that there may be more.
    func discardExpired() async throws -> Int {
        let now = clock.now
        let due = try await database.read { db in
            try db.query(
                "SELECT id FROM images WHERE recycled_until <= $1 ORDER BY recycled_until, id LIMIT $2", now, Self.batch
            ) { try $0.get(0, as: ImageID.self) }
        }
        guard !due.isEmpty else { return 0 }
        try await database.write { db in
            for id in due { _ = try Self.discard(id, dueBy: now, now: now, in: db) }
        }
        return due.count
    }

    /// - Parameter dueBy: leaves an image whose time is over only later: it was brought back and deleted again.
    static func discard(
        _ id: ImageID, dueBy: Timestamp? = nil, now: Timestamp, in db: any SQLConnection
    ) throws -> Bool {
        let changed = try db.execute(
            """
            UPDATE images SET recycled_until = NULL, status_before_deletion = NULL
            WHERE id = $1 AND recycled_until <= $2
            """, id, dueBy ?? Timestamp(microseconds: .max))
        guard changed == 1 else { return false }
        try Images.discard(id, .recycleBinEmptied, now: now, in: db)
        return true
    }

    private static func notThere(_ id: ImageID) -> ServiceError {
        .notFound("Image \(id) is not in the recycle bin.")
    }
}
