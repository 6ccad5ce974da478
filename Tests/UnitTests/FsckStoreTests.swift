import Blobs
import Core
import Foundation
import NIOCore
import Persistence
import Synchronization
import Testing

/// What stores hold and what they are asked, while they change and when they fail.
@Suite struct FsckStoreTests {
    /// A store that does something between two steps of a check, or fails.
    final class MeddledStore: BlobStore {
        let inner: FileBlobStore
        /// Called before the listing with this number, counted from 1.
        let beforeListing: @Sendable (Int) async throws -> Void
        let beforeOpening: @Sendable (BlobID) async throws -> Void
        let isAway: @Sendable () -> Bool
        private let listings = Mutex(0)

        init(
            _ inner: FileBlobStore, beforeListing: @escaping @Sendable (Int) async throws -> Void = { _ in },
            beforeOpening: @escaping @Sendable (BlobID) async throws -> Void = { _ in },
            isAway: @escaping @Sendable () -> Bool = { false }
        ) {
            self.inner = inner
            self.beforeListing = beforeListing
            self.beforeOpening = beforeOpening
            self.isAway = isAway
        }

        var id: StoreID { inner.id }
        private func check() throws {
            if isAway() { throw BlobError(code: .unavailable, operation: "test", cause: "unplugged") }
        }
        func begin(_ blob: BlobID, expectedBytes: Int64?) async throws -> any BlobWriter {
            try await inner.begin(blob, expectedBytes: expectedBytes)
        }
        func open(_ blob: BlobID) async throws -> any BlobReader {
            try await beforeOpening(blob)
            try check()
            return try await inner.open(blob)
        }
        func erase(_ blob: BlobID) async throws { try await inner.erase(blob) }
        func inventory(_ visit: @Sendable ([StoredItem]) async throws -> Void) async throws {
            let number = listings.withLock { count in
                count += 1
                return count
            }
            try await beforeListing(number)
            try check()
            try await inner.inventory(visit)
        }
        func space() async throws -> StoreSpace {
            try check()
            return try await inner.space()
        }
    }

    /// Erased by a server between the page of rows and the look at the bytes.
    @Test func bytesErasedMeanwhileAreNotMissing() async throws {
        let service = try await ImageFixture()
        let image = try await service.activeImage()
        let store = MeddledStore(
            service.store,
            beforeOpening: { _ in
                try await service.images.delete(image, as: service.caller())
                try await service.images.reconcile()
            })
        #expect(try await service.fsck(stores: [store]).told.findings == [])
        #expect(try await service.blobRows() == [])
    }

    /// Listed, then erased with its row before the row is asked for.
    @Test func bytesThatGoBetweenTwoLooksAreNotUnowned() async throws {
        let service = try await ImageFixture()
        try service.put([1], at: service.path("abcd-01"))
        let store = MeddledStore(
            service.store,
            beforeListing: { if $0 == 2 { try await service.store.erase("abcd-01") } })
        #expect(try await service.fsck(stores: [store]).told.findings == [])
    }

    /// What is only renamed between two looks has no second name.
    @Test func aNameThatGoesBetweenTwoLooksIsNotLeftOver() async throws {
        let service = try await ImageFixture()
        let blob = try await service.blob(of: try await service.activeImage())
        let other = service.incomingPath(blob.rawValue)
        try FileManager.default.linkItem(atPath: service.path(blob), toPath: other)
        let store = MeddledStore(
            service.store, beforeListing: { if $0 == 2 { try FileManager.default.removeItem(atPath: other) } })
        #expect(try await service.fsck(stores: [store]).told.findings == [])
    }

    @Test func aStoreOutOfReachLeavesTheCheckIncompleteAndTheOthersChecked() async throws {
        let service = try await ImageFixture()
        _ = try await service.activeImage()
        let away = MeddledStore(service.store, isAway: { true })
        let second = try FileBlobStore(
            id: "second", directory: service.directory.appending(path: "second").path, work: DirectWork(),
            reserveBytes: 0)
        try service.put([1], at: second.place(of: "abcd-01"))
        let check = try await service.fsck(stores: [away, second])
        #expect(check.told.kinds == ["store-out-of-reach", "bytes-unowned"])
        #expect(check.summary.isIncomplete && check.summary.remaining == 2)
        #expect(check.told.findings.first?.text.contains("unplugged") == true)

        let unopened = try await service.fsck(
            stores: [second], unopened: [Fsck.UnopenedStore(id: "local", cause: "not mounted")])
        #expect(unopened.told.kinds == ["store-out-of-reach", "bytes-unowned"])
        #expect(unopened.summary.isIncomplete)
    }

    /// As when the wrong data directory is named: then every blob looks as if it had no row.
    @Test func aStoreThatIsMostlyUnknownIsNotErased() async throws {
        let service = try await ImageFixture()
        _ = try await service.activeImage()
        for index in 10..<30 { try service.put([1], at: service.path(BlobID("abcd-\(index)"))) }
        let files = try service.storedFiles()
        let check = try await service.repair()
        #expect(check.summary.remaining == 20 && check.summary.repaired == 0)
        #expect(try service.storedFiles() == files)
        #expect(check.told.garbage.allSatisfy { $0.reason == .unowned(isDoubted: true) })
    }

    @Test func foreignFilesAreNeverTouched() async throws {
        let service = try await ImageFixture()
        try service.put([1], at: service.incomingPath("README"))
        try service.put([1, 2], at: service.directory.appending(path: "local/blobs/zz/abcd-01").path)
        let check = try await service.repair()
        #expect(check.told.kinds == ["file-foreign", "file-foreign"] && check.summary.remaining == 2)
        #expect(try service.storedFiles() == ["README", "abcd-01"])
    }

    @Test func theGarbageReportSaysWhyEachThingIsKept() async throws {
        let service = try await ImageFixture { $0.recycleBinSeconds = 1000 }
        try await service.register("other")
        _ = try await service.activeImage([0, 0, 0, 0])
        let binned = try await service.activeImage([1, 1])
        try await service.images.delete(binned, as: service.caller())
        let (_, uploading) = try await service.interruptedUpload(by: "other")
        let (_, late) = try await service.interruptedUpload(by: "other", leaseSeconds: -1)
        let (_, gone) = try await service.interruptedUpload(by: "gone")
        let doomed = try await service.blob(of: try await service.activeImage([3, 3, 3]))
        try await service.damage(
            """
            UPDATE blobs SET state = 'doomed', charged_bytes = 0, doomed_at = $1, doom_reason = 'image deleted'
            WHERE id = $2
            """, service.clock.now, doomed)
        try await service.damage(
            """
            INSERT INTO jobs (kind, subject, state, attempts, next_attempt_at, epoch, last_error, created_at)
            VALUES ('erase-blob', $1, 'waiting', 3, $2, 0, 'the disk is away', 1)
            """, doomed, service.clock.now.adding(seconds: 60))
        try service.put([1], at: service.path("abcd-01"))
        let check = try await service.fsck()
        var texts: [String: String] = [:]
        for garbage in check.told.garbage { texts[garbage.subject] = garbage.reason.text }
        let until = service.clock.now.adding(seconds: 30).iso8601
        #expect(texts["uncommitted blob \(uploading)"]?.hasSuffix("by other, lease until \(until)") == true)
        #expect(texts["uncommitted blob \(late)"]?.contains("ran out") == true)
        #expect(texts["uncommitted blob \(gone)"]?.contains("its owner is gone") == true)
        #expect(texts["blob \(doomed)"]?.contains("failed 3 times: the disk is away") == true)
        #expect(texts["blob \(doomed)"]?.contains("(image deleted)") == true)
        #expect(texts["blob abcd-01"]?.contains("no row knows it") == true)
        let end = service.clock.now.adding(seconds: 1000).iso8601
        let inBin = texts["blob \(try await service.blob(of: binned))"]
        #expect(inBin == "in the recycle bin with image \(binned) until \(end)")
        #expect(texts.count == 6)
        #expect(
            check.summary.garbage == [
                GarbageTotal(kind: "doomed", count: 1, sizeBytes: 3),
                GarbageTotal(kind: "recycled", count: 1, sizeBytes: 2),
                GarbageTotal(kind: "unowned", count: 1, sizeBytes: 1),
                GarbageTotal(kind: "uploading", count: 3, sizeBytes: 15),
            ])
    }

    @Test func aSampleIsDrawnByItsSeedAlone() async throws {
        let service = try await ImageFixture()
        for index in 0..<40 { _ = try await service.activeImage([UInt8(index)]) }
        func read(_ percent: Double, _ seed: UInt32) async throws -> Int64 {
            try await service.fsck { $0.reading = .sample(percent: percent, seed: seed) }.summary.blobsRead
        }
        let some = try await read(50, 7)
        #expect((8...32).contains(some))
        #expect(try await read(50, 7) == some)
        #expect(try await read(100, 7) == 40)
        // A blob of a sample is in every larger one with the same seed.
        #expect(try await read(60, 7) >= some)
    }

    /// More than one piece, and not a multiple of one.
    @Test func largeBlobsAreReadInPieces() async throws {
        let service = try await ImageFixture()
        let bytes = SeededRandomness(seed: 3).bytes(2 << 20 | 12_345)
        let image = try await service.activeImage(bytes)
        let well = try await service.fsck { $0.reading = .everything }
        #expect(well.told.findings == [] && well.summary.bytesRead == Int64(bytes.count))
        let steps = well.told.progress.filter { $0.phase == .data }
        #expect(steps.last?.done == Int64(bytes.count) && steps.last?.total == Int64(bytes.count))
        #expect(steps.count >= 3)

        var changed = bytes
        changed[changed.count - 1] ^= 1
        try service.put(changed, at: service.path(try await service.blob(of: image)))
        let ill = try await service.fsck { $0.reading = .everything }
        #expect(ill.told.kinds == ["digest-wrong", "digest-wrong"], "sha512 and md5")
        #expect(try await service.fsck().told.findings == [], "unread, it looks well")
    }

    /// A finding that a server settles before the repair comes is no repair.
    @Test func whatIsSettledMeanwhileIsNotRepaired() async throws {
        let service = try await ImageFixture()
        try service.put([1], at: service.path("abcd-01"))
        let image = try await service.createImage().id
        // Its row appears between the finding and the repair: a repair asks once more.
        let told = Told()
        var options = Fsck.Options()
        options.repairs = true
        let store = MeddledStore(
            service.store,
            beforeListing: { number in
                guard number == 2 else { return }
                _ = try await service.database.write { db in
                    try db.execute(
                        """
                        INSERT INTO blobs (id, store, image_id, project, state, charged_bytes, epoch, lease_owner,
                            lease_until, created_at)
                        VALUES ('abcd-01', 'local', $1, 'p1', 'writing', 0, 1, 'x', 1, 1)
                        """, image)
                }
            })
        let fsck = Fsck(
            database: service.database, stores: [store], surroundings: service.surroundings, options: options)
        let summary = try await fsck.run { told.add($0) }
        #expect(summary.repaired == 0 && told.findings == [])
        #expect(try service.storedFiles() == ["abcd-01"])
    }
}
