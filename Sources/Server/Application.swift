import API
import Blobs
import Core
import Logging
import NIOCore
import NIOSSL
import Persistence
import Remote
import ServiceLifecycle
import Trust

/// The server: everything that its settings ask for, put together. The only place that knows all parts.
package final class Application: Sendable {
    /// What runs beside the application and is shared by all of a process.
    package struct Process: Sendable {
        package let surroundings: Surroundings
        package let eventLoopGroup: any EventLoopGroup
        package let logger: Logger
        /// What `MetricsSystem` was bootstrapped with; nil when nothing is counted.
        package let metrics: PrometheusRegistry?
        /// What fetches from other servers for users; nil for the client of the program (`EgressClient`).
        package let remote: (any RemoteContentSource)?
        package let node: NodeName

        package init(
            surroundings: Surroundings, eventLoopGroup: any EventLoopGroup, logger: Logger,
            metrics: PrometheusRegistry?, remote: (any RemoteContentSource)? = nil, node: NodeName = .first
        ) {
            self.surroundings = surroundings
            self.eventLoopGroup = eventLoopGroup
            self.logger = logger
            self.metrics = metrics
            self.remote = remote
            self.node = node
        }
    }

    private let settings: ServerSettings
    private let process: Process
    private let directory: DataDirectory
    private let database: SQLiteDatabase
    private let tls: TLSConfiguration?
    private let tokenKeys: TokenKeys?
    private let keystone: KeystoneAuthenticator?
    /// The key manager in this program; nil when keys are somebody else's business.
    private let secrets: Secrets?
    private let barbican: BarbicanKeyManager?
    private let images: Images?
    private let audit: AuditTrail?
    private let cache: OpenCache?

    private var logger: Logger { process.logger }
    private var surroundings: Surroundings { process.surroundings }

    /// Takes the data directory and checks all that a start depends on. Nothing answers yet.
    /// - Throws: `StartProblem`, one line for the operator.
    package init(_ settings: ServerSettings, in process: Process) async throws {
        self.settings = settings
        self.process = process
        tls = try settings.tls.map { try TLSFilesReader.configuration($0) }
        let directory = try await DataDirectory(path: settings.dataDirectory, node: process.node)
        self.directory = directory
        let database = try await Self.openDatabase(directory, process.surroundings)
        self.database = database
        switch settings.identity {
        case .embedded:
            keystone = nil
            tokenKeys = try await StartProblem.wrapping("token keys") {
                try await TokenKeys.loadOrCreate(path: directory.tokenKeys)
            }
        case .keystone(let choice):
            tokenKeys = nil
            keystone = try await Self.reachKeystone(choice, process)
        }
        switch settings.keys {
        case .embedded(let choice):
            secrets = try await OpenKeys.embedded(
                choice, database, process.surroundings, mayCreate: directory.node == .first)
            barbican = nil
        case .barbican(let choice):
            guard case .keystone(let keystone) = settings.identity else {
                preconditionFailure("keys in a Barbican need a Keystone")
            }
            secrets = nil
            barbican = await OpenKeys.barbican(choice, keystone.settings, region: settings.region, process)
        case .off:
            secrets = nil
            barbican = nil
        }
        audit = try await Self.openAudit(settings.audit, directory, process)
        let limitKeeper = keystone
        let catalogue: (any ServiceCatalogue)? =
            keystone?.catalogue ?? Self.embeddedCatalogue(database, tokenKeys, process.surroundings)
        let cache = try settings.image?.cache.map { try Self.openCache($0) }
        self.cache = cache
        let manager: (any KeyManager)? = secrets.map { EmbeddedKeyManager($0) } ?? barbican
        let certificates: (any CertificateSource)? = secrets.map { EmbeddedCertificates($0) } ?? barbican
        images = try await settings.image.asyncMap {
            let parts = ImageParts(
                keys: manager, certificates: certificates, seal: try await Self.recordSeal(directory),
                catalogue: catalogue, cache: cache?.settings,
                importSteps: try OpenImportSteps.steps($0.settings, scratch: directory.scratch, process))
            var choice = $0
            if case .outOfReach = choice.settings.limits, let limitKeeper {
                choice.settings.limits = .remote(
                    limitKeeper.limits(
                        ofService: ImageSettings.serviceType, region: settings.region, logger: process.logger))
            }
            return try await Self.openImages(choice, parts, directory, database, process)
        }
    }

    /// Apart from the Identity that answers requests, which comes later, and remembers no tokens.
    private static func embeddedCatalogue(
        _ database: SQLiteDatabase, _ tokenKeys: TokenKeys?, _ surroundings: Surroundings
    ) -> EmbeddedCatalogue? {
        guard let tokenKeys else { return nil }
        var settings = IdentitySettings()
        settings.tokenCacheSeconds = 0
        return EmbeddedCatalogue(
            IdentityService(database: database, surroundings: surroundings, settings: settings, keys: tokenKeys))
    }

    private static func recordSeal(_ directory: DataDirectory) async throws -> RecordSeal {
        try await StartProblem.wrapping("record key") { try RecordSeal.loadOrCreate(path: directory.recordKey) }
    }

    private static func openAudit(
        _ choice: ServerSettings.AuditChoice?, _ directory: DataDirectory, _ process: Process
    ) async throws -> AuditTrail? {
        guard let choice else { return nil }
        return try AuditTrail(
            path: choice.file, seal: try await recordSeal(directory), clock: process.surroundings.clock,
            logger: process.logger)
    }

    /// What images need of others; nil where there is nobody.
    private struct ImageParts {
        let keys: (any KeyManager)?
        let certificates: (any CertificateSource)?
        let seal: RecordSeal
        let catalogue: (any ServiceCatalogue)?
        let cache: ImageCacheSettings?
        let importSteps: [any ImportStep]
    }

    /// A cache, held for this server alone.
    private struct OpenCache {
        let settings: ImageCacheSettings
        let lock: FileLock
    }

    private static func openDatabase(
        _ directory: DataDirectory, _ surroundings: Surroundings
    ) async throws -> SQLiteDatabase {
        try await StartProblem.wrapping("database \(directory.database)") {
            let database = try SQLiteDatabase(
                path: directory.database, turn: WriteTurn(database: directory.database))
            if directory.isAlone {
                try await database.migrate(DatabaseSchema.migrations, at: surroundings.clock.now.microseconds)
                return database
            }
            do {
                try await database.requireSchema(DatabaseSchema.migrations)
            } catch MigrationError.olderSchema, MigrationError.noSchema {
                throw StartProblem(
                    "data_dir: \(directory.path) is not set up for this program, and only the first node, without "
                        + "--node, does that, and alone: stop the others and start it first")
            }
            return database
        }
    }

    private static func reachKeystone(
        _ choice: ServerSettings.KeystoneChoice, _ process: Process
    ) async throws -> KeystoneAuthenticator {
        try await StartProblem.wrapping("keystone.auth_url \(choice.authURL)") {
            let keystone = KeystoneAuthenticator(choice.settings, clock: process.surroundings.clock)
            do {
                try await keystone.checkReachable()
            } catch {
                try await keystone.shutdown()
                throw error
            }
            return keystone
        }
    }

    /// A store that holds images and is out of reach keeps nobody from the others: whatever needs it answers
    /// 503 until it is back. One that was never used must be usable: that is a mistake in the settings.
    private static func openStore(
        _ id: StoreID, _ directory: String, isInUse: Bool, _ logger: Logger
    ) throws -> any BlobStore {
        // Threads of its own: a store that hangs keeps nobody waiting but its own users.
        let work = ThreadWorkPool()
        do {
            return try FileBlobStore(id: id, directory: directory, work: work, mayInitialize: !isInUse)
        } catch let error as BlobError where isInUse && error.isRetryable {
            logger.error(
                "a store that holds image data is out of reach; starting without it",
                metadata: ["store": "\(id)", "error": "\(error)"])
            return FileBlobStore(known: id, directory: directory, work: work)
        } catch {
            throw StartProblem("image.stores: store '\(id)' in \(directory) is not usable: \(error)")
        }
    }

    private static func openStores(
        _ choice: ServerSettings.ImageChoice, inUse used: Set<StoreID>, _ logger: Logger
    ) throws -> StoreSet {
        var stores: [any BlobStore] = []
        var remote: StoreID?
        for store in choice.stores {
            switch store.place {
            case .directory(let path):
                stores.append(try openStore(store.id, path, isInUse: used.contains(store.id), logger))
            case .http: remote = store.id
            }
        }
        let traits = Dictionary(choice.stores.map { ($0.id, $0.traits) }, uniquingKeysWith: { first, _ in first })
        return StoreSet(stores, default: choice.settings.defaultStore, remote: remote, traits: traits)
    }

    private static func openCache(_ choice: ServerSettings.CacheChoice) throws -> OpenCache {
        do {
            let store = try FileBlobStore(id: "cache", directory: choice.directory, work: ThreadWorkPool())
            let lock = try FileLock(path: choice.directory)
            guard try lock.take(.exclusive) else {
                throw StartProblem(
                    "image.cache.directory: \(choice.directory) is another server's cache; each needs its own")
            }
            return OpenCache(
                settings: ImageCacheSettings(store: store, limitBytes: choice.bytes, stores: Set(choice.stores)),
                lock: lock)
        } catch let problem as StartProblem {
            throw problem
        } catch {
            throw StartProblem("image.cache.directory: \(choice.directory) is not usable: \(error)")
        }
    }

    private static func openImages(
        _ choice: ServerSettings.ImageChoice, _ parts: ImageParts, _ directory: DataDirectory,
        _ database: SQLiteDatabase, _ process: Process
    ) async throws -> Images {
        let algorithm = choice.settings.hashAlgorithm
        if algorithm.isWeak {
            process.logger.warning(
                "image.hash_algorithm is weak: others can make two images of one digest; choose sha256 or longer",
                metadata: ["algorithm": "\(algorithm.rawValue)"])
        }
        let used = try await StartProblem.wrapping("database") {
            try await database.read { db in
                let remote = try db.query("SELECT DISTINCT store FROM image_locations") {
                    try $0.get(0, as: StoreID.self)
                }
                return Set(try db.storesInUse() + remote)
            }
        }
        if let lost = used.subtracting(choice.stores.map(\.id)).min() {
            throw StartProblem("image.stores: store '\(lost)' holds image data and is not configured")
        }
        let stores = try openStores(choice, inUse: used, process.logger)
        let unknown = choice.settings.policy.unknownCallerAttributes
        if !unknown.isEmpty {
            process.logger.warning(
                "the policy file asks for attributes that no caller has: such checks are false",
                metadata: ["attributes": "\(unknown.joined(separator: " "))"])
        }
        let remote =
            process.remote
            ?? EgressClient(
                EgressPolicy(choice.settings.imports.egress),
                resolver: SystemResolver(work: ThreadWorkPool(threadCount: 4)),
                connector: SocketConnector(group: process.eventLoopGroup))
        let images = Images(
            database: database, stores: stores, surroundings: process.surroundings, settings: choice.settings,
            keys: parts.keys, certificates: parts.certificates, remote: remote, catalogue: parts.catalogue,
            importSteps: parts.importSteps, seal: parts.seal, cache: parts.cache,
            instance: InstanceID(process.surroundings.uuid()), node: directory.node.description,
            lifeOfNode: { directory.life(of: $0) }, logger: process.logger)
        try await StartProblem.wrapping("interrupted uploads") { try await images.recover(logger: process.logger) }
        try await StartProblem.wrapping("keys of images") { _ = try await images.registerKeys() }
        return images
    }
}

extension Application {
    /// The running server: it answers until it is told to shut down gracefully, or cancelled.
    /// - Parameter onReady: called once, when it answers.
    package func serviceGroup(onReady: @escaping @Sendable (ServerURLs) async -> Void) -> ServiceGroup {
        let services = served
        let places = services.places
        let listeners = Listeners(
            addresses: places.map(\.address), tls: tls, idleTimeoutSeconds: settings.idleTimeoutSeconds,
            connectionLimit: DescriptorLimit.connections(listeners: places.count),
            eventLoopGroup: process.eventLoopGroup, logger: logger,
            onBound: { bound in try await self.dispatchers(services, bound) },
            onReady: onReady)
        // In reverse order they are told to stop: the reconciler works until the last request is done.
        var parts: [any ServiceLifecycle.Service] = []
        if let audit { parts.append(AuditEnd(trail: audit)) }
        if let audit, let url = settings.audit?.webhook {
            let webhook = Webhook(url: url)
            let feed = AuditFeed(trail: audit, clock: surroundings.clock, logger: logger) {
                try await webhook.post(json: $0)
            }
            parts.append(AuditFeedService(feed: feed, webhook: webhook))
        }
        if let images { parts.append(Reconciler(images: images, logger: logger)) }
        if let secrets { parts.append(KeyHousekeeping(secrets: secrets, clock: surroundings.clock, logger: logger)) }
        if let barbican { parts.append(BarbicanConnections(keys: barbican)) }
        if let keystone { parts.append(KeystoneConnections(keystone: keystone)) }
        parts.append(listeners)
        var configuration = ServiceGroupConfiguration(services: parts, logger: logger)
        configuration.maximumGracefulShutdownDuration = .seconds(settings.shutdownDeadlineSeconds)
        return ServiceGroup(configuration: configuration)
    }

    /// The operator has moved log files away (SIGHUP): what is written from now on goes to new ones.
    package func reopenLogs() { audit?.reopen() }

    /// The services there are. Another one is another element; Identity is the first, for it proves the callers
    /// of all others.
    private var served: ServedServices {
        var services = ServedServices(settings, logger: logger)
        if case .embedded(let choice) = settings.identity, let tokenKeys {
            services.add(.identity) { try await self.openIdentity(choice, tokenKeys, $0) }
        }
        if let images { services.add(.image) { ImageAPI(images: images, authenticator: $0.authenticator) } }
        if let secrets {
            services.add(.keyManager) { KeyManagerAPI(secrets: secrets, authenticator: $0.authenticator) }
        }
        return services
    }

    /// The rest of the start, once the addresses are known: bootstrap, then who answers where.
    private func dispatchers(
        _ services: ServedServices, _ bound: [Listeners.Bound]
    ) async throws -> ([Dispatcher], ServerURLs) {
        let urls = services.urls(bound)
        let mounted = try await services.open(at: urls, provenBy: keystone)
        let routes = ListenerRoutes(
            database: database, disableSwitch: directory.disableSwitch,
            metrics: settings.hasMetrics ? process.metrics : nil)
        let dispatchers = services.places.map { place in
            let mounts = mounted.mounts(on: place)
            return Dispatcher(
                mounts: mounts, listenerRoutes: routes.table(isMain: place.service == nil, mounts: mounts),
                isSecure: tls != nil, crossOrigin: CrossOrigin(origins: settings.crossOrigins),
                surroundings: surroundings, logger: logger, audit: audit)
        }
        try directory.share()
        return (dispatchers, urls)
    }

    /// The embedded Identity with everything in it that a first login needs.
    private func openIdentity(
        _ choice: ServerSettings.EmbeddedIdentityChoice, _ tokenKeys: TokenKeys, _ opening: ServedServices.Opening
    ) async throws -> IdentityAPI {
        let authURL = opening.url + "/v3"
        let changes = try await StartProblem.wrapping("identity") { try SharedCounter(path: directory.identityChanges) }
        // One that ended before it said so may have changed something.
        changes.increment()
        let identity = IdentityService(
            database: database, surroundings: surroundings,
            settings: choice.identitySettings(region: settings.region, publicURL: authURL), keys: tokenKeys,
            changes: changes,
            onProjectDeletion: { [secrets] in try secrets?.letGo(of: $0, in: $1) })
        guard directory.node == .first else {
            try await requireUsers(identity)
            return IdentityAPI(identity: identity, authenticator: EmbeddedAuthenticator(identity: identity))
        }
        let clouds = CloudsFile(path: directory.clouds)
        let place = CloudsFile.Place(
            authURL: authURL, region: settings.region, caCertificate: settings.tls?.certificate)
        let result = try await StartProblem.wrapping("identity") {
            try await identity.bootstrap(
                BootstrapPlan(catalog: opening.urls.catalog) { passwords in
                    try clouds.write(CloudsFile.accounts(passwords), at: place)
                })
        }
        if result.createdPasswords.isEmpty { refresh(clouds, at: place) }
        return IdentityAPI(identity: identity, authenticator: EmbeddedAuthenticator(identity: identity))
    }

    /// Another node than the first has users, or whoever starts it has to start that one.
    private func requireUsers(_ identity: IdentityService) async throws {
        guard try await identity.isSetUp() else {
            throw StartProblem("data_dir: \(directory.path) has no users yet: start the first node, without --node")
        }
    }

    /// On later starts. The server can do its work without the file, so nothing here stops it.
    private func refresh(_ clouds: CloudsFile, at place: CloudsFile.Place) {
        guard clouds.isThere else {
            logger.notice(
                "clouds.yaml is missing; ambrotype identity set-password makes it again, with new passwords",
                metadata: ["data_dir": "\(directory.path)"])
            return
        }
        do {
            try clouds.refresh(CloudsFile.accountNames, at: place)
        } catch {
            logger.error("clouds.yaml cannot be brought up to date", metadata: ["error": "\(error)"])
        }
    }
}

extension ServerSettings.KeystoneChoice {
    var settings: KeystoneSettings {
        var settings = KeystoneSettings(authURL: authURL, username: username, password: password)
        settings.userDomainName = userDomain
        settings.projectName = project
        settings.projectDomainName = projectDomain
        settings.cacheSeconds = cacheSeconds
        return settings
    }
}

extension ServerSettings.EmbeddedIdentityChoice {
    func identitySettings(region: String, publicURL: String) -> IdentitySettings {
        var settings = IdentitySettings()
        settings.tokenLifetimeSeconds = tokenLifetimeSeconds
        settings.scryptCost = scryptCost
        settings.region = region
        settings.publicURL = publicURL
        return settings
    }
}

extension CloudsFile {
    /// The clouds the server itself keeps up to date, with their users' and projects' names.
    private static let known = [(cloud: "ambrotype-admin", name: "admin"), (cloud: "ambrotype", name: "demo")]
    package static var accountNames: [String] { known.map(\.cloud) }

    static func accounts(_ passwords: [String: String]) -> [Account] {
        known.compactMap { known in
            passwords[known.name].map {
                Account(cloud: known.cloud, username: known.name, project: known.name, password: $0)
            }
        }
    }
}

extension StartProblem {
    /// Runs a step of the start; what it throws becomes one line that begins with `subject`.
    static func wrapping<T>(_ subject: String, _ step: () async throws -> T) async throws -> T {
        do {
            return try await step()
        } catch let problem as StartProblem {
            throw problem
        } catch let error as CancellationError {
            throw error
        } catch {
            throw StartProblem("\(subject): \(OperatorText.of(error))")
        }
    }
}

/// Errors as an operator may read them.
enum OperatorText {
    static func of(_ error: any Error) -> String {
        guard let error = error as? ServiceError else { return "\(error)" }
        return error.cause.map { "\(error.message) (\($0))" } ?? error.message
    }
}

/// Erases bytes and undoes uploads in the background, until the server stops.
private struct Reconciler: ServiceLifecycle.Service {
    let images: Images
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown { await images.runReconciler(logger: logger) }
    }
}

/// Closes the connections to Keystone once nobody asks it any more.
private struct KeystoneConnections: ServiceLifecycle.Service {
    let keystone: KeystoneAuthenticator

    func run() async throws {
        try? await gracefulShutdown()
        try await keystone.shutdown()
    }
}

extension Optional {
    fileprivate func asyncMap<T>(_ transform: (Wrapped) async throws -> T) async rethrows -> T? {
        if let self { try await transform(self) } else { nil }
    }
}
