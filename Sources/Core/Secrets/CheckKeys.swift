import Persistence
import Trust

/// Something that is wrong with a key. Names ids and nothing else.
package enum KeyFinding: Sendable, Hashable {
    case noActiveMasterKey
    /// The database needs it, and the file does not have it.
    case masterKeyMissing(String, projectKeys: Int64)
    /// The file has the key of this id, and it does not open what the database keeps to prove it.
    case canaryBroken(String)
    case projectKeyBroken(ProjectKeyID, secrets: Int64)
    /// Fewer wraps are counted than there are.
    case wrapsMiscounted(ProjectKeyID, counted: Int64, found: Int64)
    /// The project key that wraps the secret's has no row.
    case projectKeyMissing(ProjectKeyID, SecretID)
    case secretKeyBroken(SecretID, ProjectKeyID)
    case payloadBroken(SecretID)

    /// Its name in scripts; never changed.
    package var kind: String {
        switch self {
        case .noActiveMasterKey: "no-active-master-key"
        case .masterKeyMissing: "master-key-missing"
        case .canaryBroken: "canary-broken"
        case .projectKeyBroken: "project-key-broken"
        case .wrapsMiscounted: "wraps-miscounted"
        case .projectKeyMissing: "project-key-missing"
        case .secretKeyBroken: "secret-key-broken"
        case .payloadBroken: "payload-broken"
        }
    }

    /// Whether something could not be looked at because of it.
    package var leavesGap: Bool {
        if case .masterKeyMissing = self { true } else { false }
    }

    package var subject: String {
        switch self {
        case .noActiveMasterKey: "master keys"
        case .masterKeyMissing(let id, _), .canaryBroken(let id): "master key \(id)"
        case .projectKeyBroken(let id, _), .wrapsMiscounted(let id, _, _): "project key \(id)"
        case .projectKeyMissing(_, let id), .secretKeyBroken(let id, _), .payloadBroken(let id): "secret \(id)"
        }
    }

    /// One line, without the subject.
    package var text: String {
        switch self {
        case .noActiveMasterKey: "none is active: no project can get a key"
        case .masterKeyMissing(_, let count): "it is not in the master key file, and \(count) project keys need it"
        case .canaryBroken: "it does not open what is kept to prove it: the row was changed"
        case .projectKeyBroken(_, let count): "it does not open, and \(count) secrets need it: the row was changed"
        case .wrapsMiscounted(_, let counted, let found): "\(counted) wraps are counted, and there are \(found)"
        case .projectKeyMissing(let key, _): "its key is wrapped by the project key \(key), which has no row"
        case .secretKeyBroken(_, let key): "its key does not open with the project key \(key): the row was changed"
        case .payloadBroken: "its payload does not open: the row was changed"
        }
    }

    package var advice: String {
        switch self {
        case .masterKeyMissing(let id, _): "put the line that begins with \(id) back, from the backup of the file"
        case .wrapsMiscounted(let id, _, _):
            "give its project a new key (ambrotype keys rotate-project); \(id) goes then"
        case .noActiveMasterKey, .canaryBroken, .projectKeyBroken, .projectKeyMissing, .secretKeyBroken,
            .payloadBroken:
            "restore the row from a backup of the database"
        }
    }
}

package enum KeyCheckEvent: Sendable, Equatable {
    case finding(KeyFinding)
    case progress(KeyProgress)
}

package struct KeyCheckSummary: Sendable, Equatable {
    package fileprivate(set) var masterKeys: Int64 = 0
    package fileprivate(set) var projectKeys: Int64 = 0
    package fileprivate(set) var secrets: Int64 = 0
    package fileprivate(set) var problems: Int64 = 0
    /// Some of what there is could not be looked at.
    package fileprivate(set) var isIncomplete = false

    package init() {}
}

/// Opens every key and every payload there is, deleted ones too. Changes nothing, and may run while servers and
/// rotations do: what does not open is read once more before it is a finding.
///
/// Names, types, owners and times of secrets are not sealed: that they were changed does not show here.
package struct CheckKeys: Sendable {
    /// Payloads have at most 20,000 bytes.
    private static let batch = 50

    private let database: any SQLDatabase
    private let vault: KeyVault

    /// - Parameter path: of the file of master keys.
    /// - Throws: `MasterKeys.Failure`.
    package init(database: any SQLDatabase, surroundings: Surroundings, path: String) throws {
        self.database = database
        let ring = KeyRing(try MasterKeys.load(path: path)) { try MasterKeys.load(path: path) }
        vault = KeyVault(ring: ring, randomness: surroundings.randomness)
    }

    /// - Throws: `SQLError`, `CancellationError`.
    package func run(_ report: @Sendable (KeyCheckEvent) -> Void) async throws -> KeyCheckSummary {
        var run = Run()
        run.total = try await database.read { db in
            try db.first("SELECT (SELECT COUNT(*) FROM project_keys), (SELECT COUNT(*) FROM secrets)") {
                try $0.get(0, as: Int64.self) + $0.get(1, as: Int64.self)
            } ?? 0
        }
        try await checkMasterKeys(&run, report)
        try await checkProjectKeys(&run, report)
        try await checkSecrets(&run, report)
        return run.summary
    }

    private struct Run {
        var summary = KeyCheckSummary()
        var done: Int64 = 0
        var total: Int64 = 0
        /// Told already, and with them all that they wrap.
        var brokenProjectKeys: Set<ProjectKeyID> = []
        var missingMasters: Set<String> = []

        mutating func tell(_ finding: KeyFinding, _ report: (KeyCheckEvent) -> Void) {
            summary.problems += 1
            if finding.leavesGap { summary.isIncomplete = true }
            report(.finding(finding))
        }

        mutating func advance(_ count: Int, _ report: (KeyCheckEvent) -> Void) {
            done += Int64(count)
            report(.progress(KeyProgress(done: done, total: max(done, total))))
        }
    }
}

/// Master keys.
extension CheckKeys {
    private func checkMasterKeys(_ run: inout Run, _ report: (KeyCheckEvent) -> Void) async throws {
        let (keys, users) = try await database.read { db in
            (
                try db.query("SELECT id, state FROM master_keys ORDER BY created_at, id") {
                    (id: try $0.get(0, as: String.self), isActive: try $0.get(1, as: String.self) == "active")
                },
                try db.query("SELECT master_key, COUNT(*) FROM project_keys GROUP BY master_key ORDER BY master_key") {
                    (id: try $0.get(0, as: String.self), count: try $0.get(1, as: Int64.self))
                }
            )
        }
        run.summary.masterKeys = Int64(keys.count)
        if !keys.contains(where: \.isActive), !(keys.isEmpty && users.isEmpty) { run.tell(.noActiveMasterKey, report) }
        let named = keys.map(\.id) + users.map(\.id).filter { id in !keys.contains { $0.id == id } }
        for id in named {
            if vault.ring[id] == nil {
                // A rotation may have dropped it since.
                guard let count = try await usersOfMasterKey(id) else { continue }
                run.missingMasters.insert(id)
                run.tell(.masterKeyMissing(id, projectKeys: count), report)
            } else if try await !isCanaryWhole(id) {
                run.tell(.canaryBroken(id), report)
            }
        }
    }

    /// How many project keys it wraps; nil when the database does not know it any more.
    private func usersOfMasterKey(_ id: String) async throws -> Int64? {
        try await database.read { db in
            let count = try db.first("SELECT COUNT(*) FROM project_keys WHERE master_key = $1", id) {
                try $0.get(0, as: Int64.self)
            }
            let isThere = try db.first("SELECT 1 FROM master_keys WHERE id = $1", id) { _ in true } ?? false
            return isThere || count ?? 0 > 0 ? count : nil
        }
    }

    private func isCanaryWhole(_ id: String) async throws -> Bool {
        try await database.read { db in
            let canary = try db.first("SELECT canary FROM master_keys WHERE id = $1", id) {
                try $0.get(0, as: [UInt8].self)
            }
            return canary.map { vault.opens(canary: $0, of: id) } ?? true
        }
    }
}

/// Project keys.
extension CheckKeys {
    private struct ProjectKeyRow: Sendable {
        let id: ProjectKeyID
        let project: ProjectID
        let master: String
        let wrapped: [UInt8]
        let wraps: Int64
        /// How many secrets it wraps.
        let secrets: Int64
    }

    private func checkProjectKeys(_ run: inout Run, _ report: (KeyCheckEvent) -> Void) async throws {
        var last = ""
        while true {
            try Task.checkCancellation()
            let after = last
            let page = try await database.read { db in
                try Self.projectKeys("k.id > $1 ORDER BY k.id LIMIT \(Self.batch)", after, in: db)
            }
            guard let end = page.last else { return }
            last = end.id.rawValue
            for row in page where problem(of: row) != nil {
                // Once more: a rotation may have been between the row and the file.
                let again = try await database.read { db in
                    try Self.projectKeys("k.id = $1", row.id.rawValue, in: db).first
                }
                guard let again, let finding = problem(of: again) else { continue }
                if run.missingMasters.contains(again.master) { continue }
                if case .projectKeyBroken = finding { run.brokenProjectKeys.insert(row.id) }
                run.tell(finding, report)
            }
            run.summary.projectKeys += Int64(page.count)
            run.advance(page.count, report)
        }
    }

    private static func projectKeys(
        _ condition: String, _ argument: String, in db: any SQLConnection
    ) throws -> [ProjectKeyRow] {
        try db.query(
            """
            SELECT k.id, k.project, k.master_key, k.wrapped, k.wraps,
                (SELECT COUNT(*) FROM secrets s WHERE s.project_key = k.id)
            FROM project_keys k WHERE \(condition)
            """, argument
        ) {
            ProjectKeyRow(
                id: try $0.get(0), project: try $0.get(1), master: try $0.get(2), wrapped: try $0.get(3),
                wraps: try $0.get(4), secrets: try $0.get(5))
        }
    }

    private func problem(of row: ProjectKeyRow) -> KeyFinding? {
        guard open(row.id, row.project, row.master, row.wrapped) != nil else {
            return .projectKeyBroken(row.id, secrets: row.secrets)
        }
        return row.wraps < row.secrets ? .wrapsMiscounted(row.id, counted: row.wraps, found: row.secrets) : nil
    }

    private func open(
        _ id: ProjectKeyID, _ project: ProjectID, _ master: String, _ wrapped: [UInt8]
    ) -> SecretBytes? {
        guard let key = vault.ring[master] else { return nil }
        return try? Sealing.open(
            wrapped, with: key, context: KeyVault.context(ofProjectKey: id, project: project, wrappedBy: master))
    }
}

/// Secrets.
extension CheckKeys {
    private struct SecretKeys: Sendable {
        let id: SecretID
        let project: ProjectID
        let projectKey: ProjectKeyID
        let wrapped: [UInt8]
        let payload: [UInt8]
        /// Nil when there is no such row.
        let wrapping: Wrapping?
    }

    private struct Wrapping: Sendable, Hashable {
        let id: ProjectKeyID
        let project: ProjectID
        let master: String
        let wrapped: [UInt8]
    }

    private func checkSecrets(_ run: inout Run, _ report: (KeyCheckEvent) -> Void) async throws {
        var last = ""
        while true {
            try Task.checkCancellation()
            let after = last
            let page = try await database.read { db in
                try Self.secrets("s.id > $1 ORDER BY s.id LIMIT \(Self.batch)", after, in: db)
            }
            guard let end = page.last else { return }
            last = end.id.rawValue
            var opened: [Wrapping: SecretBytes] = [:]
            for row in page where problem(of: row, &opened) != nil {
                let again = try await database.read { db in
                    try Self.secrets("s.id = $1", row.id.rawValue, in: db).first
                }
                var none: [Wrapping: SecretBytes] = [:]
                guard let again, let finding = problem(of: again, &none) else { continue }
                if let wrapping = again.wrapping, run.missingMasters.contains(wrapping.master) { continue }
                if case .projectKeyBroken(let key, _) = finding, !run.brokenProjectKeys.insert(key).inserted {
                    continue
                }
                run.tell(finding, report)
            }
            run.summary.secrets += Int64(page.count)
            run.advance(page.count, report)
        }
    }

    private static func secrets(
        _ condition: String, _ argument: String, in db: any SQLConnection
    ) throws -> [SecretKeys] {
        try db.query(
            """
            SELECT s.id, s.project, s.project_key, s.wrapped_key, s.sealed_payload, k.id, k.project, k.master_key,
                k.wrapped
            FROM secrets s LEFT JOIN project_keys k ON k.id = s.project_key
            WHERE s.project_key IS NOT NULL AND \(condition)
            """, argument
        ) { row in
            let wrapping = try row.get(5, as: ProjectKeyID?.self).map {
                Wrapping(id: $0, project: try row.get(6), master: try row.get(7), wrapped: try row.get(8))
            }
            return SecretKeys(
                id: try row.get(0), project: try row.get(1), projectKey: try row.get(2), wrapped: try row.get(3),
                payload: try row.get(4), wrapping: wrapping)
        }
    }

    private func problem(of row: SecretKeys, _ opened: inout [Wrapping: SecretBytes]) -> KeyFinding? {
        guard let wrapping = row.wrapping else { return .projectKeyMissing(row.projectKey, row.id) }
        guard
            let projectKey = opened[wrapping]
                ?? open(wrapping.id, wrapping.project, wrapping.master, wrapping.wrapped)
        else { return .projectKeyBroken(wrapping.id, secrets: 1) }
        opened[wrapping] = projectKey
        let keyContext = KeyVault.context(ofKeyOf: row.id, project: row.project, wrappedBy: row.projectKey)
        guard let key = try? Sealing.open(row.wrapped, with: projectKey, context: keyContext) else {
            return .secretKeyBroken(row.id, row.projectKey)
        }
        let context = SealContext(layer: .payload, keyID: "", project: row.project.rawValue, secret: row.id.rawValue)
        guard (try? Sealing.open(row.payload, with: key, context: context.bytes)) != nil else {
            return .payloadBroken(row.id)
        }
        return nil
    }
}
