import Blobs
import Core
import Foundation
import NIOCore
import Persistence
import Synchronization
import Testing

/// Every kind of damage is made by hand and must be found by its name; repairs must leave images alone.
@Suite struct FsckTests {
    /// One way to damage a service that was well.
    struct Damage: Sendable, CustomTestStringConvertible {
        let kind: String
        /// What must be left after a repair.
        let isRepairable: Bool
        var reading = Fsck.Reading.nothing
        /// Whether it takes the bytes of an image by itself.
        var harmsImages = false
        let make: @Sendable (ImageFixture) async throws -> Void
        var testDescription: String { kind }
    }

    static let damages = databaseDamages + storeDamages

    private static let databaseDamages = [
        Damage(kind: "location-size-differs", isRepairable: false) { service in
            let image = try await service.activeImage()
            try await service.damage(
                """
                INSERT INTO image_locations (id, image_id, store, url, size_bytes, state, created_at)
                VALUES ('l', $1, 'local', 'http://a/b', 7, 'live', 1)
                """, image)
        },
        Damage(kind: "location-unexpected", isRepairable: false) { service in
            try await service.damage(
                """
                INSERT INTO image_locations (id, image_id, store, url, size_bytes, state, created_at)
                VALUES ('m', $1, 'local', 'http://a/b', 7, 'live', 1)
                """, try await service.createImage().id)
        },
        Damage(kind: "image-without-bytes", isRepairable: false, harmsImages: true) { service in
            let image = try await service.activeImage()
            let blob = try await service.blob(of: image)
            try await service.damage("DELETE FROM blobs WHERE id = $1", blob)
            try FileManager.default.removeItem(atPath: service.path(blob))
        },
        Damage(kind: "sizes-differ", isRepairable: false) { service in
            try await service.damage("UPDATE images SET size = 9 WHERE id = $1", try await service.activeImage())
        },
        Damage(kind: "image-stuck", isRepairable: true) { service in
            try await service.damage(
                "UPDATE images SET status = 'importing' WHERE id = $1", try await service.createImage().id)
        },
        Damage(kind: "image-stuck", isRepairable: true) { service in
            try await service.damage(
                "UPDATE images SET status = 'importing' WHERE id = $1", try await service.stagedImage([1, 2, 3]))
        },
        Damage(kind: "import-lost", isRepairable: true) { service in
            let image = try await service.stagedImage([1, 2, 3])
            try await service.importImage(image, ["method": ["name": "glance-direct"]])
            try await service.damage("DELETE FROM jobs")
        },
        Damage(kind: "import-lock-stray", isRepairable: true) { service in
            try await service.damage(
                "INSERT INTO image_properties (image_id, name, value) VALUES ($1, 'os_glance_import_task', 'x')",
                try await service.activeImage())
        },
        Damage(kind: "staged-stray", isRepairable: true) { service in
            try await service.damage(
                "UPDATE images SET status = 'queued', size = NULL WHERE id = $1",
                try await service.stagedImage([1, 2, 3]))
        },
        Damage(kind: "upload-unexpected", isRepairable: true) { service in
            try await service.register("other")
            let (image, _) = try await service.interruptedUpload(by: "other")
            try await service.damage("UPDATE images SET status = 'queued' WHERE id = $1", image)
        },
        Damage(kind: "upload-abandoned", isRepairable: true) { service in
            _ = try await service.interruptedUpload(by: "gone", leaseSeconds: -700)
        },
        Damage(kind: "bytes-of-deleted-image", isRepairable: true) { service in
            let image = try await service.activeImage()
            try await service.damage("UPDATE images SET status = 'deleted', deleted_at = 1 WHERE id = $1", image)
            try await service.damage("DELETE FROM image_provenance WHERE image_id = $1", image)
        },
        Damage(kind: "bytes-outside-bin", isRepairable: true) { service in
            try await service.damage(
                """
                UPDATE images SET status = 'deleted', deleted_at = 1, recycled_until = $1,
                    status_before_deletion = 'active'
                WHERE id = $2
                """, service.clock.now.adding(seconds: 1000), try await service.activeImage())
        },
        Damage(kind: "bytes-inside-bin", isRepairable: true) { service in
            try await service.damage(
                "UPDATE blobs SET state = 'recycled', charged_bytes = 0 WHERE image_id = $1",
                try await service.activeImage())
        },
        Damage(kind: "bytes-of-unfinished-image", isRepairable: false) { service in
            try await service.damage(
                """
                UPDATE images SET status = 'queued', size = NULL, checksum = NULL, os_hash_value = NULL WHERE id = $1
                """, try await service.activeImage())
        },
        Damage(kind: "erase-job-missing", isRepairable: true) { service in
            try await service.deleteForGood(try await service.activeImage())
            try await service.damage("DELETE FROM jobs")
        },
        Damage(kind: "erase-job-stray", isRepairable: true) { service in
            try await service.damage(
                """
                INSERT INTO jobs (kind, subject, state, attempts, next_attempt_at, epoch, created_at)
                VALUES ('erase-blob', $1, 'waiting', 0, 1, 0, 1)
                """, try await service.blob(of: try await service.activeImage()))
        },
        Damage(kind: "job-parked", isRepairable: false) { service in
            try await service.deleteForGood(try await service.activeImage())
            try await service.damage("UPDATE jobs SET state = 'parked', last_error = 'hopeless'")
        },
        Damage(kind: "store-not-configured", isRepairable: false) { service in
            let image = try await service.createImage().id
            try await service.damage(
                """
                INSERT INTO blobs (id, store, image_id, project, state, charged_bytes, epoch, created_at, doomed_at,
                    doom_reason)
                VALUES ('ab', 'lost', $1, 'p1', 'doomed', 0, 1, 1, 1, 'image deleted')
                """, image)
            try await service.damage(
                """
                INSERT INTO jobs (kind, subject, state, attempts, next_attempt_at, epoch, created_at)
                VALUES ('erase-blob', 'ab', 'waiting', 0, 1, 0, 1)
                """)
        },
        Damage(kind: "charged-to-other", isRepairable: true) { service in
            try await service.damage(
                "UPDATE blobs SET project = 'p9' WHERE image_id = $1", try await service.activeImage())
        },
        Damage(kind: "remains-of-deleted-image", isRepairable: true) { service in
            let image = try await service.createImage().id
            try await service.deleteForGood(image)
            try await service.damage("INSERT INTO image_tags (image_id, tag) VALUES ($1, 'left')", image)
        },
        Damage(kind: "remains-of-deleted-image", isRepairable: true) { service in
            let image = try await service.createImage().id
            try await service.deleteForGood(image)
            try await service.damage(
                """
                INSERT INTO image_flags (image_id, reason, first_at, last_at, count) VALUES ($1, 'left', 1, 1, 1)
                """, image)
        },
        Damage(kind: "record-differs", isRepairable: false) { service in
            try await service.damage(
                "UPDATE image_provenance SET digest = 'ab' WHERE image_id = $1", try await service.activeImage())
        },
    ]

    private static let storeDamages = [
        Damage(kind: "bytes-missing", isRepairable: false, harmsImages: true) { service in
            let blob = try await service.blob(of: try await service.activeImage())
            try FileManager.default.removeItem(atPath: service.path(blob))
        },
        Damage(kind: "bytes-wrong-size", isRepairable: false, harmsImages: true) { service in
            let blob = try await service.blob(of: try await service.activeImage())
            try service.put([1, 2], at: service.path(blob))
        },
        Damage(kind: "digest-wrong", isRepairable: false, reading: .everything, harmsImages: true) { service in
            let blob = try await service.blob(of: try await service.activeImage())
            try service.put([1, 2, 4], at: service.path(blob))
        },
        Damage(kind: "digest-unknown", isRepairable: false, reading: .everything) { service in
            let image = try await service.activeImage()
            try await service.damage(
                "UPDATE images SET checksum = NULL, os_hash_algo = 'sha3-256' WHERE id = $1", image)
            try await service.damage("DELETE FROM image_provenance WHERE image_id = $1", image)
        },
        Damage(kind: "bytes-unreadable", isRepairable: false, harmsImages: true) { service in
            let path = service.path(try await service.blob(of: try await service.activeImage()))
            try FileManager.default.removeItem(atPath: path)
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        },
        Damage(kind: "bytes-unowned", isRepairable: true) { service in
            try service.put([1, 2], at: service.incomingPath("abcd-02"))
        },
        Damage(kind: "bytes-unowned", isRepairable: false) { service in
            try service.put([1], at: service.path("abcd-01"))
        },
        Damage(kind: "bytes-in-other-store", isRepairable: false, harmsImages: true) { service in
            let image = try await service.activeImage()
            try await service.damage("UPDATE blobs SET store = 'second' WHERE image_id = $1", image)
        },
        Damage(kind: "name-left-over", isRepairable: false) { service in
            let blob = try await service.blob(of: try await service.activeImage())
            try FileManager.default.linkItem(atPath: service.path(blob), toPath: service.incomingPath(blob.rawValue))
        },
        Damage(kind: "file-foreign", isRepairable: false) { service in
            try service.put([1], at: service.incomingPath("Notes.txt"))
        },
    ]

    /// A second store, empty: some damage needs it.
    private static func second(_ service: ImageFixture) throws -> FileBlobStore {
        try FileBlobStore(
            id: "second", directory: service.directory.appending(path: "second").path, work: DirectWork(),
            reserveBytes: 0)
    }

    private static func expected(_ damage: Damage) -> Set<String> {
        switch damage.kind {
        // The bytes are not where the row says, and are where it does not.
        case "bytes-in-other-store": ["bytes-missing", "bytes-in-other-store"]
        // What stands in place of the bytes is no blob.
        case "bytes-unreadable": ["bytes-unreadable", "file-foreign"]
        default: [damage.kind]
        }
    }

    @Test(arguments: damages)
    func damageIsFoundByItsName(_ damage: Damage) async throws {
        let service = try await ImageFixture()
        let stores: [any BlobStore] = [service.store, try Self.second(service)]
        _ = try await service.activeImage([9, 9])
        let before = try await service.fsck(stores: stores) { $0.reading = damage.reading }
        #expect(before.told.findings == [] && before.summary.remaining == 0 && !before.summary.isIncomplete)

        try await damage.make(service)
        let after = try await service.fsck(stores: stores) { $0.reading = damage.reading }
        #expect(Set(after.told.kinds) == Self.expected(damage))
        #expect(after.summary.remaining == after.told.findings.count && after.summary.repaired == 0)
        for finding in after.told.findings { #expect(!finding.text.isEmpty && finding.text.first != " ") }
        // Looking changes nothing.
        let again = try await service.fsck(stores: stores) { $0.reading = damage.reading }
        #expect(again.told.findings == after.told.findings)
    }

    @Test(arguments: damages)
    func repairEndsWhatItCanAndLeavesTheRest(_ damage: Damage) async throws {
        let service = try await ImageFixture()
        let stores: [any BlobStore] = [service.store, try Self.second(service)]
        let good = try await service.activeImage([9, 9])
        try await damage.make(service)
        let kept = try service.storedFiles()
        let repaired = try await service.fsck(stores: stores) {
            $0.reading = damage.reading
            $0.repairs = true
        }
        #expect((repaired.summary.repaired > 0) == damage.isRepairable, "\(repaired.told.outcomes)")
        #expect((repaired.summary.remaining == 0) == damage.isRepairable, "\(repaired.told.outcomes)")
        let after = try await service.fsck(stores: stores) { $0.reading = damage.reading }
        #expect((after.told.findings == []) == damage.isRepairable, "\(after.told.findings)")
        if !damage.isRepairable { #expect(try service.storedFiles() == kept) }
        #expect(try await service.bytes(of: good) == [9, 9])
        // And the service can finish what was asked for.
        if damage.isRepairable {
            try await service.images.reconcile()
            #expect(try await service.fsck(stores: stores).told.findings == [])
            #expect(try await service.bytes(of: good) == [9, 9])
        }
    }

    /// Whatever is damaged together, what images have is there after the repair.
    @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func repairNeverTakesTheBytesOfAnImage(seed: UInt64) async throws {
        let random = SeededRandomness(seed: seed)
        let service = try await ImageFixture { $0.recycleBinSeconds = 1000 }
        var images: [ImageID: [UInt8]] = [:]
        for index in 0..<3 {
            let bytes = random.bytes(20 + index)
            images[try await service.activeImage(bytes)] = bytes
        }
        let recycled = try await service.activeImage([4, 4, 4])
        try await service.images.delete(recycled, as: service.caller())
        let harmless = Self.damages.filter { !$0.harmsImages && !["bytes-of-unfinished-image"].contains($0.kind) }
        for (index, damage) in harmless.enumerated() where random.bytes(1)[0] < 160 {
            do {
                try await damage.make(service)
            } catch {
                Issue.record("damage \(index) \(damage.kind): \(error)")
            }
        }
        let blobs = try await service.database.read { db in
            try db.query("SELECT id FROM blobs WHERE state IN ('live', 'recycled')") { try $0.get(0, as: BlobID.self) }
        }
        _ = try await service.repair()
        try await service.images.reconcile()
        let second = try await service.repair()
        #expect(second.summary.repaired == 0, "\(second.told.outcomes)")
        for (image, bytes) in images { #expect(try await service.bytes(of: image) == bytes) }
        let stillThere = try await service.database.read { db in
            try db.query(
                """
                SELECT b.id FROM blobs b JOIN images i ON i.id = b.image_id
                WHERE i.deleted_at IS NULL OR i.recycled_until IS NOT NULL
                """
            ) { try $0.get(0, as: BlobID.self) }
        }
        for blob in Set(stillThere).intersection(blobs) {
            #expect(FileManager.default.fileExists(atPath: service.path(blob)), "\(blob)")
        }
        let bin = RecycleBin(database: service.database, clock: service.clock, settings: service.settings)
        try await bin.undelete(recycled)
        #expect(try await service.bytes(of: recycled) == [4, 4, 4])
    }

    @Test func aServiceAtWorkIsClean() async throws {
        let service = try await ImageFixture { $0.recycleBinSeconds = 1000 }
        try await service.images.recover(logger: service.caller().logger)
        let image = try await service.activeImage()
        let binned = try await service.activeImage([5])
        try await service.images.delete(binned, as: service.caller())
        let uploading = try await service.createImage().id
        let during = Mutex<[String]?>(nil)
        let body = Body(chunks: [ByteBuffer(bytes: [1]), ByteBuffer(bytes: [2])], failure: nil) { index in
            guard index == 1, let check = try? await service.fsck({ $0.reading = .everything }) else { return }
            during.withLock { $0 = check.told.kinds }
        }
        try await service.images.upload(body, to: uploading, declaredSizeBytes: nil, store: nil, as: service.caller())
        #expect(during.withLock { $0 } == [])
        let after = try await service.fsck { $0.reading = .everything }
        #expect(after.told.findings == [])
        #expect(after.summary.blobs == 3 && after.summary.blobsRead == 3 && after.summary.bytesRead == 6)
        #expect(try await service.bytes(of: image) == [1, 2, 3])
        #expect(after.told.garbage.map(\.reason.kind) == ["recycled"])
        // Uploads that end well or badly, and deletions, leave nothing to find.
        try await service.images.delete(image, as: service.caller())
        #expect(try await service.fsck().told.findings == [])
        service.clock.advance(seconds: 2000)
        try await service.images.reconcile()
        let end = try await service.fsck()
        #expect(end.told.findings == [] && end.told.garbage == [] && end.summary.files == 1)
    }

    @Test func anUploadThatACrashCutOffIsNoFindingButIsExplained() async throws {
        let service = try await ImageFixture()
        try await service.register("crashed")
        let (image, blob) = try await service.interruptedUpload(by: "crashed")
        let check = try await service.fsck()
        #expect(check.told.findings == [])
        let until = service.clock.now.adding(seconds: 30)
        #expect(
            check.told.garbage == [
                Garbage(
                    store: "local", item: StoredItem(.uncommitted(blob), sizeBytes: 5),
                    reason: .uploading(image, by: "crashed", until: until, standing: .alive))
            ])
        service.clock.advance(seconds: 5000)
        #expect(try await service.fsck().told.findings == [], "its owner may be late")
        try await service.images.recover(logger: service.caller().logger)
        // A process of another node that was not seen for a day does not come back.
        service.clock.advance(seconds: 90_000)
        try await service.images.reconcile()
        #expect(try await service.fsck().told.garbage == [])
    }
}
