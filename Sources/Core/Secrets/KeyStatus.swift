import Persistence
import Trust

/// Which keys there are, and how much each wraps.
package struct KeyStatus: Sendable, Equatable {
    /// AES-GCM with random nonces is sound for fewer than 2^32 wraps by one key. A quarter of that is early
    /// enough to be told.
    package static let manyWraps: Int64 = 1 << 30

    package struct MasterKey: Sendable, Equatable {
        package let id: String
        /// `active`, `retiring`; nil for one that only the file has.
        package let state: String?
        package let projectKeys: Int64
        package let isInFile: Bool
        package let createdAt: Timestamp?
    }

    package struct ProjectKey: Sendable, Equatable {
        package let id: ProjectKeyID
        package let project: ProjectID
        package let state: String
        /// How often it wrapped something.
        package let wraps: Int64
        package let createdAt: Timestamp

        /// Whether its project should get a new one soon.
        package var isWorn: Bool { wraps >= KeyStatus.manyWraps }
    }

    /// The database's, then what only the file has.
    package let masterKeys: [MasterKey]
    package let projectKeyCount: Int64
    package let mostWraps: Int64
    /// Project keys that somebody should do something about: worn, or left by a rotation that was cut off.
    package let noteworthy: [ProjectKey]
    package let counts: KeyCounts

    /// Whether a rotation of the master key was cut off, or goes on.
    package var isRotating: Bool { masterKeys.contains { $0.state == "retiring" } }

    /// - Parameter file: the master keys in the file; nil when it cannot be read.
    /// - Throws: `SQLError`.
    package static func read(
        _ database: any SQLDatabase, file: MasterKeys?, now: Timestamp
    ) async throws -> KeyStatus {
        let inFile = file?.keys.map(\.id) ?? []
        return try await database.read { db in
            let known = try db.query(
                """
                SELECT m.id, m.state, m.created_at, (SELECT COUNT(*) FROM project_keys k WHERE k.master_key = m.id)
                FROM master_keys m ORDER BY m.state, m.created_at, m.id
                """
            ) { row in
                let id = try row.get(0, as: String.self)
                return MasterKey(
                    id: id, state: try row.get(1), projectKeys: try row.get(3), isInFile: inFile.contains(id),
                    createdAt: try row.get(2))
            }
            let others = inFile.filter { id in !known.contains { $0.id == id } }.map {
                MasterKey(id: $0, state: nil, projectKeys: 0, isInFile: true, createdAt: nil)
            }
            let totals = try db.first("SELECT COUNT(*), COALESCE(MAX(wraps), 0) FROM project_keys") {
                (count: try $0.get(0, as: Int64.self), most: try $0.get(1, as: Int64.self))
            }
            let noteworthy = try db.query(
                """
                SELECT id, project, state, wraps, created_at FROM project_keys
                WHERE state = 'retiring' OR wraps >= $1 ORDER BY project, created_at, id
                """, manyWraps
            ) {
                ProjectKey(
                    id: try $0.get(0), project: try $0.get(1), state: try $0.get(2), wraps: try $0.get(3),
                    createdAt: try $0.get(4))
            }
            return KeyStatus(
                masterKeys: known + others, projectKeyCount: totals?.count ?? 0, mostWraps: totals?.most ?? 0,
                noteworthy: noteworthy, counts: try KeyCounts.read(now: now, in: db))
        }
    }
}
