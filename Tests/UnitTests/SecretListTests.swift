import Core
import Persistence
import Testing

@Suite struct SecretListTests {
    private func names(
        _ fixture: SecretFixture, as caller: Caller? = nil, _ change: (inout SecretListQuery) -> Void = { _ in }
    ) async throws -> [String] {
        var query = SecretListQuery()
        change(&query)
        let page = try await fixture.secrets.list(query, withConsumers: false, as: caller ?? fixture.caller())
        return page.secrets.map { $0.secret.name ?? "-" }
    }

    /// Four secrets, a second apart.
    private func fixture() async throws -> SecretFixture {
        let fixture = try await SecretFixture()
        for members in [
            #""name": "alpha", "algorithm": "AES", "bit_length": 256, "mode": "cbc", "secret_type": "symmetric""#,
            #""name": "Beta_1", "algorithm": "aes", "bit_length": 128, "expiration": "2040-01-01""#,
            #""name": "50%", "algorithm": "rsa", "bit_length": 2048, "secret_type": "private""#,
            #""name": "back\\slash""#,
        ] {
            _ = try await fixture.store(members)
            fixture.clock.advance(seconds: 1)
        }
        _ = try await fixture.store(#""name": "theirs""#, as: fixture.caller("p2"))
        return fixture
    }

    @Test func aProjectSeesItsOwnOldestFirst() async throws {
        let fixture = try await fixture()
        #expect(try await names(fixture) == ["alpha", "Beta_1", "50%", "back\\slash"])
        #expect(try await names(fixture, as: fixture.caller("p2")) == ["theirs"])
        #expect(try await names(fixture, as: fixture.admin) == [])
        #expect(await status { _ = try await names(fixture, as: fixture.caller(roles: ["reader"])) } == 403)
    }

    @Test func pagesCountAndOverlapNowhere() async throws {
        let fixture = try await fixture()
        var query = SecretListQuery()
        query.limit = 3
        var all: [String] = []
        for offset in [Int64(0), 3, 6, .max] {
            query.offset = offset
            let page = try await fixture.secrets.list(query, withConsumers: false, as: fixture.caller())
            #expect(page.total == 4)
            all += page.secrets.map { $0.secret.name ?? "-" }
        }
        #expect(all == ["alpha", "Beta_1", "50%", "back\\slash"])
    }

    @Test(arguments: [
        ("alpha", ["alpha"]), ("ALPHA", ["alpha"]), ("%A", ["alpha"]), ("beta%", ["Beta_1"]), ("%\\%", ["50%"]),
        ("%\\_1", ["Beta_1"]), ("back\\\\slash", ["back\\slash"]), ("back\\", []), ("\\", []), ("_____", ["alpha"]),
        ("nothing", []), ("%' OR 1=1 --", []),
    ])
    func namesAreSearchedByPattern(_ pattern: String, _ expected: [String]) async throws {
        let fixture = try await fixture()
        #expect(try await names(fixture) { $0.filters = [.like(.name, pattern)] } == expected)
    }

    @Test func otherFilters() async throws {
        let fixture = try await fixture()
        #expect(try await names(fixture) { $0.filters = [.like(.algorithm, "aes")] } == ["alpha", "Beta_1"])
        #expect(try await names(fixture) { $0.filters = [.like(.mode, "cbc")] } == ["alpha"])
        #expect(try await names(fixture) { $0.filters = [.bitLength(128)] } == ["Beta_1"])
        #expect(try await names(fixture) { $0.filters = [.type("private")] } == ["50%"])
        #expect(try await names(fixture) { $0.filters = [.type("nonsense")] } == [])
        let start = Timestamp(seconds: 1_800_000_000)
        func times(_ comparison: SecretListQuery.Comparison) async throws -> [String] {
            try await names(fixture) { $0.filters = [.time(.created, comparison, start.adding(seconds: 1))] }
        }
        #expect(try await times(.gt) == ["50%", "back\\slash"])
        #expect(try await times(.gte) == ["Beta_1", "50%", "back\\slash"])
        #expect(try await times(.lt) == ["alpha"])
        #expect(try await times(.lte) == ["alpha", "Beta_1"])
        #expect(try await times(.eq) == ["Beta_1"])
        #expect(try await names(fixture) { $0.filters = [.time(.expiration, .gt, start)] } == ["Beta_1"])
    }

    @Test func order() async throws {
        let fixture = try await fixture()
        #expect(try await names(fixture) { $0.sort = [(.name, .desc)] } == ["back\\slash", "alpha", "Beta_1", "50%"])
        #expect(
            try await names(fixture) { $0.sort = [(.bitLength, .asc)] } == ["back\\slash", "Beta_1", "alpha", "50%"])
        #expect(
            try await names(fixture) { $0.sort = [(.bitLength, .desc)] } == ["50%", "alpha", "Beta_1", "back\\slash"])
        #expect(try await names(fixture) { $0.sort = [(.status, .desc)] } == ["back\\slash", "50%", "Beta_1", "alpha"])
        for key in SecretListQuery.SortKey.allCases {
            #expect(
                try await names(fixture) { $0.sort = [(key, .asc), (.created, .desc)] }.count == 4 || key == .created)
        }
    }

    @Test func accessListsLeadToOtherProjectsSecrets() async throws {
        let fixture = try await fixture()
        let id = try await fixture.store(#""name": "shared""#, as: fixture.caller("p2"))
        try await fixture.letIn("u1", to: id)
        #expect(try await names(fixture) { $0.isACLOnly = true } == ["shared"])
        #expect(try await names(fixture).contains("shared") == false)
        #expect(try await names(fixture, as: fixture.caller(user: "u9")) { $0.isACLOnly = true } == [])
    }

    @Test func deletedSecretsAreNotListed() async throws {
        let fixture = try await SecretFixture()
        let id = try await fixture.store(#""name": "gone""#)
        try await fixture.secrets.delete(id, force: false, as: fixture.caller())
        #expect(try await names(fixture) == [])
    }

    @Test func consumersAreListedWhenAskedFor() async throws {
        let fixture = try await SecretFixture()
        let id = try await fixture.store()
        try await fixture.need(id, by: "v1")
        for asked in [true, false] {
            let page = try await fixture.secrets.list(SecretListQuery(), withConsumers: asked, as: fixture.caller())
            #expect(page.secrets[0].consumers.count == (asked ? 1 : 0))
        }
    }

    /// A project's list walks the project's index and sorts nothing; access lists are found by the user.
    @Test func listsAreReadFromIndexes() async throws {
        let fixture = try await SecretFixture()
        func plan(_ query: SecretListQuery, counting: Bool = false) async throws -> String {
            let statement = SecretListStatement(query, project: "p1", user: "u1", now: fixture.clock.now)
            let (sql, arguments) =
                counting ? (statement.count, statement.arguments) : (statement.page, statement.pageArguments)
            return try await fixture.database.read { db in
                try db.query("EXPLAIN QUERY PLAN " + sql, arguments) { try $0.get(3, as: String.self) }
            }.joined(separator: "\n")
        }
        let own = try await plan(SecretListQuery())
        #expect(own.contains("secrets_project (project=?)"), "\(own)")
        #expect(!own.contains("TEMP B-TREE"), "\(own)")
        #expect(try await plan(SecretListQuery(), counting: true).contains("secrets_project (project=?)"))
        var shared = SecretListQuery()
        shared.isACLOnly = true
        let found = try await plan(shared)
        #expect(found.contains("secret_acl_users_user"), "\(found)")
        #expect(!found.contains("SCAN s"), "\(found)")
    }
}
