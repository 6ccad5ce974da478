import Core
import Persistence
import Testing

/// The edges of keys against the images they follow from.
@Suite struct FsckKeyTests {
    struct Damage: Sendable, CustomTestStringConvertible {
        let kind: String
        let isRepairable: Bool
        /// States of the edges after a repair and after what it asked for is done.
        var edgesAfter: [String] = ["held", "held"]
        var also: Set<String> = []
        let make: @Sendable (ImageFixture, _ used: ImageID, _ binned: ImageID) async throws -> Void
        var testDescription: String { kind }
    }

    private static let key: SecretID = "0e0b0c0d-1111-4222-8333-444455556666"
    private static let other: SecretID = "0e0b0c0d-1111-4222-8333-aaaaaaaaaaaa"
    private static let via = "cinder_encryption_key_id"

    private static func edge(
        _ fixture: ImageFixture, _ image: String, _ key: SecretID = other, state: String = "held",
        via: String = FsckKeyTests.via
    ) async throws {
        try await fixture.damage(
            """
            INSERT INTO key_edges (secret_id, service, resource_type, resource_id, via, project, holds, state, destroys,
                created_at)
            VALUES ($1, 'image', 'image', $2, $3, 'p1', 1, $4, CASE WHEN $4 = 'destroying' THEN 1 ELSE 0 END, 1)
            """, key, image, via, state)
    }

    private static func tombstone(_ fixture: ImageFixture) async throws -> ImageID {
        let image = try await fixture.createImage().id
        try await fixture.deleteForGood(image)
        return image
    }

    private static let damages = [
        Damage(kind: "key-edge-missing", isRepairable: true) { fixture, used, _ in
            try await fixture.damage("DELETE FROM key_edges WHERE resource_id = $1", used)
        },
        Damage(kind: "key-edge-missing", isRepairable: true) { fixture, _, binned in
            try await fixture.damage("DELETE FROM key_edges WHERE resource_id = $1", binned)
        },
        Damage(kind: "key-edge-let-go", isRepairable: true) { fixture, used, _ in
            try await fixture.damage(
                "UPDATE key_edges SET state = 'destroying', destroys = 1 WHERE resource_id = $1", used)
        },
        Damage(kind: "key-edge-let-go", isRepairable: true) { fixture, _, binned in
            try await fixture.damage("UPDATE key_edges SET state = 'releasing' WHERE resource_id = $1", binned)
        },
        Damage(kind: "key-edge-of-other", isRepairable: true) { fixture, used, _ in
            try await fixture.damage("UPDATE key_edges SET project = 'p9' WHERE resource_id = $1", used)
        },
        Damage(kind: "key-edge-stray", isRepairable: true) { fixture, used, _ in
            try await edge(fixture, used.rawValue)
        },
        Damage(kind: "key-edge-stray", isRepairable: true) { fixture, used, _ in
            try await edge(fixture, used.rawValue, via: "colour")
        },
        Damage(kind: "key-edge-of-deleted-image", isRepairable: true) { fixture, _, _ in
            try await edge(fixture, try await tombstone(fixture).rawValue)
        },
        Damage(kind: "key-edge-of-missing-image", isRepairable: false, edgesAfter: ["held", "held", "held"]) {
            fixture, _, _ in try await edge(fixture, "nowhere")
        },
        Damage(kind: "release-job-missing", isRepairable: true) { fixture, _, _ in
            try await edge(fixture, try await tombstone(fixture).rawValue, state: "releasing")
        },
        Damage(kind: "release-job-missing", isRepairable: true) { fixture, _, _ in
            try await edge(fixture, try await tombstone(fixture).rawValue, state: "destroying")
        },
        Damage(kind: "secret-overdue", isRepairable: false) { fixture, _, _ in
            let now = fixture.clock.now
            try await fixture.damage(
                """
                INSERT INTO secrets (id, project, creator, secret_type, created_at, updated_at, deleted_at,
                    quarantined_until, deletion_reason)
                VALUES ($1, 'p1', 'u', 'symmetric', 1, 1, 1, $2, 'deleted')
                """, other, now.adding(seconds: -90_000))
        },
    ]

    /// An image in use and one in the recycle bin, which name the same key.
    private func service() async throws -> (ImageFixture, used: ImageID, binned: ImageID) {
        let fixture = try await ImageFixture { $0.recycleBinSeconds = 100_000 }
        func image() async throws -> ImageID {
            try await fixture.createImage { $0.properties[Self.via] = .some(Self.key.rawValue.uppercased()) }.id
        }
        let (used, binned) = (try await image(), try await image())
        try await fixture.images.delete(binned, as: fixture.caller())
        return (fixture, used, binned)
    }

    private func edges(_ fixture: ImageFixture) async throws -> [String] {
        try await fixture.database.read { db in
            try db.query("SELECT state FROM key_edges WHERE holds = 1 ORDER BY state") {
                try $0.get(0, as: String.self)
            }
        }
    }

    @Test(arguments: damages) func damageIsFoundAndRepaired(_ damage: Damage) async throws {
        let (fixture, used, binned) = try await service()
        #expect(try await fixture.fsck().told.findings == [])
        try await damage.make(fixture, used, binned)
        let found = try await fixture.fsck()
        #expect(Set(found.told.kinds) == damage.also.union([damage.kind]))
        for finding in found.told.findings { #expect(!finding.text.isEmpty && !finding.subject.isEmpty) }
        #expect(try await fixture.fsck().told.findings == found.told.findings, "looking changes nothing")
        let repaired = try await fixture.repair()
        #expect((repaired.summary.repaired > 0) == damage.isRepairable, "\(repaired.told.outcomes)")
        #expect((repaired.summary.remaining == 0) == damage.isRepairable, "\(repaired.told.outcomes)")
        #expect((try await fixture.fsck().told.findings == []) == damage.isRepairable)
        try await fixture.images.reconcile()
        #expect((try await fixture.fsck().told.findings == []) == damage.isRepairable)
        #expect(try await edges(fixture) == damage.edgesAfter)
    }

    /// What clients registered follows from no property, and what does not hold is no less an edge.
    @Test func whatIsAsItShouldBeIsNoFinding() async throws {
        let (fixture, used, _) = try await service()
        _ = try await fixture.database.write { db in
            try db.execute(
                """
                INSERT INTO key_edges (secret_id, service, resource_type, resource_id, via, project, holds, state, destroys,
                    created_at)
                VALUES ($1, 'image', 'image', 'nowhere', 'consumer', 'p1', 1, 'held', 0, 1),
                    ($1, 'volume', 'volume', $2, 'consumer', 'p1', 1, 'held', 0, 1)
                """, Self.key, used)
            try db.execute("UPDATE key_edges SET holds = 0 WHERE resource_id = $1 AND via <> 'consumer'", used)
            try db.execute(
                "INSERT INTO image_properties (image_id, name, value) VALUES ($1, 'os_encrypt_key_id', 'no key')", used)
            try db.execute(
                "INSERT INTO image_properties (image_id, name, value) VALUES ($1, 'img_signature_certificate_uuid', NULL)",
                used)
        }
        #expect(try await fixture.fsck().told.findings == [])
    }

    /// From the deletion to the key's release, with the job or bytes that the edges wait for, all is well.
    @Test func anEncryptedImageOnItsWayOutIsNoFinding() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage { $0.properties[Self.via] = .some(Self.key.rawValue) }.id
        try await fixture.upload([1, 2, 3], to: image)
        try await fixture.images.delete(image, as: fixture.caller())
        #expect(try await edges(fixture) == ["releasing"])
        #expect(try await fixture.fsck().told.findings == [])
        try await fixture.images.reconcile()
        #expect(try await fixture.fsck().told.findings == [])
        try await fixture.images.reconcile()
        #expect(try await edges(fixture) == [])
        #expect(try await fixture.fsck().told.findings == [])
    }

    /// A repair asks again: what was put right meanwhile is left.
    @Test func aRepairNeverTakesAnEdgeThatProtects() async throws {
        let (fixture, _, _) = try await service()
        _ = try await fixture.database.write { db in
            try db.execute("UPDATE image_properties SET value = LOWER(value)")
        }
        let result = try await fixture.repair()
        #expect(result.told.findings == [])
        #expect(try await edges(fixture) == ["held", "held"])
    }
}
