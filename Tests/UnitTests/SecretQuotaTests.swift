import Core
import Persistence
import Synchronization
import Testing

@Suite struct SecretQuotaTests {
    @Test func withoutQuotasThereIsNoLimit() async throws {
        let fixture = try await KeyFixture()
        let quotas = try await fixture.secrets.quotas(as: fixture.member)
        #expect(quotas == [.secrets: -1, .orders: -1, .containers: -1, .consumers: -1])
        #expect(
            await status { _ = try await fixture.secrets.quotas(as: fixture.caller(roles: ["member"])) } == 403)
    }

    @Test func settingKeepsWhatIsNotNamed() async throws {
        let fixture = try await KeyFixture()
        try await fixture.setQuota("secrets", 5)
        try await fixture.setQuota("orders", -1)
        #expect(try await fixture.secrets.projectQuotas(of: "p1", as: fixture.admin) == [.secrets: 5, .orders: -1])
        #expect(try await fixture.secrets.quotas(as: fixture.member)[.secrets] == 5)
        let page = try await fixture.secrets.projectQuotas(KeyPageRequest(), as: fixture.admin)
        #expect(page.entries.map(\.project) == ["p1"])
        try await fixture.secrets.deleteProjectQuotas(of: "p1", as: fixture.admin)
        #expect(
            await status { try await fixture.secrets.deleteProjectQuotas(of: "p1", as: fixture.admin) } == 404)
        #expect(
            await status { _ = try await fixture.secrets.projectQuotas(of: "p1", as: fixture.admin) } == 404)
        #expect(try await fixture.secrets.quotas(as: fixture.member)[.secrets] == -1)
    }

    @Test func onlyAdministratorsSetThem() async throws {
        let fixture = try await KeyFixture()
        let change = try KeyQuotaChange(["project_quotas": [:]])
        #expect(
            await status { try await fixture.secrets.setProjectQuotas(change, of: "p1", as: fixture.member) } == 403)
        #expect(
            await status { _ = try await fixture.secrets.projectQuotas(of: "p1", as: fixture.member) } == 403)
        #expect(
            await status { _ = try await fixture.secrets.projectQuotas(KeyPageRequest(), as: fixture.member) } == 403)
        #expect(
            await status { try await fixture.secrets.deleteProjectQuotas(of: "p1", as: fixture.member) } == 403)
    }

    @Test func zeroAllowsNothing() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        let container = try await fixture.container()
        for resource in ["consumers", "containers", "orders"] { try await fixture.setQuota(resource, 0) }
        let consumer = KeyConsumer(service: "a", resourceType: "b", resourceID: "c")
        let refusal = try await refused { _ = try await fixture.secrets.register(consumer, of: id, as: fixture.member) }
        #expect(
            refusal?.message
                == "SecretConsumer creation issue seen - Creation not allowed because a quota has been reached.")
        #expect(
            await status {
                _ = try await fixture.secrets.register(
                    KeyContainer.Consumer(name: "n", url: "u"), of: container, as: fixture.member)
            } == 403)
        #expect(await status { _ = try await fixture.container() } == 403)
        #expect(
            await status {
                _ = try await fixture.order(#"{"type": "key", "meta": {"algorithm": "x", "bit_length": 8}}"#)
            } == 403)
        // Others are not touched.
        _ = try await fixture.container(as: fixture.caller("p2", user: "u2"))
    }

    @Test func deletedSecretsDoNotCount() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        try await fixture.setQuota("secrets", 1)
        func requireRoom() async throws {
            try await fixture.database.write { try KeyQuota.requireRoom(for: .secrets, "p1", in: $0) }
        }
        #expect(await status { try await requireRoom() } == 403)
        try await fixture.secrets.delete(id, force: false, as: fixture.member)
        try await requireRoom()
    }

    @Test func consumersOfSecretsAndOfContainersCountTogether() async throws {
        let fixture = try await KeyFixture()
        let id = try await fixture.secret()
        let container = try await fixture.container()
        try await fixture.imageEdge("i1", of: id)
        try await fixture.setQuota("consumers", 2)
        let consumer = KeyConsumer(service: "a", resourceType: "b", resourceID: "c")
        _ = try await fixture.secrets.register(consumer, of: id, as: fixture.member)
        func register(_ name: String) async throws {
            _ = try await fixture.secrets.register(
                KeyContainer.Consumer(name: name, url: "u"), of: container, as: fixture.member)
        }
        try await register("a")
        try await register("a")
        #expect(await status { try await register("b") } == 403)
    }

    @Test(arguments: [
        ("[]", "[] is not of type 'object'. Invalid property: 'None'"),
        ("{}", "'project_quotas' is a required property. Invalid property: 'None'"),
        (
            #"{"project_quotas": {}, "x": 1}"#,
            "Additional properties are not allowed ('x' was unexpected). Invalid property: 'None'"
        ),
        (#"{"project_quotas": 5}"#, "5 is not of type 'object'. Invalid property: 'project_quotas'"),
        (
            #"{"project_quotas": {"x": 1}}"#,
            "Additional properties are not allowed ('x' was unexpected). Invalid property: 'project_quotas'"
        ),
        (
            #"{"project_quotas": {"orders": "5"}}"#,
            "'5' is not of type 'integer'. Invalid property: 'project_quotas'"
        ),
        (
            #"{"project_quotas": {"orders": null}}"#,
            "None is not of type 'integer'. Invalid property: 'project_quotas'"
        ),
        (
            #"{"project_quotas": {"orders": true}}"#,
            "True is not of type 'integer'. Invalid property: 'project_quotas'"
        ),
        (
            #"{"project_quotas": {"orders": -2}}"#,
            "-2 is less than the minimum of -1. Invalid property: 'project_quotas'"
        ),
    ])
    func badQuotasAreRefused(_ json: String, _ reason: String) async throws {
        let refusal = try await refused { _ = try KeyQuotaChange(try KeyFixture.json(json)) }
        #expect(refusal?.status == 400)
        #expect(refusal?.message == "Provided object does not match schema 'Project Quota': " + reason)
    }

    // MARK: a project's end

    @Test func aDeletedProjectTakesItsKeysIntoQuarantine() async throws {
        let fixture = try await KeyFixture()
        let gone = try await fixture.secret()
        let needed = try await fixture.secret()
        let foreign = try await fixture.secret(as: fixture.caller("p2", user: "u2"))
        try await fixture.secrets.replaceACL(
            of: .secret(needed), with: try ACLChange.parse(["read": ["users": ["u2"]]]), as: fixture.member)
        let consumer = KeyConsumer(service: "a", resourceType: "b", resourceID: "c")
        _ = try await fixture.secrets.register(consumer, of: needed, as: fixture.caller("p2", user: "u2"))
        let container = try await fixture.container([gone])
        let other = try await fixture.container([foreign], as: fixture.caller("p2", user: "u2"))
        _ = try await fixture.order(#"{"type": "key", "meta": {"algorithm": "x", "bit_length": 8}}"#)
        try await fixture.setQuota("secrets", 5)
        try await fixture.database.write { try fixture.secrets.letGo(of: "p1", in: $0) }
        let entries = try await fixture.secrets.quarantine.entries().entries
        #expect(entries.map(\.id) == [gone])
        #expect(entries.map(\.reason) == [.projectDeleted])
        #expect(await status { _ = try await fixture.secrets.container(container, as: fixture.member) } == 404)
        _ = try await fixture.secrets.container(other, as: fixture.caller("p2", user: "u2"))
        #expect(try await fixture.count("secret_orders") == 0)
        #expect(try await fixture.count("key_quotas") == 0)
    }

    @Test func identityTellsOfDeletedProjects() async throws {
        let fixture = try await IdentityFixture()
        let told = DeletedProjects()
        let identity = IdentityService(
            database: fixture.database, surroundings: fixture.surroundings, settings: fixture.identity.settings,
            keys: fixture.keys, onProjectDeletion: { id, _ in told.add(id) })
        func project(in domain: DomainID) async throws -> ProjectID {
            try await identity.createProject(
                ["project": ["name": "p", "domain_id": .string(domain.rawValue)]], as: fixture.admin
            ).id
        }
        let first = try await project(in: "default")
        try await identity.deleteProject(first, as: fixture.admin)
        let domain = try await identity.createDomain(
            ["domain": ["name": "d", "enabled": false]], as: fixture.admin)
        let second = try await project(in: domain.id)
        try await identity.deleteDomain(domain.id, as: fixture.admin)
        #expect(told.all == [first, second])
    }
}

private final class DeletedProjects: Sendable {
    private let ids = Mutex<[ProjectID]>([])
    var all: [ProjectID] { ids.withLock { $0 } }
    func add(_ id: ProjectID) { ids.withLock { $0.append(id) } }
}
