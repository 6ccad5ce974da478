import Logging
import Persistence

/// That an image's bytes were found to be other than they were when they came in. It stays until an operator has
/// looked and taken it away.
package struct ImageFlag: Sendable, Equatable {
    package let image: ImageID
    package let store: StoreID?
    package let reason: String
    package let firstAt: Timestamp
    package let lastAt: Timestamp
    package let count: Int64

    static func find(_ id: ImageID, in db: any SQLConnection) throws -> ImageFlag? {
        try db.first("SELECT \(columns) FROM image_flags WHERE image_id = $1", id, row: read)
    }

    fileprivate static let columns = "image_id, store, reason, first_at, last_at, count"

    fileprivate static func read(_ row: any SQLRow) throws -> ImageFlag {
        ImageFlag(
            image: try row.get(0), store: try row.get(1), reason: try row.get(2), firstAt: try row.get(3),
            lastAt: try row.get(4), count: try row.get(5))
    }

    /// Every time it is found, so that an operator sees how often.
    static func raise(
        _ image: ImageID, _ store: StoreID?, _ reason: String, now: Timestamp, in db: any SQLConnection
    ) throws {
        // One that was deleted meanwhile is nobody's concern any more.
        guard try db.image(image) != nil else { return }
        try db.execute(
            """
            INSERT INTO image_flags (image_id, store, reason, first_at, last_at, count) VALUES ($1, $2, $3, $4, $4, 1)
            ON CONFLICT (image_id) DO UPDATE SET store = excluded.store, reason = excluded.reason,
                last_at = excluded.last_at, count = image_flags.count + 1
            """, image, store, reason, now)
    }
}

extension Images {
    /// Tells the operator; a failure to write it down is logged, and changes nothing for who downloads.
    func flag(_ image: ImageID, _ store: StoreID?, _ reason: String, logger: Logger) async {
        logger.error(
            "an image's data is not what was uploaded",
            metadata: ["image": "\(image)", "store": "\(store?.rawValue ?? "-")", "reason": "\(reason)"])
        let now = now
        do {
            try await database.write { try ImageFlag.raise(image, store, reason, now: now, in: $0) }
        } catch {
            logger.error("an image could not be flagged", metadata: ["image": "\(image)", "error": "\(error)"])
        }
    }
}

/// Flagged images.
extension OperatorView {
    /// The one found first comes first.
    /// - Throws: `ServiceError`: `.forbidden`, `.badRequest`.
    package func flaggedImages(_ request: PageRequest, as caller: Caller) async throws -> Page<ImageFlag> {
        try requireOperator(caller)
        return try await database.read { db in
            var statement = ListStatement("SELECT \(ImageFlag.columns) FROM image_flags")
            statement.page(request, by: ["first_at", "image_id"], after: request.after.map { [$0.time, $0.id] })
            let found = try db.query(statement.sql, statement.arguments, row: ImageFlag.read)
            return Page(found, request) { PageMarker($0.firstAt, $0.image.rawValue) }
        }
    }

    /// The operator has looked.
    /// - Throws: `ServiceError`: `.forbidden`, `.notFound` (no flag).
    package func unflag(_ id: ImageID, as caller: Caller) async throws {
        try requireOperator(caller)
        let count = try await database.write { try $0.execute("DELETE FROM image_flags WHERE image_id = $1", id) }
        guard count == 1 else { throw ServiceError.notFound("Image \(id) is not flagged.") }
        caller.logger.notice("an image's flag was taken away by an operator", metadata: ["image": "\(id)"])
    }
}
