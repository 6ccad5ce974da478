import Blobs
import Core
import Logging
import Persistence
import Synchronization

/// What simulated servers are like.
package struct ServerOptions: Sendable {
    package var hasRecycleBin = false
    package var imageBytesQuota: Int64 = -1
    package var imageCountQuota: Int64 = -1
    /// How long the longest piece of blocking work takes; 0 runs it in place.
    package var workDelayMicroseconds = 0
    /// What is broken on purpose, to see that the checks find it.
    package var bug: PlantedBug?

    package init() {}

    package static let recycleBinSeconds: Int64 = 3600

    var imageSettings: ImageSettings {
        var settings = ImageSettings()
        settings.recycleBinSeconds = hasRecycleBin ? Self.recycleBinSeconds : 0
        settings.imageBytesQuota = imageBytesQuota
        settings.imageCountQuota = imageCountQuota
        return settings
    }
}

/// One process of the image service: the real Core, the real file store, real SQLite, on a simulated
/// disk, clock and scheduler.
package final class SimulatedServer: Sendable {
    package static let storeDirectory = "/store"
    package static let databaseDirectory = "/db"
    private static let databaseFile = "/db/catalogue.db"

    package let mount: Mount
    package let clock: SimulatedClock
    package let stall: Stall
    package let database: any SQLDatabase
    package let store: FileBlobStore
    package let images: Images
    package let bin: RecycleBin
    private let settings: ImageSettings
    private let surroundings: Surroundings

    /// Starts as `ambrotype serve` does: database, stores, then what a predecessor left undone.
    /// - Parameter seed: of its ids; each process needs its own.
    package init(
        _ name: String, on disk: SimulatedDisk, _ executor: SeededExecutor, seed: UInt64, _ options: ServerOptions
    ) async throws {
        mount = disk.mount(name)
        let clock = SimulatedClock(executor)
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
        settings = options.imageSettings
        images = Images(
            database: database, stores: StoreSet([store], default: "local"), surroundings: surroundings,
            settings: settings, instance: InstanceID(surroundings.uuid()), node: name, logger: Self.quiet)
        bin = RecycleBin(database: database, clock: clock, settings: settings)
        try await images.recover(logger: Self.quiet)
    }

    /// What `ambrotype fsck` finds wrong, reading all data.
    package func fsckFindings() async throws -> [String] {
        var options = Fsck.Options()
        options.reading = .everything
        let findings = Findings()
        let fsck = Fsck(database: database, stores: [store], surroundings: surroundings, options: options)
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

    package static func caller(_ project: ProjectID) -> Caller {
        Caller(
            userID: "u", projectID: project, roles: ["member", "reader"], requestID: "req-simulated", logger: quiet)
    }

    /// Reconciles until nothing is left to do, letting time pass for what waits for it.
    /// - Returns: false if there is still something after a time in which every lease has run out.
    package func settle(within seconds: Int = 2000) async throws -> Bool {
        var waited = 0
        while true {
            try await images.reconcile()
            if try await isSettled() { return true }
            if waited > seconds { return false }
            // The first seconds one by one, what takes longer in larger steps.
            let step = max(1, waited / 4)
            try await clock.sleep(seconds: Double(step))
            waited += step
        }
    }

    /// Whether nothing is under way, waits, or is half done.
    package func isSettled() async throws -> Bool {
        try await database.read { db in
            try db.first(
                """
                SELECT (SELECT COUNT(*) FROM blobs WHERE state IN ('writing', 'doomed')) + (SELECT COUNT(*) FROM jobs)
                    + (SELECT COUNT(*) FROM images WHERE status IN ('saving', 'uploading', 'importing'))
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
