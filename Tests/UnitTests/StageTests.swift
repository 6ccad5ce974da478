import Core
import NIOCore
import Persistence
import Testing

/// Bytes that wait for an import.
@Suite struct StageTests {
    @Test func behaviour36_stagedBytesHaveASizeAndNoHash() async throws {
        let service = try await ImageFixture()
        let id = try await service.stagedImage([1, 2, 3, 4])
        let image = try await service.image(id)
        #expect(image.status == .uploading)
        #expect(image.sizeBytes == 4)
        #expect(image.checksum == nil && image.hashValue == nil && image.virtualSizeBytes == nil)
        #expect(try await service.blobs() == ["local staged live 4"])
        #expect(try await service.chargedBytes() == 4)
        // It is not the image's data.
        #expect(try await service.bytes(of: id) == nil)
    }

    /// With Glance staged bytes are on the disk of one worker, and the others have to pass requests on to it. Here they
    /// are in a store, so every server does the same with them.
    @Test func behaviour41_anyServerImportsAndDeletesWhatAnotherStaged() async throws {
        let service = try await ImageFixture()
        let imported = try await service.stagedImage([1, 2, 3])
        let deleted = try await service.stagedImage([4, 5])
        let other = service.restarted()
        try await other.importImage(
            imported, try service.request(["method": ["name": "glance-direct"]]), as: service.caller())
        try await other.delete(deleted, as: service.caller())
        try await service.settleImports(other)
        #expect(try await service.image(imported).status == .active)
        #expect(try await service.bytes(of: imported) == [1, 2, 3])
        #expect(try await service.blobs() == ["local data live 3"])
    }

    @Test func formatsNeedNotBeSetAndAreNotLookedAt() async throws {
        let service = try await ImageFixture()
        let id = try await service.stagedImage([1, 2, 3]) {
            $0.diskFormat = nil
            $0.containerFormat = nil
        }
        #expect(try await service.image(id).status == .uploading)
    }

    @Test func whatIsStagedIsNotStagedAgainNorUploadedOver() async throws {
        let service = try await ImageFixture()
        let id = try await service.stagedImage([1, 2, 3])
        #expect(await status { try await service.stage([4], for: id) } == 409)
        #expect(await status { try await service.upload([4], to: id) } == 409)
        #expect(try await service.blobs() == ["local staged live 3"])
    }

    @Test(arguments: [0, 2]) func aStageThatBreaksLeavesNothing(_ parts: Int) async throws {
        let service = try await ImageFixture()
        let id = try await service.createImage().id
        let body = Body(
            chunks: Array(repeating: ByteBuffer(bytes: [1, 2, 3]), count: parts),
            failure: ServiceError.badRequest("gone"))
        #expect(
            await status {
                try await service.images.stage(body, for: id, declaredSizeBytes: nil, as: service.caller())
            } == 400)
        let image = try await service.image(id)
        #expect(image.status == .queued && image.sizeBytes == nil)
        try await service.settleImports()
        #expect(try await service.blobs() == [])
        #expect(try service.storedFiles() == [])
        try await service.stage([1], for: id)
        #expect(try await service.image(id).status == .uploading)
    }

    @Test func aDeclaredSizeThatDoesNotFitIsRefused() async throws {
        let service = try await ImageFixture()
        for (declared, sent) in [(3, 4), (4, 3)] {
            let id = try await service.createImage().id
            let body = Body(chunks: [ByteBuffer(repeating: 7, count: sent)])
            #expect(
                await status {
                    try await service.images.stage(
                        body, for: id, declaredSizeBytes: Int64(declared), as: service.caller())
                } == 400)
            #expect(try await service.image(id).status == .queued)
        }
    }

    @Test func aStageThatACrashCutOffIsUndone() async throws {
        let service = try await ImageFixture()
        let id = try await service.createImage().id
        let gate = Gate()
        var body = Body(chunks: [ByteBuffer(bytes: [1, 2, 3])])
        body.before = { index in if index == 1 { await gate.pass() } }
        let cutOff = body
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                // Its server is gone by the time it ends.
                _ = await status {
                    try await service.images.stage(cutOff, for: id, declaredSizeBytes: nil, as: service.caller())
                }
            }
            try await gate.waitForArrival()
            #expect(try await service.image(id).status == .uploading)
            #expect(await status { try await service.importImage(id, ["method": ["name": "glance-direct"]]) } == 409)
            let next = service.restarted()
            try await next.recover(logger: .silent)
            #expect(try await service.image(id).status == .queued)
            gate.open()
            try await group.waitForAll()
            try await service.settleImports(next)
        }
        #expect(try await service.blobs() == [])
        #expect(try service.storedFiles() == [])
    }

    @Test func stagesAreWithinCapAndQuota() async throws {
        let service = try await ImageFixture {
            $0.sizeCapBytes = 100
            $0.imageBytesQuota = 60
            $0.uploadingCountQuota = 1
        }
        let first = try await service.createImage().id
        #expect(await status { try await service.stage([UInt8](repeating: 1, count: 101), for: first) } == 413)
        #expect(await status { try await service.stage([UInt8](repeating: 1, count: 61), for: first) } == 413)
        try await service.stage([UInt8](repeating: 1, count: 50), for: first)
        let second = try await service.createImage().id
        #expect(await status { try await service.stage([1], for: second) } == 413)
        #expect(try await service.image(second).status == .queued)
    }

    @Test func aStagedImageCanBeDeleted() async throws {
        for days in [0, 7] as [Int64] {
            let service = try await ImageFixture { $0.recycleBinSeconds = days * 86400 }
            let id = try await service.stagedImage([1, 2, 3])
            try await service.images.delete(id, as: service.caller())
            try await service.settleImports()
            #expect(try await service.blobs() == [])
            #expect(try service.storedFiles() == [])
            if days > 0 {
                try await RecycleBin(
                    database: service.database, clock: service.clock, settings: service.settings
                ).undelete(id)
                #expect(try await service.image(id).status == .queued)
            }
        }
    }

    @Test func withoutGlanceDirectThereIsNoStage() async throws {
        let service = try await ImageFixture { $0.imports.methods = [.webDownload] }
        let id = try await service.createImage().id
        #expect(await status { try await service.stage([1], for: id) } == 404)
    }

    @Test func behaviour27_aMemberMayReadAndNotStage() async throws {
        let service = try await ImageFixture()
        let id = try await service.createImage().id
        _ = try await service.images.addMember("p2", to: id, as: service.caller())
        #expect(await status { try await service.stage([1], for: id, as: service.caller("p2")) } == 403)
        #expect(await status { try await service.stage([1], for: id, as: service.caller("p3")) } == 404)
    }
}
