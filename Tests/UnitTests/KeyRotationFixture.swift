import Core
import Foundation
import Persistence
import Synchronization
import Trust

/// A database with master keys in a file, and what a server does with them: store and read secrets.
final class KeyRotationFixture: Sendable {
    let directory: URL
    let path: String
    let clock = StillClock()
    let surroundings: Surroundings
    let database: SQLiteDatabase
    /// Of a server that runs since before everything else.
    let vault: KeyVault
    private let stored = Mutex<[SecretID: [UInt8]]>([:])

    init(seed: UInt64 = 1) async throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "ambrotype-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        path = directory.appending(path: "master-keys").path
        surroundings = Surroundings(clock: clock, randomness: SeededRandomness(seed: seed), work: DirectWork())
        database = try SQLiteDatabase(path: directory.appending(path: "test.db").path)
        try await database.migrate(
            JobMigrations.all + ImageMigrations.all + SecretMigrations.all, at: clock.now.microseconds)
        _ = try MasterKeys.create(path: path)
        vault = KeyVault(ring: try Self.ring(path), randomness: surroundings.randomness)
        try await vault.open(database, now: clock.now)
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    static func ring(_ path: String) throws -> KeyRing {
        KeyRing(try MasterKeys.load(path: path)) { try MasterKeys.load(path: path) }
    }

    /// A server that starts now.
    func restarted() async throws -> KeyVault {
        let vault = KeyVault(ring: try Self.ring(path), randomness: surroundings.randomness)
        try await vault.open(database, now: clock.now)
        return vault
    }

    /// Stores a secret as the running server does, and remembers what is in it.
    @discardableResult
    func store(_ project: ProjectID = "p1", by vault: KeyVault? = nil) async throws -> SecretID {
        let id = SecretID(surroundings.uuid())
        let payload = surroundings.randomness.bytes(20)
        let vault = vault ?? self.vault
        let prepared = vault.prepare(SecretBytes(copying: payload), of: id, in: project)
        try await insert(prepared, id, project, by: vault)
        stored.withLock { $0[id] = payload }
        return id
    }

    private func insert(
        _ prepared: KeyVault.Prepared, _ id: SecretID, _ project: ProjectID, by vault: KeyVault
    ) async throws {
        let now = clock.now
        try await database.write { db in
            let sealed = try vault.wrap(prepared, now: now, in: db)
            try db.execute(
                """
                INSERT INTO secrets (id, project, creator, secret_type, created_at, updated_at, content_type,
                    project_key, wrapped_key, sealed_payload)
                VALUES ($1, $2, 'u', 'symmetric', $3, $3, 'application/octet-stream', $4, $5, $6)
                """, id, project, now, sealed.projectKey, sealed.wrappedKey, sealed.payload)
        }
    }

    func delete(_ id: SecretID, forSeconds seconds: Int64 = 1000) async throws {
        let now = clock.now
        _ = try await database.write { db in
            try db.execute(
                """
                UPDATE secrets SET deleted_at = $1, quarantined_until = $2, deletion_reason = 'deleted' WHERE id = $3
                """, now, now.adding(seconds: seconds), id)
        }
    }

    /// Of what was stored, the ids that are not read back as they were.
    func unreadable(by vault: KeyVault? = nil) async throws -> [SecretID] {
        let vault = vault ?? self.vault
        let all = stored.withLock { $0 }
        return try await database.read { db in
            all.keys.sorted().filter { id in
                guard let payload = try? vault.payload(of: id, in: db) else { return true }
                return payload.withUnsafeBytes { Array($0) } != all[id]
            }
        }
    }

    var storedCount: Int { stored.withLock { $0.count } }

    func rotateMaster(_ database: (any SQLDatabase)? = nil, batch: Int = 2) async throws -> RotateMasterKey.Outcome {
        try await RotateMasterKey(
            database: database ?? self.database, surroundings: surroundings, path: path, batch: batch
        ).run()
    }

    func rotateProjects(
        _ scope: RotateProjectKeys.Scope = .all, _ database: (any SQLDatabase)? = nil, batch: Int = 2
    ) async throws -> RotateProjectKeys.Outcome {
        try await RotateProjectKeys(
            database: database ?? self.database, surroundings: surroundings, ring: try Self.ring(path), batch: batch
        ).run(scope)
    }

    func check() async throws -> (findings: [KeyFinding], summary: KeyCheckSummary) {
        let findings = Mutex<[KeyFinding]>([])
        let summary = try await CheckKeys(database: database, surroundings: surroundings, path: path).run { event in
            if case .finding(let finding) = event { findings.withLock { $0.append(finding) } }
        }
        return (findings.withLock { $0 }, summary)
    }

    func column(_ sql: String) async throws -> [String] {
        try await database.read { db in try db.query(sql) { try $0.get(0, as: String.self) } }
    }

    func masterRows() async throws -> [String] {
        try await column("SELECT id || ' ' || state FROM master_keys ORDER BY 1")
    }
    func fileIDs() throws -> [String] { try MasterKeys.load(path: path).keys.map(\.id) }
}

/// What a program would see that ends: nothing more gets through.
struct Crash: Error {}

/// A database that does something before one of its transactions, reads included, counted from 0.
final class HookedDatabase: SQLDatabase {
    private let database: any SQLDatabase
    private let place: Int
    private let hook: @Sendable () async throws -> Void
    private let count = Mutex(0)

    init(_ database: any SQLDatabase, before place: Int, _ hook: @escaping @Sendable () async throws -> Void) {
        self.database = database
        self.place = place
        self.hook = hook
    }

    /// Whether there were as many transactions.
    var wasReached: Bool { count.withLock { $0 > place } }

    private func pass() async throws {
        let number = count.withLock { count in
            defer { count += 1 }
            return count
        }
        if number == place { try await hook() }
    }

    func read<T: Sendable>(_ body: @Sendable (any SQLConnection) throws -> T) async throws -> T {
        try await pass()
        return try await database.read(body)
    }

    func write<T: Sendable>(_ body: @escaping @Sendable (any SQLConnection) throws -> T) async throws -> T {
        try await pass()
        return try await database.write(body)
    }
}

extension KeyCounts {
    /// Secrets, deleted ones, and those of them that are held past their time.
    var numbers: [Int64] { [secrets, deleted, heldPastTime] }
}

/// Raised once.
final class Flag: Sendable {
    private let state = Mutex(false)
    var isRaised: Bool { state.withLock { $0 } }
    func raise() { state.withLock { $0 = true } }
}
