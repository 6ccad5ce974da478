import Core
import Persistence
import Synchronization
import Testing

/// What a key manager of its own is told of the keys that images name (rule K4).
@Suite struct RegisterKeysTests {
    private let key: SecretID = "5ec4e711-0000-4000-8000-000000000001"
    private let otherKey: SecretID = "5ec4e711-0000-4000-8000-000000000002"
    private let keys = ScriptedKeyManager()

    private func call(
        _ verb: ScriptedKeyManager.Verb, _ key: SecretID, _ image: ImageID, _ project: ProjectID = "p1"
    ) -> ScriptedKeyManager.Call {
        ScriptedKeyManager.Call(verb: verb, key: key, image: image.rawValue, project: project)
    }

    @Test func aNewImageIsRegistered() async throws {
        let fixture = try await ImageFixture(keys: keys)
        let image = try await fixture.imageNaming(key)
        #expect(try await fixture.keyJobs().map(\.name) == [JobName(.registerKey, "\(key) \(image)")])
        try await fixture.settle()
        #expect(keys.calls == [call(.register, key, image)])
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func aChangedImageIsRegisteredWithTheNewKeyAndNotWithTheOld() async throws {
        let fixture = try await ImageFixture(keys: keys)
        let image = try await fixture.createImage().id
        try await fixture.settle()
        #expect(keys.calls == [])
        try await fixture.set(ImageFixture.keyProperty, to: key.rawValue, of: image)
        try await fixture.settle()
        #expect(keys.calls == [call(.register, key, image)])
        keys.forgetCalls()
        try await fixture.set("name", to: "another", of: image)
        try await fixture.set(ImageFixture.policyProperty, to: "on_image_deletion", of: image)
        try await fixture.settle()
        #expect(keys.calls == [])
        try await fixture.set(ImageFixture.keyProperty, to: otherKey.rawValue.uppercased(), of: image)
        try await fixture.settle()
        #expect(Set(keys.calls) == [call(.unregister, key, image), call(.register, otherKey, image)])
        keys.forgetCalls()
        try await fixture.set(ImageFixture.keyProperty, to: nil, of: image)
        try await fixture.settle()
        #expect(keys.calls == [call(.unregister, otherKey, image)])
        #expect(try await fixture.edges() == [])
    }

    /// The server hung in the middle of a registration; meanwhile another one had the job, the image let go of the key,
    /// and that was told as well.
    @Test func aRegistrationThatComesLateIsTakenBack() async throws {
        let fixture = try await ImageFixture(keys: keys)
        let image = try await fixture.imageNaming(key)
        keys.answer { call in
            if call.verb == .register {
                try await fixture.set(ImageFixture.keyProperty, to: nil, of: image)
                _ = try await fixture.database.write { db in
                    try db.execute("DELETE FROM jobs WHERE kind = 'register-key'")
                }
            }
            return .destroyed
        }
        try await fixture.settle()
        #expect(keys.calls == [call(.register, key, image), call(.unregister, key, image)])
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func aKeyThatTwoPropertiesNameIsNeededUntilNeitherDoes() async throws {
        let fixture = try await ImageFixture(keys: keys)
        let image = try await fixture.imageNaming(key)
        try await fixture.set("os_encrypt_key_id", to: key.rawValue, of: image)
        try await fixture.set(ImageFixture.keyProperty, to: nil, of: image)
        try await fixture.settle()
        #expect(keys.verbs.allSatisfy { $0 == .register })
        try await fixture.set("os_encrypt_key_id", to: nil, of: image)
        try await fixture.settle()
        #expect(keys.verbs.last == .unregister)
    }

    /// The job that asks for it again finds it running, and adds nothing.
    @Test(arguments: [false, true])
    func aChangeOfMindDuringTheCallIsNotLost(_ isUnknown: Bool) async throws {
        let fixture = try await ImageFixture(keys: keys)
        let image = try await fixture.imageNaming(key)
        keys.answer { call in
            guard call.verb == .register else { return .destroyed }
            do {
                try await fixture.set(ImageFixture.keyProperty, to: nil, of: image)
            } catch {
                Issue.record(error)
            }
            if isUnknown { throw KeyManagerError(code: .notFound, operation: "register", cause: "scripted") }
            return .destroyed
        }
        try await fixture.settle()
        #expect(keys.verbs == [.register, .unregister])
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func twoChangesOfMindAreNone() async throws {
        let fixture = try await ImageFixture(keys: keys)
        let image = try await fixture.imageNaming(key)
        let (keys, key) = (keys, key)
        keys.answer { call in
            guard keys.calls.count == 1 else { return .destroyed }
            do {
                try await fixture.set(ImageFixture.keyProperty, to: nil, of: image)
                try await fixture.set(ImageFixture.keyProperty, to: key.rawValue, of: image)
            } catch {
                Issue.record(error)
            }
            return .destroyed
        }
        try await fixture.settle()
        #expect(keys.verbs == [.register])
        #expect(try await fixture.edges() == ["\(key) \(image) held"])
    }

    /// The registration is under way when the image goes, whose key stays: what it registered is undone.
    @Test func anImageDeletedDuringTheCallIsNotLeftRegistered() async throws {
        let fixture = try await ImageFixture(keys: keys)
        let image = try await fixture.imageNaming(key, policy: nil, bytes: nil)
        keys.answer { call in
            guard call.verb == .register else { return .destroyed }
            do {
                try await fixture.images.delete(image, as: fixture.caller())
                try await fixture.restarted().reconcile()
            } catch {
                Issue.record(error)
            }
            return .destroyed
        }
        try await fixture.settle()
        #expect(keys.verbs.first == .register)
        #expect(keys.verbs.last == .unregister)
        #expect(try await fixture.edges() == [])
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func anUnknownKeyIsNoProblem() async throws {
        let fixture = try await ImageFixture(keys: keys)
        _ = try await fixture.imageNaming(key)
        keys.fail(.notFound)
        try await fixture.settle()
        #expect(keys.verbs == [.register])
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func aRefusalIsParkedAndShowsWhatToDo() async throws {
        let fixture = try await ImageFixture(keys: keys)
        let image = try await fixture.imageNaming(key)
        keys.fail(.refused)
        try await fixture.settle()
        fixture.clock.advance(seconds: 86_400)
        try await fixture.settle()
        #expect(keys.verbs == [.register])
        let administration = JobAdministration(database: fixture.database, clock: fixture.clock)
        let job = try #require(try await administration.job(JobName(.registerKey, "\(key) \(image)")))
        #expect(job.state == .parked)
        #expect(job.lastError?.contains("scripted") ?? false)
        keys.answer(nil)
        try await administration.retry(job.name)
        try await fixture.settle()
        #expect(keys.verbs == [.register, .register])
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func aKeyManagerThatIsAwayIsAskedAgain() async throws {
        let fixture = try await ImageFixture(keys: keys)
        _ = try await fixture.imageNaming(key)
        keys.fail(.unavailable)
        for attempt in 1...10 {
            try await fixture.images.reconcile()
            let job = try #require(try await fixture.keyJobs().first)
            #expect(job.state == .waiting && job.attempts == Int64(attempt))
            fixture.clock.advance(seconds: 600)
        }
        keys.answer(nil)
        try await fixture.settle()
        #expect(try await fixture.keyJobs() == [])
    }

    @Test func anEdgeThatDoesNotHoldIsNotRegistered() async throws {
        let fixture = try await ImageFixture(keys: keys)
        try await fixture.addSecret(key, in: "p2")
        let image = try await fixture.imageNaming(key)
        try await fixture.settle()
        #expect(!keys.calls.contains(call(.register, key, image)))
    }

    // MARK: At the start

    private func named(_ count: Int, in fixture: ImageFixture) async throws -> [ImageID] {
        var images: [ImageID] = []
        for _ in 0..<count { images.append(try await fixture.imageNaming(key, bytes: nil)) }
        return images
    }

    /// What was named while nobody was to be told.
    @Test func atTheStartEverythingThatIsNeededIsRegistered() async throws {
        let before = try await ImageFixture()
        let images = try await named(3, in: before)
        let gone = try await before.imageNaming(otherKey)
        try await before.images.delete(gone, as: before.caller())
        let theirs = try await before.imageNaming(otherKey, as: before.caller("p2"), bytes: nil)
        let after = Images(
            database: before.database, stores: StoreSet([before.store], default: "local"),
            surroundings: before.surroundings, settings: before.settings, keys: keys, seal: ImageFixture.seal,
            instance: "another",
            logger: .silent)
        #expect(try await after.registerKeys() == 4)
        #expect(try await after.registerKeys() == 4)
        #expect(try await before.keyJobs().count { $0.name.kind == .registerKey } == 4)
        try await after.reconcile()
        #expect(
            Set(keys.calls.filter { $0.verb == .register })
                == Set(images.map { call(.register, key, $0) } + [call(.register, otherKey, theirs, "p2")]))
    }

    @Test func manyAreRegisteredInBatches() async throws {
        let fixture = try await ImageFixture()
        let count = 1203
        let now = fixture.clock.now
        try await fixture.database.write { db in
            for index in 0..<count {
                for via in index % 3 == 0 ? ["a", "b"] : ["a"] {
                    try db.execute(
                        """
                        INSERT INTO key_edges (secret_id, service, resource_type, resource_id, via, project, holds,
                            state, destroys, created_at)
                        VALUES ($1, 'image', 'image', $2, $3, 'p1', 1, 'held', 0, $4)
                        """, "key-\(index / 7)", "image-\(index)", via, now)
                }
            }
        }
        let after = Images(
            database: fixture.database, stores: StoreSet([fixture.store], default: "local"),
            surroundings: fixture.surroundings, settings: fixture.settings, keys: keys, seal: ImageFixture.seal,
            instance: "another",
            logger: .silent)
        #expect(try await after.registerKeys() == count)
        let jobs = try await fixture.database.read { db in
            try db.first("SELECT COUNT(*) FROM jobs WHERE kind = 'register-key'") { try $0.get(0, as: Int.self) }
        }
        #expect(jobs == count)
    }

    @Test func whoReadsTheEdgesIsNotToldAtTheStart() async throws {
        let fixture = try await ImageFixture(keys: ScriptedKeyManager(keepsOwnConsumers: false))
        _ = try await named(2, in: fixture)
        #expect(try await fixture.images.registerKeys() == 0)
        #expect(try await fixture.keyJobs() == [])
    }
}
