import Persistence
import Trust

/// What is known of bytes on another server, by an id that is never used again.
package struct LocationID: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
}

/// One copy of an image's data, wherever it is.
package struct ImageLocation: Sendable, Equatable {
    package enum Place: Sendable, Equatable {
        /// In one of our stores.
        case blob(BlobID)
        /// On another server. The URL may hold what opens it: not for logs.
        case remote(LocationID, url: String)
    }
    package let place: Place
    package let store: StoreID
    package let sizeBytes: Int64
    package let createdAt: Timestamp

    var isRemote: Bool { if case .remote = place { true } else { false } }

    /// What its metadata is kept under.
    var key: String {
        switch place {
        case .blob(let blob): blob.rawValue
        case .remote(let location, _): location.rawValue
        }
    }
}

/// A location as clients get it.
package struct ShownLocation: Sendable, Equatable {
    package let url: String
    package let metadata: [String: String]

    package init(url: String, metadata: [String: String]) {
        self.url = url
        self.metadata = metadata
    }
}

/// The rows of `image_locations`: an image's bytes that other servers keep. The functions are steps of the callers'
/// transactions.
///
///     checking ──digest as promised──▶ live        (both go with their image)
///        └──another digest──▶ rejected
///
/// A location is checked while its image is `importing`; one that was rejected is remembered while its image is
/// `queued`, because clients are told which store holds what was refused, and goes when there is another.
enum ImageLocations {
    private enum State: String { case live, checking }

    /// Where the image's bytes are: heaviest store first, older ones first among equals.
    static func live(
        of image: ImageID, _ stores: StoreSet, in db: any SQLConnection
    ) throws -> [ImageLocation] {
        let found = try db.query(
            """
            SELECT id, store, NULL, COALESCE(size_bytes, 0), created_at FROM blobs
            WHERE image_id = $1 AND state = 'live' AND role = 'data'
            UNION ALL
            SELECT id, store, url, size_bytes, created_at FROM image_locations WHERE image_id = $1 AND state = 'live'
            ORDER BY 5, 1
            """, image
        ) { row in
            let url = try row.get(2, as: String?.self)
            let place: ImageLocation.Place =
                if let url { .remote(try row.get(0), url: url) } else { .blob(try row.get(0)) }
            return ImageLocation(
                place: place, store: try row.get(1), sizeBytes: try row.get(3), createdAt: try row.get(4))
        }
        guard found.count > 1 else { return found }
        let weighed = found.enumerated().map { (weight: stores.traits(of: $1.store).weight, index: $0, location: $1) }
        return weighed.sorted { ($1.weight, $0.index) < ($0.weight, $1.index) }.map(\.location)
    }

    /// The stores of locations that were refused.
    static func rejected(of image: ImageID, in db: any SQLConnection) throws -> [StoreID] {
        try db.query(
            "SELECT DISTINCT store FROM image_locations WHERE image_id = $1 AND state = 'rejected' ORDER BY store",
            image
        ) { try $0.get(0) }
    }

    /// - Parameter promise: what is to be checked before the location counts; nil when it counts at once.
    static func insert(
        _ location: NewLocation, of image: ImageID, checking promise: ValidationData? = nil, now: Timestamp,
        in db: any SQLConnection
    ) throws {
        try db.execute("DELETE FROM image_locations WHERE image_id = $1 AND state = 'rejected'", image)
        // Later than all there are, so that they stand in the order they came in, even of one transaction.
        let last = try db.first(
            """
            SELECT MAX(created_at) FROM (
                SELECT created_at FROM blobs WHERE image_id = $1
                UNION ALL SELECT created_at FROM image_locations WHERE image_id = $1) c
            """, image
        ) { try $0.get(0, as: Int64?.self) }
        let createdAt = max(now.microseconds, ((last ?? nil) ?? 0) + 1)
        try db.execute(
            """
            INSERT INTO image_locations (id, image_id, store, url, size_bytes, state, promised_algorithm,
                promised_digest, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            """, location.id, image, location.store, location.url, location.sizeBytes,
            promise == nil ? State.live.rawValue : State.checking.rawValue, promise?.algorithm.rawValue,
            promise?.digest, createdAt)
        try setMetadata(location.metadata, of: location.id.rawValue, image, in: db)
    }

    static func remove(_ location: LocationID, of image: ImageID, in db: any SQLConnection) throws {
        try db.execute("DELETE FROM jobs WHERE kind = $1 AND subject = $2", JobKind.hashLocation, location)
        try db.execute("DELETE FROM image_location_metadata WHERE image_id = $1 AND location = $2", image, location)
        try db.execute("DELETE FROM image_locations WHERE id = $1", location)
    }

    // MARK: metadata

    static func metadata(of image: ImageID, in db: any SQLConnection) throws -> [String: [String: String]] {
        var found: [String: [String: String]] = [:]
        try db.forEachRow("SELECT location, name, value FROM image_location_metadata WHERE image_id = $1", [image]) {
            found[try $0.get(0), default: [:]][try $0.get(1)] = try $0.get(2, as: String.self)
        }
        return found
    }

    static func setMetadata(
        _ metadata: [String: String], of key: String, _ image: ImageID, in db: any SQLConnection
    ) throws {
        try db.execute("DELETE FROM image_location_metadata WHERE image_id = $1 AND location = $2", image, key)
        for (name, value) in metadata.sorted(by: { $0.key < $1.key }) {
            try db.execute(
                "INSERT INTO image_location_metadata (image_id, location, name, value) VALUES ($1, $2, $3, $4)", image,
                key, name, value)
        }
    }

    // MARK: deletion and return of the image

    /// A step of the deletion of an image, whether it can be had back or not: nothing is read for it any more. An image
    /// whose location was being checked has none.
    static func cancel(of image: ImageID, in db: any SQLConnection) throws {
        try db.execute(
            """
            DELETE FROM jobs WHERE kind = $1 AND subject IN (SELECT id FROM image_locations WHERE image_id = $2)
            """, JobKind.hashLocation, image)
        try db.execute(
            """
            UPDATE images SET status = 'queued', size = NULL, virtual_size = NULL, checksum = NULL,
                os_hash_algo = NULL, os_hash_value = NULL
            WHERE id = $1 AND status = 'importing' AND EXISTS (
                SELECT 1 FROM image_locations l WHERE l.image_id = images.id AND l.state = 'checking')
            """, image)
        try db.execute("DELETE FROM image_locations WHERE image_id = $1 AND state = 'checking'", image)
    }

    /// A step of an image's return from the recycle bin: its digest is still to be had.
    static func resume(of image: ImageID, now: Timestamp, in db: any SQLConnection) throws {
        let waiting = try db.query(
            """
            SELECT l.id, l.store, i.owner FROM image_locations l JOIN images i ON i.id = l.image_id
            WHERE l.image_id = $1 AND l.state = 'live' AND i.os_hash_algo IS NOT NULL AND i.os_hash_value IS NULL
            ORDER BY l.created_at, l.id LIMIT 1
            """, image
        ) {
            (
                location: try $0.get(0, as: LocationID.self), store: try $0.get(1, as: StoreID.self),
                owner: try $0.get(2, as: ProjectID?.self)
            )
        }
        for found in waiting {
            try HashLocation.enqueue(found.location, in: found.store, for: found.owner, now: now, db)
        }
    }
}

/// A location that is about to be an image's.
struct NewLocation: Sendable {
    let id: LocationID
    let store: StoreID
    let url: String
    let metadata: [String: String]
    let sizeBytes: Int64
}
