import Core
import Foundation
import NIOCore
import Persistence
import Testing
import Trust

@Suite struct SecretTests {
    @Test func aTextComesBackAsItWas() async throws {
        let fixture = try await SecretFixture()
        let id = try await fixture.store(
            #""name": "  door ", "payload": " open\n\u00e4\ud83d\ude00 ", "payload_content_type": "TEXT/plain;charset=utf-8""#
        )
        #expect(try await fixture.payload(of: id) == Array(" open\nä😀 ".utf8))
        let view = try await fixture.secrets.get(id, withConsumers: true, as: fixture.caller())
        #expect(view.secret.name == "door")
        #expect(view.secret.contentType == "text/plain")
        #expect(view.secret.type == .opaque)
        #expect(view.consumers.isEmpty)
    }

    @Test func bytesComeBackAsTheyWere() async throws {
        let fixture = try await SecretFixture()
        let bytes = (0...255).map { UInt8($0) }
        for type in ["application/octet-stream", "application/pkcs8"] {
            let id = try await fixture.store(
                #""payload": "\#(Data(bytes).base64EncodedString())", "payload_content_type": "\#(type)", "payload_content_encoding": "base64""#
            )
            #expect(try await fixture.payload(of: id) == bytes)
        }
    }

    @Test func whatIsStoredIsNotThePayload() async throws {
        let fixture = try await SecretFixture()
        _ = try await fixture.store()
        let stored = try await fixture.database.read { db in
            try db.query("SELECT sealed_payload, wrapped_key FROM secrets") {
                (try $0.get(0, as: [UInt8].self), try $0.get(1, as: [UInt8].self))
            }
        }
        let text = Data("open sesame".utf8)
        #expect(stored.count == 1)
        #expect(Data(stored[0].0).range(of: text) == nil)
        #expect(Data(stored[0].1).range(of: text) == nil)
    }

    @Test func everythingOfARequestIsKept() async throws {
        let fixture = try await SecretFixture()
        let id = try await fixture.store(
            #""name": "n", "algorithm": "AES", "mode": "xts", "bit_length": 512.0, "secret_type": "symmetric", "expiration": "2040-01-02T03:04:05.9+01:00", "status": "x", "creator_id": 1"#
        )
        let secret = try await fixture.secrets.get(id, withConsumers: false, as: fixture.caller()).secret
        #expect(secret.algorithm == "AES")
        #expect(secret.mode == "xts")
        #expect(secret.bitLength == 512)
        #expect(secret.type == .symmetric)
        #expect(secret.expiresAt.map(SecretTime.text) == "2040-01-02T02:04:05")
        #expect(secret.creator == "u1")
        #expect(secret.contentType == nil)
        #expect(CanonicalUUID.isVersion4(id.rawValue))
    }

    @Test func thePayloadMayComeLaterAndOnlyOnce() async throws {
        let fixture = try await SecretFixture()
        let id = try await fixture.store("")
        let missing = await refusal { _ = try await fixture.payload(of: id) }
        #expect(missing == "404 Not Found. Sorry but your secret has no payload.")
        let bytes: [UInt8] = [0, 255, 10, 13, 0]
        let others = fixture.caller("p2")
        #expect(
            await status { try await fixture.secrets.supply(try fixture.uploaded(bytes), to: id, as: others) } == 403)
        try await fixture.secrets.supply(try fixture.uploaded(bytes), to: id, as: fixture.caller())
        #expect(try await fixture.payload(of: id) == bytes)
        let again = await refusal {
            try await fixture.secrets.supply(try fixture.uploaded([1]), to: id, as: fixture.caller())
        }
        #expect(again == "409 Secret already has data, cannot modify it.")
        #expect(try await fixture.payload(of: id) == bytes)
    }

    @Test func anExpiredSecretIsGone() async throws {
        let fixture = try await SecretFixture()
        let soon = SecretTime.text(fixture.clock.now.adding(seconds: 10))
        let id = try await fixture.store(SecretFixture.text + #", "expiration": "\#(soon)""#)
        try await fixture.need(id, by: "v1")
        fixture.clock.advance(seconds: 9)
        #expect(try await fixture.payload(of: id).count == 11)
        fixture.clock.advance(seconds: 1)
        let caller = fixture.caller()
        let secrets = fixture.secrets
        #expect(await refusal { _ = try await fixture.payload(of: id) } == "404 Secret not found.")
        #expect(await status { _ = try await secrets.get(id, withConsumers: false, as: caller) } == 404)
        #expect(await status { try await secrets.delete(id, force: true, as: caller) } == 404)
        #expect(await status { _ = try await secrets.metadata(of: id, as: caller) } == 404)
        #expect(try await secrets.list(SecretListQuery(), withConsumers: false, as: caller).total == 0)
        let past = await refusal { _ = try await fixture.store(#""expiration": "\#(soon)""#) }
        #expect(past.contains("'expiration' is before current time. Invalid property: 'expiration'"))
    }

    @Test func aDeletedSecretIsGoneAndCanBeHadBack() async throws {
        let fixture = try await SecretFixture()
        let id = try await fixture.store()
        try await fixture.secrets.delete(id, force: false, as: fixture.caller())
        #expect(await status { _ = try await fixture.payload(of: id) } == 404)
        #expect(await status { try await fixture.secrets.delete(id, force: false, as: fixture.caller()) } == 404)
        try await fixture.secrets.quarantine.undelete(id)
        #expect(try await fixture.payload(of: id) == Array("open sesame".utf8))
    }

    @Test func consumersAreShownOnceAndKeepTheSecret() async throws {
        let fixture = try await SecretFixture()
        let id = try await fixture.store()
        try await fixture.need(id, by: "v1")
        try await fixture.need(id, by: "v1", via: "encryption_key_id")
        try await fixture.need(id, by: "v2")
        try await fixture.need(id, by: "v3", holds: false)
        let caller = fixture.caller()
        let view = try await fixture.secrets.get(id, withConsumers: true, as: caller)
        #expect(view.consumers.map(\.resourceID) == ["v1", "v2"])
        #expect(try await fixture.secrets.get(id, withConsumers: false, as: caller).consumers.isEmpty)
        let refused = await refusal { try await fixture.secrets.delete(id, force: false, as: caller) }
        #expect(refused == "400 Secret cannot be deleted as it has consumers.")
        try await fixture.secrets.delete(id, force: true, as: caller)
    }

    /// The table of who may do what: project, user, roles; then read, decrypt, metadata, supply, delete.
    @Test(arguments: [
        ("member", "p1", "u1", ["member"], "200 200 200 204 204"),
        ("another member", "p1", "u2", ["member"], "200 200 200 204 204"),
        ("administrator of the project", "p1", "u3", ["admin"], "200 200 200 204 204"),
        ("reader of the project", "p1", "u4", ["reader"], "403 403 403 403 403"),
        ("administrator elsewhere", "p2", "u5", ["admin"], "200 403 403 403 204"),
        ("stranger", "p2", "u6", ["member"], "403 403 403 403 403"),
        ("listed stranger", "p2", "friend", ["reader"], "200 200 200 403 403"),
        ("unscoped", nil, "u1", ["admin"], "403 403 403 403 403"),
    ])
    func rights(_ who: String, _ project: String?, _ user: String, _ roles: [String], _ expected: String) async throws {
        let fixture = try await SecretFixture()
        let secrets = fixture.secrets
        let full = try await fixture.store()
        let empty = try await fixture.store("")
        try await fixture.letIn("friend", to: full)
        try await fixture.letIn("friend", to: empty)
        let caller = fixture.caller(project.map { ProjectID($0) }, user: UserID(user), roles: Set(roles))
        let payload = try fixture.uploaded([1])
        let answers = [
            await status { _ = try await secrets.get(full, withConsumers: false, as: caller) },
            await status { _ = try await secrets.payload(of: full, as: caller) },
            await status { _ = try await secrets.metadata(of: full, as: caller) },
            await status { try await secrets.supply(payload, to: empty, as: caller) },
            await status { try await secrets.delete(full, force: false, as: caller) },
        ].enumerated().map { $0.element == 200 && $0.offset > 2 ? 204 : $0.element }
        #expect(answers.map(String.init).joined(separator: " ") == expected, "\(who)")
    }

    @Test func aPrivateSecretIsItsCreatorsAlone() async throws {
        let fixture = try await SecretFixture()
        let id = try await fixture.store()
        try await fixture.letIn("friend", to: id, projectAccess: false)
        #expect(try await fixture.payload(of: id).count == 11)
        #expect(await status { _ = try await fixture.payload(of: id, as: fixture.caller(user: "u2")) } == 403)
        #expect(try await fixture.payload(of: id, as: fixture.caller("p2", user: "friend")).count == 11)
    }

    @Test(arguments: [[UInt8](), [0x80], [0xc3]])
    func uploadedTextIsUTF8AndNotNothing(_ bytes: [UInt8]) async throws {
        let fixture = try await SecretFixture()
        #expect(await status { _ = try fixture.uploaded(bytes, .text) } == 400)
    }

    @Test func uploadsAreDecodedOrRefused() async throws {
        let fixture = try await SecretFixture()
        let base64 = Array("AAEC\n/w==".utf8)
        let id = try await fixture.store("")
        try await fixture.secrets.supply(
            try fixture.uploaded(base64, encoding: "base64"), to: id, as: fixture.caller())
        #expect(try await fixture.payload(of: id) == [0, 1, 2, 255])
        let text = try await fixture.store("")
        try await fixture.secrets.supply(
            try fixture.uploaded(base64, .text, encoding: "base64"), to: text, as: fixture.caller())
        #expect(try await fixture.payload(of: text) == base64)
        #expect(await status { _ = try fixture.uploaded(base64, encoding: "gzip") } == 400)
        #expect(await status { _ = try fixture.uploaded(Array("####".utf8), encoding: "base64") } == 400)
        #expect(try fixture.uploaded([UInt8](repeating: 7, count: 20_000)).count == 20_000)
        #expect(await status { _ = try fixture.uploaded([UInt8](repeating: 7, count: 20_001)) } == 413)
    }

    @Test func aTamperedSecretDoesNotOpen() async throws {
        let fixture = try await SecretFixture()
        let (one, other) = (try await fixture.store(), try await fixture.store())
        try await fixture.execute(
            """
            UPDATE secrets SET sealed_payload = (SELECT sealed_payload FROM secrets WHERE id = $1),
                wrapped_key = (SELECT wrapped_key FROM secrets WHERE id = $1) WHERE id = $2
            """, one, other)
        await #expect(throws: KeyVaultError.self) { _ = try await fixture.payload(of: other) }
    }
}
