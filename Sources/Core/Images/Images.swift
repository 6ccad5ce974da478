import Logging
import Persistence
import Trust

/// The image service's use cases. One file each: `CreateImage.swift`, `UploadImage.swift`, ….
package struct Images: Sendable {
    let database: any SQLDatabase
    let stores: StoreSet
    let surroundings: Surroundings
    package let settings: ImageSettings
    /// This process: owner of the leases it takes.
    let instance: InstanceID
    let uploads: UploadBudget
    let held: HeldBlobs
    let jobs: Jobs
    /// Nil when nobody keeps keys.
    let keys: (any KeyManager)?
    /// Where the certificates of signed images are; nil when there is no key manager.
    let certificates: (any CertificateSource)?
    /// What makes the records of what was verified this server's own.
    let seal: RecordSeal
    let instances: Instances
    let uploadLeases: LeaseWatch
    let reconcilerWake: WakeSignals

    /// - Parameter node: where processes of this service run one at a time. A process that starts there
    ///   takes over what its predecessors held.
    package init(
        database: any SQLDatabase, stores: StoreSet, surroundings: Surroundings, settings: ImageSettings,
        keys: (any KeyManager)? = nil, certificates: (any CertificateSource)? = nil, seal: RecordSeal,
        instance: InstanceID, node: String = "local", logger: Logger
    ) {
        self.database = database
        self.stores = stores
        self.surroundings = surroundings
        self.settings = settings
        self.keys = keys
        self.certificates = certificates
        self.seal = seal
        self.instance = instance
        uploads = UploadBudget(limitBytes: settings.uploadBufferBytes)
        uploadLeases = LeaseWatch(leaseSeconds: settings.leaseSeconds)
        let held = HeldBlobs()
        self.held = held
        instances = Instances(database: database, clock: surroundings.clock, instance: instance, node: node)
        let clock = surroundings.clock
        let erase = EraseBlob(database: database, stores: stores, clock: clock, instance: instance, held: held)
        let release = ReleaseKeys(database: database, clock: clock, keys: keys, logger: logger)
        let register = RegisterKeys(database: database, clock: clock, keys: keys)
        let lanes = [.common, .keys] + stores.ids.map(JobLane.store)
        reconcilerWake = WakeSignals(lanes)
        jobs = Jobs(
            database: database, surroundings: surroundings, instance: instance, leaseSeconds: settings.leaseSeconds,
            workers: [.eraseBlob: erase.run, .releaseKeys: release.run, .registerKey: register.run], lanes: lanes)
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
