import Blobs
import Core
import Foundation
import Persistence
import Synchronization

/// What a check told.
final class Told: Sendable {
    private let events = Mutex<[FsckEvent]>([])
    func add(_ event: FsckEvent) { events.withLock { $0.append(event) } }

    var findings: [Finding] { outcomes.map(\.finding) }
    var outcomes: [(finding: Finding, outcome: FindingOutcome)] {
        events.withLock { events in
            events.compactMap { if case .finding(let finding, let outcome) = $0 { (finding, outcome) } else { nil } }
        }
    }
    var garbage: [Garbage] {
        events.withLock { events in events.compactMap { if case .garbage(let garbage) = $0 { garbage } else { nil } } }
    }
    var progress: [FsckProgress] {
        events.withLock { events in
            events.compactMap { if case .progress(let progress) = $0 { progress } else { nil } }
        }
    }
    var kinds: [String] { findings.map(\.kind) }
}

extension ImageFixture {
    func fsck(
        stores: [any BlobStore]? = nil, unopened: [Fsck.UnopenedStore] = [],
        _ change: (inout Fsck.Options) -> Void = { _ in }
    ) async throws -> (told: Told, summary: FsckSummary) {
        var options = Fsck.Options()
        change(&options)
        let told = Told()
        let fsck = Fsck(
            database: database, stores: stores ?? [store], unopened: unopened, surroundings: surroundings,
            options: options)
        return (told, try await fsck.run { told.add($0) })
    }

    func repair() async throws -> (told: Told, summary: FsckSummary) { try await fsck { $0.repairs = true } }

    /// Damages the database by hand, past what its constraints allow.
    func damage(_ sql: String, _ arguments: any SQLBindable...) async throws {
        _ = try await database.write { try $0.execute("PRAGMA ignore_check_constraints = ON") }
        let changed = try await database.write { db in try db.execute(sql, arguments) }
        _ = try await database.write { try $0.execute("PRAGMA ignore_check_constraints = OFF") }
        precondition(changed > 0, "nothing was damaged by \(sql)")
    }

    func activeImage(_ bytes: [UInt8] = [1, 2, 3], as caller: Caller? = nil) async throws -> ImageID {
        let id = try await createImage(as: caller).id
        try await upload(bytes, to: id, as: caller)
        return id
    }

    /// Deletes an image, and takes it out of the recycle bin if there is one.
    func deleteForGood(_ image: ImageID) async throws {
        try await images.delete(image, as: caller())
        if settings.recycleBinSeconds > 0 {
            try await RecycleBin(database: database, clock: clock, settings: settings).discard(image)
        }
    }

    func blob(of image: ImageID) async throws -> BlobID {
        let found = try await database.read { db in
            try db.first("SELECT id FROM blobs WHERE image_id = $1 AND state <> 'doomed'", image) {
                try $0.get(0, as: BlobID.self)
            }
        }
        guard let found else { preconditionFailure("\(image) has no blob") }
        return found
    }

    func path(_ blob: BlobID) -> String { store.place(of: blob) }
    func incomingPath(_ name: String) -> String { directory.appending(path: "local/incoming/\(name)").path }

    func put(_ bytes: [UInt8], at path: String) throws {
        let url = URL(filePath: path)
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(bytes).write(to: url)
    }

    /// An upload that a crash cut off: announced by `owner`, some bytes written.
    func interruptedUpload(by owner: InstanceID, leaseSeconds: Int64 = 30, bytes: Int = 5) async throws -> (
        ImageID, BlobID
    ) {
        let image = try await createImage().id
        let blob = BlobID(surroundings.uuid())
        let now = clock.now
        try await database.write { db in
            try db.execute("UPDATE images SET status = 'saving' WHERE id = $1", image)
            try db.execute(
                """
                INSERT INTO blobs (id, store, image_id, project, state, charged_bytes, epoch, lease_owner,
                    lease_until, created_at)
                VALUES ($1, 'local', $2, 'p1', 'writing', 0, 1, $3, $4, $5)
                """, blob, image, owner, now.adding(seconds: leaseSeconds), now)
        }
        try put(Array(repeating: 7, count: bytes), at: incomingPath(blob.rawValue))
        return (image, blob)
    }

    func register(_ instance: InstanceID) async throws {
        let now = clock.now
        _ = try await database.write { db in
            try db.execute(
                "INSERT INTO instances (id, node, started_at, seen_at) VALUES ($1, $1, $2, $2)", instance, now)
        }
    }
}
