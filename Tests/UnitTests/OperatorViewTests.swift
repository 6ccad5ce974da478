import Blobs
import Core
import Foundation
import NIOCore
import Persistence
import Testing

/// A store that never answers how much room it has.
private struct HangingStore: BlobStore {
    let id: StoreID = "hanging"
    private let failure = BlobError(code: .unavailable, operation: "test", cause: "it hangs")

    func begin(_ blob: BlobID, expectedBytes: Int64?) async throws -> any BlobWriter { throw failure }
    func open(_ blob: BlobID) async throws -> any BlobReader { throw failure }
    func erase(_ blob: BlobID) async throws { throw failure }
    func inventory(_ visit: @Sendable ([StoredItem]) async throws -> Void) async throws { throw failure }
    func space() async throws -> StoreSpace {
        while !Task.isCancelled { try? await Task.sleep(nanoseconds: 3_600_000_000_000) }
        throw failure
    }
}

/// Its sleepers wait for no longer than a moment.
private struct QuickClock: WallClock {
    let now = Timestamp(seconds: 1_800_000_000)
    func sleep(seconds: Double) async throws { try await Task.sleep(nanoseconds: 50_000_000) }
}

@Suite struct OperatorViewTests {
    private func view(_ fixture: ImageFixture) -> OperatorView { OperatorView(fixture.images) }

    /// Moves the store's directory out of the way while `body` runs.
    private func withoutStore(_ fixture: ImageFixture, _ body: () async throws -> Void) async throws {
        let store = fixture.directory.appending(path: "local")
        let aside = fixture.directory.appending(path: "aside")
        try FileManager.default.moveItem(at: store, to: aside)
        try await body()
        try FileManager.default.moveItem(at: aside, to: store)
    }

    private func uploaded(_ fixture: ImageFixture, _ count: Int, as caller: Caller? = nil) async throws -> ImageID {
        let id = try await fixture.createImage(as: caller).id
        try await fixture.upload([UInt8](repeating: 1, count: count), to: id, as: caller)
        return id
    }

    /// A job of a kind that nobody knows.
    private func addStrangeJob(_ fixture: ImageFixture, _ subject: String) async throws {
        let now = fixture.clock.now
        _ = try await fixture.database.write { db in
            try db.execute(
                """
                INSERT INTO jobs (kind, subject, project, state, attempts, next_attempt_at, epoch, created_at)
                VALUES ('strange', $1, 'p1', 'waiting', 0, $2, 0, $2)
                """, subject, now)
        }
    }

    @Test func onlyAdminsMayLook() async throws {
        let fixture = try await ImageFixture()
        let view = view(fixture)
        let name = JobName(.eraseBlob, "x")
        let caller = fixture.caller(roles: ["member", "reader", "manager"])
        #expect(await status { _ = try await view.waitingDeletions(PageRequest(), as: caller) } == 403)
        #expect(await status { _ = try await view.jobs(.init(), PageRequest(), as: caller) } == 403)
        #expect(await status { _ = try await view.job(name, as: caller) } == 403)
        #expect(await status { try await view.retry(name, as: caller) } == 403)
        #expect(await status { _ = try await view.retryParked(as: caller) } == 403)
        #expect(await status { _ = try await view.leases(as: caller) } == 403)
        #expect(await status { _ = try await view.storeStates(as: caller) } == 403)
        #expect(await status { _ = try await view.usage(as: caller) } == 403)
        #expect(await status { _ = try await view.deletedImages(PageRequest(), as: caller) } == 403)
        #expect(await status { try await view.undelete("x", mayExceedQuota: true, as: caller) } == 403)
        #expect(await status { try await view.discard("x", as: caller) } == 403)
    }

    @Test func aDeletionThatWaitsSaysWhyAndWhen() async throws {
        let fixture = try await ImageFixture()
        let id = try await uploaded(fixture, 5)
        let deletedAt = fixture.clock.now
        try await withoutStore(fixture) {
            try await fixture.images.delete(id, as: fixture.caller())
            try await fixture.images.reconcile()
        }
        let (page, total) = try await view(fixture).waitingDeletions(PageRequest(), as: fixture.admin)
        #expect(total == WaitingDeletionTotal(count: 1, sizeBytes: 5, unknownSizeCount: 0))
        let waiting = try #require(page.entries.first)
        #expect(waiting.image == id)
        #expect(waiting.store == "local")
        #expect(waiting.project == "p1")
        #expect(waiting.sizeBytes == 5)
        #expect(waiting.doomedAt == deletedAt)
        #expect(waiting.reason == "image deleted")
        #expect(waiting.holder == nil)
        let job = try #require(waiting.job)
        #expect(job.state == .waiting)
        #expect(job.attempts == 1)
        #expect(job.nextAttemptAt > deletedAt)
        #expect(job.lastError?.contains("unavailable") == true)
    }

    @Test func aDeletionWaitsForWhoStillWrites() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        let admin = fixture.admin
        let body = Body(chunks: [ByteBuffer(bytes: [1]), ByteBuffer(bytes: [2])]) { index in
            guard index == 1 else { return }
            do {
                try await fixture.images.delete(image.id, as: fixture.caller())
                let found = try await view(fixture).waitingDeletions(PageRequest(), as: admin)
                #expect(found.page.entries.first?.holder == "this")
                #expect(found.total == WaitingDeletionTotal(count: 1, sizeBytes: 0, unknownSizeCount: 1))
            } catch {
                Issue.record(error)
            }
        }
        _ = await status {
            try await fixture.images.upload(
                body, to: image.id, declaredSizeBytes: nil, store: nil, as: fixture.caller())
        }
        try await fixture.images.reconcile()
        #expect(try await view(fixture).waitingDeletions(PageRequest(), as: admin).total.count == 0)
    }

    @Test func pagesGoOnAlthoughTheirEntriesGo() async throws {
        let fixture = try await ImageFixture()
        var ids: [ImageID] = []
        for index in 0..<6 {
            ids.append(try await uploaded(fixture, 1))
            try await fixture.images.delete(ids[index], as: fixture.caller())
            fixture.clock.advance(seconds: 1)
        }
        let view = view(fixture)
        let first = try await view.waitingDeletions(PageRequest(limit: 2), as: fixture.admin).page
        #expect(first.entries.map(\.image) == Array(ids[..<2]))
        let marker = try #require(first.next)
        // The row that the page ended with is erased before the next is asked for.
        let blob = try #require(first.entries.last?.blob)
        _ = try await fixture.database.write { try $0.execute("DELETE FROM blobs WHERE id = $1", blob) }
        let second = try await view.waitingDeletions(PageRequest(limit: 4, after: marker), as: fixture.admin).page
        #expect(second.entries.map(\.image) == Array(ids[2...]))
        #expect(second.next == nil)
    }

    @Test func jobsAreListedByStateAndKindAndPaged() async throws {
        let fixture = try await ImageFixture()
        for subject in ["a", "b/c", "d"] { try await addStrangeJob(fixture, subject) }
        try await fixture.images.reconcile()
        fixture.clock.advance(seconds: 1)
        let id = try await uploaded(fixture, 1)
        try await fixture.images.delete(id, as: fixture.caller())
        let view = view(fixture)
        let admin = fixture.admin
        func names(_ filter: JobAdministration.Filter) async throws -> [String] {
            try await view.jobs(filter, PageRequest(), as: admin).page.entries.map(\.name.kind.rawValue)
        }
        #expect(try await names(.init()) == ["strange", "strange", "strange", "erase-blob"])
        #expect(try await names(.init(state: .parked)) == ["strange", "strange", "strange"])
        #expect(try await names(.init(state: .waiting)) == ["erase-blob"])
        #expect(try await names(.init(state: .running)) == [])
        #expect(try await names(.init(kind: .eraseBlob)) == ["erase-blob"])
        #expect(try await names(.init(state: .waiting, kind: "strange")) == [])
        let counts = try await view.jobs(.init(), PageRequest(), as: admin).counts
        #expect(counts == [.parked: 3, .waiting: 1])
        // A subject may hold what separates it from its kind.
        var seen: [String] = []
        var request = PageRequest(limit: 1)
        while true {
            let page = try await view.jobs(.init(), request, as: admin).page
            seen += page.entries.map(\.name.description)
            guard let next = page.next else { break }
            request.after = PageMarker(next.text)
        }
        #expect(Array(seen.prefix(3)) == ["strange/a", "strange/b/c", "strange/d"])
        #expect(seen.count == 4)
        let nowhere = PageRequest(after: PageMarker(fixture.clock.now, "x"))
        #expect(await status { _ = try await view.jobs(.init(), nowhere, as: admin) } == 400)
    }

    @Test func aParkedJobIsRetriedAndARunningOneIsLeft() async throws {
        let fixture = try await ImageFixture()
        try await addStrangeJob(fixture, "a")
        try await fixture.images.reconcile()
        let view = view(fixture)
        let admin = fixture.admin
        let name = JobName("strange", "a")
        let parked = try await view.job(name, as: admin)
        #expect(parked.state == .parked)
        #expect(parked.lastError?.isEmpty == false)
        try await view.retry(name, as: admin)
        let waiting = try await view.job(name, as: admin)
        #expect(waiting.state == .waiting)
        #expect(waiting.attempts == 0)
        #expect(waiting.nextAttemptAt == fixture.clock.now)
        _ = try await fixture.database.write { db in
            try db.execute("UPDATE jobs SET state = 'running', lease_owner = 'x', lease_until = 1")
        }
        #expect(await status { try await view.retry(name, as: admin) } == 409)
        #expect(await status { try await view.retry(JobName("strange", "b"), as: admin) } == 404)
        #expect(await status { _ = try await view.job(JobName("strange", "b"), as: admin) } == 404)
    }

    @Test func retryingMakesADeletionHealWithoutWaiting() async throws {
        let fixture = try await ImageFixture()
        let id = try await uploaded(fixture, 1)
        try await withoutStore(fixture) {
            try await fixture.images.delete(id, as: fixture.caller())
            for _ in 0..<5 {
                try await fixture.images.reconcile()
                fixture.clock.advance(seconds: 600)
            }
            try await fixture.images.reconcile()
        }
        try await fixture.images.reconcile()
        #expect(try fixture.storedFiles().count == 1)
        let view = view(fixture)
        let waiting = try await view.waitingDeletions(PageRequest(), as: fixture.admin).page.entries.first
        try await view.retry(try #require(waiting?.job).name, as: fixture.admin)
        try await fixture.images.reconcile()
        #expect(try fixture.storedFiles() == [])
    }

    @Test func leasesShowWhoWritesAndWhoRuns() async throws {
        let fixture = try await ImageFixture()
        try await fixture.images.recover(logger: fixture.caller().logger)
        let image = try await fixture.createImage()
        let admin = fixture.admin
        let start = fixture.clock.now
        let body = Body(chunks: [ByteBuffer(bytes: [1]), ByteBuffer(bytes: [2])]) { index in
            guard index == 1 else { return }
            do {
                let leases = try await view(fixture).leases(as: admin)
                #expect(leases.blobCount == 1)
                #expect(leases.reservedBytes == 2)
                let blob = try #require(leases.blobs.first)
                #expect(blob.image == image.id)
                #expect(blob.owner == "this")
                #expect(blob.until == start.adding(seconds: fixture.settings.leaseSeconds))
                #expect(blob.since == start)
                #expect(blob.reservedBytes == 2)
                #expect(blob.epoch == 1)
            } catch {
                Issue.record(error)
            }
        }
        try await fixture.images.upload(body, to: image.id, declaredSizeBytes: 2, store: nil, as: fixture.caller())
        try await addStrangeJob(fixture, "a")
        _ = try await fixture.database.write { db in
            try db.execute("UPDATE jobs SET state = 'running', lease_owner = 'other', lease_until = 1, epoch = 4")
        }
        let leases = try await view(fixture).leases(as: admin)
        #expect(leases.blobs.isEmpty)
        #expect(leases.blobCount == 0)
        #expect(leases.jobs.map(\.leaseOwner) == ["other"])
        #expect(leases.jobs.map(\.epoch) == [4])
        #expect(leases.jobCount == 1)
        #expect(leases.instances.map(\.id) == ["this"])
        #expect(leases.instances.map(\.startedAt) == [start])
    }

    @Test func storesTellTheirRoomAndWhatTheyHold() async throws {
        let fixture = try await ImageFixture { $0.recycleBinSeconds = 100 }
        _ = try await uploaded(fixture, 3)
        let recycled = try await uploaded(fixture, 5)
        try await fixture.images.delete(recycled, as: fixture.caller())
        _ = try await fixture.database.write { try $0.execute("UPDATE blobs SET store = 'lost' WHERE size_bytes = 5") }
        let stores = try await view(fixture).storeStates(as: fixture.admin)
        #expect(stores.map(\.id) == ["local", "lost"])
        #expect(stores[0].isDefault && !stores[1].isDefault)
        #expect((stores[0].space?.totalBytes ?? 0) > 0)
        #expect(stores[0].problem == nil)
        #expect(stores[0].live == BlobTotal(count: 1, bytes: 3))
        #expect(stores[1].space == nil)
        #expect(stores[1].problem?.contains("not configured") == true)
        #expect(stores[1].recycled == BlobTotal(count: 1, bytes: 5))
        try await withoutStore(fixture) {
            let away = try await view(fixture).storeStates(as: fixture.admin)
            #expect(away[0].space == nil)
            #expect(away[0].problem?.contains("unavailable") == true)
            #expect(away[0].live == BlobTotal(count: 1, bytes: 3))
        }
    }

    @Test(.timeLimit(.minutes(5))) func aStoreThatHangsDoesNotHideTheOthers() async throws {
        let fixture = try await ImageFixture()
        let surroundings = Surroundings(clock: QuickClock(), randomness: SeededRandomness(), work: DirectWork())
        let images = Images(
            database: fixture.database, stores: StoreSet([fixture.store, HangingStore()], default: "local"),
            surroundings: surroundings, settings: fixture.settings, seal: ImageFixture.seal, instance: "this",
            logger: .silent)
        let stores = try await OperatorView(images).storeStates(as: fixture.admin)
        #expect(stores.map(\.id) == ["local", "hanging"])
        #expect(stores[0].space != nil)
        #expect(stores[1].space == nil)
        #expect(stores[1].problem?.contains("no answer within 3 s") == true)
    }

    @Test func usageIsWhatTheRowsSay() async throws {
        let fixture = try await ImageFixture {
            $0.recycleBinSeconds = 100
            $0.imageBytesQuota = 1000
        }
        let other = fixture.caller("p2")
        _ = try await uploaded(fixture, 3)
        _ = try await fixture.createImage()
        for size in [5, 7] {
            try await fixture.images.delete(try await uploaded(fixture, size), as: fixture.caller())
        }
        _ = try await uploaded(fixture, 11, as: other)
        let doomed = try await uploaded(fixture, 13, as: other)
        try await fixture.images.delete(doomed, as: other)
        let view = view(fixture)
        try await view.discard(doomed, as: fixture.admin)
        let (projects, quotas) = try await view.usage(as: fixture.admin)
        #expect(projects.map(\.project) == ["p1", "p2"])
        #expect(projects[0].images == 2 && projects[0].liveBytes == 3 && projects[0].chargedBytes == 3)
        #expect(projects[0].recycledImages == 2 && projects[0].recycledBytes == 12)
        #expect(projects[1].images == 1 && projects[1].liveBytes == 11)
        #expect(projects[1].recycledImages == 0 && projects[1].recycledBytes == 0)
        #expect(projects[1].doomedBytes == 13)
        #expect(quotas.bytes == 1000)
        #expect(quotas.images == nil && quotas.uploads == nil)
        #expect(try await view.usage(of: "p2", as: fixture.admin).projects == [projects[1]])
        let nobody = try await view.usage(of: "p3", as: fixture.admin).projects
        #expect(nobody.map(\.project) == ["p3"])
        #expect(nobody.map(\.images) == [0])
    }

    @Test func usageCountsWhatUploadsReserve() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        let admin = fixture.admin
        let body = Body(chunks: [ByteBuffer(bytes: [1, 2]), ByteBuffer(bytes: [3])]) { index in
            guard index == 1 else { return }
            do {
                let usage = try await view(fixture).usage(of: "p1", as: admin).projects.first
                #expect(usage?.reservedBytes == 3)
                #expect(usage?.liveBytes == 0)
                #expect(try await fixture.chargedBytes() == usage?.chargedBytes)
            } catch {
                Issue.record(error)
            }
        }
        try await fixture.images.upload(body, to: image.id, declaredSizeBytes: 3, store: nil, as: fixture.caller())
        #expect(try await view(fixture).usage(of: "p1", as: admin).projects.first?.liveBytes == 3)
    }
}

@Suite struct PageMarkerTests {
    @Test func itSurvivesItsText() {
        let marker = PageMarker(Timestamp(microseconds: 1_800_000_000_123_456), "erase-blob/a.b")
        #expect(PageMarker(marker.text) == marker)
    }

    @Test(arguments: ["", "x", "1", "1.", ".a", "-1.a", "+1.a", "1e3.a", "99999999999999999999.a"])
    func otherTextsAreNone(_ text: String) { #expect(PageMarker(text) == nil) }
}
