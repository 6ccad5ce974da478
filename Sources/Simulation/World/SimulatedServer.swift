import Blobs
import Core
import Logging
import Persistence
import Synchronization
import Trust

/// Who keeps a simulated cloud's keys.
package enum KeyFlavour: String, Sendable, CaseIterable { case embedded, remote }

/// A simulated cloud's key manager: what of it outlives the servers.
package struct SimulatedKeys: Sendable {
    /// A week: no life lasts so long, unless somebody sets a clock.
    package static let retentionSeconds = SecretSettings().retentionSeconds
    /// As the master key file has them.
    static let masterKeys = MasterKeys([
        MasterKeys.Key(SecretBytes(copying: (0..<UInt8(Sealing.keyBytes)).map { $0 ^ 0x5a }))
    ])

    package let flavour: KeyFlavour
    /// Used in the remote flavour only.
    package let barbican: SimulatedBarbican
    package let troubles: KeyTroubles

    package init(_ flavour: KeyFlavour, _ keys: RemoteKeys = RemoteKeys(), seed: UInt64 = 0) {
        self.flavour = flavour
        barbican = SimulatedBarbican(keys)
        troubles = KeyTroubles(seed: seed)
    }
}

/// What simulated servers are like.
package struct ServerOptions: Sendable {
    package var hasRecycleBin = false
    package var imageBytesQuota: Int64 = -1
    package var imageCountQuota: Int64 = -1
    /// How long the longest piece of blocking work takes; 0 runs it in place.
    package var workDelayMicroseconds = 0
    /// A second store, `second`, and other servers to import from.
    package var hasImports = false
    /// Whether the second store has no room.
    package var isSecondStoreFull = false
    /// Nil for a cloud without keys.
    package var keys: SimulatedKeys?
    /// When the world began.
    package var clockStart = SimulatedClock.start
    /// What is broken on purpose, to see that the checks find it.
    package var bug: PlantedBug?

    package init() {}

    package static let recycleBinSeconds: Int64 = 3600

    var imageSettings: ImageSettings {
        var settings = ImageSettings()
        settings.recycleBinSeconds = hasRecycleBin ? Self.recycleBinSeconds : 0
        settings.imageBytesQuota = imageBytesQuota
        settings.imageCountQuota = imageCountQuota
        settings.imports.methods = ImportMethod.allCases
        return settings
    }
}

/// One process of the image service: the real Core, the real file store, real SQLite, on a simulated
/// disk, clock and scheduler.
package final class SimulatedServer: Sendable {
    package static let storeDirectory = "/store"
    package static let secondStoreDirectory = "/second"
    package static let databaseDirectory = "/db"
    private static let databaseFile = "/db/catalogue.db"

    package let mount: Mount
    package let clock: SimulatedClock
    package let stall: Stall
    package let database: any SQLDatabase
    package let store: FileBlobStore
    /// Only where there are imports.
    package let secondStore: FileBlobStore?
    package let images: Images
    package let bin: RecycleBin
    /// Also where a Barbican has the keys: then nothing is in it.
    package let secrets: Secrets
    package let keys: SimulatedKeys?
    package let surroundings: Surroundings
    private let settings: ImageSettings

    /// Starts as `ambrotype serve` does: database, stores, then what a predecessor left undone.
    /// - Parameter seed: of its ids; each process needs its own.
    package init(
        _ name: String, on disk: SimulatedDisk, _ executor: SeededExecutor, seed: UInt64, _ options: ServerOptions
    ) async throws {
        mount = disk.mount(name)
        let clock = SimulatedClock(executor, start: options.clockStart)
        self.clock = clock
        let stall = Stall(executor)
        self.stall = stall
        let work = SimulatedWork(
            executor, seed: seed, maximumDelayMicroseconds: options.workDelayMicroseconds, stall: stall)
        surroundings = Surroundings(
            clock: clock, randomness: SimulatedRandomness(seed: seed), work: work)
        let sqlite = try SQLiteDatabase(
            path: mount.databasePath(Self.databaseFile), readerCount: 1, writerQueue: { stall.schedule($0) })
        try await sqlite.migrate(
            JobMigrations.all + ImageMigrations.all + SecretMigrations.all, at: clock.now.microseconds)
        let plant = PlantedParts(options.bug, mount: mount)
        database = plant.database(sqlite)
        store = try FileBlobStore(
            id: "local", directory: Self.storeDirectory, work: work, disk: plant.disk(mount), reserveBytes: 0)
        let second =
            options.hasImports
            ? try FileBlobStore(
                id: "second", directory: Self.secondStoreDirectory, work: work, disk: plant.disk(mount), reserveBytes: 0
            )
            : nil
        secondStore = second
        settings = options.imageSettings
        keys = options.keys
        secrets = Secrets(
            database: database, surroundings: surroundings, settings: SecretSettings(),
            ring: KeyRing(SimulatedKeys.masterKeys))
        let keyManager = options.keys.map { [database, mount, secrets] keys in
            let inner: any KeyManager =
                switch keys.flavour {
                case .embedded: EmbeddedKeyManager(secrets)
                case .remote:
                    SimulatedKeyManager(barbican: keys.barbican, executor: executor, stall: stall, mount: mount)
                }
            return TroubledKeyManager(keys: inner, troubles: keys.troubles, executor: executor) {
                await Self.remains(of: $0, database, mount)
            }
        }
        var stores: [any BlobStore] = [store]
        if let second { stores.append(options.isSecondStoreFull ? FullStore(inner: second) : second) }
        images = Images(
            database: database, stores: StoreSet(stores, default: "local"), surroundings: surroundings,
            settings: settings, keys: keyManager, remote: options.hasImports ? SimulatedRemote(executor) : nil,
            catalogue: options.hasImports ? SimulatedCatalogue() : nil,
            seal: Self.seal, instance: InstanceID(surroundings.uuid()), node: name, logger: Self.quiet)
        bin = RecycleBin(database: database, clock: clock, settings: settings)
        if keys != nil { try await secrets.open() }
        try await images.recover(logger: Self.quiet)
    }

    /// The file with it outlives every crash.
    private static let seal = RecordSeal(key: SecretBytes(copying: [UInt8](repeating: 7, count: 32)))

    /// What is there of an image that should be gone: its record, rows of bytes, files.
    private static func remains(of image: ImageID, _ database: any SQLDatabase, _ mount: Mount) async -> [String] {
        let found = try? await database.read { db in
            let isThere = try db.first(
                "SELECT 1 FROM images WHERE id = $1 AND (status <> 'deleted' OR recycled_until IS NOT NULL)", image
            ) { _ in true }
            let blobs = try db.query("SELECT id, image_id FROM blobs") {
                (try $0.get(0, as: String.self), try $0.get(1, as: ImageID.self))
            }
            return (isThere: isThere ?? false, blobs: Dictionary(uniqueKeysWithValues: blobs))
        }
        guard let found else { return [] }
        var remains = found.isThere ? ["the image \(image)"] : []
        remains += found.blobs.filter { $0.value == image }.keys.sorted().map { "its blob \($0)" }
        let prefix = Self.storeDirectory + "/blobs/"
        for path in mount.disk.state.paths where path.hasPrefix(prefix) && !path.hasSuffix("/") {
            let name = String(path.split(separator: "/").last ?? "")
            if found.blobs[name] == nil { remains.append("the file \(path) without a row") }
        }
        return remains
    }

    /// What `ambrotype fsck` finds wrong, reading all data.
    package func fsckFindings() async throws -> [String] {
        var options = Fsck.Options()
        options.reading = .everything
        let findings = Findings()
        let stores: [any BlobStore] = secondStore.map { [store, $0] } ?? [store]
        let fsck = Fsck(database: database, stores: stores, surroundings: surroundings, options: options)
        let summary = try await fsck.run { event in
            if case .finding(let finding, _) = event { findings.add("fsck: \(finding)") }
        }
        return findings.all + (summary.isIncomplete ? ["fsck is incomplete"] : [])
    }

    private final class Findings: Sendable {
        private let lines = Mutex<[String]>([])
        var all: [String] { lines.withLock { $0 } }
        func add(_ line: String) { lines.withLock { $0.append(line) } }
    }

    package static let quiet = Logger(label: "simulation") { _ in SwiftLogNoOpLogHandler() }

    package static func caller(_ project: ProjectID, roles: Set<String> = ["member", "reader"]) -> Caller {
        Caller(
            userID: "u", projectID: project, roles: roles, requestID: "req-simulated", logger: quiet)
    }

    /// Reconciles until nothing is left to do, letting time pass for what waits for it.
    /// - Returns: false if there is still something after a time in which every lease has run out.
    package func settle(within seconds: Int = 2000) async throws -> Bool {
        var waited = 0
        // What a refusal stopped an operator asks for again.
        if keys != nil { _ = try await JobAdministration(database: database, clock: clock).retryParked() }
        while true {
            try await images.reconcile()
            try await keepKeys()
            if try await isSettled() { return true }
            if waited > seconds { return false }
            // The first seconds one by one, what takes longer in larger steps.
            let step = max(1, waited / 4)
            try await clock.sleep(seconds: Double(step))
            waited += step
        }
    }

    /// The key manager's housekeeping, where this process is one.
    package func keepKeys() async throws {
        if keys?.flavour == .embedded { try await secrets.keepHouse() }
    }

    /// Whether nothing is under way, waits, or is half done.
    package func isSettled() async throws -> Bool {
        let edges = keys == nil ? "" : " + (SELECT COUNT(*) FROM key_edges WHERE state <> 'held')"
        return try await database.read { db in
            try db.first(
                """
                SELECT (SELECT COUNT(*) FROM blobs WHERE state IN ('writing', 'doomed')) + (SELECT COUNT(*) FROM jobs)
                    + (SELECT COUNT(*) FROM images WHERE status IN ('saving', 'importing') OR status = 'uploading'
                        AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.image_id = images.id AND b.state = 'live'))\(edges)
                """
            ) { try $0.get(0, as: Int.self) == 0 } ?? false
        }
    }
}

extension DiskState {
    /// A machine before its first start.
    package static func empty(capacityBytes: Int = 64 << 20) -> DiskState {
        var state = DiskState(capacityBytes: capacityBytes)
        do {
            try state.putDirectory(SimulatedServer.databaseDirectory)
        } catch {
            preconditionFailure("an empty disk has room for a directory: \(error)")
        }
        return state
    }
}
