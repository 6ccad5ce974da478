import Logging
import NIOCore
import Persistence
import Trust

/// The job that reads what another server keeps for an image, once, for its digest. What was promised of the bytes has
/// to fit, and the image is active from then on; where nothing was promised, the image is active already, and says
/// from then on which digest its bytes have.
///
/// It ends after a few attempts, whatever the other server does: an image that waits for it does not wait for ever.
/// The deletion of the image takes the job's row, and whoever runs it notices that its lease is gone.
struct HashLocation: Sendable {
    /// How often bytes that do not come are asked for.
    private static let attempts: Int64 = 4
    private static let pieceBytes = 1 << 20

    let database: any SQLDatabase
    /// Nil when nothing is fetched: then no attempt can help.
    let remote: RemoteStore?
    let surroundings: Surroundings
    let seal: RecordSeal
    /// How long the task of a location can be looked at once it ended.
    let taskHours: Int64
    let logger: Logger

    static func enqueue(
        _ location: LocationID, in store: StoreID, for owner: ProjectID?, now: Timestamp, _ db: any SQLConnection
    ) throws {
        try Jobs.enqueue(JobName(.hashLocation, location.rawValue), in: .store(store), for: owner, now: now, db)
    }

    private struct Waiting: Sendable {
        let location: LocationID
        let image: ImageID
        let url: String
        let sizeBytes: Int64
        /// What has to come out; nil when nothing was promised.
        let promised: String?
        let algorithm: DigestAlgorithm
    }

    private struct Digests: Sendable {
        let sizeBytes: Int64
        let checksum: String
        let digest: String
    }

    func run(_ job: Job) async throws -> JobOutcome {
        let id = LocationID(job.name.subject)
        guard let waiting = try await database.read({ try Self.find(id, in: $0) }) else { return .done { _ in } }
        let digests: Digests
        do {
            digests = try await read(waiting)
        } catch let error as CancellationError {
            throw error
        } catch let error as BlobError where error.code == .unavailable && job.attempts + 1 < Self.attempts {
            throw error
        } catch {
            logger.error(
                "the data behind a location could not be read for its digest",
                metadata: ["image": "\(waiting.image)", "location": "\(id)", "error": "\(error)"])
            return .done { try end(waiting, .failure, "The data at the location could not be read.", in: $0) }
        }
        let now = surroundings.clock.now
        let seal = seal
        guard digests.sizeBytes == waiting.sizeBytes, waiting.promised ?? digests.digest == digests.digest else {
            logger.warning(
                "the data behind a location is not what was promised",
                metadata: ["image": "\(waiting.image)", "location": "\(id)"])
            return .done { try end(waiting, .failure, "The data at the location is not what was promised.", in: $0) }
        }
        return .done { db in
            try Self.accept(waiting, digests, sealedBy: seal, now: now, in: db)
            try end(waiting, .success, "", in: db)
        }
    }

    /// The last steps of the last transaction: the image, unless it has its digest now, and what clients see of it.
    private func end(
        _ waiting: Waiting, _ status: ImageTask.Status, _ message: String, in db: any SQLConnection
    ) throws {
        if status == .failure { try Self.giveUp(waiting, in: db) }
        try ImageTask.end(
            TaskID(waiting.location.rawValue), status, message, keptHours: taskHours, now: surroundings.clock.now,
            in: db)
    }

    private static func find(_ id: LocationID, in db: any SQLConnection) throws -> Waiting? {
        let found = try db.first(
            """
            SELECT l.image_id, l.url, l.size_bytes, l.promised_digest,
                COALESCE(l.promised_algorithm, i.os_hash_algo)
            FROM image_locations l JOIN images i ON i.id = l.image_id
            WHERE l.id = $1 AND i.deleted_at IS NULL
                AND (l.state = 'checking' AND i.status = 'importing'
                    OR l.state = 'live' AND i.status IN ('active', 'deactivated') AND i.os_hash_value IS NULL)
            """, id
        ) { row in
            (
                image: try row.get(0, as: ImageID.self), url: try row.get(1, as: String.self),
                sizeBytes: try row.get(2, as: Int64.self), promised: try row.get(3, as: String?.self),
                algorithm: try row.get(4, as: String?.self)
            )
        }
        guard let found, let algorithm = found.algorithm.flatMap(DigestAlgorithm.init(rawValue:)) else { return nil }
        return Waiting(
            location: id, image: found.image, url: found.url, sizeBytes: found.sizeBytes, promised: found.promised,
            algorithm: algorithm)
    }

    private func read(_ waiting: Waiting) async throws -> Digests {
        guard let remote else {
            throw BlobError(code: .notFound, operation: "read location", cause: "nothing is fetched from other servers")
        }
        let reader = try await remote.open(waiting.url, sizeBytes: waiting.sizeBytes)
        let (md5, trusted) = (Digest(.md5), Digest(waiting.algorithm))
        var offset: Int64 = 0
        while offset < waiting.sizeBytes {
            let piece = try await reader.read(offset: offset, count: Self.pieceBytes)
            try await surroundings.work.run {
                piece.withUnsafeReadableBytes {
                    md5.update($0)
                    trusted.update($0)
                }
            }
            offset += Int64(piece.readableBytes)
        }
        await reader.close()
        return Digests(
            sizeBytes: offset, checksum: Hex.encode(md5.finish()), digest: Hex.encode(trusted.finish()))
    }

    /// The bytes are what they should be: the image says so, and the record of it is kept.
    private static func accept(
        _ waiting: Waiting, _ digests: Digests, sealedBy seal: RecordSeal, now: Timestamp, in db: any SQLConnection
    ) throws {
        let isChecked = waiting.promised != nil
        let changed = try db.execute(
            """
            UPDATE images SET status = CASE WHEN status = 'importing' THEN 'active' ELSE status END,
                size = $1, checksum = $2, os_hash_algo = $3, os_hash_value = $4, updated_at = $5
            WHERE id = $6 AND deleted_at IS NULL AND os_hash_value IS NULL AND EXISTS (
                SELECT 1 FROM image_locations l WHERE l.id = $7 AND l.image_id = images.id AND l.state = $8)
                AND status IN (\(isChecked ? "'importing'" : "'active', 'deactivated'"))
            """,
            waiting.sizeBytes, digests.checksum, waiting.algorithm.rawValue, digests.digest, now, waiting.image,
            waiting.location, isChecked ? "checking" : "live")
        guard changed == 1 else { return }
        try db.execute(
            """
            UPDATE image_locations SET state = 'live', promised_algorithm = NULL, promised_digest = NULL
            WHERE id = $1 AND state = 'checking'
            """, waiting.location)
        try Provenance(
            image: waiting.image, sizeBytes: waiting.sizeBytes, algorithm: waiting.algorithm.rawValue,
            digest: digests.digest, signer: nil, verifiedAt: now
        ).keep(sealedBy: seal, in: db)
    }

    /// An image that waits for the digest takes other data; one that is active has none.
    private static func giveUp(_ waiting: Waiting, in db: any SQLConnection) throws {
        if waiting.promised == nil {
            try db.execute(
                "UPDATE images SET os_hash_algo = NULL WHERE id = $1 AND os_hash_value IS NULL AND deleted_at IS NULL",
                waiting.image)
            return
        }
        let changed = try db.execute(
            """
            UPDATE image_locations SET state = 'rejected', promised_algorithm = NULL, promised_digest = NULL
            WHERE id = $1 AND state = 'checking'
            """, waiting.location)
        guard changed == 1 else { return }
        try db.execute(
            """
            UPDATE images SET status = 'queued', size = NULL, virtual_size = NULL, checksum = NULL,
                os_hash_algo = NULL, os_hash_value = NULL
            WHERE id = $1 AND status = 'importing' AND deleted_at IS NULL
            """, waiting.image)
        try db.execute(
            "DELETE FROM image_location_metadata WHERE image_id = $1 AND location = $2", waiting.image,
            waiting.location)
    }
}
