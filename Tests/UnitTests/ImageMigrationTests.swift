import Core
import Foundation
import Persistence
import Testing

/// A database of an earlier version keeps all it had.
@Suite struct ImageMigrationTests {
    /// Version 200: erasing was a part of the table `blobs`.
    @Test func blobsInEveryStateComeAlongFromVersion200() async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "migration-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let database = try SQLiteDatabase(path: directory.appending(path: "test.db").path)
        try await database.migrate(ImageMigrations.all.filter { $0.version == 200 }, at: 1)
        try await database.write { db in
            for (id, status) in [("a", "active"), ("s", "saving")] {
                try db.execute(
                    """
                    INSERT INTO images (id, status, visibility, os_hidden, protected, owner, min_disk, min_ram, size,
                        created_at, updated_at)
                    VALUES ($1, $2, 'shared', 0, 0, 'p', 0, 0, 7, 1, 1)
                    """, id, status)
            }
            try db.execute(
                "INSERT INTO images (id, status, visibility, os_hidden, protected, owner, min_disk, min_ram, "
                    + "created_at, updated_at, deleted_at) VALUES ('d', 'deleted', 'shared', 0, 0, 'p', 0, 0, 1, 1, 2)")
            let columns =
                "id, store, image_id, project, state, charged_bytes, epoch, lease_owner, lease_until, "
                + "created_at, attempts, next_attempt_at, last_error"
            try db.execute(
                "INSERT INTO blobs (\(columns)) VALUES "
                    + "('live', 'local', 'a', 'p', 'live', 7, 1, NULL, NULL, 5, 0, 5, NULL), "
                    + "('writing', 'local', 's', 'p', 'writing', 9, 1, 'x', 99, 6, 0, 6, NULL), "
                    + "('doomed', 'second', 'd', 'p', 'doomed', 0, 2, NULL, NULL, 7, 3, 1234, 'away')")
        }
        try await database.migrate(JobMigrations.all + ImageMigrations.all, at: 2)
        let blobs = try await database.read { db in
            try db.query("SELECT id, state, charged_bytes, size_bytes, lease_owner FROM blobs ORDER BY id") { row in
                "\(try row.get(0, as: String.self)) \(try row.get(1, as: String.self)) \(try row.get(2, as: Int64.self)) "
                    + "\(try row.get(3, as: Int64?.self) ?? -1) \(try row.get(4, as: String?.self) ?? "nobody")"
            }
        }
        #expect(blobs == ["doomed doomed 0 -1 nobody", "live live 7 7 nobody", "writing writing 9 -1 x"])
        let jobs = try await JobAdministration(database: database, clock: StillClock()).jobs()
        #expect(jobs.entries.map(\.name) == [JobName(.eraseBlob, "doomed")])
        #expect(jobs.entries.first?.attempts == 3 && jobs.entries.first?.lastError == "away")
        let lanes = try await database.read { try $0.query("SELECT lane FROM jobs") { try $0.get(0, as: String.self) } }
        #expect(lanes == ["second"])
        try await database.requireSchema(JobMigrations.all + ImageMigrations.all)
    }

    /// Version 205: properties and tags had trees beside their keys', shares no age.
    @Test func childrenOfImagesComeAlongFromVersion205() async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "migration-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let database = try SQLiteDatabase(path: directory.appending(path: "test.db").path)
        let all = JobMigrations.all + ImageMigrations.all
        try await database.migrate(all.filter { $0.version <= 205 }, at: 1)
        try await database.write { db in
            for (id, created) in [("b", Int64(7)), ("a", 9)] {
                try db.execute(
                    """
                    INSERT INTO images (id, status, visibility, os_hidden, protected, owner, min_disk, min_ram,
                        created_at, updated_at)
                    VALUES ($1, 'queued', 'shared', 0, 0, 'p', 0, 0, $2, 1)
                    """, id, created)
                try db.execute(
                    "INSERT INTO image_properties (image_id, name, value) VALUES ($1, 'x', $2), ($1, 'none', NULL)", id,
                    "of \(id)")
                try db.execute("INSERT INTO image_tags (image_id, tag) VALUES ($1, 't2'), ($1, 't1')", id)
                try db.execute(
                    """
                    INSERT INTO image_members (image_id, member, status, created_at, updated_at)
                    VALUES ($1, 'm', 'accepted', 1, 2)
                    """, id)
            }
        }
        try await database.migrate(all, at: 2)
        let found = try await database.read { db in
            try db.query("SELECT image_id, name, value FROM image_properties ORDER BY image_id, name") { row in
                "\(try row.get(0, as: String.self)) \(try row.get(1, as: String.self)) "
                    + "\(try row.get(2, as: String?.self) ?? "null")"
            }
                + db.query("SELECT image_id, tag FROM image_tags ORDER BY image_id, tag") { row in
                    "\(try row.get(0, as: String.self)) \(try row.get(1, as: String.self))"
                }
                + db.query("SELECT image_id, image_created_at, status FROM image_members ORDER BY image_id") { row in
                    "\(try row.get(0, as: String.self)) \(try row.get(1, as: Int64.self)) "
                        + "\(try row.get(2, as: String.self))"
                }
        }
        #expect(
            found == [
                "a none null", "a x of a", "b none null", "b x of b", "a t1", "a t2", "b t1", "b t2", "a 9 accepted",
                "b 7 accepted",
            ])
        try await database.requireSchema(all)
    }
}
