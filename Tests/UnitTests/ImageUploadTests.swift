import Blobs
import Core
import Foundation
import NIOCore
import Persistence
import Testing
import Trust

private struct Broken: Error {}

@Suite struct ImageUploadTests {
    @Test func uploadMakesTheImageActiveWithItsDigests() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        let data = SeededRandomness(seed: 5).bytes(3_000_000)
        try await fixture.images.upload(
            Body(
                chunks: stride(from: 0, to: data.count, by: 70_000).map { start in
                    ByteBuffer(bytes: data[start..<min(start + 70_000, data.count)])
                }), to: image.id, declaredSizeBytes: Int64(data.count), store: nil, as: fixture.caller())
        let stored = try await fixture.images.get(image.id, as: fixture.caller()).image
        #expect(stored.status == .active)
        #expect(stored.sizeBytes == 3_000_000)
        #expect(stored.virtualSizeBytes == 3_000_000)
        #expect(stored.checksum == Hex.encode(Digest.of(data, .md5)))
        #expect(stored.hashAlgorithm == "sha512")
        #expect(stored.hashValue == Hex.encode(Digest.of(data, .sha512)))
        #expect(try await fixture.bytes(of: image.id) == data)
        #expect(try await fixture.blobRows() == ["live 3000000"])
    }

    @Test func emptyDataIsData() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        try await fixture.upload([], to: image.id)
        #expect(try await fixture.images.get(image.id, as: fixture.caller()).image.sizeBytes == 0)
        #expect(try await fixture.bytes(of: image.id) == [])
    }

    @Test func aSecondUploadIsRefusedAndChangesNothing() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        try await fixture.upload([1], to: image.id)
        #expect(await status { try await fixture.upload([2], to: image.id) } == 409)
        #expect(try await fixture.bytes(of: image.id) == [1])
    }

    @Test func formatsMustBeSet() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage { $0.diskFormat = nil }
        #expect(await status { try await fixture.upload([1], to: image.id) } == 400)
    }

    /// The image is as before, the bytes are gone, the space is returned, and the same image can be
    /// uploaded again at once.
    private func expectUntouched(_ fixture: ImageFixture, _ id: ImageID) async throws {
        let image = try await fixture.images.get(id, as: fixture.caller()).image
        #expect(image.status == .queued)
        #expect(image.sizeBytes == nil && image.checksum == nil && image.hashValue == nil)
        #expect(image.updatedAt == image.createdAt)
        #expect(try fixture.storedFiles() == [])
        #expect(try await fixture.blobRows() == [])
        #expect(try await fixture.chargedBytes() == 0)
        try await fixture.upload([9], to: id)
        #expect(try await fixture.bytes(of: id) == [9])
    }

    @Test func aBodyThatBreaksLeavesNothing() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        let body = Body(chunks: [ByteBuffer(repeating: 1, count: 6 << 20)], failure: Broken())
        await #expect(throws: Broken.self) {
            try await fixture.images.upload(
                body, to: image.id, declaredSizeBytes: nil, store: nil, as: fixture.caller())
        }
        try await expectUntouched(fixture, image.id)
    }

    @Test(arguments: [2, 4] as [Int64])
    func aSizeOtherThanDeclaredLeavesNothing(_ declared: Int64) async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        #expect(await status { try await fixture.upload([1, 2, 3], to: image.id, declared: declared) } == 400)
        try await expectUntouched(fixture, image.id)
    }

    @Test func theSizeCapHoldsForDeclaredAndUndeclaredSizes() async throws {
        let fixture = try await ImageFixture { $0.sizeCapBytes = 3 }
        let image = try await fixture.createImage()
        #expect(await status { try await fixture.upload([1, 2, 3, 4], to: image.id, declared: 4) } == 413)
        #expect(await status { try await fixture.upload([1, 2, 3, 4], to: image.id) } == 413)
        try await expectUntouched(fixture, image.id)
    }

    @Test func anInterruptedProcessLeavesNothingAfterRecovery() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        // What a process leaves when it is killed in the middle: the claim's row and a part of the bytes.
        let blob: BlobID = "0a000000-0000-4000-8000-000000000001"
        let writer = try await fixture.store.begin(blob, expectedBytes: nil)
        try await writer.write([ByteBuffer(repeating: 1, count: 1000)])
        let now = fixture.clock.now
        try await fixture.database.write { db in
            try db.execute(
                """
                INSERT INTO blobs (id, store, image_id, project, state, charged_bytes, epoch, lease_owner, lease_until,
                    created_at)
                VALUES ($1, 'local', $2, 'p1', 'writing', 500, 1, 'dead', $3, $4)
                """, blob, image.id, now.adding(seconds: 3600), now)
            try db.execute("UPDATE images SET status = 'saving' WHERE id = $1", image.id)
        }
        #expect(try fixture.storedFiles().count == 1)
        let restarted = fixture.restarted()
        try await restarted.recover(logger: fixture.caller().logger)
        try await restarted.reconcile()
        try await expectUntouched(fixture, image.id)
    }

    @Test func aLeaseThatRanOutIsTakenByAnotherProcessAndTheStalledOneLoses() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        let other = fixture.restarted()
        let body = Body(chunks: [ByteBuffer(bytes: [1]), ByteBuffer(bytes: [2])]) { index in
            guard index == 1 else { return }
            fixture.clock.advance(seconds: fixture.settings.leaseSeconds + 1)
            do { try await other.reconcile() } catch { Issue.record(error) }
        }
        let outcome = await status {
            try await fixture.images.upload(
                body, to: image.id, declaredSizeBytes: nil, store: nil, as: fixture.caller())
        }
        #expect(outcome == 503)
        try await expectUntouched(fixture, image.id)
    }

    @Test func deletionWinsOverAnUploadUnderWay() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        let body = Body(chunks: [ByteBuffer(bytes: [1]), ByteBuffer(bytes: [2])]) { index in
            guard index == 1 else { return }
            do { try await fixture.images.delete(image.id, as: fixture.caller()) } catch { Issue.record(error) }
        }
        let outcome = await status {
            try await fixture.images.upload(
                body, to: image.id, declaredSizeBytes: nil, store: nil, as: fixture.caller())
        }
        #expect(outcome == 410)
        try await fixture.images.reconcile()
        #expect(try fixture.storedFiles() == [])
        #expect(try await fixture.blobRows() == [])
    }

    @Test func twoUploadsOfOneImageHaveOneWinner() async throws {
        let fixture = try await ImageFixture()
        for _ in 0..<20 {
            let image = try await fixture.createImage()
            let outcomes = await withTaskGroup(of: (UInt8, Int).self) { group in
                for value in [1, 2, 3] as [UInt8] {
                    group.addTask { (value, await status { try await fixture.upload([value], to: image.id) }) }
                }
                return await group.reduce(into: [(UInt8, Int)]()) { $0.append($1) }
            }
            let winners = outcomes.filter { $0.1 == 200 }.map(\.0)
            #expect(winners.count == 1)
            #expect(try await fixture.bytes(of: image.id) == winners)
        }
        #expect(try fixture.storedFiles().count == 20)
    }

    @Test(arguments: [true, false])
    func quotaOfBytesIsNeverExceeded(_ isDeclared: Bool) async throws {
        let fixture = try await ImageFixture { $0.imageBytesQuota = 1000 }
        var ids: [ImageID] = []
        for _ in 0..<16 { ids.append(try await fixture.createImage().id) }
        let outcomes = await withTaskGroup(of: Int.self) { group in
            for id in ids {
                group.addTask {
                    await status {
                        try await fixture.upload(
                            [UInt8](repeating: 1, count: 300), to: id, declared: isDeclared ? 300 : nil)
                    }
                }
            }
            return await group.reduce(into: [Int]()) { $0.append($1) }
        }
        // With unknown lengths an upload reserves all the room there is, so fewer may get through at once.
        let stored = outcomes.count { $0 == 200 }
        #expect(stored <= 3 && stored >= 1)
        #expect(outcomes.count { $0 == 413 } == 16 - stored)
        #expect(try await fixture.chargedBytes() == Int64(stored * 300))
        // What room is left can still be used, to the last byte.
        let rest = try await fixture.createImage().id
        try await fixture.upload([UInt8](repeating: 1, count: 1000 - stored * 300), to: rest)
        let full = try await fixture.createImage().id
        #expect(await status { try await fixture.upload([1], to: full) } == 413)
        #expect(try await fixture.chargedBytes() == 1000)
    }

    @Test func anUnreachableStoreGivesTheImageBack() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        let store = fixture.directory.appending(path: "local")
        let aside = fixture.directory.appending(path: "aside")
        try FileManager.default.moveItem(at: store, to: aside)
        #expect(await status { try await fixture.upload([1], to: image.id) } == 503)
        #expect(try await fixture.images.get(image.id, as: fixture.caller()).image.status == .queued)
        #expect(try await fixture.blobRows() == ["doomed 0"])
        try FileManager.default.moveItem(at: aside, to: store)
        fixture.clock.advance(seconds: 3600)
        try await fixture.images.reconcile()
        try await expectUntouched(fixture, image.id)
    }

    @Test func deletionDoesNotNeedTheStoreAndErasingHealsWhenItIsBack() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        try await fixture.upload([1], to: image.id)
        let store = fixture.directory.appending(path: "local")
        let aside = fixture.directory.appending(path: "aside")
        try FileManager.default.moveItem(at: store, to: aside)
        try await fixture.images.delete(image.id, as: fixture.caller())
        try await fixture.images.reconcile()
        #expect(try await fixture.blobRows() == ["doomed 0"])
        let reason = try await fixture.database.read { db in
            try db.first("SELECT last_error FROM jobs") { try $0.get(0, as: String?.self) }
        }
        #expect((reason ?? nil)?.contains("unavailable") == true)
        try FileManager.default.moveItem(at: aside, to: store)
        fixture.clock.advance(seconds: 3600)
        try await fixture.images.reconcile()
        #expect(try fixture.storedFiles() == [])
        #expect(try await fixture.blobRows() == [])
    }
}
