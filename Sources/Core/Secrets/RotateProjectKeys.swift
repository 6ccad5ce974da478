import Persistence
import Trust

/// A new key for a project: each of its secrets' keys is wrapped by it, and the old one goes. Payloads stay as
/// they are. Cut off anywhere, it goes on when it is run again.
///
/// No secret that is stored meanwhile gets lost: `KeyVault.wrap` takes the project's active key in the transaction
/// that inserts the secret. Either that comes first, and the secret is among those that are rewrapped, or the
/// new key does, and wraps it. The old key's row cannot go while a secret refers to it.
package struct RotateProjectKeys: Sendable {
    package enum Scope: Sendable, Equatable {
        case all
        case only(ProjectID)
    }

    package struct Outcome: Sendable, Equatable {
        package fileprivate(set) var projects: Int64 = 0
        package fileprivate(set) var rewrapped: Int64 = 0
        /// Old keys that are gone.
        package fileprivate(set) var dropped: Int64 = 0
    }

    private let database: any SQLDatabase
    private let clock: any WallClock
    private let vault: KeyVault
    private let batch: Int

    /// - Parameter batch: how many keys a transaction rewraps.
    package init(database: any SQLDatabase, surroundings: Surroundings, ring: KeyRing, batch: Int = 100) {
        self.database = database
        clock = surroundings.clock
        self.batch = batch
        vault = KeyVault(ring: ring, randomness: surroundings.randomness)
    }

    /// Projects one after the other; one that cannot be brought to its end keeps no other from it.
    /// - Throws: `KeyRotationError`, `KeyVaultError`, `SQLError`: in each case no key was dropped that anything needs.
    package func run(_ scope: Scope, _ report: @Sendable (KeyProgress) -> Void = { _ in }) async throws -> Outcome {
        let projects = try await projects(scope)
        var outcome = Outcome()
        var failures: [any Error] = []
        for (index, project) in projects.enumerated() {
            try Task.checkCancellation()
            do {
                try await rotate(project, &outcome)
                outcome.projects += 1
            } catch let error as KeyRotationError {
                failures.append(error)
            } catch let error as KeyVaultError {
                failures.append(error)
            }
            report(KeyProgress(done: Int64(index + 1), total: Int64(projects.count)))
        }
        guard let first = failures.first else { return outcome }
        if failures.count == 1 { throw first }
        throw KeyRotationError.unreadable(
            failures.flatMap { error in
                if case .unreadable(let lines)? = error as? KeyRotationError { lines } else { ["\(error)"] }
            })
    }

    private func projects(_ scope: Scope) async throws -> [ProjectID] {
        let found = try await database.read { db in
            try db.query("SELECT DISTINCT project FROM project_keys ORDER BY project") {
                try $0.get(0, as: ProjectID.self)
            }
        }
        guard case .only(let project) = scope else { return found }
        guard found.contains(project) else { throw KeyRotationError.noKeyOfProject(project) }
        return [project]
    }

    private func rotate(_ project: ProjectID, _ outcome: inout Outcome) async throws {
        let (new, old) = try await begin(project)
        var unreadable: [String] = []
        for old in old { try await rewrapAll(from: old, to: new, &outcome, &unreadable) }
        guard unreadable.isEmpty else { throw KeyRotationError.unreadable(unreadable) }
        outcome.dropped += try await dropRetired(of: project)
    }

    /// A new active key, unless a rotation was cut off, or goes on beside this one: then its key.
    private func begin(_ project: ProjectID) async throws -> (new: ProjectKeyID, old: [ProjectKeyID]) {
        let new = vault.newProjectKey()
        let now = clock.now
        return try await database.write { db in
            let keys = try db.query(
                "SELECT id, state FROM project_keys WHERE project = $1 ORDER BY created_at, id", project
            ) { (id: try $0.get(0, as: ProjectKeyID.self), isActive: try $0.get(1, as: String.self) == "active") }
            let old = keys.filter { !$0.isActive }.map(\.id)
            let active = keys.first { $0.isActive }?.id
            if let active, !old.isEmpty { return (active, old) }
            try db.execute(
                "UPDATE project_keys SET state = 'retiring' WHERE project = $1 AND state = 'active'", project)
            try vault.insert(new, for: project, now: now, in: db)
            return (new.id, old + (active.map { [$0] } ?? []))
        }
    }

    private struct SecretKey: Sendable {
        let secret: SecretID
        let project: ProjectID
        let wrapped: [UInt8]
    }

    /// Secrets in quarantine too: they may be had back.
    private func rewrapAll(
        from old: ProjectKeyID, to new: ProjectKeyID, _ outcome: inout Outcome, _ unreadable: inout [String]
    ) async throws {
        var last = ""
        while true {
            try Task.checkCancellation()
            let after = last
            // The keys in the same snapshot: another rotation may be quicker, and the old one gone by the next.
            let found = try await database.read { db in
                let page = try page(of: old, after: after, in: db)
                return page.isEmpty
                    ? nil : (page, old: try vault.projectKey(old, in: db), new: try vault.projectKey(new, in: db))
            }
            guard let (page, oldKey, newKey) = found, let end = page.last else { return }
            last = end.secret.rawValue
            var changes: [(old: SecretKey, wrapped: [UInt8])] = []
            for secret in page {
                do {
                    changes.append((secret, try rewrap(secret, (old, oldKey), (new, newKey))))
                } catch let error as KeyVaultError {
                    unreadable.append("\(error)")
                }
            }
            outcome.rewrapped += try await exchange(changes, from: old, to: new)
        }
    }

    private func page(of key: ProjectKeyID, after: String, in db: any SQLConnection) throws -> [SecretKey] {
        try db.query(
            "SELECT id, project, wrapped_key FROM secrets WHERE project_key = $1 AND id > $2 ORDER BY id LIMIT $3", key,
            after, batch
        ) { SecretKey(secret: try $0.get(0), project: try $0.get(1), wrapped: try $0.get(2)) }
    }

    private func rewrap(
        _ secret: SecretKey, _ old: (id: ProjectKeyID, key: SecretBytes), _ new: (id: ProjectKeyID, key: SecretBytes)
    ) throws -> [UInt8] {
        func context(_ key: ProjectKeyID) -> [UInt8] {
            KeyVault.context(ofKeyOf: secret.secret, project: secret.project, wrappedBy: key)
        }
        guard let key = try? Sealing.open(secret.wrapped, with: old.key, context: context(old.id)) else {
            throw KeyVaultError.brokenSecret(secret.secret)
        }
        return try KeyVault.wrapAnew(
            key, of: "the key of secret \(secret.secret)", with: new.key, nonce: vault.nonce(), context: context(new.id)
        )
    }

    /// A secret that was erased or rewrapped since it was read is left as it is. What was wrapped counts all the same.
    private func exchange(
        _ changes: [(old: SecretKey, wrapped: [UInt8])], from old: ProjectKeyID, to new: ProjectKeyID
    ) async throws -> Int64 {
        if changes.isEmpty { return 0 }
        return try await database.write { db in
            let isActive = try db.execute(
                "UPDATE project_keys SET wraps = wraps + $1 WHERE id = $2 AND state = 'active'", changes.count, new)
            guard isActive == 1 else { throw KeyRotationError.overtaken }
            return try changes.reduce(0) { count, change in
                let changed = try db.execute(
                    """
                    UPDATE secrets SET project_key = $1, wrapped_key = $2
                    WHERE id = $3 AND project_key = $4 AND wrapped_key = $5
                    """, new, change.wrapped, change.old.secret, old, change.old.wrapped)
                return count + Int64(changed)
            }
        }
    }

    private func dropRetired(of project: ProjectID) async throws -> Int64 {
        try await database.write { db in
            let left = try db.first(
                """
                SELECT COUNT(*) FROM secrets s JOIN project_keys k ON k.id = s.project_key
                WHERE k.project = $1 AND k.state = 'retiring'
                """, project
            ) { try $0.get(0, as: Int64.self) }
            guard left ?? 0 == 0 else { throw KeyRotationError.stillNeeded(left ?? 0) }
            return Int64(
                try db.execute("DELETE FROM project_keys WHERE project = $1 AND state = 'retiring'", project))
        }
    }
}
