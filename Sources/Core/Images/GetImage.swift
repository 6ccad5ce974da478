import Persistence

/// An image as its readers get it: the record, and where its bytes are.
package struct ImageView: Sendable {
    package let image: Image
    /// Names of the stores that hold the data, heaviest first.
    package let stores: [StoreID]

    package init(image: Image, stores: [StoreID]) {
        self.image = image
        self.stores = stores
    }
}

extension Images {
    /// `GET /v2/images/{id}`.
    /// - Throws: `ServiceError.notFound`, also for an image the caller may not see.
    package func get(_ id: ImageID, as caller: Caller) async throws -> ImageView {
        try await database.read { db in
            let image = try visibleImage(id, .getImage, caller, in: db)
            return ImageView(image: image, stores: try stores(of: image, in: db))
        }
    }

    /// The image, if the caller may do the action with it.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    func visibleImage(
        _ id: ImageID, _ action: ImageAction, _ caller: Caller, in db: any SQLConnection
    ) throws -> Image {
        guard let image = try db.image(id) else { throw ServiceError.noImage(id) }
        // Membership is looked up only where the decision can depend on it.
        let dependsOnMembership = image.visibility == .shared && image.owner != caller.projectID
        let isMember = dependsOnMembership ? try db.isMember(caller.projectID, of: id) : false
        try ImagePolicy.require(action, caller, image, isMember: isMember)
        return image
    }

    func stores(of image: Image, in db: any SQLConnection) throws -> [StoreID] {
        guard stores.ids.count > 1, image.sizeBytes != nil else { return [] }
        return try BlobLedger.live(of: image.id, in: db).map(\.store)
    }
}
