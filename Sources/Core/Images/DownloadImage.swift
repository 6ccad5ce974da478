import Logging
import Persistence

/// What a download hands on.
package struct ImageData: Sendable {
    package let sizeBytes: Int64
    package let checksum: String?
    package let reader: any BlobReader
}

extension Images {
    /// `GET /v2/images/{id}/file`.
    /// - Returns: nil when the image has no data yet. The caller closes the reader.
    /// - Throws: `ServiceError`: `.notFound`; `.forbidden` (policy; deactivated, unless an admin asks);
    ///   `.unavailable` when no store can give the bytes.
    package func download(_ id: ImageID, prefer: [StoreID] = [], as caller: Caller) async throws -> ImageData? {
        let (image, places) = try await database.read { db in
            let image = try visibleImage(id, .downloadImage, caller, in: db)
            return (image, try BlobLedger.live(of: id, in: db))
        }
        if image.status == .deactivated, !caller.isAdmin {
            throw ServiceError.forbidden("The requested image has been deactivated. Image data download is forbidden.")
        }
        for store in prefer where stores[store] == nil {
            throw ServiceError.badRequest("There is no store '\(store)' to prefer.")
        }
        guard !places.isEmpty, let sizeBytes = image.sizeBytes else { return nil }
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
                return ImageData(sizeBytes: sizeBytes, checksum: image.checksum, reader: reader)
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
}
