import Core
import Foundation
import NIOCore
import Persistence
import Server
import Testing
import Trust

/// Every kind of damage to keys is made by hand and found by its name; and what `keys status` says.
@Suite struct KeyCheckTests {
    struct Damage: Sendable, CustomTestStringConvertible {
        let kinds: [String]
        let sql: String
        var testDescription: String { sql }
    }

    /// The same bytes in hexadecimal, but for one bit.
    private static func flipped(_ hex: String, at place: Int) -> String {
        var digits = Array(hex)
        let value = digits[place * 2 + 1].hexDigitValue ?? 0
        digits[place * 2 + 1] = Character(String(value ^ 1, radix: 16))
        return String(digits)
    }

    struct BitFlip: Sendable, CustomTestStringConvertible {
        let table: String
        let column: String
        let kinds: [String]
        var testDescription: String { "\(table).\(column)" }
    }

    private static let flips = [
        BitFlip(table: "master_keys", column: "canary", kinds: ["canary-broken"]),
        BitFlip(table: "project_keys", column: "wrapped", kinds: ["project-key-broken"]),
        BitFlip(table: "secrets", column: "wrapped_key", kinds: ["secret-key-broken"]),
        BitFlip(table: "secrets", column: "sealed_payload", kinds: ["payload-broken"]),
    ]

    private func fixture() async throws -> KeyRotationFixture {
        let fixture = try await KeyRotationFixture()
        for project: ProjectID in ["p1", "p1", "p2"] { try await fixture.store(project) }
        return fixture
    }

    @Test(arguments: flips) func aFlippedBitIsFound(_ flip: BitFlip) async throws {
        let fixture = try await fixture()
        let condition = flip.table == "master_keys" ? "1 = 1" : "id = (SELECT MIN(id) FROM \(flip.table))"
        let hex = try await fixture.column("SELECT HEX(\(flip.column)) FROM \(flip.table) WHERE \(condition)")[0]
        // Version, nonce, ciphertext and tag alike.
        for place in [0, 1, 12, 13, hex.count / 4, hex.count / 2 - 1] {
            let changed = Self.flipped(hex, at: place)
            _ = try await fixture.database.write {
                try $0.execute("UPDATE \(flip.table) SET \(flip.column) = x'\(changed)' WHERE \(condition)")
            }
            let (findings, summary) = try await fixture.check()
            #expect(findings.map(\.kind) == flip.kinds, "byte \(place)")
            #expect(summary.problems == 1 && summary.exitStatus == 2)
            _ = try await fixture.database.write {
                try $0.execute("UPDATE \(flip.table) SET \(flip.column) = x'\(hex)' WHERE \(condition)")
            }
            #expect(try await fixture.check().findings == [])
        }
    }

    private static let changes = [
        Damage(kinds: ["no-active-master-key"], sql: "UPDATE master_keys SET state = 'retiring'"),
        Damage(kinds: ["project-key-broken"], sql: "UPDATE project_keys SET project = 'p3' WHERE project = 'p1'"),
        Damage(kinds: ["wraps-miscounted"], sql: "UPDATE project_keys SET wraps = 1 WHERE project = 'p1'"),
        Damage(
            kinds: ["wraps-miscounted", "secret-key-broken"],
            sql:
                "UPDATE secrets SET project_key = (SELECT id FROM project_keys WHERE project = 'p1') WHERE project = 'p2'"
        ),
        Damage(kinds: ["secret-key-broken"], sql: "UPDATE secrets SET project = 'p1' WHERE project = 'p2'"),
        Damage(kinds: ["secret-key-broken"], sql: "UPDATE secrets SET id = 'x' WHERE project = 'p2'"),
        // One secret's payload, or wrapped key, in another's place.
        Damage(
            kinds: ["payload-broken"],
            sql: """
                UPDATE secrets SET sealed_payload = (SELECT sealed_payload FROM secrets WHERE project = 'p2')
                WHERE id = (SELECT MIN(id) FROM secrets WHERE project = 'p1')
                """),
        Damage(
            kinds: ["secret-key-broken"],
            sql: """
                UPDATE secrets SET wrapped_key = (SELECT MAX(wrapped_key) FROM secrets t WHERE t.project = 'p1'
                    AND t.wrapped_key <> secrets.wrapped_key)
                WHERE id = (SELECT MIN(id) FROM secrets WHERE project = 'p1')
                """),
    ]

    @Test(arguments: changes) func whatStandsInAnothersPlaceIsFound(_ damage: Damage) async throws {
        let fixture = try await fixture()
        let changed = try await fixture.database.write { try $0.execute(damage.sql) }
        #expect(changed >= 1)
        let (findings, summary) = try await fixture.check()
        #expect(findings.map(\.kind) == damage.kinds)
        #expect(summary.exitStatus == 2)
        for finding in findings { #expect(!finding.text.isEmpty && !finding.advice.isEmpty) }
    }

    @Test func aMasterKeyThatIsMissingOrAnothersIsFound() async throws {
        let fixture = try await fixture()
        let id = try fixture.fileIDs()[0]
        try MasterKeys([MasterKeys.make()]).replace(path: fixture.path)
        let (findings, summary) = try await fixture.check()
        #expect(findings == [.masterKeyMissing(id, projectKeys: 2)])
        #expect(summary.isIncomplete && summary.exitStatus == 3)
        try FileManager.default.removeItem(atPath: fixture.path)
        await #expect(throws: MasterKeys.Failure.self) { try await fixture.check() }
    }

    /// A database whose rows are those of a master key that was left out of the file by a mistake.
    @Test func oneOfTwoMasterKeysMissingHidesOnlyWhatItWraps() async throws {
        let fixture = try await fixture()
        let database = HookedDatabase(fixture.database, before: 3) { throw Crash() }
        await #expect(throws: Crash.self) { try await fixture.rotateMaster(database) }
        let keys = try MasterKeys.load(path: fixture.path).keys
        #expect(keys.count == 2)
        try await fixture.store("p9")
        try MasterKeys([keys[0]]).replace(path: fixture.path)
        let broken = try await fixture.column("SELECT id FROM secrets WHERE project = 'p9'")[0]
        _ = try await fixture.database.write {
            try $0.execute("UPDATE secrets SET sealed_payload = x'00' WHERE project = 'p9'")
        }
        let (findings, summary) = try await fixture.check()
        #expect(findings.first?.kind == "master-key-missing" && summary.isIncomplete)
        #expect(findings.dropFirst() == [.payloadBroken(SecretID(broken))])
    }

    @Test func deletedSecretsAreOpenedToo() async throws {
        let fixture = try await fixture()
        let id = try await fixture.store("p1")
        try await fixture.delete(id)
        #expect(try await fixture.check().summary.secrets == 4)
        _ = try await fixture.database.write {
            try $0.execute("UPDATE secrets SET sealed_payload = x'00' WHERE id = $1", id)
        }
        #expect(try await fixture.check().findings == [.payloadBroken(id)])
    }

    @Test func linesNameIdsAndNothingElse() throws {
        let finding = KeyFinding.payloadBroken("s-1")
        #expect(
            KeyCheckReport(isJSON: false).line(finding)
                == "error: secret s-1: its payload does not open: the row was changed [payload-broken]: "
                + "restore the row from a backup of the database")
        let json = try JSONValue(parsing: ByteBuffer(string: KeyCheckReport(isJSON: true).line(finding)))
        #expect(json["kind"] == "payload-broken" && json["subject"] == "secret s-1")
    }

    private func status(_ fixture: KeyRotationFixture) async throws -> KeyStatusReport {
        let file = try MasterKeys.load(path: fixture.path)
        return KeyStatusReport(
            status: try await KeyStatus.read(fixture.database, file: file, now: fixture.clock.now), fileProblem: nil)
    }

    @Test func statusSaysWhatThereIsAndWhatToDo() async throws {
        let fixture = try await fixture()
        let master = try fixture.fileIDs()[0]
        let calm = try await status(fixture)
        #expect(calm.warnings == [])
        #expect(calm.status.masterKeys.map(\.id) == [master] && calm.status.masterKeys[0].projectKeys == 2)
        #expect(calm.status.projectKeyCount == 2 && calm.status.mostWraps == 2)
        #expect(calm.status.counts.numbers == [3, 0, 0])
        let held = try await fixture.store("p1")
        try await fixture.delete(held)
        let project = try await fixture.column("SELECT id FROM project_keys WHERE project = 'p2'")[0]
        _ = try await fixture.database.write { db in
            try db.execute(
                """
                INSERT INTO key_edges (secret_id, service, resource_type, resource_id, via, holds, state, destroys, created_at)
                VALUES ($1, 'volume', 'volume', 'v', 'consumer', 1, 'held', 0, 1)
                """, held)
            try db.execute("UPDATE project_keys SET wraps = $1 WHERE id = $2", KeyStatus.manyWraps, project)
            try db.execute("UPDATE project_keys SET state = 'retiring' WHERE project = 'p1'")
        }
        fixture.clock.advance(seconds: 2000)
        let database = HookedDatabase(fixture.database, before: 3) { throw Crash() }
        await #expect(throws: Crash.self) { try await fixture.rotateMaster(database) }
        try MasterKeys([MasterKeys.load(path: fixture.path).first, MasterKeys.make()]).replace(path: fixture.path)
        let report = try await status(fixture)
        #expect(report.status.counts.numbers == [3, 1, 1])
        #expect(report.status.masterKeys.map(\.state) == ["active", "retiring", nil])
        let expected = [
            "the master key \(master) is not in the master key file", "a rotation of the master key",
            "a rotation of project p1", "the key of project p2 wrapped 1073741824 times", "1 deleted keys are kept",
        ]
        #expect(report.warnings.count == expected.count)
        for (warning, start) in zip(report.warnings, expected) { #expect(warning.hasPrefix(start), "\(warning)") }
        #expect(report.text.contains("warning: the key of project p2"))
        let json = try JSONValue(parsing: ByteBuffer(string: report.json))
        #expect(json["warnings"]?.arrayValue?.count == 5 && json["held_past_time"] == 1)
        let blind = KeyStatusReport(status: report.status, fileProblem: "it is away")
        #expect(blind.warnings.first == "it is away" && !blind.warnings.contains { $0.contains("put the line") })
    }
}
