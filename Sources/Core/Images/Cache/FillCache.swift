import Logging
import NIOCore
import Persistence
import Synchronization
import Trust

/// A copy for the cache, from the queue to `cached`.
///
/// 1. One transaction claims: room is made, and a row announces the bytes.
/// 2. The bytes are copied from a store and held against the image's digest.
/// 3. The cache's store makes them durable.
/// 4. One transaction makes them the image's copy, if the image is still there and active.
///
/// Whatever fails on the way takes the row and the bytes back, and the image out of the queue: the next download, or
/// the operator, queues it again.
extension Images {
    private static let chunkBytes = 1 << 20

    private struct Fill: Sendable {
        let image: Image
        let blob: BlobID
        let sizeBytes: Int64
        let algorithm: DigestAlgorithm
        let expected: [UInt8]
    }

    private enum CacheClaim: Sendable {
        case nothing
        case passedOver(ImageID, String)
        case fill(Fill)
    }

    /// One pass over the cache: all that waits is copied, and all that is to go goes.
    package func tendCache() async throws {
        guard let cache else { return }
        while try await fillCache(cache, cache.logger) {}
        try await cache.keepHouse()
    }

    /// Copies the image that waits longest.
    /// - Returns: whether there was one.
    func fillCache(_ cache: ImageCache, _ logger: Logger) async throws -> Bool {
        try await cache.writeTally()
        let blob = BlobID(surroundings.uuid())
        cache.held.hold(blob)
        var hasChanged = false
        defer {
            cache.held.letGo(blob)
            // What gave way can be erased, and what waited for room may find it.
            if hasChanged { cache.wake() }
        }
        switch try await claim(blob, cache) {
        case .nothing:
            return false
        case .passedOver(let image, let reason):
            logger.notice("image not cached", metadata: ["image": "\(image)", "reason": "\(reason)"])
            return true
        case .fill(let fill):
            hasChanged = true
            do {
                // What gave way for it first, so that the directory never holds much more than it should.
                try await cache.eraseDoomed()
                try await copy(fill, cache, logger)
                logger.info("image cached", metadata: ["image": "\(fill.image.id)", "bytes": "\(fill.sizeBytes)"])
            } catch {
                try await cache.database.write { db in
                    let state = try ImageCache.state(of: fill.image.id, node: cache.node, in: db)
                    if state?.blob == blob { try ImageCache.forget(fill.image.id, node: cache.node, in: db) }
                }
                if error is CancellationError { throw error }
                logger.warning(
                    "image could not be cached", metadata: ["image": "\(fill.image.id)", "error": "\(error)"])
            }
            return true
        }
    }

    private func claim(_ blob: BlobID, _ cache: ImageCache) async throws -> CacheClaim {
        try await cache.database.write { db in
            let waiting = try db.first(
                """
                SELECT image_id FROM image_cache WHERE node = $1 AND state = 'queued' ORDER BY queued_at, image_id LIMIT 1
                """, cache.node
            ) { try $0.get(0, as: ImageID.self) }
            guard let waiting else { return .nothing }
            func passOver(_ reason: String) throws -> CacheClaim {
                try ImageCache.forget(waiting, node: cache.node, in: db)
                return .passedOver(waiting, reason)
            }
            guard let image = try db.image(waiting), image.status == .active, let size = image.sizeBytes else {
                return try passOver("it is not active any more")
            }
            guard let name = image.hashAlgorithm, let algorithm = DigestAlgorithm(rawValue: name),
                let expected = image.hashValue.flatMap(Hex.decode)
            else { return try passOver("its digest is not known, so no copy can be verified") }
            guard size <= cache.settings.limitBytes else { return try passOver("it is larger than the cache") }
            // What other fills hold cannot give way: they end soon, and this one has to wait for its turn.
            let filling =
                try db.first(
                    "SELECT COALESCE(SUM(size_bytes), 0) FROM image_cache WHERE node = $1 AND state = 'filling'",
                    cache.node
                ) { try $0.get(0, as: Int64.self) } ?? 0
            guard filling <= cache.settings.limitBytes - size else { return .nothing }
            _ = try ImageCache.makeRoom(for: size, within: cache.settings.limitBytes, node: cache.node, in: db)
            try db.execute(
                """
                UPDATE image_cache SET state = 'filling', blob = $1, size_bytes = $2
                WHERE node = $3 AND image_id = $4 AND state = 'queued'
                """, blob, size, cache.node, waiting)
            return .fill(
                Fill(image: image, blob: blob, sizeBytes: size, algorithm: algorithm, expected: expected))
        }
    }

    private func copy(_ fill: Fill, _ cache: ImageCache, _ logger: Logger) async throws {
        let places = try await database.read { try ImageLocations.live(of: fill.image.id, stores, in: $0) }
        let (reader, _) = try await openStored(fill.image, places, sizeBytes: fill.sizeBytes, logger)
        do {
            let writer = try await cache.settings.store.begin(fill.blob, expectedBytes: fill.sizeBytes)
            do {
                try await streamCopy(fill, from: reader, to: writer)
                try await writer.commit()
            } catch {
                await writer.abandon()
                throw error
            }
        } catch {
            await reader.close()
            throw error
        }
        await reader.close()
        let now = now
        let isKept = try await cache.database.write { db in
            guard let image = try db.image(fill.image.id), image.status == .active || image.status == .deactivated
            else { return false }
            return try db.execute(
                """
                UPDATE image_cache SET state = 'cached', last_modified = $1, last_accessed = $1
                WHERE node = $2 AND image_id = $3 AND state = 'filling' AND blob = $4
                """, now, cache.node, fill.image.id, fill.blob) == 1
        }
        guard isKept else {
            throw BlobError(code: .notFound, operation: "fill cache", cause: "it was taken out meanwhile")
        }
    }

    private final class Progress: Sendable {
        let bytes = Atomic<Int64>(0)
    }

    /// Gives up when the store gives nothing for a while: nothing that waits does so for ever.
    private func streamCopy(_ fill: Fill, from reader: any BlobReader, to writer: any BlobWriter) async throws {
        let digest = Digest(fill.algorithm)
        let progress = Progress()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                var last: Int64 = -1
                while true {
                    try await surroundings.clock.sleep(seconds: ImageCache.stallSeconds)
                    let now = progress.bytes.load(ordering: .relaxed)
                    guard now > last else {
                        throw BlobError(
                            code: .unavailable, operation: "fill cache",
                            cause: "no byte came for \(Int(ImageCache.stallSeconds)) s")
                    }
                    last = now
                }
            }
            group.addTask {
                var position: Int64 = 0
                while position < fill.sizeBytes {
                    let bytes = try await reader.read(
                        offset: position, count: Int(min(Int64(Self.chunkBytes), fill.sizeBytes - position)))
                    try await surroundings.work.run { bytes.withUnsafeReadableBytes { digest.update($0) } }
                    try await writer.write([bytes])
                    position += Int64(bytes.readableBytes)
                    progress.bytes.store(position, ordering: .relaxed)
                }
            }
            // The watch ends only by failing.
            try await group.next()
            group.cancelAll()
        }
        guard ConstantTime.equal(digest.finish(), fill.expected) else {
            throw BlobError(
                code: .corrupt, operation: "fill cache", cause: "the bytes have another \(fill.algorithm.rawValue)")
        }
    }
}
