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
    fileprivate let logger: Logger

    fileprivate struct Check: Sendable {
        let algorithm: DigestAlgorithm
        let expected: [UInt8]
    }

    /// What the bytes are to be read with when all of them are wanted, in order. Where downloads are checked, the last
    /// ones come only if all are those that came in; otherwise the image is flagged and the read fails.
    package var wholeReader: any BlobReader {
        guard let check, sizeBytes > 0 else { return reader }
        let (images, id, store, logger) = (images, id, store, logger)
        return CheckedReader(
            reader, check.algorithm, expected: check.expected, work: images.surroundings.work
        ) { await images.flag(id, store, "the \(check.algorithm.rawValue) of its bytes is another", logger: logger) }
    }
}

extension Images {
    /// `GET /v2/images/{id}/file`.
    /// - Returns: nil when the image has no data yet. The caller closes the reader.
    /// - Throws: `ServiceError`: `.notFound`; `.forbidden` (policy; deactivated, unless an admin asks);
    ///   `.unavailable` when no store can give the bytes, or the record of what came in was changed (admins may have
    ///   them all the same).
    package func download(_ id: ImageID, prefer: [StoreID] = [], as caller: Caller) async throws -> ImageData? {
        let (image, places, record) = try await database.read { db in
            let image = try visibleImage(id, .downloadImage, caller, in: db)
            return (
                image, try BlobLedger.live(of: id, in: db), try Provenance.Sealed.find(id, seal, in: db)
            )
        }
        if image.status == .deactivated, !caller.isAdmin {
            throw ServiceError.forbidden("The requested image has been deactivated. Image data download is forbidden.")
        }
        for store in prefer where stores[store] == nil {
            throw ServiceError.badRequest("There is no store '\(store)' to prefer.")
        }
        guard !places.isEmpty, let sizeBytes = image.sizeBytes else { return nil }
        let check = try await check(of: image, record, as: caller)
        let ordered =
            prefer.flatMap { wanted in places.filter { $0.store == wanted } }
            + places.filter { !prefer.contains($0.store) }
        var failure: any Error = BlobError(code: .unavailable, operation: "open", cause: "no store is configured")
        for place in ordered {
            guard let store = stores[place.store] else { continue }
            do {
                let reader = try await store.open(place.blob)
                guard reader.sizeBytes == sizeBytes else {
                    await reader.close()
                    throw BlobError(
                        code: .corrupt, operation: "open",
                        cause: "\(reader.sizeBytes) bytes are stored, \(sizeBytes) were promised")
                }
                return ImageData(
                    sizeBytes: sizeBytes, checksum: image.checksum, reader: reader, check: check, images: self, id: id,
                    store: place.store, logger: caller.logger)
            } catch {
                failure = error
                caller.logger.error(
                    "image data cannot be opened",
                    metadata: ["image": "\(id)", "store": "\(place.store)", "error": "\(error)"])
            }
        }
        // Deleted between the two looks: the bytes may be gone, and so is the image.
        if try await database.read({ try $0.image(id) }) == nil { throw ServiceError.noImage(id) }
        throw ServiceError.unavailable("The image's data is out of reach; try again later.", cause: failure)
    }

    /// What a download is held against; nil when it goes out unchecked.
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
            settings.signatures.checkedDownloads == .all || record?.provenance.signer != nil || record?.seal == .broken,
            let name = believed?.algorithm ?? image.hashAlgorithm, let algorithm = DigestAlgorithm(rawValue: name),
            let expected = (believed?.digest ?? image.hashValue).flatMap(Hex.decode)
        else { return nil }
        return ImageData.Check(algorithm: algorithm, expected: expected)
    }
}
