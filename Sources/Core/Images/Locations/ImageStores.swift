import Logging
import Persistence

/// A store as clients learn of it.
package struct StoreInfo: Sendable {
    package let id: StoreID
    package let isDefault: Bool
    package let isReadOnly: Bool
    package let traits: StoreTraits
}

extension Images {
    /// `GET /v2/info/stores`, default first.
    /// - Throws: `ServiceError.notFound` when there is one store.
    package func storeInfos() throws -> [StoreInfo] {
        guard stores.areSeveral else { throw ServiceError.notFound("Multi backend is not supported at this site.") }
        return stores.all.map { id in
            StoreInfo(
                id: id, isDefault: id == stores.default, isReadOnly: stores.isReadOnly(id),
                traits: stores.traits(of: id))
        }
    }

    /// `GET /v2/info/stores/detail`.
    /// - Throws: `ServiceError`: `.notFound` (one store), `.forbidden`.
    package func storeDetails(as caller: Caller) throws -> [StoreInfo] {
        let infos = try storeInfos()
        try settings.policy.require(.storesInfoDetail, caller, ImageTarget(listing: caller.projectID))
        return infos
    }

    /// `DELETE /v2/stores/{store}/{image}`: the image's data is no more in that store. In one transaction the copy is
    /// doomed and the job there that erases it, as when an image is deleted; what another server keeps stays there.
    /// - Throws: `ServiceError`: `.notFound` (one store; image; not in that store), `.forbidden` (policy, last store),
    ///   `.conflict` (no such store, image not active).
    package func delete(_ id: ImageID, from store: StoreID, as caller: Caller) async throws {
        guard stores.areSeveral else { throw ServiceError.notFound("Multi backend is not supported at this site.") }
        guard stores.contains(store) else {
            throw ServiceError.conflict("There is no store '\(store)' to delete from.")
        }
        let now = now
        try await database.write { db in
            let image = try visibleImage(id, .deleteImageLocation, caller, in: db)
            try settings.policy.require(
                .getImageLocation, caller, image, isMember: try isMember(caller, of: image, in: db))
            guard image.status == .active else {
                throw ServiceError.conflict(
                    "Data is taken out of a store from an image that is active; this one is \(image.status.rawValue).")
            }
            let locations = try ImageLocations.live(of: id, stores, in: db)
            let there = locations.filter { $0.store == store }
            guard !there.isEmpty else {
                throw ServiceError.notFound("Image \(id) has no data in store '\(store)'.")
            }
            guard there.count < locations.count else {
                throw ServiceError.forbidden(
                    "The data of image \(id) is in store '\(store)' alone; delete the image instead.")
            }
            for location in there { try Self.drop(location, of: id, now: now, in: db) }
            try db.execute("UPDATE images SET updated_at = $1 WHERE id = $2 AND status = 'active'", now, id)
        }
        reconcilerWake.signal()
        caller.logger.info("image deleted from store", metadata: ["image": "\(id)", "store": "\(store)"])
    }

    /// One copy of an image is its no more.
    static func drop(
        _ location: ImageLocation, of image: ImageID, now: Timestamp, in db: any SQLConnection
    ) throws {
        switch location.place {
        case .blob(let blob):
            try BlobLedger.doomLive(blob, .removedFromStore, now: now, in: db)
            try ImageLocations.setMetadata([:], of: blob.rawValue, image, in: db)
        case .remote(let id, _):
            try ImageLocations.remove(id, of: image, in: db)
        }
    }

    // MARK: how images show where their data is

    /// The image as its reader gets it.
    /// - Parameter readable: without what the caller may not read.
    func view(
        of image: Image, as readable: Image, to caller: Caller, in db: any SQLConnection
    ) throws -> ImageView {
        let shows = settings.locations
        guard stores.areSeveral || shows.areShown || shows.isDirectURLShown else {
            return ImageView(image: readable, stores: [])
        }
        if image.status == .queued {
            let rejected = stores.remote == nil ? [] : try ImageLocations.rejected(of: image.id, in: db)
            return ImageView(image: readable, stores: rejected, locations: shows.areShown ? [] : nil)
        }
        let live = image.sizeBytes == nil ? [] : try ImageLocations.live(of: image.id, stores, in: db)
        var ids: [StoreID] = []
        for location in live where !ids.contains(location.store) { ids.append(location.store) }
        let shown =
            shows.areShown || shows.isDirectURLShown ? try self.shown(live, of: image, to: caller, in: db) : []
        return ImageView(
            image: readable, stores: stores.areSeveral ? ids : [], locations: shows.areShown ? shown : nil,
            directURL: shows.isDirectURLShown ? shown.first?.url : nil)
    }

    /// A new image, to whoever made it.
    package func view(ofNew image: Image) -> ImageView {
        ImageView(image: image, stores: [], locations: settings.locations.areShown ? [] : nil)
    }

    func shownLocations(of image: Image, to caller: Caller, in db: any SQLConnection) throws -> [ShownLocation] {
        try shown(try ImageLocations.live(of: image.id, stores, in: db), of: image, to: caller, in: db)
    }

    /// Where the data of a deactivated image is, is for admins alone.
    private func shown(
        _ locations: [ImageLocation], of image: Image, to caller: Caller, in db: any SQLConnection
    ) throws -> [ShownLocation] {
        guard !locations.isEmpty, image.status != .deactivated || caller.isAdmin else { return [] }
        let metadata = try ImageLocations.metadata(of: image.id, in: db)
        return locations.map { location in
            var shown = metadata[location.key] ?? [:]
            if stores.areSeveral { shown["store"] = location.store.rawValue }
            return ShownLocation(url: url(of: location), metadata: shown)
        }
    }

    func url(of location: ImageLocation) -> String {
        switch location.place {
        case .blob(let blob): stores[location.store]?.url(of: blob) ?? "\(location.store)://\(blob)"
        case .remote(_, let url): url
        }
    }
}
