import Core
import Foundation
import Persistence
import Testing
import Trust

@Suite struct MasterKeyRotationTests {
    /// Five projects, so that there are several batches.
    private func fixture() async throws -> KeyRotationFixture {
        let fixture = try await KeyRotationFixture()
        for number in 0..<5 { try await fixture.store(ProjectID("p\(number)")) }
        return fixture
    }

    /// What must hold at any moment: everything is read by a server that runs and by one that starts.
    private func requireAllWell(_ fixture: KeyRotationFixture, _ comment: Comment? = nil) async throws {
        #expect(try await fixture.unreadable() == [], comment)
        #expect(try await fixture.unreadable(by: try await fixture.restarted()) == [], comment)
        #expect(try await fixture.check().findings == [], comment)
    }

    private func requireDone(_ fixture: KeyRotationFixture, _ outcome: RotateMasterKey.Outcome) async throws {
        #expect(try await fixture.masterRows() == ["\(outcome.active) active"])
        #expect(try fixture.fileIDs() == [outcome.active])
    }

    @Test func everythingIsWrappedByTheNewKeyAndTheOldOneIsGone() async throws {
        let fixture = try await fixture()
        let old = try fixture.fileIDs()
        let payloads = try await fixture.column(
            "SELECT HEX(sealed_payload) || HEX(wrapped_key) FROM secrets ORDER BY id")
        let outcome = try await fixture.rotateMaster()
        #expect(outcome.rewrapped == 5 && outcome.dropped == old && !outcome.wasUnderWay)
        #expect(outcome.active != old[0])
        try await requireDone(fixture, outcome)
        try await requireAllWell(fixture)
        let after = try await fixture.column("SELECT HEX(sealed_payload) || HEX(wrapped_key) FROM secrets ORDER BY id")
        #expect(after == payloads, "secrets are not touched")
        try await fixture.store("another")
        try await requireAllWell(fixture)
        var status = stat()
        #expect(stat(fixture.path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    }

    /// Cut off before its every transaction: servers go on storing and reading, and the next run ends it.
    @Test func cutOffAnywhereItGoesOn() async throws {
        for place in 0..<100 {
            let fixture = try await fixture()
            let database = HookedDatabase(fixture.database, before: place) { throw Crash() }
            do {
                _ = try await fixture.rotateMaster(database)
                #expect(!database.wasReached)
                #expect(place > 10, "it has more steps than that")
                return
            } catch is Crash {}
            try await requireAllWell(fixture, "before transaction \(place)")
            try await fixture.store("p1")
            try await fixture.store("during")
            try await fixture.store("during too", by: try await fixture.restarted())
            try await requireAllWell(fixture, "before transaction \(place), with what was stored since")
            let made = try fixture.fileIDs()
            let rows = try await fixture.masterRows()
            let isUnderWay = rows.count > 1
            let outcome = try await fixture.rotateMaster()
            #expect(
                outcome.wasUnderWay == (isUnderWay || made.count > rows.count && !rows.contains("\(made[0]) active")))
            if outcome.wasUnderWay {
                #expect(outcome.active == made[0], "the key that was made is the one that is used")
            }
            try await requireDone(fixture, outcome)
            try await requireAllWell(fixture, "resumed after transaction \(place)")
        }
        Issue.record("it never ends")
    }

    /// Another rotation from its beginning to its end between any two steps of one.
    @Test func anotherRotationMayComeBetweenAnyTwoSteps() async throws {
        for place in 0..<100 {
            let fixture = try await fixture()
            let database = HookedDatabase(fixture.database, before: place) { _ = try await fixture.rotateMaster() }
            do {
                _ = try await fixture.rotateMaster(database)
            } catch KeyRotationError.overtaken {}
            try await requireAllWell(fixture, "before transaction \(place)")
            let outcome = try await fixture.rotateMaster()
            try await requireDone(fixture, outcome)
            try await requireAllWell(fixture, "after the third rotation, \(place)")
            if !database.wasReached { return }
        }
        Issue.record("it never ends")
    }

    @Test func twoAtOnceDoNotHarmEachOther() async throws {
        for round in 0..<5 {
            let fixture = try await fixture()
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<3 {
                    group.addTask {
                        do {
                            _ = try await fixture.rotateMaster()
                        } catch KeyRotationError.overtaken {
                        } catch {
                            Issue.record(error, "round \(round)")
                        }
                    }
                }
            }
            try await requireAllWell(fixture)
            try await requireDone(fixture, try await fixture.rotateMaster())
            try await requireAllWell(fixture)
        }
    }

    /// A server goes on as if nothing were, in projects with a key and in new ones.
    @Test func serversStoreAndReadMeanwhile() async throws {
        let fixture = try await fixture()
        let end = Flag()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<2 {
                group.addTask {
                    var number = 0
                    while !end.isRaised, number < 40 {
                        try await fixture.store(
                            ProjectID(number.isMultiple(of: 2) ? "p\(number % 5)" : "new-\(worker)-\(number)"))
                        number += 1
                        #expect(try await fixture.unreadable() == [])
                    }
                }
            }
            for _ in 0..<6 {
                _ = try await fixture.rotateMaster()
                _ = try await fixture.rotateProjects(batch: 20)
            }
            end.raise()
            try await group.waitForAll()
        }
        #expect(fixture.storedCount > 10)
        try await requireAllWell(fixture)
        try await requireDone(fixture, try await fixture.rotateMaster())
    }

    @Test func aKeyThatCannotBeReadKeepsTheOldMaster() async throws {
        let fixture = try await fixture()
        let old = try fixture.fileIDs()[0]
        let id = try await fixture.column("SELECT id FROM project_keys WHERE project = 'p2'")[0]
        let wrapped = try await fixture.column("SELECT HEX(wrapped) FROM project_keys WHERE project = 'p2'")[0]
        _ = try await fixture.database.write { db in
            try db.execute("UPDATE project_keys SET wrapped = x'00' WHERE project = 'p2'")
        }
        for _ in 0..<2 {
            await #expect(throws: KeyRotationError.unreadable(["\(KeyVaultError.brokenProjectKey(ProjectKeyID(id)))"]))
            {
                try await fixture.rotateMaster()
            }
            #expect(try fixture.fileIDs().count == 2, "a failure makes no further keys")
            #expect(try fixture.fileIDs()[1] == old)
            #expect(try await fixture.masterRows().count == 2)
            #expect(try await fixture.column("SELECT project FROM project_keys WHERE master_key = '\(old)'") == ["p2"])
        }
        _ = try await fixture.database.write { db in
            try db.execute("UPDATE project_keys SET wrapped = x'\(wrapped)' WHERE project = 'p2'")
        }
        let outcome = try await fixture.rotateMaster()
        #expect(outcome.wasUnderWay && outcome.dropped == [old] && outcome.rewrapped == 1)
        try await requireDone(fixture, outcome)
        try await requireAllWell(fixture)
    }

    @Test func aFileThatIsNotTheDatabasesChangesNothing() async throws {
        let fixture = try await fixture()
        let aside = fixture.path + ".aside"
        try FileManager.default.moveItem(atPath: fixture.path, toPath: aside)
        #expect(throws: MasterKeys.Failure.self) {
            try RotateMasterKey(database: fixture.database, surroundings: fixture.surroundings, path: fixture.path)
        }
        let other = try MasterKeys.create(path: fixture.path)
        await #expect(throws: KeyVaultError.self) { try await fixture.rotateMaster() }
        #expect(try fixture.fileIDs() == other.keys.map(\.id))
        #expect(try await fixture.masterRows().count == 1)
        try FileManager.default.removeItem(atPath: fixture.path)
        try FileManager.default.moveItem(atPath: aside, toPath: fixture.path)
        try await requireAllWell(fixture)
    }

    /// A key that an operator put in front, made elsewhere, is the one that is used.
    @Test func aKeyInFrontOfTheActiveOneIsTaken() async throws {
        let fixture = try await fixture()
        let own = MasterKeys.make()
        try MasterKeys([own] + MasterKeys.load(path: fixture.path).keys).replace(path: fixture.path)
        let outcome = try await fixture.rotateMaster()
        #expect(outcome.active == own.id)
        try await requireDone(fixture, outcome)
        try await requireAllWell(fixture)
    }

    @Test func updatesOfTheFileLoseNoKey() async throws {
        let fixture = try await KeyRotationFixture()
        let path = fixture.path
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    for _ in 0..<10 {
                        try MasterKeys.update(path: path) { MasterKeys([MasterKeys.make()] + $0.keys) }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try fixture.fileIDs().count == 41)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: fixture.directory.path).filter { $0.hasSuffix(".new") }
                == [])
    }

    @Test func withoutAnyMasterKeyThereIsNothingToRotate() async throws {
        let fixture = try await KeyRotationFixture()
        _ = try await fixture.database.write { try $0.execute("DELETE FROM master_keys") }
        await #expect(throws: KeyRotationError.noMasterKeyYet) { try await fixture.rotateMaster() }
        #expect(try fixture.fileIDs().count == 1)
    }
}
