import Persistence

/// The image service's use cases. One file each: `CreateImage.swift`, `UploadImage.swift`, ….
package struct Images: Sendable {
    let database: any SQLDatabase
    let stores: StoreSet
    let surroundings: Surroundings
    package let settings: ImageSettings
    /// This process: owner of the leases it takes.
    let instance: InstanceID
    let uploads: UploadBudget
    let scrubberWake = WakeSignal()

    package init(
        database: any SQLDatabase, stores: StoreSet, surroundings: Surroundings, settings: ImageSettings,
        instance: InstanceID
    ) {
        self.database = database
        self.stores = stores
        self.surroundings = surroundings
        self.settings = settings
        self.instance = instance
        uploads = UploadBudget(limitBytes: settings.uploadBufferBytes)
    }

    var now: Timestamp { surroundings.clock.now }

    /// The stores that take uploads, default first.
    package var storeIDs: [StoreID] { stores.ids }
}

/// The configured stores.
package struct StoreSet: Sendable {
    package let `default`: StoreID
    package let ids: [StoreID]
    private let byID: [StoreID: any BlobStore]

    package init(_ stores: [any BlobStore], default: StoreID) {
        byID = Dictionary(uniqueKeysWithValues: stores.map { ($0.id, $0) })
        precondition(byID[`default`] != nil, "the default store is not configured")
        self.default = `default`
        ids = [`default`] + stores.map(\.id).filter { $0 != `default` }.sorted()
    }

    package subscript(_ id: StoreID) -> (any BlobStore)? { byID[id] }
}
