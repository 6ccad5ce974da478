import Core
import Testing

@Suite struct SecretConsumerTests {
    private let volume = KeyConsumer(service: "volume", resourceType: "volume", resourceID: "v1")

    @Test func aRegisteredConsumerKeepsTheKey() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        let view = try await fixture.secrets.register(volume, of: id, as: fixture.member)
        #expect(view.consumers == [volume])
        let refusal = try await refused { try await fixture.secrets.delete(id, force: false, as: fixture.member) }
        #expect(refusal?.status == 400)
        #expect(try await fixture.secrets.unregister(volume, of: id, as: fixture.member).consumers == [])
        try await fixture.secrets.delete(id, force: false, as: fixture.member)
    }

    @Test func registeringAgainChangesNothing() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        fixture.clock.advance(seconds: 1)
        let first = try await fixture.secrets.register(volume, of: id, as: fixture.member)
        #expect(first.secret.updatedAt == fixture.clock.now)
        fixture.clock.advance(seconds: 1)
        try await fixture.setQuota("consumers", 1)
        let second = try await fixture.secrets.register(volume, of: id, as: fixture.member)
        #expect(second == first)
        #expect(try await fixture.secrets.consumers(of: id, KeyPageRequest(), as: fixture.member).total == 1)
    }

    @Test func whatAnImageNeedsIsListedAndStays() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        try await fixture.imageEdge("i1", of: id)
        try await fixture.imageEdge("i2", of: id, state: "releasing")
        let image = KeyConsumer.image("i1")
        #expect(
            try await fixture.secrets.get(id, withConsumers: true, as: fixture.member).consumers
                == [image, .image("i2")])
        let refusal = try await refused { _ = try await fixture.secrets.unregister(image, of: id, as: fixture.member) }
        #expect(refusal?.status == 403)
        #expect(refusal?.message.contains("cinder_encryption_key_id") == true)
        // Registered besides, it is listed once, and the registration goes alone.
        #expect(try await fixture.secrets.register(image, of: id, as: fixture.member).consumers.count == 2)
        #expect(try await fixture.secrets.unregister(image, of: id, as: fixture.member).consumers.count == 2)
        #expect(await status { _ = try await fixture.secrets.unregister(image, of: id, as: fixture.member) } == 403)
    }

    @Test func namingAKeyOfOthersMakesNobodyItsConsumer() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        try await fixture.imageEdge("i1", of: id, holds: false)
        #expect(try await fixture.secrets.consumers(of: id, KeyPageRequest(), as: fixture.member).total == 0)
        #expect(
            await status { _ = try await fixture.secrets.unregister(.image("i1"), of: id, as: fixture.member) } == 404)
    }

    @Test func aKeyThatIsBeingDestroyedTakesNoMoreConsumers() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        try await fixture.imageEdge("i1", of: id, state: "destroying", destroys: true)
        #expect(await status { _ = try await fixture.secrets.register(volume, of: id, as: fixture.member) } == 409)
        #expect(try await fixture.count("key_edges") == 1)
    }

    @Test func onlyWhoMayUseTheKeyRegisters() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        let deleted = try await fixture.secret()
        try await fixture.secrets.delete(deleted, force: false, as: fixture.member)
        for (id, caller, expected) in [
            (id, fixture.caller("p2", user: "u2"), 403), (id, fixture.admin, 403),
            (id, fixture.caller(user: "u2", roles: ["reader"]), 403), (id, fixture.caller(user: "u2"), 200),
            (deleted, fixture.member, 404), ("00000000-0000-4000-8000-000000000000", fixture.member, 404),
        ] {
            #expect(await status { _ = try await fixture.secrets.register(volume, of: id, as: caller) } == expected)
        }
    }

    @Test func itsProjectOrTheSecretsRemovesAConsumer() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        try await fixture.secrets.replaceACL(
            of: .secret(id), with: try ACLChange.parse(["read": ["users": ["guest", "other"]]]), as: fixture.member)
        let guest = fixture.caller("p2", user: "guest")
        let other = fixture.caller("p3", user: "other")
        _ = try await fixture.secrets.register(volume, of: id, as: guest)
        // Registering what is another's does not make it one's own.
        _ = try await fixture.secrets.register(volume, of: id, as: other)
        #expect(await status { _ = try await fixture.secrets.unregister(volume, of: id, as: other) } == 403)
        _ = try await fixture.secrets.unregister(volume, of: id, as: guest)
        #expect(await status { _ = try await fixture.secrets.unregister(volume, of: id, as: guest) } == 404)
        _ = try await fixture.secrets.register(volume, of: id, as: guest)
        _ = try await fixture.secrets.unregister(volume, of: id, as: fixture.member)
    }

    @Test func listsComeInPages() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        for number in 0..<5 {
            fixture.clock.advance(seconds: 1)
            let consumer = KeyConsumer(service: "volume", resourceType: "volume", resourceID: "\(9 - number)")
            _ = try await fixture.secrets.register(consumer, of: id, as: fixture.member)
        }
        func page(_ limit: Int64, _ offset: Int64) async throws -> [String] {
            let request = KeyPageRequest(limit: limit, offset: offset)
            let page = try await fixture.secrets.consumers(of: id, request, as: fixture.member)
            #expect(page.total == 5)
            return page.entries.map(\.consumer.resourceID)
        }
        #expect(try await page(2, 0) == ["9", "8"])
        #expect(try await page(2, 4) == ["5"])
        #expect(try await page(2, 9) == [])
        #expect(try await page(100, .max) == [])
    }

    @Test func ofTwoAtTheLastPlaceOneIsRegistered() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        try await fixture.setQuota("consumers", 1)
        let other = KeyConsumer(service: "volume", resourceType: "volume", resourceID: "v2")
        async let first = status { _ = try await fixture.secrets.register(volume, of: id, as: fixture.member) }
        async let second = status { _ = try await fixture.secrets.register(other, of: id, as: fixture.member) }
        #expect(await [first, second].sorted() == [200, 403])
        #expect(try await fixture.count("key_edges") == 1)
    }

    @Test(arguments: [
        ("[]", "[] is not of type 'object'. Invalid property: 'None'"),
        ("{}", "'service' is a required property. Invalid property: 'None'"),
        (#"{"service": 5}"#, "'resource_type' is a required property. Invalid property: 'None'"),
        (
            #"{"service": "a", "resource_type": "b"}"#,
            "'resource_id' is a required property. Invalid property: 'None'"
        ),
        (
            #"{"service": "", "resource_type": "b", "resource_id": "c"}"#,
            "'' should be non-empty. Invalid property: 'service'"
        ),
        (
            #"{"service": null, "resource_type": "b", "resource_id": "c"}"#,
            "None is not of type 'string'. Invalid property: 'service'"
        ),
        (
            #"{"service": "a", "resource_type": 5, "resource_id": "c"}"#,
            "5 is not of type 'string'. Invalid property: 'resource_type'"
        ),
        (
            #"{"service": "a", "resource_type": "b", "resource_id": "0123456789012345678901234567890123456"}"#,
            "'0123456789012345678901234567890123456' is too long. Invalid property: 'resource_id'"
        ),
    ])
    func badConsumersAreRefused(_ json: String, _ reason: String) async throws {
        let refusal = try await refused { _ = try KeyConsumer(try KeyFixture.json(json)) }
        #expect(refusal?.status == 400)
        #expect(refusal?.message == "Provided object does not match schema 'Secret Consumer': " + reason)
    }
}
