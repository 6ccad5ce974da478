import NIOCore
import Persistence
import Trust

/// What an import is to do and how far it is, as its rows have it. The rows go when its task ends.
struct ImportPlan: Sendable {
    /// A store that is to have the image.
    struct Target: Sendable {
        /// - waiting ──▶ copied: the store has verified bytes, in `blob`
        /// - waiting ──▶ failed: and will not be tried again
        enum State: String, Sendable { case waiting, copied, failed }

        let store: StoreID
        let state: State
        let blob: BlobID?
    }

    /// The bytes that are copied.
    struct Source: Sendable {
        let blob: BlobID
        let store: StoreID
        let sizeBytes: Int64
    }

    let task: ImageTask
    let method: ImportMethod
    let mustAllSucceed: Bool
    /// Of whoever asked for it.
    let roles: Set<String>
    /// The signer's, if the image is signed: fetched as the caller, when there was one.
    let certificate: [UInt8]?
    /// Nil while there is none, and for `copy-image`, which copies any of the image's data.
    let source: Source?
    let stepsDone: Int
    /// What the first verified pass found: each copy has to have it.
    let found: VerifiedData?
    /// What of the image's record that pass held the bytes against (`DataExpectation.asked`).
    let asked: String?
    /// In the order they were asked for.
    let targets: [Target]
}

extension ImportPlan {
    /// Where `web-download` fetches from.
    var uri: String? {
        let input = task.input
        return (input["import_req"]?["method"]?["uri"] ?? input["import_from"])?.stringValue
    }

    static func insert(
        _ task: ImageTask, _ method: ImportMethod, to targets: [StoreID], mustAllSucceed: Bool, roles: Set<String>,
        certificate: [UInt8]?, source: BlobID?, in db: any SQLConnection
    ) throws {
        try task.insert(in: db)
        try db.execute(
            """
            INSERT INTO imports (task_id, method, must_all_succeed, roles, certificate, source, steps_done)
            VALUES ($1, $2, $3, $4, $5, $6, 0)
            """, task.id, method.rawValue, mustAllSucceed, roles.sorted().joined(separator: "\n"),
            certificate.map { Hex.encode($0) }, source)
        for (position, store) in targets.enumerated() {
            try db.execute(
                "INSERT INTO import_targets (task_id, store, position, state) VALUES ($1, $2, $3, 'waiting')",
                task.id, store, position)
        }
    }

    /// Nil when the task has ended, or there is none.
    static func find(_ id: TaskID, in db: any SQLConnection) throws -> ImportPlan? {
        guard let task = try ImageTask.find(id, in: db), task.status.isOpen else { return nil }
        let targets = try db.query(
            "SELECT store, state, blob FROM import_targets WHERE task_id = $1 ORDER BY position", id
        ) { row in
            guard let state = Target.State(rawValue: try row.get(1)) else {
                throw SQLError(code: .corrupt, operation: "read import", message: "unknown state")
            }
            return Target(store: try row.get(0), state: state, blob: try row.get(2))
        }
        return try db.first(
            """
            SELECT i.method, i.must_all_succeed, i.roles, i.certificate, i.steps_done, i.size_bytes, i.virtual_size,
                i.checksum, i.hash_algorithm, i.hash_value, b.id, b.store, b.size_bytes, i.asked
            FROM imports i LEFT JOIN blobs b ON b.id = i.source AND b.state = 'live'
            WHERE i.task_id = $1
            """, id
        ) { row in
            guard let method = ImportMethod(rawValue: try row.get(0)) else {
                throw SQLError(code: .corrupt, operation: "read import", message: "unknown method")
            }
            return ImportPlan(
                task: task, method: method, mustAllSucceed: try row.get(1),
                roles: Set(try row.get(2, as: String.self).split(separator: "\n").map(String.init)),
                certificate: try row.get(3, as: String?.self).flatMap(Hex.decode), source: try source(row),
                stepsDone: try row.get(4), found: try found(row), asked: try row.get(13), targets: targets)
        }
    }

    private static func found(_ row: any SQLRow) throws -> VerifiedData? {
        guard let size = try row.get(5, as: Int64?.self) else { return nil }
        return VerifiedData(
            sizeBytes: size, virtualSizeBytes: try row.get(6), checksum: try row.get(7), hashAlgorithm: try row.get(8),
            hashValue: try row.get(9))
    }

    private static func source(_ row: any SQLRow) throws -> Source? {
        guard let blob = try row.get(10, as: BlobID?.self) else { return nil }
        return Source(blob: blob, store: try row.get(11), sizeBytes: try row.get(12))
    }

    static func remove(_ id: TaskID, in db: any SQLConnection) throws {
        try db.execute("DELETE FROM import_targets WHERE task_id = $1", id)
        try db.execute("DELETE FROM import_glance WHERE task_id = $1", id)
        try db.execute("DELETE FROM imports WHERE task_id = $1", id)
    }
}

/// What clients see of an import in the image's own record: properties that only the server writes. They are rows of
/// the image so that a look at it needs no other, and change in the transactions that change what they say.
enum ImportMarks {
    /// The lock: the open task.
    static let task = "os_glance_import_task"
    /// Stores that are still to come, and stores that will not.
    static let importing = "os_glance_importing_to_stores"
    static let failed = "os_glance_failed_import"

    static func set(_ name: String, _ value: String?, of image: ImageID, in db: any SQLConnection) throws {
        try db.execute(
            """
            INSERT INTO image_properties (image_id, name, value) VALUES ($1, $2, $3)
            ON CONFLICT (image_id, name) DO UPDATE SET value = excluded.value
            """, image, name, value)
    }

    static func set(_ name: String, _ stores: [StoreID], of image: ImageID, in db: any SQLConnection) throws {
        try set(name, stores.map(\.rawValue).joined(separator: ","), of: image, in: db)
    }

    static func remove(_ name: String, of image: ImageID, in db: any SQLConnection) throws {
        try db.execute("DELETE FROM image_properties WHERE image_id = $1 AND name = $2", image, name)
    }

    /// An import begins.
    static func begin(_ task: TaskID, to stores: [StoreID], of image: ImageID, in db: any SQLConnection) throws {
        try set(Self.task, task.rawValue, of: image, in: db)
        try set(importing, stores, of: image, in: db)
        try set(failed, "", of: image, in: db)
    }

    /// How far it is, as its rows say.
    static func update(_ task: TaskID, of image: ImageID, in db: any SQLConnection) throws {
        let targets = try db.query(
            "SELECT store, state FROM import_targets WHERE task_id = $1 ORDER BY position", task
        ) { (store: try $0.get(0, as: StoreID.self), state: try $0.get(1, as: String.self)) }
        try set(importing, targets.filter { $0.state == "waiting" }.map(\.store), of: image, in: db)
        try set(failed, targets.filter { $0.state == "failed" }.map(\.store), of: image, in: db)
    }

    /// It ended.
    static func end(failed stores: [StoreID], of image: ImageID, in db: any SQLConnection) throws {
        try remove(task, of: image, in: db)
        try set(importing, "", of: image, in: db)
        try set(failed, stores, of: image, in: db)
    }
}
