import Core
import Testing

@Suite struct SecretContainerTests {
    private let unknown = SecretID("00000000-0000-4000-8000-000000000000")

    private func draft(_ type: String, _ members: [(name: String?, ref: String)]) throws -> ContainerDraft {
        let refs = members.map { member in
            var fields: [String: JSONValue] = ["secret_ref": .string(member.ref)]
            fields["name"] = member.name.map { .string($0) }
            return JSONValue.object(fields)
        }
        return try ContainerDraft(["type": .string(type), "secret_refs": .array(refs)], base: KeyFixture.base)
    }

    @Test func aContainerShowsItsSecrets() async throws {
        let fixture = try await KeyFixture()
        let (a, b) = (try await fixture.secret(), try await fixture.secret())
        let id = try await fixture.secrets.createContainer(
            try draft("rsa", [("private_key", KeyFixture.ref(a)), ("public_key", KeyFixture.ref(b) + "/")]),
            as: fixture.member)
        let container = try await fixture.secrets.container(id, as: fixture.member)
        #expect(container.kind == .rsa)
        #expect(
            container.members == [.init(name: "private_key", secret: a), .init(name: "public_key", secret: b)])
        #expect(container.creator == "u1")
    }

    @Test func secretsThatAreGoneAreInNoContainer() async throws {
        let fixture = try await KeyFixture()
        let deleted = try await fixture.secret()
        let expiring = try await fixture.secret(expiresAt: fixture.clock.now.adding(seconds: 60))
        let id = try await fixture.container([deleted, expiring])
        try await fixture.secrets.delete(deleted, force: false, as: fixture.member)
        fixture.clock.advance(seconds: 60)
        #expect(try await fixture.secrets.container(id, as: fixture.member).members == [])
        try await fixture.secrets.quarantine.undelete(deleted)
        #expect(try await fixture.secrets.container(id, as: fixture.member).members.map(\.secret) == [deleted])
    }

    @Test func onlyTheProjectsOwnSecretsGoIn() async throws {
        let fixture = try await KeyFixture()
        let foreign = try await fixture.secret(as: fixture.caller("p2", user: "u2"))
        for ref in [foreign, unknown].map(KeyFixture.ref) + [KeyFixture.base + "/v1/secrets/bad"] {
            let refusal = try await refused {
                _ = try await fixture.secrets.createContainer(try draft("generic", [("a", ref)]), as: fixture.member)
            }
            #expect(refusal?.status == 404)
            #expect(refusal?.message == "Secret provided for 'a' doesn't exist.")
        }
        #expect(try await fixture.count("secret_containers") == 0)
    }

    @Test(arguments: ["x", "http://keys.evil/v1/secrets/00000000-0000-4000-8000-000000000000", "https://keys/v1"])
    func referencesOfOtherHostsAreRefused(_ ref: String) async throws {
        let refusal = try await refused { _ = try draft("generic", [("a", ref)]) }
        #expect(refusal?.status == 400)
        #expect(refusal?.message == "Provided field value is not supported")
    }

    @Test func namesAndSecretsAreUnique() async throws {
        let (a, b) = (KeyFixture.ref(unknown), KeyFixture.base + "/v1/secrets/b")
        for (members, reason) in [
            ([("a", a), ("a", b)], "Duplicate reference names are not allowed"),
            ([(nil, a), (nil, b)], "Duplicate reference names are not allowed"),
            ([("a", a), ("b", a + "/")], "Duplicate secret ids are not allowed"),
        ] as [([(name: String?, ref: String)], String)] {
            let refusal = try await refused { _ = try draft("generic", members) }
            #expect(
                refusal?.message
                    == "Provided object does not match schema 'Container': \(reason). Invalid property: 'secret_refs'")
        }
    }

    @Test(arguments: [
        ("rsa", ["private_key"], false), ("rsa", ["private_key", "public_key"], true),
        ("rsa", ["private_key", "public_key", "private_key_passphrase"], true),
        ("rsa", ["private_key", "public_key", "other"], false), ("rsa", [], true),
        ("certificate", ["certificate"], true), ("certificate", ["private_key"], false),
        ("certificate", ["certificate", "private_key", "private_key_passphrase", "intermediates"], true),
        ("certificate", ["certificate", "public_key"], false), ("generic", ["anything"], true),
    ])
    func theTypeSaysWhichNamesThereAre(_ type: String, _ names: [String], _ isFine: Bool) async throws {
        let members = names.enumerated().map {
            (name: Optional($0.element), ref: "\(KeyFixture.base)/v1/secrets/\($0.offset)")
        }
        let refusal = try await refused { _ = try draft(type, members) }
        #expect((refusal == nil) == isFine)
    }

    @Test(arguments: [
        ("[]", "[] is not of type 'object'. Invalid property: 'None'"),
        (#"{"name": 5}"#, "'type' is a required property. Invalid property: 'None'"),
        (#"{"type": 5}"#, "5 is not of type 'string'. Invalid property: 'type'"),
        (
            #"{"type": "bad", "name": 5}"#,
            "'bad' is not one of ['generic', 'rsa', 'certificate']. Invalid property: 'type'"
        ),
        (#"{"type": "rsa", "name": 5}"#, "5 is not of type 'string', 'null'. Invalid property: 'name'"),
        (#"{"type": "rsa", "secret_refs": "x"}"#, "'x' is not of type 'array'. Invalid property: 'secret_refs'"),
        (#"{"type": "rsa", "secret_refs": null}"#, "None is not of type 'array'. Invalid property: 'secret_refs'"),
        (#"{"type": "rsa", "secret_refs": [5]}"#, "5 is not of type 'object'. Invalid property: 'secret_refs'"),
        (
            #"{"type": "rsa", "secret_refs": [{"name": "a"}]}"#,
            "'secret_ref' is a required property. Invalid property: 'secret_refs'"
        ),
        (
            #"{"type": "rsa", "secret_refs": [{"secret_ref": ""}]}"#,
            "'' should be non-empty. Invalid property: 'secret_refs'"
        ),
        (
            #"{"type": "rsa", "secret_refs": [{"secret_ref": 5}]}"#,
            "5 is not of type 'string'. Invalid property: 'secret_refs'"
        ),
        (
            #"{"type": "rsa", "secret_refs": [{"secret_ref": "a", "name": 5}]}"#,
            "5 is not of type 'string', 'null'. Invalid property: 'secret_refs'"
        ),
    ])
    func badContainersAreRefused(_ json: String, _ reason: String) async throws {
        let refusal = try await refused {
            _ = try ContainerDraft(try KeyFixture.json(json), base: KeyFixture.base)
        }
        #expect(refusal?.status == 400)
        #expect(refusal?.message == "Provided object does not match schema 'Container': " + reason)
    }

    @Test func listsShowTheProjectsOwnByNameAndType() async throws {
        let fixture = try await KeyFixture()
        var ids: [ContainerID] = []
        for (name, type) in [("a", "generic"), ("b", "rsa"), ("a", "rsa")] {
            fixture.clock.advance(seconds: 1)
            ids.append(try await fixture.container(name: name, type: type))
        }
        _ = try await fixture.container(name: "a", as: fixture.caller("p2"))
        func list(
            _ filter: ContainerFilter, _ page: KeyPageRequest = KeyPageRequest()
        ) async throws -> [ContainerID] {
            try await fixture.secrets.containers(filter, page, as: fixture.member).entries.map(\.id)
        }
        #expect(try await list(ContainerFilter()) == ids)
        #expect(try await list(ContainerFilter(name: "a")) == [ids[0], ids[2]])
        #expect(try await list(ContainerFilter(name: "a", type: "rsa")) == [ids[2]])
        #expect(try await list(ContainerFilter(type: "bad")) == [])
        #expect(try await list(ContainerFilter(name: ""), KeyPageRequest(limit: 1, offset: 1)) == [ids[1]])
        let reader = fixture.caller(roles: ["reader"])
        #expect(
            await status {
                _ = try await fixture.secrets.containers(ContainerFilter(), KeyPageRequest(), as: reader)
            } == 403)
    }

    @Test func administratorsOfOtherProjectsDoNothing() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.container()
        #expect(await status { _ = try await fixture.secrets.container(id, as: fixture.admin) } == 403)
        #expect(await status { try await fixture.secrets.deleteContainer(id, as: fixture.admin) } == 403)
    }

    @Test func genericContainersChange() async throws {
        let fixture = try await KeyFixture()
        let secret = try await fixture.secret()
        let id = try await fixture.container()
        func draft(_ name: String?, _ ref: String? = nil) throws -> ContainerSecretDraft {
            var body: [String: JSONValue] = ["secret_ref": .string(ref ?? KeyFixture.ref(secret))]
            body["name"] = name.map { .string($0) }
            return try ContainerSecretDraft(.object(body), base: KeyFixture.base)
        }
        try await fixture.secrets.add(try draft(nil), to: id, as: fixture.member)
        try await fixture.secrets.add(try draft("b"), to: id, as: fixture.member)
        #expect(await status { try await fixture.secrets.add(try draft("b"), to: id, as: fixture.member) } == 409)
        #expect(
            try await fixture.secrets.container(id, as: fixture.member).members.map(\.name) == [nil, "b"])
        let foreign = KeyFixture.ref(unknown)
        #expect(
            await status { try await fixture.secrets.add(try draft("c", foreign), to: id, as: fixture.member) } == 404)
        try await fixture.secrets.remove(try draft("b"), from: id, as: fixture.member)
        #expect(await status { try await fixture.secrets.remove(try draft("b"), from: id, as: fixture.member) } == 404)
        #expect(try await fixture.secrets.container(id, as: fixture.member).members.count == 1)
        let rsa = try await fixture.container(type: "rsa")
        #expect(await status { try await fixture.secrets.add(try draft("b"), to: rsa, as: fixture.member) } == 400)
        #expect(
            await status { try await fixture.secrets.remove(try draft("b"), from: rsa, as: fixture.member) } == 400)
    }

    @Test func aDeletedContainerLeavesItsSecrets() async throws {
        let fixture = try await KeyFixture()
        let secret = try await fixture.secret()
        let id = try await fixture.container([secret])
        let consumer = KeyContainer.Consumer(name: "n", url: "u")
        _ = try await fixture.secrets.register(consumer, of: id, as: fixture.member)
        try await fixture.secrets.deleteContainer(id, as: fixture.member)
        #expect(await status { try await fixture.secrets.deleteContainer(id, as: fixture.member) } == 404)
        _ = try await fixture.secrets.get(secret, withConsumers: false, as: fixture.member)
        #expect(try await fixture.count("secret_container_consumers") == 0)
    }

    @Test func whoUsesAContainerIsListed() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.container()
        let consumer = KeyContainer.Consumer(name: "n", url: "u")
        for _ in 0..<2 {
            let container = try await fixture.secrets.register(consumer, of: id, as: fixture.member)
            #expect(container.consumers == [consumer])
        }
        let page = try await fixture.secrets.consumers(of: id, KeyPageRequest(), as: fixture.member)
        #expect(page.entries.map(\.consumer) == [consumer])
        #expect(try await fixture.secrets.container(id, as: fixture.member).consumers == [consumer])
        #expect(try await fixture.secrets.unregister(consumer, of: id, as: fixture.member).consumers == [])
        #expect(await status { _ = try await fixture.secrets.unregister(consumer, of: id, as: fixture.member) } == 404)
    }

    @Test(arguments: [
        ("{}", "'name' is a required property. Invalid property: 'None'"),
        (#"{"name": 5}"#, "'URL' is a required property. Invalid property: 'None'"),
        (#"{"name": "", "URL": "u"}"#, "'' should be non-empty. Invalid property: 'name'"),
        (#"{"name": "n", "URL": 5}"#, "5 is not of type 'string'. Invalid property: 'URL'"),
    ])
    func badContainerConsumersAreRefused(_ json: String, _ reason: String) async throws {
        let refusal = try await refused { _ = try KeyContainer.Consumer(try KeyFixture.json(json)) }
        #expect(refusal?.message == "Provided object does not match schema 'Consumer': " + reason)
    }

    @Test func ofTwoAtTheLastPlaceOneIsMade() async throws {
        let fixture = try await KeyFixture()
        try await fixture.setQuota("containers", 1)
        async let first = status { _ = try await fixture.container() }
        async let second = status { _ = try await fixture.container() }
        #expect(await [first, second].sorted() == [200, 403])
        #expect(try await fixture.count("secret_containers") == 1)
    }
}
