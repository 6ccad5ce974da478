import Core
import Foundation
import NIOCore
import Persistence
import Synchronization
import Testing
import Trust

/// Imports that fail, are cut off, or get in each other's way: whatever happens, nothing is left behind and nothing
/// stays as it is in between.
@Suite struct ImportFailureTests {
    private static let direct: JSONValue = ["method": ["name": "glance-direct"]]
    private static let bytes = [UInt8]((0..<250_000).map { UInt8(truncatingIfNeeded: $0 / 7) })

    /// What an import that failed leaves: an image that waits for data, no bytes, no lock, one task that says why.
    private func expectFailure(
        _ id: ImageID, _ service: ImageFixture, stores: String, _ message: String, status: Image.Status = .queued
    ) async throws {
        let image = try await service.image(id)
        #expect(image.status == status)
        if status == .queued {
            #expect(image.sizeBytes == nil && image.hashValue == nil && image.checksum == nil)
            #expect(try await service.blobs() == [])
            #expect(try await service.chargedBytes() == 0)
        }
        #expect(try await service.mark("import_task", of: id) == nil)
        #expect(try await service.mark("importing_to_stores", of: id) == "")
        #expect(try await service.mark("failed_import", of: id) == stores)
        let task = try #require(try await service.tasks(of: id).last)
        #expect(task.status == .failure)
        #expect(task.message.contains(message), "\(task.message)")
        #expect(try await service.jobs() == [])
        #expect(try await service.count("imports") == 0)
    }

    @Test func whatIsNotOfItsFormatIsErasedAndCanBeStagedAgain() async throws {
        let service = try await ImageFixture()
        let id = try await service.stagedImage(Self.bytes) { $0.diskFormat = "qcow2" }
        try await service.importImage(id, Self.direct)
        try await service.settleImports()
        try await expectFailure(id, service, stores: "local", "does not pass as qcow2")
        #expect(try service.storedFiles() == [])
        try await service.stage(Self.bytes, for: id)
        #expect(try await service.image(id).status == .uploading)
    }

    @Test func behaviour37_aRedirectToAFilteredURLFailsTheTask() async throws {
        let remote = FakeRemote([
            ImageFixture.url: [.init(refusal: EgressRefusal.host("inside.example"))]
        ])
        let service = try await ImageFixture(remote: remote)
        let id = try await service.createImage().id
        try await service.download(id)
        try await service.settleImports()
        try await expectFailure(id, service, stores: "local", "does not pass filtering")
        #expect(remote.opened.withLock { $0.count } == 1)
    }

    @Test func aSourceThatBreaksIsAskedAgain() async throws {
        let remote = FakeRemote([
            ImageFixture.url: [
                .init(bytes: Self.bytes, failsAfter: 120_000), .init(refusal: RemoteContentError(.unreachable, "away")),
                .init(bytes: Self.bytes),
            ]
        ])
        let service = try await ImageFixture(remote: remote)
        let id = try await service.createImage().id
        try await service.download(id)
        try await service.settleImports()
        #expect(try await service.image(id).status == .active)
        #expect(try await service.bytes(of: id) == Self.bytes)
        #expect(remote.opened.withLock { $0.count } == 3)
        #expect(try service.storedFiles().count == 1)
    }

    @Test func aSourceThatStaysAwayIsGivenUp() async throws {
        let remote = FakeRemote([ImageFixture.url: [.init(bytes: Self.bytes, failsAfter: 120_000)]])
        let service = try await ImageFixture(remote: remote)
        let id = try await service.createImage().id
        try await service.download(id)
        try await service.settleImports()
        try await expectFailure(id, service, stores: "local", "ended too early")
        #expect(remote.opened.withLock { $0.count } == 4)
        #expect(try service.storedFiles() == [])
    }

    @Test func aSourceThatHasNothingIsAskedOnce() async throws {
        let remote = FakeRemote()
        let service = try await ImageFixture(remote: remote)
        let id = try await service.createImage().id
        try await service.download(id)
        try await service.images.reconcile()
        try await service.settleImports()
        try await expectFailure(id, service, stores: "local", "nothing at this URL")
        #expect(remote.opened.withLock { $0.count } == 1)
    }

    @Test(arguments: [true, false]) func behaviour45_overTheQuotaTheTaskFailsAndTheQuotaIsFree(
        _ isSizeKnown: Bool
    ) async throws {
        let remote = FakeRemote([ImageFixture.url: [.init(bytes: Self.bytes, isSizeKnown: isSizeKnown)]])
        let service = try await ImageFixture({ $0.imageBytesQuota = 200_000 }, remote: remote)
        let id = try await service.createImage().id
        try await service.download(id)
        try await service.settleImports()
        try await expectFailure(id, service, stores: "local", "image_size_total")
        #expect(try service.storedFiles() == [])
    }

    @Test func behaviour46_theQuotaIsChargedWhatIsStagedAndThenWhatIsStored() async throws {
        let service = try await ImageFixture({ $0.imageBytesQuota = 300_000 }, stores: ["a", "b"])
        let id = try await service.stagedImage(Self.bytes)
        #expect(try await service.chargedBytes() == Int64(Self.bytes.count))
        // Not both at once, although for a moment there are two copies.
        try await service.importImage(id, ["method": ["name": "glance-direct"], "stores": ["b"]])
        try await service.settleImports()
        #expect(try await service.image(id).status == .active)
        #expect(try await service.chargedBytes() == Int64(Self.bytes.count))
        try await service.copy(id, to: ["a"])
        try await service.settleImports()
        #expect(try await service.tasks(of: id)[1].message.contains("image_size_total"))
        #expect(try await service.chargedBytes() == Int64(Self.bytes.count))
    }

    // MARK: several stores

    private struct TwoStores {
        let service: ImageFixture
        let second: TroubledStore

        init(_ change: (inout ImageSettings) -> Void = { _ in }) async throws {
            var second: TroubledStore?
            service = try await ImageFixture(change, stores: ["a", "b"]) { store in
                guard store.id == "b" else { return store }
                let troubled = TroubledStore(store)
                second = troubled
                return troubled
            }
            self.second = try #require(second)
        }
    }

    @Test func ifAllMustSucceedOneThatFailsRevertsAll() async throws {
        let world = try await TwoStores()
        world.second.failure.withLock { $0 = .readOnly }
        let id = try await world.service.stagedImage(Self.bytes)
        try await world.service.importImage(id, ["method": ["name": "glance-direct"], "stores": ["a", "b"]])
        try await world.service.settleImports()
        try await expectFailure(id, world.service, stores: "b", "cannot be written")
        #expect(try world.service.files(in: "a") == [])
    }

    @Test func ifNotAllMustSucceedOneIsEnough() async throws {
        for order in [["a", "b"], ["b", "a"]] as [[JSONValue]] {
            let world = try await TwoStores()
            let service = world.service
            world.second.failure.withLock { $0 = .full }
            let id = try await service.stagedImage(Self.bytes)
            try await service.importImage(
                id,
                ["method": ["name": "glance-direct"], "stores": .array(order), "all_stores_must_succeed": false])
            try await service.images.reconcile()
            // The first success makes it active, while the other is tried again.
            #expect(try await service.image(id).status == .active)
            #expect(try await service.mark("importing_to_stores", of: id) == "b")
            #expect(try await service.bytes(of: id) == Self.bytes)
            try await service.settleImports()
            #expect(try await service.view(id).stores == ["a"])
            #expect(try await service.mark("failed_import", of: id) == "b")
            #expect(try await service.mark("importing_to_stores", of: id) == "")
            #expect(try await service.mark("import_task", of: id) == nil)
            #expect(try await service.tasks(of: id)[0].status == .success)
            #expect(try await service.blobs() == ["a data live \(Self.bytes.count)"])
        }
    }

    @Test func ifNoneSucceedsItFails() async throws {
        let world = try await TwoStores()
        world.second.failure.withLock { $0 = .readOnly }
        let id = try await world.service.stagedImage(Self.bytes)
        try await world.service.importImage(
            id, ["method": ["name": "glance-direct"], "stores": ["b"], "all_stores_must_succeed": false])
        try await world.service.settleImports()
        try await expectFailure(id, world.service, stores: "b", "cannot be written")
    }

    @Test func behaviour39_aCopyThatFailsRevertsItsOwnAlone() async throws {
        for mustAllSucceed in [true, false] {
            var troubled: TroubledStore?
            let service = try await ImageFixture(stores: ["a", "b", "c"]) { store in
                guard store.id == "c" else { return store }
                let store = TroubledStore(store)
                troubled = store
                return store
            }
            troubled?.failure.withLock { $0 = .readOnly }
            let id = try await service.createImage().id
            try await service.upload(Self.bytes, to: id)
            try await service.copy(id, to: ["b", "c"], mustAllSucceed: mustAllSucceed)
            try await service.settleImports()
            #expect(try await service.view(id).stores.map(\.rawValue) == (mustAllSucceed ? ["a"] : ["a", "b"]))
            #expect(try await service.bytes(of: id) == Self.bytes)
            #expect(try service.files(in: "b").count == (mustAllSucceed ? 0 : 1))
            #expect(try await service.mark("failed_import", of: id) == "c")
            if mustAllSucceed {
                try await expectFailure(id, service, stores: "c", "cannot be written", status: .active)
            }
        }
    }

    @Test func aCopyOfOtherBytesIsNone() async throws {
        let world = try await TwoStores()
        let id = try await world.service.createImage().id
        try await world.service.images.upload(
            Body(chunks: [ByteBuffer(bytes: Self.bytes)]), to: id, declaredSizeBytes: nil, store: "b",
            as: world.service.caller())
        world.second.damages.withLock { $0 = true }
        try await world.service.copy(id, to: ["a"])
        try await world.service.settleImports()
        #expect(try await world.service.view(id).stores == ["b"])
        #expect(try await world.service.tasks(of: id)[0].status == .failure)
        #expect(try world.service.files(in: "a") == [])
    }

    // MARK: locks, crashes, deletion

    /// An import that hangs in its source.
    private func hanging(
        at gate: Gate, _ change: (inout ImageSettings) -> Void = { _ in }
    ) async throws -> (ImageFixture, ImageID) {
        let remote = FakeRemote([
            ImageFixture.url: [.init(bytes: Self.bytes, before: { await gate.pass() }), .init(bytes: Self.bytes)]
        ])
        let service = try await ImageFixture(change, remote: remote)
        let id = try await service.createImage().id
        try await service.download(id)
        return (service, id)
    }

    @Test func behaviour40_aSecondCopyDuringTheFirstIsRefusedAndPreemptsWhenItsLockIsOld() async throws {
        let world = try await TwoStores()
        let (service, gate) = (world.service, Gate())
        let id = try await service.createImage().id
        try await service.upload(Self.bytes, to: id)
        world.second.before.withLock { $0 = { await gate.pass() } }
        try await service.copy(id, to: ["b"])
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.images.reconcile() }
            try await gate.waitForArrival()
            #expect(await status { try await service.copy(id, to: ["b"]) } == 409)
            // Its worker is late by hours, and does not come back: nobody has renewed its lease.
            service.clock.advance(seconds: 2 * 3600)
            try await service.copy(id, to: ["b"])
            let tasks = try await service.tasks(of: id)
            #expect(tasks.map(\.status) == [.failure, .pending])
            #expect(tasks[0].message == "Expired lock preempted")
            #expect(try await service.mark("import_task", of: id) == tasks[1].id.rawValue)
            gate.open()
            try await group.waitForAll()
        }
        try await service.settleImports()
        #expect(try await service.view(id).stores == ["a", "b"])
        #expect(try await service.tasks(of: id).map(\.status) == [.failure, .success])
        #expect(try service.files(in: "b").count == 1)
        #expect(try await service.blobs().count == 2)
    }

    @Test func aLockWithoutAJobIsNoLock() async throws {
        let service = try await ImageFixture(stores: ["a", "b"])
        let id = try await service.createImage().id
        try await service.upload([1], to: id)
        try await service.copy(id, to: ["b"])
        _ = try await service.database.write { try $0.execute("DELETE FROM jobs") }
        try await service.copy(id, to: ["b"])
        #expect(try await service.tasks(of: id).map(\.status) == [.failure, .pending])
    }

    @Test func anImportThatLostItsJobIsEnded() async throws {
        let service = try await ImageFixture()
        let id = try await service.stagedImage(Self.bytes)
        try await service.importImage(id, Self.direct)
        _ = try await service.database.write { try $0.execute("DELETE FROM jobs") }
        try await service.settleImports()
        try await expectFailure(id, service, stores: "local", "lost")
    }

    @Test(arguments: [0, 7]) func anImageDeletedMeanwhileTakesItsImportAlong(_ days: Int64) async throws {
        let gate = Gate()
        let (service, id) = try await hanging(at: gate) { $0.recycleBinSeconds = days * 86400 }
        let task = try #require(try await service.tasks(of: id).first).id
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.images.reconcile() }
            try await gate.waitForArrival()
            try await service.images.delete(id, as: service.caller())
            #expect(try await service.images.task(task, as: service.admin).status == .failure)
            gate.open()
            try await group.waitForAll()
        }
        try await service.settleImports()
        #expect(try await service.images.task(task, as: service.admin).message.contains("deleted"))
        #expect(try await service.blobs() == [])
        #expect(try service.storedFiles() == [])
        #expect(try await service.jobs() == [])
        if days > 0 {
            try await RecycleBin(
                database: service.database, clock: service.clock, settings: service.settings
            ).undelete(id)
            let image = try await service.image(id)
            #expect(image.status == .queued && image.properties["os_glance_import_task"] == nil)
        }
    }

    @Test func afterACrashAnotherServerGoesOn() async throws {
        let gate = Gate()
        let (service, id) = try await hanging(at: gate)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.images.reconcile() }
            try await gate.waitForArrival()
            let next = service.restarted()
            try await next.recover(logger: .silent)
            try await next.reconcile()
            #expect(try await service.image(id).status == .active)
            // What the first one finds when it wakes up is not its own any more.
            gate.open()
            try await group.waitForAll()
            try await service.settleImports(next)
        }
        #expect(try await service.bytes(of: id) == Self.bytes)
        #expect(try await service.blobs() == ["local data live \(Self.bytes.count)"])
        #expect(try service.storedFiles().count == 1)
        #expect(try await service.tasks(of: id).map(\.status) == [.success])
    }

    @Test func afterACrashWhatIsCopiedIsKept() async throws {
        let world = try await TwoStores()
        let (service, gate) = (world.service, Gate())
        let id = try await service.stagedImage(Self.bytes)
        // A process that is gone does not come back to its store.
        world.second.before.withLock {
            $0 = {
                await gate.pass()
                throw BlobError(code: .unavailable, operation: "begin", cause: "a test")
            }
        }
        try await service.importImage(id, ["method": ["name": "glance-direct"], "stores": ["a", "b"]])
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.images.reconcile() }
            try await gate.waitForArrival()
            #expect(try await service.image(id).status == .importing)
            #expect(try await service.mark("importing_to_stores", of: id) == "a,b")
            // Verified, but nobody's data before the other is there.
            #expect(try await service.blobs().first == "a staged live \(Self.bytes.count)")
            let kept = try service.files(in: "a")
            world.second.before.withLock { $0 = nil }
            let next = service.restarted()
            try await next.recover(logger: .silent)
            try await next.reconcile()
            #expect(try await service.image(id).status == .active)
            #expect(try service.files(in: "a") == kept)
            gate.open()
            try await group.waitForAll()
            try await service.settleImports(next)
        }
        #expect(try await service.blobs() == ["a data live \(Self.bytes.count)", "b data live \(Self.bytes.count)"])
        #expect(try service.files(in: "b").count == 1)
    }

    @Test func oneImportThatHangsKeepsNoOtherWaiting() async throws {
        let gate = Gate()
        let (service, first) = try await hanging(at: gate)
        let second = try await service.stagedImage([1, 2, 3])
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await service.images.runReconciler(logger: .silent) }
            try await gate.waitForArrival()
            try await service.importImage(second, Self.direct)
            while try await service.image(second).status != .active { try await Task.sleep(for: .milliseconds(2)) }
            #expect(try await service.image(first).status == .importing)
            gate.open()
            while try await service.image(first).status != .active { try await Task.sleep(for: .milliseconds(2)) }
            group.cancelAll()
        }
    }

    @Test func formatsChangedMeanwhileFailTheImport() async throws {
        let world = try await TwoStores()
        let (service, gate) = (world.service, Gate())
        let id = try await service.stagedImage(Self.bytes)
        world.second.before.withLock { $0 = { await gate.pass() } }
        try await service.importImage(id, ["method": ["name": "glance-direct"], "stores": ["a", "b"]])
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.images.reconcile() }
            try await gate.waitForArrival()
            let change = ImagePatch(
                verb: .replace, path: ["disk_format"], value: "qcow2", addRefusesExisting: false)
            _ = try await service.images.patch(id, [change], as: service.caller())
            gate.open()
            try await group.waitForAll()
        }
        try await service.settleImports()
        try await expectFailure(id, service, stores: "a,b", "were changed")
    }

    // MARK: signatures

    private static let certificate: SecretID = "0f2d7a3e-1111-4222-8333-444455556666"

    /// An image that says it is signed.
    private func signedImage(
        _ certificates: FakeCertificates = FakeCertificates()
    ) async throws -> (service: ImageFixture, id: ImageID, data: SignedData) {
        let signed = try #require(try SignedData.all().first)
        certificates.known.withLock { $0[Self.certificate] = signed.certificate }
        let service = try await ImageFixture(certificates: certificates)
        let id = try await service.createImage {
            $0.properties = [
                "img_signature": Data(signed.signature).base64EncodedString(),
                "img_signature_hash_method": signed.hash.rawValue,
                "img_signature_key_type": signed.keyType.rawValue,
                "img_signature_certificate_uuid": Self.certificate.rawValue,
            ]
        }.id
        return (service, id, signed)
    }

    @Test(arguments: [true, false]) func behaviour42_aBadSignatureReturnsTheImageToQueued(_ isGood: Bool) async throws {
        let certificates = FakeCertificates()
        let (service, id, signed) = try await signedImage(certificates)
        try await service.stage(isGood ? signed.data : signed.data + [0], for: id)
        try await service.importImage(id, Self.direct)
        // The certificate was fetched as the caller, who is gone by now.
        certificates.known.withLock { $0 = [:] }
        try await service.settleImports()
        if isGood {
            #expect(try await service.image(id).status == .active)
            let provenance = try await service.images.provenance(of: id, as: service.caller())
            #expect(provenance.record.provenance.signer?.certificate == Self.certificate)
        } else {
            try await expectFailure(id, service, stores: "local", "Signature verification")
        }
    }

    /// What was signed when it was asked for does not come in unsigned.
    @Test func aSignatureThatIsTakenAwayMeanwhileEndsTheImport() async throws {
        let (service, id, signed) = try await signedImage()
        try await service.stage(signed.data + [0], for: id)
        try await service.importImage(id, Self.direct)
        let names = [
            "img_signature", "img_signature_hash_method", "img_signature_key_type", "img_signature_certificate_uuid",
        ]
        _ = try await service.images.patch(
            id, names.map { ImagePatch(verb: .remove, path: [$0], value: .null, addRefusesExisting: false) },
            as: service.caller())
        try await service.settleImports()
        try await expectFailure(id, service, stores: "local", "were changed")
    }

    @Test func aCertificateThatIsNotThereIsRefusedAtOnce() async throws {
        let service = try await ImageFixture(certificates: FakeCertificates())
        let id = try await service.createImage {
            $0.properties = [
                "img_signature": "AAAA", "img_signature_hash_method": "SHA-256", "img_signature_key_type": "RSA-PSS",
                "img_signature_certificate_uuid": "0f2d7a3e-1111-4222-8333-444455556666",
            ]
        }.id
        try await service.stage([1], for: id)
        #expect(await status { try await service.importImage(id, Self.direct) } == 400)
        #expect(try await service.image(id).status == .uploading)
    }

    // MARK: steps

    private struct Failing: ImportStep {
        let name = "failing"
        let error: any Error
        func run(_ input: ImportStepInput, output: any ImportOutput) async throws -> ImportStepResult? {
            try await output.write([ByteBuffer(string: "some")])
            throw error
        }
    }

    private struct Endless: ImportStep {
        let name = "endless"
        func run(_ input: ImportStepInput, output: any ImportOutput) async throws -> ImportStepResult? {
            while true { try await output.write([ByteBuffer(repeating: 1, count: 100_000)]) }
        }
    }

    @Test func aStepThatRefusesFailsTheImportAndOneThatMayPassIsRunAgain() async throws {
        for (error, message) in [
            (ServiceError.unsupportedMediaType("two members"), "two members"),
            (ServiceError.unavailable("no disk"), "no disk"),
        ] {
            let service = try await ImageFixture(steps: [Failing(error: error)])
            let id = try await service.stagedImage(Self.bytes)
            try await service.importImage(id, Self.direct)
            try await service.settleImports()
            try await expectFailure(id, service, stores: "local", message)
            #expect(try service.storedFiles() == [])
        }
    }

    @Test func aStepThatDoesNotEndIsStoppedByTheCap() async throws {
        let service = try await ImageFixture({ $0.sizeCapBytes = 10_000_000 }, steps: [Endless()])
        let id = try await service.stagedImage(Self.bytes)
        try await service.importImage(id, Self.direct)
        try await service.settleImports()
        try await expectFailure(id, service, stores: "local", "maximum image size")
        #expect(try service.storedFiles() == [])
    }
}
