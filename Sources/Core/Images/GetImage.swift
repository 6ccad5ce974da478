import Persistence

/// An image as its readers get it: the record, and where its bytes are.
package struct ImageView: Sendable {
    package let image: Image
    /// Names of the stores that hold the data, heaviest first; empty where there is one store.
    package let stores: [StoreID]
    /// Nil where locations are not shown.
    package let locations: [ShownLocation]?
    package let directURL: String?

    package init(
        image: Image, stores: [StoreID], locations: [ShownLocation]? = nil, directURL: String? = nil
    ) {
        self.image = image
        self.stores = stores
        self.locations = locations
        self.directURL = directURL
    }
}

extension Images {
    /// `GET /v2/images/{id}`.
    /// - Throws: `ServiceError.notFound`, also for an image the caller may not see.
    package func get(_ id: ImageID, as caller: Caller) async throws -> ImageView {
        try await database.read { db in try view(of: id, as: caller, in: db) }
    }

    /// As `get`, if it can be had without waiting. It is read where it is asked for, which may be an event loop: a dozen
    /// pages of the database, nearly always in memory, at worst as many reads of a disk.
    package func getAtOnce(_ id: ImageID, as caller: Caller) throws -> ImageView? {
        try database.readAtOnce { db in try view(of: id, as: caller, in: db) }
    }

    private func view(of id: ImageID, as caller: Caller, in db: any SQLConnection) throws -> ImageView {
        let image = try visibleImage(id, .getImage, caller, in: db)
        return try view(of: image, as: try readable(image, by: caller, in: db), to: caller, in: db)
    }

    /// The image, if the caller may do the action with it.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    func visibleImage(
        _ id: ImageID, _ action: ImageAction, _ caller: Caller, in db: any SQLConnection
    ) throws -> Image {
        guard let image = try db.image(id) else { throw ServiceError.noImage(id) }
        try settings.policy.require(action, caller, image, isMember: try isMember(caller, of: image, in: db))
        return image
    }

    /// Looked up only where a decision can depend on it.
    func isMember(_ caller: Caller, of image: Image, in db: any SQLConnection) throws -> Bool {
        guard image.visibility == .shared, image.owner != caller.projectID else { return false }
        return try db.isMember(caller.projectID, of: image.id)
    }

    func propertyAccess(_ caller: Caller, to image: Image, in db: any SQLConnection) throws -> PropertyAccess {
        guard settings.policy.protections != nil else { return .everything }
        let standing = ImageStanding(image, isMember: try isMember(caller, of: image, in: db), of: caller)
        return settings.policy.properties(of: image, standing, for: caller)
    }

    /// The image as the caller may see it.
    func readable(_ image: Image, by caller: Caller, in db: any SQLConnection) throws -> Image {
        try propertyAccess(caller, to: image, in: db).readable(image)
    }
}
