import Blobs
import Core
import Foundation
import Logging
import NIOCore
import Persistence
import Synchronization
import Trust

/// A clock that stands still until told otherwise. A sleeper sleeps until it is cancelled.
final class StillClock: WallClock {
    private let time: Mutex<Timestamp>
    init(_ time: Timestamp = Timestamp(seconds: 1_800_000_000)) { self.time = Mutex(time) }

    var now: Timestamp { time.withLock { $0 } }
    func advance(seconds: Int64) { time.withLock { $0 = $0.adding(seconds: seconds) } }

    func sleep(seconds: Double) async throws {
        while true { try await Task.sleep(nanoseconds: 3_600_000_000_000) }
    }
}

/// Numbers from a seed (SplitMix64), so that a failure can be replayed.
final class SeededRandomness: Randomness {
    private let state: Mutex<UInt64>
    init(seed: UInt64 = 1) { state = Mutex(seed) }

    func bytes(_ count: Int) -> [UInt8] {
        state.withLock { state in
            (0..<count).map { _ in
                state &+= 0x9e37_79b9_7f4a_7c15
                var z = state
                z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
                z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
                return UInt8(truncatingIfNeeded: z ^ (z >> 31))
            }
        }
    }
}

struct DirectWork: WorkPool {
    func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T { try body() }
}

/// The image service on a database and a store of its own, in a directory that goes with it.
final class ImageFixture: Sendable {
    let directory: URL
    let clock = StillClock()
    let surroundings: Surroundings
    let database: SQLiteDatabase
    let store: FileBlobStore
    /// The default, `local`, and others there are.
    let stores: StoreSet
    let images: Images
    /// The same in every process.
    static let seal = RecordSeal(key: SecretBytes(copying: [UInt8](repeating: 7, count: 32)))
    let settings: ImageSettings
    private let remote: (any RemoteContentSource)?
    private let catalogue: (any ServiceCatalogue)?
    private let steps: [any ImportStep]

    init(
        _ change: (inout ImageSettings) -> Void = { _ in }, stores: [StoreID] = ["local"],
        traits: [StoreID: StoreTraits] = [:], keys: (any KeyManager)? = nil,
        certificates: (any CertificateSource)? = nil,
        remote: (any RemoteContentSource)? = nil, catalogue: (any ServiceCatalogue)? = nil,
        steps: [any ImportStep] = [],
        wrapping: (any BlobStore) -> any BlobStore = { $0 }
    ) async throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "ambrotype-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        surroundings = Surroundings(clock: clock, randomness: SeededRandomness(), work: DirectWork())
        database = try SQLiteDatabase(path: directory.appending(path: "test.db").path)
        try await database.migrate(
            JobMigrations.all + IdentityMigrations.all + ImageMigrations.all + SecretMigrations.all,
            at: clock.now.microseconds)
        // Those that have traits are there as well; the one of the kind http keeps nothing itself.
        let others = traits.filter { $1.kind != .http && !stores.contains($0) }.keys.sorted()
        let files = try (stores + others).map { [directory] id in
            try FileBlobStore(
                id: id, directory: directory.appending(path: id.rawValue).path, work: DirectWork(), reserveBytes: 0)
        }
        store = files[0]
        self.stores = StoreSet(
            files.map(wrapping), default: files[0].id, remote: traits.first { $1.kind == .http }?.key, traits: traits)
        var settings = ImageSettings()
        change(&settings)
        self.settings = settings
        self.remote = remote
        self.catalogue = catalogue
        self.steps = steps
        images = Images(
            database: database, stores: self.stores, surroundings: surroundings, settings: settings, keys: keys,
            certificates: certificates, remote: remote, catalogue: catalogue, importSteps: steps, seal: Self.seal,
            instance: "this", logger: .silent)
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    /// The same database and store as another process sees them after this one is gone.
    func restarted() -> Images {
        Images(
            database: database, stores: stores, surroundings: surroundings, settings: settings, remote: remote,
            catalogue: catalogue, importSteps: steps, seal: Self.seal, instance: "another", logger: .silent)
    }

    func caller(_ project: ProjectID = "p1", roles: Set<String> = ["member", "reader"]) -> Caller {
        Caller(
            userID: "u", projectID: project, roles: roles, requestID: "req-test",
            logger: .silent)
    }

    var admin: Caller { caller("admin", roles: ["admin", "manager", "member", "reader"]) }

    /// A queued image that can take data.
    func draft(_ change: (inout ImageDraft) -> Void = { _ in }) -> ImageDraft {
        var draft = ImageDraft()
        draft.diskFormat = "raw"
        draft.containerFormat = "bare"
        change(&draft)
        return draft
    }

    func createImage(_ change: (inout ImageDraft) -> Void = { _ in }, as caller: Caller? = nil) async throws -> Image {
        try await images.create(draft(change), as: caller ?? self.caller())
    }

    func upload(_ bytes: [UInt8], to id: ImageID, declared: Int64? = nil, as caller: Caller? = nil) async throws {
        try await images.upload(
            Body(chunks: [ByteBuffer(bytes: bytes)]), to: id, declaredSizeBytes: declared, store: nil,
            as: caller ?? self.caller())
    }

    func bytes(of id: ImageID, as caller: Caller? = nil) async throws -> [UInt8]? {
        guard let data = try await images.download(id, as: caller ?? self.caller()) else { return nil }
        var bytes = try await data.reader.read(offset: 0, count: Int(data.sizeBytes))
        await data.reader.close()
        return bytes.readBytes(length: bytes.readableBytes)
    }

    /// All regular files the store holds, but for its own marker.
    func storedFiles() throws -> [String] {
        let files = FileManager.default.enumerator(
            at: directory.appending(path: "local"), includingPropertiesForKeys: [.isRegularFileKey])
        var names: [String] = []
        while let file = files?.nextObject() as? URL {
            let isFile = try file.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile ?? false
            if isFile, !file.lastPathComponent.hasPrefix(".") { names.append(file.lastPathComponent) }
        }
        return names.sorted()
    }

    func blobRows() async throws -> [String] {
        try await database.read { db in
            try db.query("SELECT state, charged_bytes FROM blobs ORDER BY id") {
                "\(try $0.get(0, as: String.self)) \(try $0.get(1, as: Int64.self))"
            }
        }
    }

    func chargedBytes(to project: ProjectID = "p1") async throws -> Int64 {
        try await database.read { db in
            try db.first("SELECT COALESCE(SUM(charged_bytes), 0) FROM blobs WHERE project = $1", project) {
                try $0.get(0)
            } ?? 0
        }
    }
}

/// A body of given parts, which may end in an error.
struct Body: AsyncSequence, Sendable {
    var chunks: [ByteBuffer]
    var failure: (any Error)?
    /// Called before each part is handed out.
    var before: (@Sendable (Int) async -> Void)?

    struct AsyncIterator: AsyncIteratorProtocol {
        let body: Body
        var index = 0
        mutating func next() async throws -> ByteBuffer? {
            await body.before?(index)
            defer { index += 1 }
            if index < body.chunks.count { return body.chunks[index] }
            if let failure = body.failure { throw failure }
            return nil
        }
    }
    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(body: self) }
}

/// What a `ServiceError` says it is, for expectations.
func status(of body: () async throws -> Void) async -> Int {
    do {
        try await body()
        return 200
    } catch let error as ServiceError {
        return error.status
    } catch {
        return -1
    }
}

extension Logger {
    static var silent: Logger { Logger(label: "test") { _ in SwiftLogNoOpLogHandler() } }
}
