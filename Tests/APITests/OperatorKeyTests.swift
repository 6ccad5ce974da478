import Core
import NIOHTTP1
import Persistence
import Testing

/// Keys in the operator's view on the wire. The rows are written by hand: what stores them is another API's.
@Suite(.server) struct OperatorKeyTests {
    private static let root = "/image/ambrotype/v1"
    private var server: TestServer { TestServer.current }

    private func addKey(_ id: String, deleted: Bool) async throws {
        let database = try SQLiteDatabase(path: server.directory + "/ambrotype.db")
        // Later than any of today: the reconciler of this server is to leave it.
        let until: Int64 = 4_000_000_000_000_000
        _ = try await database.write { db in
            try db.execute(
                """
                INSERT INTO secrets (id, project, creator, name, secret_type, created_at, updated_at, deleted_at,
                    quarantined_until, deletion_reason)
                VALUES ($1, 'p', 'u', 'volume key', 'symmetric', 1, 1, $2, $3, $4)
                """,
                id, deleted ? Int64(2) : nil, deleted ? until : nil, deleted ? "deleted" : nil)
        }
    }

    private func image(naming key: String) async throws -> String {
        let answer = try await server.call(
            .POST, "/image/v2/images", as: server.demo, json: #"{"name": "secret", "os_encrypt_key_id": "\#(key)"}"#)
        return try #require(answer.json["id"]?.stringValue, "\(answer.text)")
    }

    @Test func whatNeedsAKeyIsShown() async throws {
        let key = "0e0b0c0d-1111-4222-8333-000000000001"
        try await server.call(.GET, Self.root + "/keys/\(key)", as: server.admin).expect(404)
        let image = try await image(naming: key)
        let unknown = try await server.call(.GET, Self.root + "/keys/\(key)", as: server.admin).json
        #expect(unknown["id"] == .string(key) && unknown["secret"] == .null)
        #expect(unknown["needed_by"] == 1)
        let edge = unknown["edges"]?.arrayValue?.first
        #expect(edge?["resource_id"] == .string(image) && edge?["via"] == "os_encrypt_key_id")
        #expect(edge?["state"] == "held" && edge?["needs_key"] == true && edge?["image"]?["name"] == "secret")
        try await addKey(key, deleted: false)
        let known = try await server.call(.GET, Self.root + "/keys/\(key)", as: server.admin).json
        #expect(known["secret"]?["name"] == "volume key" && known["secret"]?["deleted_at"] == .null)
    }

    @Test func deletedKeysComeBackOrGo() async throws {
        let (needed, free) = ("0e0b0c0d-1111-4222-8333-000000000002", "0e0b0c0d-1111-4222-8333-000000000003")
        let image = try await image(naming: needed)
        for key in [needed, free] { try await addKey(key, deleted: true) }
        let list = try await server.call(.GET, Self.root + "/deleted-keys?limit=1000", as: server.admin)
        try list.expect(200)
        let held = list.json["deleted_keys"]?.arrayValue?.reduce(into: [:]) {
            $0[$1["id"]?.stringValue ?? ""] = $1["held"]
        }
        #expect(held?[needed] == true && held?[free] == false)
        #expect(list.json["total"]?["held_past_time"] == 0)
        let refused = try await server.call(.DELETE, Self.root + "/deleted-keys/\(needed)", as: server.admin)
        #expect(refused.status == 409 && refused.json["message"]?.stringValue?.contains("keys graph") == true)
        try await server.call(.DELETE, Self.root + "/deleted-keys/\(free)", as: server.demo).expect(403)
        try await server.call(.DELETE, Self.root + "/deleted-keys/\(free)", as: server.admin).expect(204)
        try await server.call(.DELETE, Self.root + "/deleted-keys/\(free)", as: server.admin).expect(404)
        try await server.call(.POST, Self.root + "/deleted-keys/\(free)/undelete", as: server.admin).expect(404)
        try await server.call(.POST, Self.root + "/deleted-keys/\(needed)/undelete", as: server.admin).expect(204)
        let graph = try await server.call(.GET, Self.root + "/keys/\(needed)", as: server.admin).json
        #expect(graph["secret"]?["deleted_at"] == .null)
        #expect(graph["edges"]?.arrayValue?.first?["resource_id"] == .string(image))
    }
}
