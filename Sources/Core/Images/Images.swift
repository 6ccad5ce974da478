import Logging
import Persistence
import Trust

/// The image service's use cases. One file each: `CreateImage.swift`, `UploadImage.swift`, ….
package struct Images: Sendable {
    let database: any SQLDatabase
    package let stores: StoreSet
    let surroundings: Surroundings
    package let settings: ImageSettings
    /// This process: owner of the leases it takes.
    let instance: InstanceID
    let held: HeldBlobs
    let jobs: Jobs
    /// Nil when nobody keeps keys.
    let keys: (any KeyManager)?
    /// Where the certificates of signed images are; nil when there is no key manager.
    let certificates: (any CertificateSource)?
    /// What fetches from other servers; nil when nothing is fetched.
    let remote: (any RemoteContentSource)?
    /// Where the cloud's other image services are; nil when nobody says.
    let catalogue: (any ServiceCatalogue)?
    /// What makes the records of what was verified this server's own.
    let seal: RecordSeal
    let intake: BlobIntake
    /// Nil when nothing is cached.
    let cache: ImageCache?
    let instances: Instances
    let uploadLeases: LeaseWatch
    let reconcilerWake: WakeSignals

    /// - Parameters:
    ///   - remote: what fetches URLs; nil leaves the import methods out that need it.
    ///   - importSteps: what is done to imported bytes, in this order.
    ///   - node: where processes of this service run one at a time. A process that starts there takes over what its
    ///     predecessors held.
    ///   - lifeOfNode: what is known of the processes of another node.
    package init(
        database: any SQLDatabase, stores: StoreSet, surroundings: Surroundings, settings: ImageSettings,
        keys: (any KeyManager)? = nil, certificates: (any CertificateSource)? = nil,
        remote: (any RemoteContentSource)? = nil, catalogue: (any ServiceCatalogue)? = nil,
        importSteps: [any ImportStep] = [], seal: RecordSeal, cache: ImageCacheSettings? = nil, instance: InstanceID,
        node: String = "local", lifeOfNode: @escaping @Sendable (String) -> NodeLife = { _ in .unknown }, logger: Logger
    ) {
        let database = LimitLearningDatabase.wrapping(database, for: settings.limits)
        self.database = database
        self.stores = stores
        self.surroundings = surroundings
        self.settings = settings
        self.keys = keys
        self.certificates = certificates
        self.remote = remote
        self.catalogue = catalogue
        self.seal = seal
        self.cache = cache.map {
            ImageCache(
                database: database, surroundings: surroundings, settings: $0, node: node,
                logger: logger)
        }
        self.instance = instance
        uploadLeases = LeaseWatch(leaseSeconds: settings.leaseSeconds)
        let held = HeldBlobs()
        self.held = held
        let intake = BlobIntake(
            database: database, surroundings: surroundings, settings: settings, instance: instance,
            budget: UploadBudget(limitBytes: settings.uploadBufferBytes), held: held)
        self.intake = intake
        instances = Instances(
            database: database, clock: surroundings.clock, instance: instance, node: node, lifeOfNode: lifeOfNode)
        let clock = surroundings.clock
        let erase = EraseBlob(database: database, stores: stores, clock: clock, instance: instance, held: held)
        let release = ReleaseKeys(database: database, clock: clock, keys: keys, logger: logger)
        let register = RegisterKeys(database: database, clock: clock, keys: keys)
        let imports = ImportWorker(
            database: database, stores: stores, intake: intake, seal: seal, remote: remote, catalogue: catalogue,
            steps: importSteps, logger: logger)
        let hash = HashLocation(
            database: database, remote: RemoteStore(stores, remote), surroundings: surroundings, seal: seal,
            taskHours: settings.imports.taskHours, logger: logger)
        let lanes = [.common, .keys, .imports] + stores.all.map(JobLane.store)
        reconcilerWake = WakeSignals(lanes)
        jobs = Jobs(
            database: database, surroundings: surroundings, instance: instance, leaseSeconds: settings.leaseSeconds,
            workers: [
                .eraseBlob: erase.run, .releaseKeys: release.run, .registerKey: register.run,
                .importImage: imports.run, .hashLocation: hash.run,
            ], lanes: lanes)
    }

    var now: Timestamp { surroundings.clock.now }

    /// The store of what other servers keep; nil when there is none, or nothing is fetched.
    var remoteStore: RemoteStore? { RemoteStore(stores, remote) }
}
