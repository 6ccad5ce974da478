import Persistence
import Trust

/// A new master key in place of the old one, while servers run.
///
///     file       new key in front ─────────────────────────────────────────▶ old keys dropped
///     database              new row active, old ones retiring ─▶ each project key rewrapped ─▶ retiring rows gone
///
/// Wherever it is cut off, the file has every key that the database names, and running it again goes on from
/// there. Servers need not be told: they wrap with the database's active key, and look for an id they do not
/// know in the file. Two rotations at once do the same work together, or the later one says that it was overtaken.
package struct RotateMasterKey: Sendable {
    private let database: any SQLDatabase
    private let clock: any WallClock
    private let vault: KeyVault
    private let path: String
    private let batch: Int

    package struct Outcome: Sendable, Equatable {
        /// The id of the key that wraps from now on.
        package let active: String
        /// Whether an earlier rotation was brought to its end, with the key that it had made.
        package let wasUnderWay: Bool
        package let rewrapped: Int64
        /// Ids of the keys that the file has no more.
        package let dropped: [String]
    }

    /// - Parameters:
    ///   - path: of the file of master keys.
    ///   - batch: how many keys a transaction rewraps.
    /// - Throws: `MasterKeys.Failure`.
    package init(database: any SQLDatabase, surroundings: Surroundings, path: String, batch: Int = 100) throws {
        self.database = database
        clock = surroundings.clock
        self.path = path
        self.batch = batch
        let ring = KeyRing(try MasterKeys.load(path: path)) { try MasterKeys.load(path: path) }
        vault = KeyVault(ring: ring, randomness: surroundings.randomness)
    }

    /// - Throws: `KeyRotationError`, `KeyVaultError`, `MasterKeys.Failure`, `SQLError`: in each case no key was dropped
    ///   that anything needs.
    package func run(_ report: @Sendable (KeyProgress) -> Void = { _ in }) async throws -> Outcome {
        let before = try await provenKeys()
        let (key, isNew) = try putInFront(before)
        try await activate(key, insteadOf: before.active)
        let rewrapped = try await rewrapAll(with: key.id, report)
        try await proveAll()
        try await dropRetired(by: key.id)
        let dropped = try await dropFromFile(by: key.id)
        return Outcome(active: key.id, wasUnderWay: !isNew, rewrapped: rewrapped, dropped: dropped)
    }

    private struct Known: Sendable {
        let active: String
        /// Whether a rotation was cut off, or goes on beside this one.
        let hasRetiring: Bool
    }

    /// Begins with nothing before every key that the database names was proven.
    private func provenKeys() async throws -> Known {
        try await database.read { db in
            try vault.checkCanaries(in: db)
            let keys = try db.query("SELECT id, state FROM master_keys") {
                (id: try $0.get(0, as: String.self), isActive: try $0.get(1, as: String.self) == "active")
            }
            guard let active = keys.first(where: { $0.isActive }) else { throw KeyRotationError.noMasterKeyYet }
            return Known(active: active.id, hasRetiring: keys.count > 1)
        }
    }

    /// The first step. A key that stands in front already, of a rotation that was cut off or of an operator's
    /// own making, is taken as it is.
    private func putInFront(_ known: Known) throws -> (MasterKeys.Key, isNew: Bool) {
        let new = MasterKeys.Key(vault.secretBytes())
        let keys = try MasterKeys.update(path: path) { keys in
            let isUpToDate = keys.first.id == known.active && !known.hasRetiring
            return isUpToDate ? MasterKeys([new] + keys.keys) : nil
        }
        return (keys.first, keys.first.id == new.id)
    }

    /// The second step: from here on nothing is wrapped by the old keys any more.
    private func activate(_ key: MasterKeys.Key, insteadOf old: String) async throws {
        let canary = vault.sealedCanary(of: key, nonce: vault.nonce())
        let now = clock.now
        try await database.write { db in
            let active = try Self.active(in: db)
            if active == key.id { return }
            guard active == old else { throw KeyRotationError.overtaken }
            try db.execute("UPDATE master_keys SET state = 'retiring' WHERE state = 'active'")
            // It may be one that was retiring: the operator put it in front again.
            try db.execute(
                """
                INSERT INTO master_keys (id, state, canary, created_at) VALUES ($1, 'active', $2, $3)
                ON CONFLICT (id) DO UPDATE SET state = 'active', canary = excluded.canary
                """, key.id, canary, now)
        }
    }

    private static func active(in db: any SQLConnection) throws -> String? {
        try db.first("SELECT id FROM master_keys WHERE state = 'active'") { try $0.get(0) }
    }

    private struct ProjectKey: Sendable {
        let id: ProjectKeyID
        let project: ProjectID
        let master: String
        let wrapped: [UInt8]
    }

    /// The third step. A key that cannot be read keeps no other from being rewrapped.
    private func rewrapAll(with master: String, _ report: (KeyProgress) -> Void) async throws -> Int64 {
        guard let wrapping = vault.ring[master] else { throw KeyVaultError.noMasterKey(master) }
        let total = try await database.read { db in try Self.countLeft(master, in: db) }
        var done: Int64 = 0
        var rewrapped: Int64 = 0
        var unreadable: [String] = []
        var last = ""
        while true {
            try Task.checkCancellation()
            let page = try await page(after: last, notBy: master)
            guard let end = page.last else { break }
            last = end.id.rawValue
            var changes: [(old: ProjectKey, wrapped: [UInt8])] = []
            for old in page {
                do {
                    changes.append((old, try rewrap(old, with: wrapping, master)))
                } catch let error as KeyVaultError {
                    unreadable.append("\(error)")
                }
            }
            rewrapped += try await exchange(changes, master)
            done += Int64(page.count)
            report(KeyProgress(done: done, total: max(done, total)))
        }
        guard unreadable.isEmpty else { throw KeyRotationError.unreadable(unreadable) }
        return rewrapped
    }

    private func page(after last: String, notBy master: String) async throws -> [ProjectKey] {
        try await database.read { db in
            try db.query(
                """
                SELECT id, project, master_key, wrapped FROM project_keys WHERE master_key <> $1 AND id > $2
                ORDER BY id LIMIT $3
                """, master, last, batch
            ) {
                ProjectKey(
                    id: try $0.get(0), project: try $0.get(1), master: try $0.get(2), wrapped: try $0.get(3))
            }
        }
    }

    private func rewrap(_ old: ProjectKey, with wrapping: SecretBytes, _ master: String) throws -> [UInt8] {
        guard let oldMaster = vault.ring[old.master] else { throw KeyVaultError.noMasterKey(old.master) }
        func context(_ master: String) -> [UInt8] {
            KeyVault.context(ofProjectKey: old.id, project: old.project, wrappedBy: master)
        }
        guard let key = try? Sealing.open(old.wrapped, with: oldMaster, context: context(old.master)) else {
            throw KeyVaultError.brokenProjectKey(old.id)
        }
        return try KeyVault.wrapAnew(
            key, of: "project key \(old.id)", with: wrapping, nonce: vault.nonce(), context: context(master))
    }

    /// One that changed since it was read is somebody else's work, and looked at again before anything is dropped.
    private func exchange(_ changes: [(old: ProjectKey, wrapped: [UInt8])], _ master: String) async throws -> Int64 {
        if changes.isEmpty { return 0 }
        return try await database.write { db in
            guard try Self.active(in: db) == master else { throw KeyRotationError.overtaken }
            return try changes.reduce(0) { count, change in
                let changed = try db.execute(
                    """
                    UPDATE project_keys SET master_key = $1, wrapped = $2
                    WHERE id = $3 AND master_key = $4 AND wrapped = $5
                    """, master, change.wrapped, change.old.id, change.old.master, change.old.wrapped)
                return count + Int64(changed)
            }
        }
    }

    private static func countLeft(_ master: String, in db: any SQLConnection) throws -> Int64 {
        try db.first("SELECT COUNT(*) FROM project_keys WHERE master_key <> $1", master) { try $0.get(0) } ?? 0
    }

    /// What follows cannot be undone: whatever the database has must open with what the file has, as it is on
    /// the disk.
    private func proveAll() async throws {
        let ring = KeyRing(try MasterKeys.load(path: path)) { [path] in try MasterKeys.load(path: path) }
        let proof = KeyVault(ring: ring, randomness: vault.randomness)
        var unreadable: [String] = []
        var last = ""
        while true {
            let after = last
            let (problems, end) = try await database.read { db in
                let ids = try db.query(
                    "SELECT id FROM project_keys WHERE id > $1 ORDER BY id LIMIT $2", after, batch
                ) { try $0.get(0, as: ProjectKeyID.self) }
                var problems: [String] = []
                for id in ids {
                    do {
                        _ = try proof.projectKey(id, in: db)
                    } catch let error as KeyVaultError {
                        problems.append("\(error)")
                    }
                }
                return (problems, ids.last)
            }
            unreadable += problems
            guard let end else { break }
            last = end.rawValue
        }
        guard unreadable.isEmpty else { throw KeyRotationError.unreadable(unreadable) }
    }

    /// The fourth step. That nothing refers to them any more is asked here, and held by a foreign key.
    private func dropRetired(by master: String) async throws {
        try await database.write { db in
            guard try Self.active(in: db) == master else { throw KeyRotationError.overtaken }
            let left = try Self.countLeft(master, in: db)
            guard left == 0 else { throw KeyRotationError.stillNeeded(left) }
            try db.execute("DELETE FROM master_keys WHERE state = 'retiring'")
        }
    }

    /// The last step: drops what stands behind the active key and has no row. What stands in front of it belongs
    /// to a rotation that just begins.
    private func dropFromFile(by master: String) async throws -> [String] {
        let known = try await database.read { db in
            Set(try db.query("SELECT id FROM master_keys") { try $0.get(0, as: String.self) })
        }
        var dropped: [String] = []
        var isInFile = true
        try MasterKeys.update(path: path) { keys in
            guard let place = keys.keys.firstIndex(where: { $0.id == master }) else {
                isInFile = false
                return nil
            }
            let behind = keys.keys[(place + 1)...]
            dropped = behind.map(\.id).filter { !known.contains($0) }
            if dropped.isEmpty { return nil }
            return MasterKeys(keys.keys[...place] + behind.filter { known.contains($0.id) })
        }
        if !isInFile {
            // As it should be if another rotation has replaced it since.
            let active = try await database.read { db in try Self.active(in: db) }
            if active == master { throw KeyVaultError.noMasterKey(master) }
        }
        return dropped
    }
}
