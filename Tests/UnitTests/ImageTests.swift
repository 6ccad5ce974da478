import Core
import NIOCore
import Persistence
import Testing

@Suite struct ImageTests {
    @Test func createdImageIsQueuedAndItsTimesAreEqual() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage { $0.name = "a" }
        let view = try await fixture.images.get(image.id, as: fixture.caller())
        #expect(view.image == image)
        #expect(view.image.status == .queued)
        #expect(view.image.createdAt == view.image.updatedAt)
        #expect(view.image.owner == "p1")
    }

    @Test func anIdIsNeverGivenOutTwice() async throws {
        let fixture = try await ImageFixture()
        let id: ImageID = "01234567-89ab-cdef-0123-456789abcdef"
        _ = try await fixture.createImage { $0.id = id }
        #expect(await status { _ = try await fixture.createImage { $0.id = id } } == 409)
        try await fixture.images.delete(id, as: fixture.caller())
        #expect(await status { _ = try await fixture.createImage { $0.id = id } } == 409)
        #expect(await status { _ = try await fixture.images.get(id, as: fixture.caller()) } == 404)
    }

    @Test func onlyAnAdminCreatesForOthersOrForAll() async throws {
        let fixture = try await ImageFixture()
        #expect(await status { _ = try await fixture.createImage { $0.owner = "p2" } } == 403)
        #expect(await status { _ = try await fixture.createImage { $0.visibility = .public } } == 403)
        let image = try await fixture.createImage(
            {
                $0.owner = "p2"
                $0.visibility = .public
            }, as: fixture.admin)
        #expect(image.owner == "p2")
        let reader = fixture.caller(roles: ["reader"])
        #expect(await status { _ = try await fixture.createImage({ _ in }, as: reader) } == 403)
    }

    @Test(arguments: [
        (Image.Visibility.private, 404), (.shared, 404), (.community, 200), (.public, 200),
    ])
    func visibilityDecidesWhoReads(_ visibility: Image.Visibility, _ expected: Int) async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage(
            {
                $0.visibility = visibility
                $0.owner = "p1"
            }, as: fixture.admin)
        let stranger = fixture.caller("p2")
        #expect(await status { _ = try await fixture.images.get(image.id, as: stranger) } == expected)
        // What may be seen but not changed is forbidden, what may not be seen is not there.
        let denied = expected == 200 ? 403 : 404
        #expect(await status { try await fixture.images.delete(image.id, as: stranger) } == denied)
        #expect(await status { try await fixture.images.addTag("t", to: image.id, as: stranger) } == denied)
        #expect(await status { try await fixture.images.deactivate(image.id, as: stranger) } == denied)
    }

    @Test func protectedImageStays() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage { $0.isProtected = true }
        #expect(await status { try await fixture.images.delete(image.id, as: fixture.caller()) } == 403)
        _ = try await fixture.images.patch(
            image.id, [.init(verb: .replace, path: ["protected"], value: false, addRefusesExisting: false)],
            as: fixture.caller())
        #expect(await status { try await fixture.images.delete(image.id, as: fixture.caller()) } == 200)
    }

    @Test func deletionTakesTheChildrenAndTheBytes() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage {
            $0.tags = ["t"]
            $0.properties = ["k": "v"]
        }
        _ = try await fixture.images.addMember("p2", to: image.id, as: fixture.caller())
        try await fixture.upload([1, 2, 3], to: image.id)
        #expect(try fixture.storedFiles().count == 1)
        try await fixture.images.delete(image.id, as: fixture.caller())
        #expect(try await fixture.chargedBytes() == 0)
        try await fixture.images.reconcile()
        #expect(try fixture.storedFiles() == [])
        #expect(try await fixture.blobRows() == [])
        for table in ["image_tags", "image_properties", "image_members"] {
            let rows = try await fixture.database.read { db in
                try db.first("SELECT COUNT(*) FROM \(table)") { try $0.get(0, as: Int.self) }
            }
            #expect(rows == 0, "\(table)")
        }
    }

    @Test func deactivationStopsDownloadsOfAllButAdmins() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        #expect(await status { try await fixture.images.deactivate(image.id, as: fixture.caller()) } == 403)
        try await fixture.upload([7], to: image.id)
        for _ in 0..<2 { try await fixture.images.deactivate(image.id, as: fixture.caller()) }
        #expect(await status { _ = try await fixture.bytes(of: image.id) } == 403)
        #expect(try await fixture.bytes(of: image.id, as: fixture.admin) == [7])
        for _ in 0..<2 { try await fixture.images.reactivate(image.id, as: fixture.caller()) }
        #expect(try await fixture.bytes(of: image.id) == [7])
    }

    @Test func aPureReaderSeesButDoesNotDownload() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        try await fixture.upload([7], to: image.id)
        let reader = fixture.caller(roles: ["reader"])
        _ = try await fixture.images.get(image.id, as: reader)
        #expect(await status { _ = try await fixture.bytes(of: image.id, as: reader) } == 403)
    }

    @Test func anImageWithoutDataHasNothingToDownload() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        #expect(try await fixture.bytes(of: image.id) == nil)
    }

    @Test func quotaOfImagesIsExactUnderConcurrency() async throws {
        let fixture = try await ImageFixture { $0.imageCountQuota = 5 }
        let outcomes = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<20 { group.addTask { await status { _ = try await fixture.createImage() } } }
            return await group.reduce(into: [Int]()) { $0.append($1) }
        }
        #expect(outcomes.count { $0 == 200 } == 5)
        #expect(outcomes.count { $0 == 413 } == 15)
    }

    @Test func quotasOfOneImage() async throws {
        let fixture = try await ImageFixture {
            $0.tagQuota = 2
            $0.propertyQuota = 2
            $0.memberQuota = 1
        }
        #expect(await status { _ = try await fixture.createImage { $0.tags = ["a", "b", "c"] } } == 413)
        #expect(
            await status { _ = try await fixture.createImage { $0.properties = ["a": "", "b": "", "c": ""] } } == 413)
        let image = try await fixture.createImage { $0.tags = ["a", "b"] }
        #expect(await status { try await fixture.images.addTag("c", to: image.id, as: fixture.caller()) } == 413)
        #expect(await status { try await fixture.images.addTag("a", to: image.id, as: fixture.caller()) } == 200)
        _ = try await fixture.images.addMember("p2", to: image.id, as: fixture.caller())
        #expect(
            await status { _ = try await fixture.images.addMember("p3", to: image.id, as: fixture.caller()) } == 413)
    }
}

@Suite struct ImageMemberTests {
    @Test func aMemberReadsAtOnceAndListsOnlyAfterAccepting() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        let member = fixture.caller("p2")
        #expect(await status { _ = try await fixture.images.get(image.id, as: member) } == 404)
        let offered = try await fixture.images.addMember("p2", to: image.id, as: fixture.caller())
        #expect(offered.status == .pending)
        _ = try await fixture.images.get(image.id, as: member)
        var query = ImageListQuery()
        #expect(try await fixture.images.list(query, as: member).images.isEmpty)
        query.memberStatus = .pending
        #expect(try await fixture.images.list(query, as: member).images.map(\.image.id) == [image.id])
        #expect(
            await status {
                _ = try await fixture.images.setMemberStatus(.accepted, of: "p2", on: image.id, as: fixture.caller())
            } == 403)
        _ = try await fixture.images.setMemberStatus(.accepted, of: "p2", on: image.id, as: member)
        query.memberStatus = .accepted
        #expect(try await fixture.images.list(query, as: member).images.map(\.image.id) == [image.id])
    }

    @Test func onlySharedImagesHaveMembers() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage { $0.visibility = .private }
        let owner = fixture.caller()
        #expect(await status { _ = try await fixture.images.addMember("p2", to: image.id, as: owner) } == 403)
        #expect(await status { _ = try await fixture.images.members(of: image.id, as: owner) } == 403)
        #expect(await status { _ = try await fixture.images.member("p2", of: image.id, as: owner) } == 404)
        #expect(await status { try await fixture.images.removeMember("p2", from: image.id, as: owner) } == 403)
    }

    @Test func membershipSurvivesAChangeOfVisibilityButDoesNotCount() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        let member = fixture.caller("p2")
        _ = try await fixture.images.addMember("p2", to: image.id, as: fixture.caller())
        func setVisibility(_ value: String) async throws {
            _ = try await fixture.images.patch(
                image.id,
                [.init(verb: .replace, path: ["visibility"], value: .string(value), addRefusesExisting: false)],
                as: fixture.caller())
        }
        try await setVisibility("private")
        #expect(await status { _ = try await fixture.images.get(image.id, as: member) } == 404)
        try await setVisibility("shared")
        _ = try await fixture.images.get(image.id, as: member)
    }

    @Test func aMemberSeesOnlyItselfAndCannotLeave() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        for project in ["p2", "p3"] as [ProjectID] {
            _ = try await fixture.images.addMember(project, to: image.id, as: fixture.caller())
        }
        #expect(
            await status { _ = try await fixture.images.addMember("p2", to: image.id, as: fixture.caller()) } == 409)
        let member = fixture.caller("p2")
        #expect(try await fixture.images.members(of: image.id, as: member).map(\.member) == ["p2"])
        #expect(try await fixture.images.members(of: image.id, as: fixture.caller()).count == 2)
        #expect(await status { _ = try await fixture.images.member("p3", of: image.id, as: member) } == 404)
        #expect(await status { try await fixture.images.removeMember("p2", from: image.id, as: member) } == 403)
        #expect(
            await status { _ = try await fixture.images.setMemberStatus(.accepted, of: "p3", on: image.id, as: member) }
                == 403)
        try await fixture.images.removeMember("p2", from: image.id, as: fixture.caller())
        #expect(await status { _ = try await fixture.images.get(image.id, as: member) } == 404)
    }
}
