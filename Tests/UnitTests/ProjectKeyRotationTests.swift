import Core
import Persistence
import Testing
import Trust

@Suite struct ProjectKeyRotationTests {
    private func fixture() async throws -> KeyRotationFixture {
        let fixture = try await KeyRotationFixture()
        for _ in 0..<5 { try await fixture.store("p1") }
        try await fixture.store("p2")
        return fixture
    }

    private func requireAllWell(_ fixture: KeyRotationFixture, _ comment: Comment? = nil) async throws {
        #expect(try await fixture.unreadable() == [], comment)
        #expect(try await fixture.check().findings == [], comment)
    }

    private func keys(_ fixture: KeyRotationFixture, _ project: String = "p1") async throws -> [String] {
        try await fixture.column("SELECT id FROM project_keys WHERE project = '\(project)'")
    }

    @Test func secretsGetTheNewKeyAndKeepTheirPayloads() async throws {
        let fixture = try await fixture()
        let deleted = try await fixture.store("p1")
        try await fixture.delete(deleted)
        let (old, others) = (try await keys(fixture), try await keys(fixture, "p2"))
        let payloads = try await fixture.column("SELECT HEX(sealed_payload) || updated_at FROM secrets ORDER BY id")
        let outcome = try await fixture.rotateProjects(.only("p1"))
        #expect(outcome.projects == 1 && outcome.rewrapped == 6 && outcome.dropped == 1)
        let new = try await keys(fixture)
        #expect(new.count == 1 && new != old)
        #expect(try await keys(fixture, "p2") == others)
        #expect(
            try await fixture.column("SELECT HEX(sealed_payload) || updated_at FROM secrets ORDER BY id") == payloads)
        #expect(try await fixture.column("SELECT wraps || '' FROM project_keys WHERE project = 'p1'") == ["6"])
        try await requireAllWell(fixture, "what is in quarantine included")
        await #expect(throws: KeyRotationError.noKeyOfProject("p9")) { try await fixture.rotateProjects(.only("p9")) }
        let all = try await fixture.rotateProjects()
        #expect(all.projects == 2 && all.rewrapped == 7 && all.dropped == 2)
        try await requireAllWell(fixture)
    }

    @Test func cutOffAnywhereItGoesOn() async throws {
        for place in 0..<100 {
            let fixture = try await fixture()
            let database = HookedDatabase(fixture.database, before: place) { throw Crash() }
            do {
                _ = try await fixture.rotateProjects(.only("p1"), database)
                #expect(!database.wasReached && place > 5)
                return
            } catch is Crash {}
            try await requireAllWell(fixture, "before transaction \(place)")
            try await fixture.store("p1")
            _ = try await fixture.rotateProjects(.only("p1"))
            #expect(try await keys(fixture).count == 1)
            try await requireAllWell(fixture, "resumed after transaction \(place)")
        }
        Issue.record("it never ends")
    }

    /// A store's transaction between any two of the rotation's. What it was prepared with is from before.
    @Test func aSecretStoredBetweenAnyTwoStepsIsNotLost() async throws {
        for place in 0..<100 {
            let fixture = try await fixture()
            let database = HookedDatabase(fixture.database, before: place) { try await fixture.store("p1") }
            let outcome = try await fixture.rotateProjects(.only("p1"), database)
            guard database.wasReached else { return }
            #expect(fixture.storedCount == 7 && outcome.dropped == 1)
            let left = try await fixture.column(
                """
                SELECT s.id FROM secrets s JOIN project_keys k ON k.id = s.project_key WHERE k.state <> 'active'
                """)
            #expect(left == [] && outcome.rewrapped >= 5)
            try await requireAllWell(fixture, "before transaction \(place)")
        }
        Issue.record("it never ends")
    }

    @Test func anotherRotationMayComeBetweenAnyTwoSteps() async throws {
        for place in 0..<100 {
            let fixture = try await fixture()
            let database = HookedDatabase(fixture.database, before: place) {
                _ = try await fixture.rotateProjects(.only("p1"))
                _ = try await fixture.rotateMaster()
            }
            do {
                _ = try await fixture.rotateProjects(.only("p1"), database)
            } catch KeyRotationError.overtaken {}
            try await requireAllWell(fixture, "before transaction \(place)")
            _ = try await fixture.rotateProjects(.only("p1"))
            #expect(try await keys(fixture).count == 1)
            try await requireAllWell(fixture)
            if !database.wasReached { return }
        }
        Issue.record("it never ends")
    }

    @Test func oneSecretThatCannotBeReadKeepsItsProjectsOldKeyAlone() async throws {
        let fixture = try await fixture()
        let broken = try await fixture.column("SELECT id FROM secrets WHERE project = 'p1' ORDER BY id")[2]
        let old = try await keys(fixture)
        _ = try await fixture.database.write { db in
            try db.execute("UPDATE secrets SET wrapped_key = x'00' WHERE id = $1", broken)
        }
        for _ in 0..<2 {
            await #expect(throws: KeyRotationError.unreadable(["\(KeyVaultError.brokenSecret(SecretID(broken)))"])) {
                try await fixture.rotateProjects()
            }
        }
        #expect(try await fixture.column("SELECT id FROM secrets WHERE project_key = '\(old[0])'") == [broken])
        #expect(try await keys(fixture).count == 2)
        #expect(try await keys(fixture, "p2").count == 1)
        #expect(try await fixture.unreadable() == [SecretID(broken)])
        // Once it is gone, the rest can be done.
        _ = try await fixture.database.write { try $0.execute("DELETE FROM secrets WHERE id = $1", broken) }
        let outcome = try await fixture.rotateProjects()
        #expect(outcome.projects == 2)
        #expect(try await keys(fixture).count == 1)
    }

    @Test func twoAtOnceAndServersMeanwhile() async throws {
        let fixture = try await fixture()
        let end = Flag()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                // Not for ever: each rotation has as much to do as was stored by then.
                for _ in 0..<100 where !end.isRaised { try await fixture.store("p1") }
            }
            try await withThrowingTaskGroup(of: Void.self) { rotations in
                for _ in 0..<2 {
                    rotations.addTask {
                        for _ in 0..<8 {
                            do {
                                _ = try await fixture.rotateProjects(batch: 10)
                            } catch KeyRotationError.overtaken {
                            } catch KeyRotationError.stillNeeded {
                            }
                        }
                    }
                }
                try await rotations.waitForAll()
            }
            end.raise()
            try await group.waitForAll()
        }
        try await requireAllWell(fixture)
        _ = try await fixture.rotateProjects()
        #expect(try await keys(fixture).count == 1)
        try await requireAllWell(fixture)
    }
}
