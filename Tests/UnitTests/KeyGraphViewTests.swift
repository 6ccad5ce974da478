import API
import Core
import NIOCore
import Persistence
import Server
import Testing

/// What breaks if a key goes, and how deleted keys come back or go for good.
@Suite struct KeyGraphViewTests {
    private static let key: SecretID = "0e0b0c0d-1111-4222-8333-444455556666"

    private func addSecret(
        _ fixture: ImageFixture, _ id: SecretID = key, name: String? = "disk", project: ProjectID = "p1"
    )
        async throws
    {
        let now = fixture.clock.now
        _ = try await fixture.database.write { db in
            try db.execute(
                """
                INSERT INTO secrets (id, project, creator, name, secret_type, created_at, updated_at)
                VALUES ($1, $2, 'u', $3, 'symmetric', $4, $4)
                """, id, project, name, now)
        }
    }

    private func delete(_ fixture: ImageFixture, _ id: SecretID = key, seconds: Int64 = 100) async throws {
        let now = fixture.clock.now
        _ = try await fixture.database.write { db in
            try db.execute(
                "UPDATE secrets SET deleted_at = $1, quarantined_until = $2, deletion_reason = 'deleted' WHERE id = $3",
                now, now.adding(seconds: seconds), id)
        }
    }

    private func encryptedImage(_ fixture: ImageFixture, _ name: String, as caller: Caller? = nil) async throws
        -> ImageID
    {
        try await fixture.createImage(
            {
                $0.name = name
                $0.properties["cinder_encryption_key_id"] = .some(Self.key.rawValue)
                $0.properties["cinder_encryption_key_deletion_policy"] = .some("on_image_deletion")
            }, as: caller
        ).id
    }

    private func register(_ fixture: ImageFixture, _ resource: String, service: String = "volume") async throws {
        _ = try await fixture.database.write { db in
            try db.execute(
                """
                INSERT INTO key_edges (secret_id, service, resource_type, resource_id, via, project, holds, state, destroys,
                    created_at)
                VALUES ($1, $2, $2, $3, 'consumer', 'p1', 1, 'held', 0, $4)
                """, Self.key, service, resource, fixture.clock.now)
        }
    }

    @Test func whatNamesTheKeyIsShownWithWhatItIs() async throws {
        let fixture = try await ImageFixture { $0.recycleBinSeconds = 1000 }
        try await addSecret(fixture)
        let used = try await encryptedImage(fixture, "used")
        fixture.clock.advance(seconds: 1)
        let binned = try await encryptedImage(fixture, "binned")
        try await fixture.images.delete(binned, as: fixture.caller())
        fixture.clock.advance(seconds: 1)
        let stranger = try await encryptedImage(fixture, "\u{1b}[31mred", as: fixture.caller("p2"))
        fixture.clock.advance(seconds: 1)
        try await register(fixture, "v-1")
        _ = try await fixture.database.write { db in
            try db.execute(
                """
                INSERT INTO secret_containers (id, project, creator, name, type, created_at, updated_at)
                VALUES ('c-1', 'p1', 'u', 'pair', 'generic', 1, 1)
                """)
            try db.execute(
                "INSERT INTO secret_container_members (container_id, secret_id, name) VALUES ('c-1', $1, 'key')",
                Self.key)
        }
        try await delete(fixture)
        let graph = try await OperatorView(fixture.images).keyGraph(Self.key, as: fixture.admin)
        #expect(graph.edges.map(\.edge.consumer.resourceID) == [used, binned, stranger].map(\.rawValue) + ["v-1"])
        #expect(graph.edges.map(\.edge.holds) == [true, true, false, true])
        #expect(graph.edges.map { $0.image?.name } == ["used", "binned", "\u{1b}[31mred", nil])
        #expect(graph.edges.map { $0.image?.owner } == ["p1", "p1", "p2", nil])
        #expect(graph.edges.map { $0.image?.recycledUntil != nil } == [false, true, false, false])
        #expect(graph.needing.count == 3)
        #expect(graph.containers.map(\.member) == ["key"])
        #expect(
            graph.secret?.reason == .deleted && graph.secret?.quarantinedUntil == fixture.clock.now.adding(seconds: 100)
        )

        let lines = KeyTree.text(graph).split(separator: "\n").map(String.init)
        #expect(lines.count == 7)
        #expect(lines[0].hasPrefix("key \(Self.key): symmetric of project p1 \"disk\", without a payload, deleted "))
        #expect(lines[1] == "├── image \(used) \"used\" (queued, project p1), cinder_encryption_key_id: needs it")
        #expect(lines[2].contains("in the recycle bin until"))
        #expect(lines[3].contains("\u{fffd}[31mred") && lines[3].hasSuffix("keeps nothing"))
        #expect(lines[4] == "├── volume volume v-1, registered by project p1: needs it")
        #expect(lines[5] == "└── container c-1 \"pair\" has it as \"key\", and keeps nothing")
        #expect(lines[6] == "If it goes, the 3 that need it can no longer be read.")
        var writer = JSONWriter()
        OperatorJSON.write(graph, to: &writer)
        let json = try JSONValue(parsing: writer.finish())
        #expect(json["needed_by"] == 3 && json["edges"]?.arrayValue?.count == 4)
        #expect(json["edges"]?.arrayValue?.first?["image"]?["status"] == "queued")
        #expect(json["secret"]?["deletion_reason"] == "deleted")
    }

    @Test func aDeletedImageNeedsItsKeyUntilItsBytesAreErased() async throws {
        let fixture = try await ImageFixture()
        try await addSecret(fixture)
        let image = try await encryptedImage(fixture, "going")
        try await fixture.upload([1, 2, 3], to: image)
        try await fixture.images.delete(image, as: fixture.caller())
        let graph = try #require(try await KeyGraphView.read(Self.key, in: fixture.database))
        #expect(graph.edges.map(\.edge.state) == [.releasing] && graph.needing.count == 1)
        #expect(KeyTree.text(graph).contains("needs it until its bytes are erased; the key is to go with it"))
        try await fixture.images.reconcile()
        try await fixture.images.reconcile()
        #expect(try await KeyGraphView.read(Self.key, in: fixture.database)?.edges == [])
    }

    @Test func aKeyThatIsNotKeptHereIsShownIfSomethingNamesIt() async throws {
        let fixture = try await ImageFixture()
        #expect(try await KeyGraphView.read(Self.key, in: fixture.database) == nil)
        #expect(
            await status { _ = try await OperatorView(fixture.images).keyGraph(Self.key, as: fixture.admin) } == 404)
        _ = try await encryptedImage(fixture, "elsewhere")
        let graph = try #require(try await KeyGraphView.read(Self.key, in: fixture.database))
        #expect(graph.secret == nil && graph.needing.count == 1)
        #expect(KeyTree.text(graph).contains("not kept here"))
    }

    @Test func deletedKeysComeBackOrGoUnlessTheyAreNeeded() async throws {
        let fixture = try await ImageFixture()
        let view = OperatorView(fixture.images)
        let admin = fixture.admin
        try await addSecret(fixture)
        #expect(await status { try await view.undeleteKey(Self.key, as: admin) } == 404)
        #expect(await status { try await view.eraseKey(Self.key, as: admin) } == 404)
        try await delete(fixture)
        let listed = try await view.deletedKeys(PageRequest(), as: admin)
        #expect(listed.page.entries.map(\.id) == [Self.key] && listed.page.entries[0].isHeld == false)
        #expect(listed.counts.numbers == [0, 1, 0])
        try await view.undeleteKey(Self.key, as: admin)
        #expect(try await view.deletedKeys(PageRequest(), as: admin).page.entries.isEmpty)
        try await delete(fixture)
        try await register(fixture, "v-1")
        fixture.clock.advance(seconds: 1000)
        #expect(try await view.deletedKeys(PageRequest(), as: admin).page.entries[0].isHeld)
        #expect(try await view.deletedKeys(PageRequest(), as: admin).counts.heldPastTime == 1)
        #expect(await status { try await view.eraseKey(Self.key, as: admin) } == 409)
        _ = try await fixture.database.write { try $0.execute("DELETE FROM key_edges") }
        try await view.eraseKey(Self.key, as: admin)
        #expect(await status { try await view.undeleteKey(Self.key, as: admin) } == 404)
        #expect(await status { try await view.eraseKey(Self.key, as: admin) } == 404)
    }

    @Test func onlyAdminsMayLookAtKeys() async throws {
        let fixture = try await ImageFixture()
        let view = OperatorView(fixture.images)
        let caller = fixture.caller(roles: ["member", "reader", "manager"])
        #expect(await status { _ = try await view.keyGraph(Self.key, as: caller) } == 403)
        #expect(await status { _ = try await view.deletedKeys(PageRequest(), as: caller) } == 403)
        #expect(await status { try await view.undeleteKey(Self.key, as: caller) } == 403)
        #expect(await status { try await view.eraseKey(Self.key, as: caller) } == 403)
    }

    /// None of what is asked every few seconds walks through all secrets, but for counting those there are.
    @Test func gaugesReadIndexes() async throws {
        let fixture = try await ImageFixture()
        for (sql, arguments) in [
            (KeyCounts.allSQL, []), (KeyCounts.deletedSQL, []),
            (KeyCounts.heldPastTimeSQL, [fixture.clock.now]),
        ] as [(String, [any SQLBindable])] {
            let plan = try await fixture.database.read { db in
                try db.query("EXPLAIN QUERY PLAN " + sql, arguments) { try $0.get(3, as: String.self) }
            }
            #expect(plan.allSatisfy { !$0.contains("SCAN") || $0.contains("COVERING INDEX") }, "\(sql): \(plan)")
        }
        try await KeyGauges(database: fixture.database, clock: fixture.clock).record()
    }
}
