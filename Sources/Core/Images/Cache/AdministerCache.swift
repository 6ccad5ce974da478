import Logging
import Persistence

/// What is in the cache of this node.
package struct CacheContents: Sendable {
    package struct Entry: Sendable {
        package let image: ImageID
        package let hits: Int64
        package let sizeBytes: Int64
        package let lastAccessed: Timestamp
        package let lastModified: Timestamp
        package let checksum: String?
    }
    package let cached: [Entry]
    /// In the order in which they will be cached; those being copied first.
    package let queued: [ImageID]
}

/// What is taken out of the cache at once.
package enum CacheTarget: String, Sendable {
    case cache, queue
    case everything = ""
}

/// The cache as admins have it (`/v2/cache`). Who is none learns nothing, not even whether there is one.
extension Images {
    /// Whether there is a cache.
    package var hasCache: Bool { cache != nil }

    /// - Throws: `ServiceError`: `.forbidden`, `.notFound` (there is no cache).
    private func administeredCache(_ caller: Caller) throws -> ImageCache {
        guard caller.isAdmin else {
            throw ServiceError.forbidden("You are not authorized to complete the action: the cache is for admins.")
        }
        guard let cache else { throw ServiceError.notFound("Caching is not enabled at this site.") }
        return cache
    }

    /// `GET /v2/cache`.
    /// - Throws: `ServiceError`: `.forbidden`, `.notFound`.
    package func cacheContents(as caller: Caller) async throws -> CacheContents {
        let cache = try administeredCache(caller)
        try await cache.writeTally()
        return try await database.read { db in
            let cached = try db.query(
                """
                SELECT c.image_id, c.hits, c.size_bytes, c.last_accessed, c.last_modified, i.checksum
                FROM image_cache c JOIN images i ON i.id = c.image_id
                WHERE c.node = $1 AND c.state = 'cached' ORDER BY c.last_accessed DESC, c.image_id
                """, cache.node
            ) {
                CacheContents.Entry(
                    image: try $0.get(0), hits: try $0.get(1), sizeBytes: try $0.get(2), lastAccessed: try $0.get(3),
                    lastModified: try $0.get(4), checksum: try $0.get(5))
            }
            let queued = try db.query(
                """
                SELECT image_id FROM image_cache WHERE node = $1 AND state <> 'cached'
                ORDER BY CASE WHEN state = 'filling' THEN 0 ELSE 1 END, queued_at, image_id
                """, cache.node
            ) { try $0.get(0, as: ImageID.self) }
            return CacheContents(cached: cached, queued: queued)
        }
    }

    /// `PUT /v2/cache/{id}`. What is there or waits already stays as it is.
    /// - Throws: `ServiceError`: `.forbidden`, `.notFound` (also without a cache), `.badRequest` (not active).
    package func queueForCache(_ id: ImageID, as caller: Caller) async throws {
        let cache = try administeredCache(caller)
        let now = now
        try await database.write { db in
            guard let image = try db.image(id) else { throw ServiceError.noImage(id) }
            guard image.status == .active else {
                throw ServiceError.badRequest(
                    "Only active images can be cached; image \(id) is \(image.status.rawValue).")
            }
            _ = try ImageCache.queue(id, node: cache.node, now: now, in: db)
        }
        cache.wake()
        caller.logger.info("image queued for the cache", metadata: ["image": "\(id)"])
    }

    /// `DELETE /v2/cache/{id}`.
    /// - Throws: `ServiceError`: `.forbidden`, `.notFound` (neither cached nor queued, or no cache).
    package func removeFromCache(_ id: ImageID, as caller: Caller) async throws {
        let cache = try administeredCache(caller)
        try await database.write { db in
            guard try ImageCache.state(of: id, node: cache.node, in: db) != nil else {
                throw ServiceError.notFound("Image \(id) is neither cached nor queued.")
            }
            try ImageCache.forget(id, node: cache.node, in: db)
        }
        cache.wake()
        caller.logger.info("image taken out of the cache", metadata: ["image": "\(id)"])
    }

    /// `DELETE /v2/cache`.
    /// - Parameter target: as the client named it.
    /// - Throws: `ServiceError`: `.forbidden`, `.notFound` (no cache), `.badRequest` (no such target).
    package func clearCache(_ target: String, as caller: Caller) async throws {
        let cache = try administeredCache(caller)
        guard let target = CacheTarget(rawValue: target.lowercased()) else {
            throw ServiceError.badRequest("If x-image-cache-clear-target is given, it must be 'cache' or 'queue'.")
        }
        try await database.write { db in
            let condition =
                switch target {
                case .cache: "state = 'cached'"
                case .queue: "state <> 'cached'"
                case .everything: "1 = 1"
                }
            let images = try db.query(
                "SELECT image_id FROM image_cache WHERE node = $1 AND \(condition) ORDER BY image_id", cache.node
            ) { try $0.get(0, as: ImageID.self) }
            for image in images { try ImageCache.forget(image, node: cache.node, in: db) }
        }
        cache.wake()
        caller.logger.notice("cache cleared", metadata: ["target": "\(target.rawValue)"])
    }

    /// `GET /v2/cache/nodes/{id}`: each node knows its own cache alone.
    /// - Throws: `ServiceError`: `.forbidden`, `.notFound` (no cache), `.conflict`.
    package func cacheNodes(of id: ImageID, as caller: Caller) throws {
        _ = try administeredCache(caller)
        throw ServiceError.conflict("The cache is a node's own here; which nodes have an image is not known.")
    }

    /// `POST /v2/cache/clean`: what is in the directory and in no row goes, and rows whose bytes are gone.
    /// - Throws: `ServiceError`: `.forbidden`, `.notFound`, `.unavailable`.
    package func cleanCache(as caller: Caller) async throws {
        let cache = try administeredCache(caller)
        try await cache.clean()
        caller.logger.notice("cache cleaned")
    }

    /// `POST /v2/cache/prune`: what was used longest ago goes until the rest is within the limit.
    /// - Throws: `ServiceError`: `.forbidden`, `.notFound`, `.unavailable`.
    package func pruneCache(as caller: Caller) async throws -> (images: Int, bytes: Int64) {
        let cache = try administeredCache(caller)
        try await cache.writeTally()
        let pruned = try await cache.prune()
        try await cache.eraseDoomed()
        caller.logger.notice("cache pruned", metadata: ["images": "\(pruned.images)", "bytes": "\(pruned.bytes)"])
        return pruned
    }
}

extension ImageCache {
    func clean() async throws {
        // Listed before the rows are read: whatever is announced after that is not in the list.
        let found = Found()
        try await settings.store.inventory { items in
            for item in items {
                switch item.kind {
                case .committed(let blob), .uncommitted(let blob): await found.add(blob)
                case .foreign: break
                }
            }
        }
        let rows = try await database.read { db in
            try db.query(
                """
                SELECT blob, image_id, state FROM image_cache WHERE node = $1 AND blob IS NOT NULL ORDER BY blob
                """, node
            ) {
                (
                    blob: try $0.get(0, as: BlobID.self), image: try $0.get(1, as: ImageID.self),
                    isCached: try $0.get(2, as: String.self) == "cached"
                )
            }
        }
        let known = Set(rows.map(\.blob))
        for blob in await found.blobs.subtracting(known).sorted() where !held.contains(blob) {
            try await settings.store.erase(blob)
        }
        for row in rows where row.isCached {
            do {
                await (try await settings.store.open(row.blob)).close()
            } catch let error as BlobError where error.code == .notFound {
                try await drop(row.image, row.blob)
            }
        }
        try await eraseDoomed()
    }

    /// A copy that is not what the row says.
    func drop(_ image: ImageID, _ blob: BlobID) async throws {
        try await database.write { db in
            if try Self.state(of: image, node: node, in: db)?.blob == blob {
                try Self.forget(image, node: node, in: db)
            }
        }
        wake()
    }

    private actor Found {
        private(set) var blobs: Set<BlobID> = []
        func add(_ blob: BlobID) { blobs.insert(blob) }
    }
}
