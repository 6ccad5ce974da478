import Logging
import Persistence
import Trust

/// What a download hands on.
package struct ImageData: Sendable {
    package let sizeBytes: Int64
    package let checksum: String?
    package let reader: any BlobReader
    fileprivate let check: Check?
    fileprivate let images: Images
    fileprivate let id: ImageID
    fileprivate let store: StoreID
    /// Set when the bytes are the cache's copy.
    fileprivate var copy: CachedCopy?
    fileprivate let logger: Logger

    fileprivate struct CachedCopy: Sendable {
        let cache: ImageCache
        let blob: BlobID
    }

    fileprivate struct Check: Sendable {
        let algorithm: DigestAlgorithm
        let expected: [UInt8]
    }

    /// What the bytes are to be read with when all of them are wanted, in order. Where downloads are checked, the last
    /// ones come only if all are those that came in; otherwise the image is flagged and the read fails.
    package var wholeReader: any BlobReader {
        guard let check, sizeBytes > 0 else { return reader }
        let (images, id, store, copy, logger) = (images, id, store, copy, logger)
        return CheckedReader(
            reader, check.algorithm, expected: check.expected, work: images.surroundings.work
        ) {
            if let copy {
                // The image is as it was; its copy goes.
                logger.error("a cached copy was changed; it is dropped", metadata: ["image": "\(id)"])
                try? await copy.cache.drop(id, copy.blob)
            } else {
                await images.flag(id, store, "the \(check.algorithm.rawValue) of its bytes is another", logger: logger)
            }
        }
    }
}

extension Images {
    /// `GET /v2/images/{id}/file`.
    /// - Parameter isWhole: whether all of the bytes are wanted: then they may come from the cache, whatever store is
    ///   preferred, and be cached.
    /// - Returns: nil when the image has no data yet. The caller closes the reader.
    /// - Throws: `ServiceError`: `.notFound`; `.forbidden` (policy; deactivated, unless an admin asks);
    ///   `.unavailable` when no store can give the bytes, or the record of what came in was changed (admins may have
    ///   them all the same).
    package func download(
        _ id: ImageID, prefer: [StoreID] = [], isWhole: Bool = false, as caller: Caller
    ) async throws -> ImageData? {
        let cache = isWhole ? cache : nil
        let (image, places, record, cached) = try await database.read { db in
            let image = try visibleImage(id, .downloadImage, caller, in: db)
            if !prefer.isEmpty { _ = try visibleImage(id, .downloadFromStore, caller, in: db) }
            return (
                image, try ImageLocations.live(of: id, stores, in: db), try Provenance.Sealed.find(id, seal, in: db),
                try cache.flatMap { try ImageCache.state(of: id, node: $0.node, in: db) }
            )
        }
        if image.status == .deactivated, !caller.isAdmin {
            throw ServiceError.forbidden("The requested image has been deactivated. Image data download is forbidden.")
        }
        if let cache, let blob = cached?.blob, cached?.isCached == true,
            let data = try await cachedData(of: image, blob, cache, record, as: caller)
        {
            return data
        }
        for store in prefer where !stores.contains(store) {
            throw ServiceError.badRequest("There is no store '\(store)' to prefer.")
        }
        guard !places.isEmpty, let sizeBytes = image.sizeBytes else { return nil }
        let check = try await check(of: image, record, as: caller)
        let mustCheck = checksDownloads(of: record)
        let ordered =
            prefer.flatMap { wanted in places.filter { $0.store == wanted } }
            + places.filter { !prefer.contains($0.store) }
        let (reader, place) = try await openStored(image, ordered, sizeBytes: sizeBytes, caller.logger)
        if let cache, cached == nil { await queueForCache(image, foundIn: place.store, cache, caller.logger) }
        return ImageData(
            sizeBytes: sizeBytes, checksum: image.checksum, reader: reader,
            check: mustCheck || place.isRemote ? check : nil, images: self, id: id, store: place.store,
            logger: caller.logger)
    }

    /// Opens an image's bytes in the first store that has them.
    /// - Throws: `ServiceError`: `.notFound` (deleted meanwhile), `.unavailable`.
    func openStored(
        _ image: Image, _ places: [ImageLocation], sizeBytes: Int64, _ logger: Logger
    ) async throws -> (reader: any BlobReader, place: ImageLocation) {
        let id = image.id
        var failure: any Error = BlobError(code: .unavailable, operation: "open", cause: "no store is configured")
        for place in places {
            do {
                let reader = try await open(place)
                guard reader.sizeBytes == sizeBytes else {
                    await reader.close()
                    throw BlobError(
                        code: .corrupt, operation: "open",
                        cause: "\(reader.sizeBytes) bytes are stored, \(sizeBytes) were promised")
                }
                return (reader, place)
            } catch let error as CancellationError {
                throw error
            } catch {
                failure = error
                logger.error(
                    "image data cannot be opened",
                    metadata: ["image": "\(id)", "store": "\(place.store)", "error": "\(error)"])
            }
        }
        // Deleted between the two looks: the bytes may be gone, and so is the image.
        if try await database.read({ try $0.image(id) }) == nil { throw ServiceError.noImage(id) }
        throw ServiceError.unavailable("The image's data is out of reach; try again later.", cause: failure)
    }

    private func open(_ location: ImageLocation) async throws -> any BlobReader {
        switch location.place {
        case .blob(let blob):
            guard let store = stores[location.store] else { throw Self.notConfigured(location.store) }
            return try await store.open(blob)
        case .remote(_, let url):
            guard let store = remoteStore, store.id == location.store else { throw Self.notConfigured(location.store) }
            return try await store.open(url, sizeBytes: location.sizeBytes)
        }
    }

    private static func notConfigured(_ store: StoreID) -> BlobError {
        BlobError(code: .unavailable, operation: "open", cause: "store '\(store)' is not configured")
    }

    /// Whether the bytes are held against their digest on the way even if they come from a store of ours. Those of
    /// another server always are, where a digest is known.
    private func checksDownloads(of record: Provenance.Sealed?) -> Bool {
        settings.signatures.checkedDownloads == .all || record?.provenance.signer != nil || record?.seal == .broken
    }

    /// The cache's copy. Nil when it cannot be had, or must not be.
    private func cachedData(
        of image: Image, _ blob: BlobID, _ cache: ImageCache, _ record: Provenance.Sealed?, as caller: Caller
    ) async throws -> ImageData? {
        guard image.status == .active, let sizeBytes = image.sizeBytes else { return nil }
        let found = try await check(of: image, record, as: caller)
        let check = checksDownloads(of: record) ? found : nil
        do {
            let reader = try await cache.settings.store.open(blob)
            guard reader.sizeBytes == sizeBytes else {
                await reader.close()
                throw BlobError(code: .notFound, operation: "open cached copy", cause: "its size is another")
            }
            cache.tally.count(image.id, at: now)
            return ImageData(
                sizeBytes: sizeBytes, checksum: image.checksum, reader: reader, check: check, images: self,
                id: image.id, store: cache.settings.store.id,
                copy: ImageData.CachedCopy(cache: cache, blob: blob), logger: caller.logger)
        } catch let error as BlobError {
            // The store has it still.
            caller.logger.warning(
                "a cached copy cannot be read", metadata: ["image": "\(image.id)", "error": "\(error)"])
            if error.code == .notFound { try await cache.drop(image.id, blob) }
            return nil
        }
    }

    /// The next download of an image that was found in a store far away is to find it here. That this fails is no
    /// reason to fail the download.
    private func queueForCache(
        _ image: Image, foundIn store: StoreID, _ cache: ImageCache, _ logger: Logger
    ) async {
        guard image.status == .active, cache.settings.stores.contains(store) else { return }
        let now = now
        do {
            let isNew = try await database.write { try ImageCache.queue(image.id, node: cache.node, now: now, in: $0) }
            if isNew { cache.wake() }
        } catch {
            logger.warning(
                "image could not be queued for the cache", metadata: ["image": "\(image.id)", "error": "\(error)"])
        }
    }

    /// What a download can be held against; nil when nothing is known.
    private func check(
        of image: Image, _ record: Provenance.Sealed?, as caller: Caller
    ) async throws -> ImageData.Check? {
        if record?.seal == .broken {
            await flag(image.id, nil, "the record of what came in was changed", logger: caller.logger)
            guard caller.isAdmin else {
                throw ServiceError.unavailable(
                    "The record of what the data of image \(image.id) should be does not hold; an operator has to look."
                )
            }
        }
        // A record whose seal nobody can look at any more says no more than the image does; but that it was signed is
        // reason enough to look, whatever became of the seal.
        let believed = record?.seal == .intact ? record?.provenance : nil
        guard
            let name = believed?.algorithm ?? image.hashAlgorithm, let algorithm = DigestAlgorithm(rawValue: name),
            let expected = (believed?.digest ?? image.hashValue).flatMap(Hex.decode)
        else { return nil }
        return ImageData.Check(algorithm: algorithm, expected: expected)
    }
}
