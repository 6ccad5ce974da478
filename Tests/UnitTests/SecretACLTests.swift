import Core
import Testing

@Suite struct SecretACLTests {
    private func change(_ json: String) throws -> ACLChange? { try ACLChange.parse(try KeyFixture.json(json)) }

    @Test func withoutAListMembersHaveAccessAndNobodyElse() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        #expect(try await fixture.secrets.acl(of: .secret(id), as: fixture.member) == SecretACL())
        let stranger = fixture.caller("p2", user: "u2")
        #expect(await status { _ = try await fixture.secrets.get(id, withConsumers: false, as: stranger) } == 403)
    }

    @Test func replacingSetsWhatIsNotNamedToTheStandard() async throws {
        let fixture = try await KeyFixture()
        let holder = ACLHolder.secret(try await fixture.secret())
        func replace(_ json: String) async throws -> SecretACL {
            try await fixture.secrets.replaceACL(of: holder, with: try change(json), as: fixture.member)
            return try await fixture.secrets.acl(of: holder, as: fixture.member)
        }
        var acl = try await replace(#"{"read": {"users": ["b", "a", "b"], "project-access": false}}"#)
        #expect(acl.users == ["a", "b"])
        #expect(!acl.projectAccess)
        acl = try await replace(#"{"read": {"project-access": false}}"#)
        #expect(acl.users == [])
        acl = try await replace(#"{"read": {"users": ["c"]}}"#)
        #expect(acl.projectAccess)
        #expect(try await replace(#"{"read": {}}"#) == SecretACL())
    }

    @Test func mergingKeepsWhatIsNotNamed() async throws {
        let fixture = try await KeyFixture()
        let holder = ACLHolder.secret(try await fixture.secret())
        func merge(_ json: String) async throws -> SecretACL {
            try await fixture.secrets.mergeACL(of: holder, with: try change(json), as: fixture.member)
            return try await fixture.secrets.acl(of: holder, as: fixture.member)
        }
        var acl = try await merge(#"{"read": {"users": ["a"]}}"#)
        let created = acl.createdAt
        #expect(acl.projectAccess)
        fixture.clock.advance(seconds: 5)
        acl = try await merge(#"{"read": {"project-access": false}}"#)
        #expect(acl.users == ["a"])
        #expect(acl.createdAt == created)
        #expect(acl.updatedAt == fixture.clock.now)
        for json in [#"{"read": {}}"#, "{}"] { #expect(try await merge(json) == acl) }
        #expect(try await merge(#"{"read": {"users": ["b"]}}"#).users == ["b"])
    }

    @Test func deletingOneThatIsNotThereIsNoError() async throws {
        let fixture = try await KeyFixture()
        let holder = ACLHolder.secret(try await fixture.secret())
        try await fixture.secrets.replaceACL(
            of: holder, with: try change(#"{"read": {"users": ["a"]}}"#), as: fixture.member)
        for _ in 0..<2 { try await fixture.secrets.deleteACL(of: holder, as: fixture.member) }
        #expect(try await fixture.secrets.acl(of: holder, as: fixture.member) == SecretACL())
        #expect(try await fixture.count("secret_acl_users") == 0)
    }

    @Test func aListedUserReadsAndNeitherDeletesNorSeesTheList() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        let listed = fixture.caller("p2", user: "guest", roles: ["reader"])
        try await fixture.secrets.replaceACL(
            of: .secret(id), with: try change(#"{"read": {"users": ["guest"]}}"#), as: fixture.member)
        _ = try await fixture.secrets.get(id, withConsumers: false, as: listed)
        #expect(await status { try await fixture.secrets.delete(id, force: false, as: listed) } == 403)
        #expect(await status { _ = try await fixture.secrets.acl(of: .secret(id), as: listed) } == 403)
        #expect(await status { try await fixture.secrets.deleteACL(of: .secret(id), as: listed) } == 403)
        #expect(
            await status { try await fixture.secrets.mergeACL(of: .secret(id), with: nil, as: listed) } == 403)
    }

    @Test func aPrivateSecretIsItsCreatorsAndItsAdministrators() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        try await fixture.secrets.replaceACL(
            of: .secret(id), with: try change(#"{"read": {"project-access": false}}"#), as: fixture.member)
        let colleague = fixture.caller(user: "u2")
        let admin = fixture.caller(user: "u3", roles: ["admin", "member", "reader"])
        #expect(await status { _ = try await fixture.secrets.get(id, withConsumers: false, as: colleague) } == 403)
        _ = try await fixture.secrets.get(id, withConsumers: false, as: fixture.member)
        _ = try await fixture.secrets.acl(of: .secret(id), as: admin)
    }

    @Test func containersHaveListsToo() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.container()
        let listed = fixture.caller("p2", user: "guest", roles: [])
        #expect(await status { _ = try await fixture.secrets.container(id, as: listed) } == 403)
        try await fixture.secrets.replaceACL(
            of: .container(id), with: try change(#"{"read": {"users": ["guest"], "project-access": false}}"#),
            as: fixture.member)
        _ = try await fixture.secrets.container(id, as: listed)
        #expect(await status { try await fixture.secrets.deleteContainer(id, as: listed) } == 403)
        #expect(await status { _ = try await fixture.secrets.container(id, as: fixture.caller(user: "u2")) } == 403)
        try await fixture.secrets.deleteContainer(id, as: fixture.member)
        #expect(try await fixture.count("secret_acls") == 0)
    }

    @Test(arguments: [
        ("[]", "[] is not of type 'object'. Invalid property: 'None'"),
        (
            #"{"write": {}}"#,
            "Additional properties are not allowed ('write' was unexpected). Invalid property: 'None'"
        ),
        (#"{"read": null}"#, "None is not of type 'object'. Invalid property: 'read'"),
        (
            #"{"read": {"foo": 1}}"#,
            "Additional properties are not allowed ('foo' was unexpected). Invalid property: 'read'"
        ),
        (#"{"read": {"users": "x"}}"#, "'x' is not of type 'array'. Invalid property: 'read'"),
        (#"{"read": {"users": ["x", 1]}}"#, "1 is not of type 'string'. Invalid property: 'read'"),
        (#"{"read": {"project-access": "x"}}"#, "'x' is not of type 'boolean'. Invalid property: 'read'"),
    ])
    func badListsAreRefused(_ json: String, _ reason: String) async throws {
        let refusal = try await refused { _ = try change(json) }
        #expect(refusal?.status == 400)
        #expect(refusal?.message == "Provided object does not match schema 'ACL': " + reason)
    }
}
