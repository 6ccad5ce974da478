import Core
import Foundation
import NIOCore
import Persistence
import Testing

/// What becomes of a key when an image that named it goes (rules R4, K5, K6).
@Suite struct ReleaseKeysTests {
    private let key: SecretID = "5ec4e711-0000-4000-8000-000000000001"
    private let otherKey: SecretID = "5ec4e711-0000-4000-8000-000000000002"
    private let keys = ScriptedKeyManager()

    private func fixture(_ change: (inout ImageSettings) -> Void = { _ in }) async throws -> ImageFixture {
        try await ImageFixture(change, keys: keys)
    }

    private func destroy(_ key: SecretID, _ image: ImageID, _ project: ProjectID = "p1") -> ScriptedKeyManager.Call {
        ScriptedKeyManager.Call(verb: .destroy, key: key, image: image.rawValue, project: project)
    }

    @Test func theKeyGoesForTheOwnerWhoeverDeletesTheImage() async throws {
        let fixture = try await fixture()
        let image = try await fixture.imageNaming(key)
        try await fixture.settle()
        keys.forgetCalls()
        try await fixture.images.delete(image, as: fixture.admin)
        try await fixture.settle()
        #expect(keys.calls == [destroy(key, image)])
        #expect(try await fixture.edges() == [])
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func theKeyGoesOnlyAfterTheBytes() async throws {
        let fixture = try await fixture()
        let image = try await fixture.imageNaming(key)
        try await fixture.settle()
        keys.forgetCalls()
        let (here, away) = (fixture.directory.appending(path: "local"), fixture.directory.appending(path: "away"))
        try FileManager.default.moveItem(at: here, to: away)
        try await fixture.images.delete(image, as: fixture.caller())
        try await fixture.settle()
        #expect(keys.calls == [])
        #expect(try await fixture.edges() == ["\(key) \(image) releasing"])
        try FileManager.default.moveItem(at: away, to: here)
        fixture.clock.advance(seconds: 600)
        try await fixture.settle()
        #expect(try fixture.storedFiles() == [])
        #expect(keys.calls == [destroy(key, image)])
    }

    @Test func anImageWithoutBytesLetsGoAtOnce() async throws {
        let fixture = try await fixture()
        let image = try await fixture.imageNaming(key, bytes: nil)
        try await fixture.settle()
        keys.forgetCalls()
        try await fixture.images.delete(image, as: fixture.caller())
        try await fixture.settle()
        #expect(keys.calls == [destroy(key, image)])
    }

    // MARK: Whether it goes

    @Test(arguments: [nil, "do_not_delete", "ON_IMAGE_DELETION", "unheard of", ""] as [String?])
    func withoutThePolicyItStays(_ policy: String?) async throws {
        let fixture = try await fixture()
        let image = try await fixture.imageNaming(key, policy: policy)
        try await fixture.settle()
        try await fixture.images.delete(image, as: fixture.caller())
        try await fixture.settle()
        #expect(keys.verbs == [.register, .unregister])
        #expect(try await fixture.edges() == [])
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func thePolicyIsReadWhenTheImageIsDeleted() async throws {
        let fixture = try await fixture()
        let late = try await fixture.imageNaming(key, policy: nil)
        let early = try await fixture.imageNaming(otherKey)
        try await fixture.set(ImageFixture.policyProperty, to: "on_image_deletion", of: late)
        try await fixture.set(ImageFixture.policyProperty, to: nil, of: early)
        try await fixture.settle()
        keys.forgetCalls()
        for image in [late, early] { try await fixture.images.delete(image, as: fixture.caller()) }
        try await fixture.settle()
        #expect(keys.calls.filter { $0.verb == .destroy } == [destroy(key, late)])
        #expect(keys.calls.contains { $0.verb == .unregister && $0.key == otherKey })
    }

    @Test(arguments: [
        "no id at all", "", "5ec4e711-0000-4000-8000-00000000000",
        "http://b/v1/secrets/5ec4e711-0000-4000-8000-000000000001",
    ])
    func whatIsNoKeyKeepsNobodyFromDeletingTheImage(_ text: String) async throws {
        let fixture = try await fixture()
        let image = try await fixture.imageNaming(SecretID(text))
        #expect(try await fixture.edges() == [])
        try await fixture.images.delete(image, as: fixture.caller())
        try await fixture.settle()
        #expect(keys.calls == [])
        #expect(try fixture.storedFiles() == [])
    }

    @Test func aKeyThatAnotherImageNeedsStaysUntilThatGoes() async throws {
        let fixture = try await fixture()
        let (first, second) = (try await fixture.imageNaming(key), try await fixture.imageNaming(key))
        try await fixture.settle()
        keys.forgetCalls()
        try await fixture.images.delete(first, as: fixture.caller())
        try await fixture.settle()
        #expect(keys.verbs == [.unregister])
        #expect(try await fixture.edges() == ["\(key) \(second) held"])
        try await fixture.images.delete(second, as: fixture.caller())
        try await fixture.settle()
        #expect(keys.verbs == [.unregister, .destroy])
        #expect(keys.calls.last == destroy(key, second))
    }

    /// One destruction, and not before the key manager was told of all the others: it would keep the key for them.
    @Test(arguments: [2, 5])
    func ofImagesDeletedAtOnceTheLastTakesTheKey(_ count: Int) async throws {
        let fixture = try await fixture()
        var images: [ImageID] = []
        for _ in 0..<count { images.append(try await fixture.imageNaming(key)) }
        try await fixture.settle()
        keys.forgetCalls()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for image in images { group.addTask { try await fixture.images.delete(image, as: fixture.caller()) } }
            try await group.waitForAll()
        }
        try await fixture.settle()
        #expect(keys.verbs == Array(repeating: .unregister, count: count - 1) + [.destroy])
        #expect(Set(keys.calls.map(\.image)) == Set(images.map(\.rawValue)))
        #expect(try await fixture.edges() == [])
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func theLastWaitsForWhatCannotBeToldYet() async throws {
        let fixture = try await fixture()
        let (first, second) = (try await fixture.imageNaming(key), try await fixture.imageNaming(key))
        try await fixture.settle()
        keys.answer { call in
            guard call.verb != .unregister else {
                throw KeyManagerError(code: .unavailable, operation: "unregister", cause: "scripted")
            }
            return .destroyed
        }
        for image in [first, second] { try await fixture.images.delete(image, as: fixture.caller()) }
        try await fixture.settle()
        #expect(!keys.verbs.contains(.destroy))
        let waiting = try await fixture.keyJobs().first { $0.name.kind == .releaseKeys }
        #expect(waiting?.lastError == "other images are still letting go of the key")
        #expect(waiting?.attempts == 0)
        keys.answer(nil)
        fixture.clock.advance(seconds: 600)
        try await fixture.settle()
        #expect(keys.verbs.last == .destroy)
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func aKeyThatStaysForOthersIsToldThatTheImageIsGone() async throws {
        let fixture = try await fixture()
        let image = try await fixture.imageNaming(key)
        try await fixture.settle()
        keys.forgetCalls()
        keys.answer { $0.verb == .destroy ? .kept("a volume needs it") : .destroyed }
        try await fixture.images.delete(image, as: fixture.caller())
        try await fixture.settle()
        #expect(keys.verbs == [.destroy, .unregister])
        #expect(try await fixture.keyJobs() == [])
    }

    // MARK: Whose it is

    /// Whoever names somebody else's key neither destroys it nor keeps it.
    @Test func anImageOfAnotherProjectNeitherTakesTheKeyNorKeepsIt() async throws {
        let fixture = try await fixture()
        try await fixture.addSecret(key, in: "p1")
        let theirs = try await fixture.imageNaming(key, as: fixture.caller("p2"))
        #expect(try await fixture.edges() == ["\(key) \(theirs) held!"])
        try await fixture.settle()
        keys.forgetCalls()
        let ours = try await fixture.imageNaming(key)
        try await fixture.images.delete(ours, as: fixture.caller())
        try await fixture.settle()
        #expect(keys.calls.contains(destroy(key, ours)))
        keys.forgetCalls()
        let again = try await fixture.imageNaming(key, as: fixture.caller("p2"))
        for image in [theirs, again] { try await fixture.images.delete(image, as: fixture.caller("p2")) }
        try await fixture.settle()
        #expect(!keys.verbs.contains(.destroy))
        #expect(try await fixture.edges() == [])
    }

    @Test func withoutAKeyManagerTheEdgesJustEnd() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.imageNaming(key)
        try await fixture.images.delete(image, as: fixture.caller())
        try await fixture.settle()
        #expect(try await fixture.edges() == [])
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func theKeyManagerInThisProgramIsNotToldOfAnything() async throws {
        let keys = ScriptedKeyManager(keepsOwnConsumers: false)
        let fixture = try await ImageFixture(keys: keys)
        let (first, second) = (try await fixture.imageNaming(key), try await fixture.imageNaming(key))
        for image in [first, second] { try await fixture.images.delete(image, as: fixture.caller()) }
        try await fixture.settle()
        #expect(keys.verbs == [.destroy])
    }

    // MARK: While it goes

    @Test func aKeyThatIsBeingDestroyedCannotBeNamed() async throws {
        let fixture = try await fixture()
        let image = try await fixture.imageNaming(key)
        let other = try await fixture.createImage().id
        try await fixture.settle()
        keys.fail(.unavailable)
        try await fixture.images.delete(image, as: fixture.caller())
        try await fixture.settle()
        #expect(try await fixture.edges() == ["\(key) \(image) destroying"])
        #expect(await status { _ = try await fixture.imageNaming(key) } == 409)
        #expect(await status { try await fixture.set(ImageFixture.keyProperty, to: key.rawValue, of: other) } == 409)
        #expect(try await fixture.images.get(other, as: fixture.caller()).image.properties == [:])
        keys.answer(nil)
        fixture.clock.advance(seconds: 600)
        try await fixture.settle()
        try await fixture.set(ImageFixture.keyProperty, to: key.rawValue, of: other)
    }

    @Test func aKeyManagerThatIsAwayIsAskedAgainLaterAndLater() async throws {
        let fixture = try await fixture()
        let image = try await fixture.imageNaming(key)
        try await fixture.settle()
        keys.fail(.unavailable)
        keys.forgetCalls()
        try await fixture.images.delete(image, as: fixture.caller())
        for _ in 0..<2 { try await fixture.images.reconcile() }
        var waits: [Int64] = []
        for attempt in 1...12 {
            let job = try #require(try await fixture.keyJobs().first)
            #expect(job.state == .waiting && job.attempts == Int64(attempt), "\(job)")
            #expect(job.lastError?.contains("unavailable") ?? false)
            #expect(keys.calls.count == attempt)
            waits.append((job.nextAttemptAt.microseconds - fixture.clock.now.microseconds) / 1_000_000)
            fixture.clock.advance(seconds: waits[attempt - 1] + 1)
            try await fixture.images.reconcile()
        }
        #expect(waits[5] > waits[0] && waits[8] >= 256 && waits.allSatisfy { $0 <= 600 }, "\(waits)")
        keys.answer(nil)
        fixture.clock.advance(seconds: 600)
        try await fixture.settle()
        #expect(try await fixture.keyJobs() == [])
        #expect(try await fixture.edges() == [])
    }

    @Test func aKeyThatIsGoneAlreadyIsNoProblem() async throws {
        let fixture = try await fixture()
        let image = try await fixture.imageNaming(key)
        try await fixture.settle()
        keys.answer { _ in .notFound }
        keys.forgetCalls()
        try await fixture.images.delete(image, as: fixture.caller())
        try await fixture.settle()
        #expect(keys.verbs == [.destroy])
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func aRefusalIsParkedAndNotRepeated() async throws {
        let fixture = try await fixture()
        let image = try await fixture.imageNaming(key)
        try await fixture.settle()
        keys.fail(.refused)
        keys.forgetCalls()
        try await fixture.images.delete(image, as: fixture.caller())
        try await fixture.settle()
        fixture.clock.advance(seconds: 86_400)
        try await fixture.settle()
        #expect(keys.verbs == [.destroy])
        let job = try #require(try await fixture.keyJobs().first)
        #expect(job.name == JobName(.releaseKeys, image.rawValue) && job.state == .parked)
        #expect(job.lastError?.contains("refused: scripted") ?? false)
        // An operator has granted what was lacking.
        keys.answer(nil)
        #expect(try await JobAdministration(database: fixture.database, clock: fixture.clock).retryParked() == 1)
        try await fixture.settle()
        #expect(keys.verbs == [.destroy, .destroy])
        #expect(try await fixture.keyJobs() == [])
        #expect(try await fixture.edges() == [])
    }

    /// Anybody may name somebody else's key and delete the image: that must not keep the owner from using the key.
    @Test func aKeyWhoseDestructionWasRefusedCanBeNamedAndIsThenKept() async throws {
        let fixture = try await fixture()
        let theirs = try await fixture.imageNaming(key, as: fixture.caller("p2"))
        try await fixture.settle()
        keys.fail(.refused)
        try await fixture.images.delete(theirs, as: fixture.caller("p2"))
        try await fixture.settle()
        keys.answer(nil)
        keys.forgetCalls()
        let ours = try await fixture.imageNaming(key)
        try await fixture.settle()
        _ = try await JobAdministration(database: fixture.database, clock: fixture.clock).retryParked()
        try await fixture.settle()
        #expect(keys.verbs == [.register, .unregister])
        #expect(try await fixture.edges() == ["\(key) \(ours) held"])
        try await fixture.images.delete(ours, as: fixture.caller())
        try await fixture.settle()
        #expect(keys.calls.last == destroy(key, ours))
    }

    /// A parked job is not tried again, so it must have nothing left that could succeed.
    @Test func aRefusalDoesNotParkWhatMayStillSucceed() async throws {
        let fixture = try await fixture()
        let image = try await fixture.createImage {
            $0.properties = [
                "cinder_encryption_key_id": key.rawValue, "cinder_encryption_key_deletion_policy": "on_image_deletion",
                "os_encrypt_key_id": otherKey.rawValue, "os_encrypt_key_deletion_policy": "on_image_deletion",
            ]
        }.id
        try await fixture.settle()
        keys.answer { [key] call in
            throw KeyManagerError(
                code: call.key == key ? .refused : .unavailable, operation: "destroy", cause: "scripted")
        }
        try await fixture.images.delete(image, as: fixture.caller())
        try await fixture.settle()
        #expect(try await fixture.keyJobs().map(\.state) == [.waiting])
        keys.answer { [key] call in
            guard call.key != key else {
                throw KeyManagerError(code: .refused, operation: "destroy", cause: "scripted")
            }
            return .destroyed
        }
        fixture.clock.advance(seconds: 600)
        try await fixture.settle()
        #expect(try await fixture.keyJobs().map(\.state) == [.parked])
        #expect(try await fixture.edges() == ["\(key) \(image) leaving"])
    }

    // MARK: Recycle bin

    @Test func theRecycleBinKeepsTheKey() async throws {
        let fixture = try await fixture { $0.recycleBinSeconds = 3600 }
        let image = try await fixture.imageNaming(key)
        try await fixture.settle()
        keys.forgetCalls()
        try await fixture.images.delete(image, as: fixture.caller())
        try await fixture.settle()
        #expect(try await fixture.edges() == ["\(key) \(image) held"])
        let bin = RecycleBin(database: fixture.database, clock: fixture.clock, settings: fixture.settings)
        try await bin.undelete(image)
        try await fixture.settle()
        #expect(keys.calls == [])
        let back = try await fixture.images.get(image, as: fixture.caller()).image
        #expect(back.properties[ImageFixture.keyProperty] == key.rawValue)
        try await fixture.images.delete(image, as: fixture.caller())
        fixture.clock.advance(seconds: 3600)
        try await fixture.settle()
        #expect(keys.calls == [destroy(key, image)])
        #expect(try await fixture.edges() == [])
    }

    @Test func anImageInTheBinKeepsTheKeyForOthers() async throws {
        let fixture = try await fixture { $0.recycleBinSeconds = 3600 }
        let (first, second) = (try await fixture.imageNaming(key), try await fixture.imageNaming(key))
        try await fixture.settle()
        keys.forgetCalls()
        for image in [first, second] { try await fixture.images.delete(image, as: fixture.caller()) }
        try await RecycleBin(database: fixture.database, clock: fixture.clock, settings: fixture.settings)
            .discard(first)
        try await fixture.settle()
        #expect(keys.verbs == [.unregister])
        #expect(try await fixture.edges() == ["\(key) \(second) held"])
    }
}
