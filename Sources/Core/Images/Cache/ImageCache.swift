import Logging
import Persistence
import Synchronization

/// What the operator gives the cache (`image.cache`).
package struct ImageCacheSettings: Sendable {
    /// A directory of this machine, and of nothing else.
    package let store: any BlobStore
    /// How many bytes the cached images may have together.
    package let limitBytes: Int64
    /// The stores whose images are cached when they are downloaded.
    package let stores: Set<StoreID>

    package init(store: any BlobStore, limitBytes: Int64, stores: Set<StoreID>) {
        self.store = store
        self.limitBytes = limitBytes
        self.stores = stores
    }
}

/// Copies of images on this machine's own disk, for those whose stores are far away.
///
/// An image is *queued*, by an operator or by a download that found it only in a store that is cached; it is *filling*
/// while its bytes are copied and held against its digest; then it is *cached*, and downloads of the whole are served
/// from here. Whatever goes (deleted, evicted, not what it should be) leaves a row until its bytes are erased.
///
///     (no row) ──▶ queued ──▶ filling ──whole, digest right──▶ cached ──▶ doomed ──erased──▶ (no row)
///                                └──────────failure──────────────────────────▲
///
/// An image has one row a node, so two that want it at once fill it once. Only complete, verified copies can be read:
/// the store makes a blob visible whole or not at all, and the row says `cached` after that.
struct ImageCache: Sendable {
    /// Fills under way at once.
    static let fillers = 2
    /// A fill that gets no byte for so long is given up.
    static let stallSeconds: Double = 60
    private static let idleSeconds: Double = 5

    let database: any SQLDatabase
    let surroundings: Surroundings
    let settings: ImageCacheSettings
    let node: String
    let logger: Logger
    let held = HeldBlobs()
    let tally = CacheTally()
    private let fillerWakes = (0..<ImageCache.fillers).map { _ in WakeSignal() }
    private let houseWake = WakeSignal()

    init(
        database: any SQLDatabase, surroundings: Surroundings, settings: ImageCacheSettings, node: String,
        logger: Logger
    ) {
        self.logger = logger
        self.database = database
        self.surroundings = surroundings
        self.settings = settings
        self.node = node
    }

    var now: Timestamp { surroundings.clock.now }

    func wake() {
        houseWake.signal()
        for wake in fillerWakes { wake.signal() }
    }

    /// Copies that nobody makes any more, because a process ended or could not give up in order, are taken back, and
    /// their images are queued again. Of one node's cache one process makes copies at a time.
    func takeBack() async throws {
        let filling = try await database.read { db in
            try db.query("SELECT image_id, blob FROM image_cache WHERE node = $1 AND state = 'filling'", node) {
                (image: try $0.get(0, as: ImageID.self), blob: try $0.get(1, as: BlobID.self))
            }
        }
        let left = filling.filter { !held.contains($0.blob) }
        if left.isEmpty { return }
        try await database.write { db in
            for (image, blob) in left {
                // It may have been finished or forgotten since.
                guard let state = try Self.state(of: image, node: node, in: db), !state.isCached, state.blob == blob
                else { continue }
                try Self.doomBlob(of: image, node: node, in: db)
                try db.execute(
                    """
                    UPDATE image_cache SET state = 'queued', blob = NULL, size_bytes = NULL
                    WHERE node = $1 AND image_id = $2
                    """, node, image)
            }
        }
    }

    /// Runs until cancelled.
    /// - Parameter fill: copies one image (`Images.fillCache`); returns whether there was one.
    func run(fill: @escaping @Sendable () async throws -> Bool) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                // The directory, or the node, may have been another's.
                await attempt("cleaning the cache failed") { try await clean() }
                while !Task.isCancelled {
                    await attempt("keeping the cache failed") { try await keepHouse() }
                    await houseWake.wait(seconds: Self.idleSeconds, clock: surroundings.clock)
                }
            }
            for wake in fillerWakes {
                group.addTask {
                    while !Task.isCancelled {
                        var wasThereOne = false
                        await attempt("filling the cache failed") { wasThereOne = try await fill() }
                        if !wasThereOne { await wake.wait(seconds: Self.idleSeconds, clock: surroundings.clock) }
                    }
                }
            }
        }
    }

    private func attempt(_ failure: String, _ step: () async throws -> Void) async {
        do {
            try await step()
        } catch is CancellationError {
        } catch {
            logger.error("\(failure); it will be tried again", metadata: ["error": "\(error)"])
        }
    }

    /// Hits are written down, the size is kept, and what is doomed goes.
    func keepHouse() async throws {
        try await takeBack()
        try await writeTally()
        _ = try await prune()
        try await eraseDoomed()
    }

    // MARK: rows

    /// Where the cached copy is; nil when there is none.
    static func state(of image: ImageID, node: String, in db: any SQLConnection) throws -> State? {
        try db.first("SELECT state, blob FROM image_cache WHERE node = $1 AND image_id = $2", node, image) { row in
            State(isCached: try row.get(0, as: String.self) == "cached", blob: try row.get(1))
        }
    }

    struct State: Sendable {
        let isCached: Bool
        let blob: BlobID?
    }

    /// An image is deleted: its copies go, wherever they are. A step of the deletion.
    /// - Returns: whether a node had it.
    static func forget(_ image: ImageID, in db: any SQLConnection) throws -> Bool {
        let nodes = try db.query("SELECT node FROM image_cache WHERE image_id = $1 ORDER BY node", image) {
            try $0.get(0, as: String.self)
        }
        for node in nodes { try forget(image, node: node, in: db) }
        return !nodes.isEmpty
    }

    static func forget(_ image: ImageID, node: String, in db: any SQLConnection) throws {
        try doomBlob(of: image, node: node, in: db)
        try db.execute("DELETE FROM image_cache WHERE node = $1 AND image_id = $2", node, image)
    }

    private static func doomBlob(of image: ImageID, node: String, in db: any SQLConnection) throws {
        try db.execute(
            """
            INSERT INTO image_cache_doomed (blob, node)
            SELECT blob, node FROM image_cache WHERE node = $1 AND image_id = $2 AND blob IS NOT NULL
            """, node, image)
    }

    /// - Returns: whether it was not there before.
    static func queue(_ image: ImageID, node: String, now: Timestamp, in db: any SQLConnection) throws -> Bool {
        try db.execute(
            """
            INSERT INTO image_cache (node, image_id, state, hits, queued_at) VALUES ($1, $2, 'queued', 0, $3)
            ON CONFLICT DO NOTHING
            """, node, image, now) == 1
    }

    /// Takes out what was used longest ago until the rest, and `needed` more, is within the limit.
    /// - Returns: what was taken out.
    static func makeRoom(
        for needed: Int64, within limit: Int64, node: String, in db: any SQLConnection
    ) throws -> (images: Int, bytes: Int64) {
        var total =
            try db.first(
                "SELECT COALESCE(SUM(size_bytes), 0) FROM image_cache WHERE node = $1 AND state <> 'queued'", node
            ) { try $0.get(0, as: Int64.self) } ?? 0
        guard total > limit - needed else { return (0, 0) }
        let oldest = try db.query(
            """
            SELECT image_id, size_bytes FROM image_cache WHERE node = $1 AND state = 'cached'
            ORDER BY last_accessed, image_id
            """, node
        ) { (try $0.get(0, as: ImageID.self), try $0.get(1, as: Int64.self)) }
        var evicted = (images: 0, bytes: Int64(0))
        for (image, size) in oldest where total > limit - needed {
            try forget(image, node: node, in: db)
            total -= size
            evicted.images += 1
            evicted.bytes += size
        }
        return evicted
    }

    /// - Returns: what was taken out.
    func prune() async throws -> (images: Int, bytes: Int64) {
        let isOver = try await database.read { db in
            try db.first(
                "SELECT COALESCE(SUM(size_bytes), 0) FROM image_cache WHERE node = $1 AND state <> 'queued'", node
            ) { try $0.get(0, as: Int64.self) } ?? 0 > settings.limitBytes
        }
        guard isOver else { return (0, 0) }
        return try await database.write { db in
            try Self.makeRoom(for: 0, within: settings.limitBytes, node: node, in: db)
        }
    }

    /// The bytes first, then the row. What a task of this process still writes waits until that has let go.
    func eraseDoomed() async throws {
        let doomed = try await database.read { db in
            try db.query("SELECT blob FROM image_cache_doomed WHERE node = $1 ORDER BY blob LIMIT 1000", node) {
                try $0.get(0, as: BlobID.self)
            }
        }
        for blob in doomed where !held.contains(blob) {
            try await settings.store.erase(blob)
            try await database.write { db in
                _ = try db.execute("DELETE FROM image_cache_doomed WHERE blob = $1", blob)
            }
        }
    }

    /// What was counted since the last time.
    func writeTally() async throws {
        let hits = tally.take()
        guard !hits.isEmpty else { return }
        do {
            try await database.write { db in
                for (image, hit) in hits {
                    try db.execute(
                        """
                        UPDATE image_cache SET hits = hits + $1,
                            last_accessed = CASE WHEN last_accessed < $2 THEN $2 ELSE last_accessed END
                        WHERE node = $3 AND image_id = $4 AND state = 'cached'
                        """, hit.count, hit.last, node, image)
                }
            }
        } catch {
            tally.giveBack(hits)
            throw error
        }
    }
}

/// Hits that are not written down yet. A crash loses those of the last seconds.
final class CacheTally: Sendable {
    struct Hits: Sendable {
        var count: Int64
        var last: Timestamp
    }
    private let hits = Mutex([ImageID: Hits]())

    func count(_ image: ImageID, at now: Timestamp) {
        hits.withLock { hits in
            let before = hits[image]
            hits[image] = Hits(count: (before?.count ?? 0) + 1, last: max(before?.last ?? now, now))
        }
    }

    func take() -> [(ImageID, Hits)] {
        hits.withLock { hits in
            defer { hits = [:] }
            return hits.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        }
    }

    func giveBack(_ taken: [(ImageID, Hits)]) {
        hits.withLock { hits in
            for (image, hit) in taken {
                let since = hits[image]
                hits[image] = Hits(
                    count: hit.count + (since?.count ?? 0), last: max(hit.last, since?.last ?? hit.last))
            }
        }
    }
}
