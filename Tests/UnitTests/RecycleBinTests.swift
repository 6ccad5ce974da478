import Core
import Foundation
import NIOCore
import Persistence
import Testing

/// Deleted images that can be had back: nobody sees them, nobody pays for them, nothing of them is lost.
@Suite struct RecycleBinTests {
    private static let keptSeconds: Int64 = 3600

    private func fixture(_ change: (inout ImageSettings) -> Void = { _ in }) async throws -> ImageFixture {
        try await ImageFixture {
            $0.recycleBinSeconds = Self.keptSeconds
            change(&$0)
        }
    }

    private func bin(_ fixture: ImageFixture) -> RecycleBin {
        RecycleBin(database: fixture.database, clock: fixture.clock, settings: fixture.settings)
    }

    /// An image with everything an image can have.
    private func fullImage(_ fixture: ImageFixture, _ bytes: [UInt8]) async throws -> Image {
        let image = try await fixture.createImage {
            $0.name = "full"
            $0.tags = ["a", "b"]
            $0.properties = ["os": "debian", "key": ""]
        }
        _ = try await fixture.images.addMember("p2", to: image.id, as: fixture.caller())
        try await fixture.upload(bytes, to: image.id)
        return try await fixture.images.get(image.id, as: fixture.caller()).image
    }

    @Test func anImageComesBackByteForByteWithAllItHad() async throws {
        let fixture = try await fixture()
        let bytes = SeededRandomness(seed: 3).bytes(300_000)
        let before = try await fullImage(fixture, bytes)
        fixture.clock.advance(seconds: 60)
        try await fixture.images.delete(before.id, as: fixture.caller())
        try await fixture.images.reconcile()
        #expect(try fixture.storedFiles().count == 1)
        fixture.clock.advance(seconds: 60)
        try await bin(fixture).undelete(before.id)
        var after = try await fixture.images.get(before.id, as: fixture.caller()).image
        #expect(after.updatedAt == fixture.clock.now)
        after.updatedAt = before.updatedAt
        #expect(after == before)
        #expect(try await fixture.bytes(of: before.id) == bytes)
        #expect(try await fixture.images.members(of: before.id, as: fixture.caller()).map(\.member) == ["p2"])
        #expect(try await fixture.chargedBytes() == 300_000)
        // And nothing of the deletion comes after it.
        fixture.clock.advance(seconds: 2 * Self.keptSeconds)
        try await fixture.images.reconcile()
        #expect(try await fixture.bytes(of: before.id) == bytes)
    }

    @Test func aDeactivatedImageComesBackDeactivatedAndAQueuedOneQueued() async throws {
        let fixture = try await fixture()
        let deactivated = try await fixture.createImage().id
        try await fixture.upload([1], to: deactivated)
        try await fixture.images.deactivate(deactivated, as: fixture.admin)
        let queued = try await fixture.createImage().id
        for id in [deactivated, queued] {
            try await fixture.images.delete(id, as: fixture.caller())
            try await bin(fixture).undelete(id)
        }
        #expect(try await fixture.images.get(deactivated, as: fixture.caller()).image.status == .deactivated)
        #expect(await status { _ = try await fixture.bytes(of: deactivated) } == 403)
        #expect(try await fixture.images.get(queued, as: fixture.caller()).image.status == .queued)
        try await fixture.upload([2], to: queued)
        #expect(try await fixture.bytes(of: queued) == [2])
    }

    @Test func nobodySeesADeletedImageNotEvenAnAdmin() async throws {
        let fixture = try await fixture()
        let id = try await fullImage(fixture, [1, 2]).id
        try await fixture.images.delete(id, as: fixture.caller())
        for caller in [fixture.caller(), fixture.caller("p2"), fixture.admin] {
            #expect(await status { _ = try await fixture.images.get(id, as: caller) } == 404)
            #expect(await status { _ = try await fixture.bytes(of: id, as: caller) } == 404)
            #expect(await status { try await fixture.images.delete(id, as: caller) } == 404)
            #expect(await status { _ = try await fixture.images.members(of: id, as: caller) } == 404)
            #expect(await status { try await fixture.images.reactivate(id, as: caller) } == 404)
            #expect(await status { try await fixture.upload([3], to: id, as: caller) } == 404)
            for scope in [ImageListQuery.Scope.standard, .all, .only(.shared)] {
                var query = ImageListQuery()
                query.scope = scope
                #expect(try await fixture.images.list(query, as: caller).images.isEmpty)
                query.filters = [.tag("a")]
                #expect(try await fixture.images.list(query, as: caller).images.isEmpty)
            }
        }
    }

    @Test func theIDIsNotGivenOutAgain() async throws {
        let fixture = try await fixture()
        let id = try await fixture.createImage().id
        try await fixture.images.delete(id, as: fixture.caller())
        #expect(await status { _ = try await fixture.createImage { $0.id = id } } == 409)
        try await bin(fixture).discard(id)
        #expect(await status { _ = try await fixture.createImage { $0.id = id } } == 409)
    }

    @Test func theBinIsInNobodysQuota() async throws {
        let fixture = try await fixture {
            $0.imageBytesQuota = 10
            $0.imageCountQuota = 1
        }
        for _ in 0..<3 {
            let id = try await fixture.createImage().id
            try await fixture.upload([UInt8](repeating: 1, count: 10), to: id)
            #expect(try await fixture.chargedBytes() == 10)
            try await fixture.images.delete(id, as: fixture.caller())
            #expect(try await fixture.chargedBytes() == 0)
        }
        let size = try await bin(fixture).size()
        #expect(size.images == 3)
        #expect(size.bytes == 30)
    }

    @Test(arguments: [false, true])
    func undeletingNeedsRoomInTheQuotasUnlessToldOtherwise(_ isOfBytes: Bool) async throws {
        let fixture = try await fixture {
            if isOfBytes { $0.imageBytesQuota = 10 } else { $0.imageCountQuota = 1 }
        }
        let deleted = try await fixture.createImage().id
        try await fixture.upload([UInt8](repeating: 1, count: 6), to: deleted)
        try await fixture.images.delete(deleted, as: fixture.caller())
        let other = try await fixture.createImage().id
        try await fixture.upload([UInt8](repeating: 2, count: 5), to: other)
        #expect(await status { try await bin(fixture).undelete(deleted) } == 413)
        #expect(await status { _ = try await fixture.images.get(deleted, as: fixture.caller()) } == 404)
        #expect(try await fixture.chargedBytes() == 5)
        try await bin(fixture).undelete(deleted, mayExceedQuota: true)
        #expect(try await fixture.bytes(of: deleted) == [UInt8](repeating: 1, count: 6))
        #expect(try await fixture.chargedBytes() == 11)
    }

    @Test func whenItsTimeIsOverNothingIsLeft() async throws {
        let fixture = try await fixture()
        let id = try await fullImage(fixture, [1, 2, 3]).id
        try await fixture.images.delete(id, as: fixture.caller())
        fixture.clock.advance(seconds: Self.keptSeconds - 1)
        try await fixture.images.reconcile()
        #expect(try await bin(fixture).entries().entries.map(\.id) == [id])
        fixture.clock.advance(seconds: 1)
        try await fixture.images.reconcile()
        #expect(try await bin(fixture).entries().entries.isEmpty)
        #expect(try fixture.storedFiles() == [])
        #expect(try await fixture.blobRows() == [])
        for table in ["image_tags", "image_properties", "image_members"] {
            let rows = try await fixture.database.read { db in
                try db.first("SELECT COUNT(*) FROM \(table)") { try $0.get(0, as: Int.self) }
            }
            #expect(rows == 0, "\(table)")
        }
        #expect(await status { try await bin(fixture).undelete(id) } == 404)
        #expect(await status { _ = try await fixture.createImage { $0.id = id } } == 409)
    }

    /// The bytes that were coming are nobody's; the image waits for data again once it is back.
    @Test func anImageThatIsBeingUploadedGoesToTheBinWithoutItsBytes() async throws {
        let fixture = try await fixture()
        let image = try await fixture.createImage { $0.tags = ["kept"] }
        let body = Body(chunks: [ByteBuffer(bytes: [1]), ByteBuffer(bytes: [2])]) { index in
            guard index == 1 else { return }
            do { try await fixture.images.delete(image.id, as: fixture.caller()) } catch { Issue.record(error) }
        }
        let outcome = await status {
            try await fixture.images.upload(
                body, to: image.id, declaredSizeBytes: 2, store: nil, as: fixture.caller())
        }
        #expect(outcome == 410)
        try await fixture.images.reconcile()
        #expect(try fixture.storedFiles() == [])
        #expect(try await fixture.blobRows() == [])
        let entry = try #require(try await bin(fixture).entries().entries.first)
        #expect(entry.status == .queued)
        #expect(entry.sizeBytes == 0)
        try await bin(fixture).undelete(image.id)
        #expect(try await fixture.images.get(image.id, as: fixture.caller()).image.tags == ["kept"])
        try await fixture.upload([3], to: image.id)
        #expect(try await fixture.bytes(of: image.id) == [3])
    }

    @Test func whatIsNotInTheBinIsNotFound() async throws {
        let fixture = try await fixture()
        let id = try await fixture.createImage().id
        #expect(await status { try await bin(fixture).undelete(id) } == 404)
        #expect(await status { try await bin(fixture).discard(id) } == 404)
        try await fixture.images.delete(id, as: fixture.caller())
        try await bin(fixture).undelete(id)
        #expect(await status { try await bin(fixture).undelete(id) } == 404)
        #expect(await status { try await bin(fixture).undelete("nothing") } == 404)
    }

    @Test func discardingErasesAtOnce() async throws {
        let fixture = try await fixture()
        let id = try await fullImage(fixture, [1, 2, 3]).id
        try await fixture.images.delete(id, as: fixture.caller())
        try await bin(fixture).discard(id)
        try await fixture.images.reconcile()
        #expect(try fixture.storedFiles() == [])
        #expect(await status { try await bin(fixture).discard(id) } == 404)
    }

    @Test func undeletingAndDiscardingAtOnceHaveOneWinner() async throws {
        let fixture = try await fixture()
        for _ in 0..<20 {
            let id = try await fixture.createImage().id
            try await fixture.upload([7], to: id)
            try await fixture.images.delete(id, as: fixture.caller())
            async let undeleted = status { try await bin(fixture).undelete(id) }
            async let discarded = status { try await bin(fixture).discard(id) }
            let outcomes = await [undeleted, discarded]
            #expect(outcomes.sorted() == [200, 404])
            try await fixture.images.reconcile()
            if outcomes[0] == 200 { #expect(try await fixture.bytes(of: id) == [7]) }
        }
    }

    @Test func theListIsPagedWithTheNextToGoFirst() async throws {
        let fixture = try await fixture()
        var ids: [ImageID] = []
        for index in 0..<7 {
            let id = try await fixture.createImage().id
            try await fixture.images.delete(id, as: fixture.caller())
            ids.append(id)
            // Two share a moment.
            if index != 3 { fixture.clock.advance(seconds: 1) }
        }
        var seen: [ImageID] = []
        var request = PageRequest(limit: 2)
        var pages = 0
        while true {
            let page = try await bin(fixture).entries(request)
            seen += page.entries.map(\.id)
            pages += 1
            guard let next = page.next else { break }
            request.after = PageMarker(next.text)
        }
        #expect(pages == 4)
        #expect(seen.count == 7)
        #expect(Set(seen) == Set(ids))
        #expect(Array(seen.prefix(3)) == Array(ids.prefix(3)))
        let full = try await bin(fixture).entries(PageRequest(limit: 7))
        #expect(full.next == nil)
    }
}
