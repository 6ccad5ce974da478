import Core
import Foundation
import NIOCore
import Persistence
import Synchronization
import Testing
import Trust

@Suite struct IdentityResourceTests {
    // MARK: bootstrap

    @Test func theFirstStartMakesUsersWhoCanLogIn() async throws {
        let fixture = try await IdentityFixture()
        #expect(Set(fixture.passwords.keys) == ["admin", "demo", "ambrotype"])
        #expect(fixture.passwords.values.allSatisfy { $0.utf8.count == 43 })
        let service = try await fixture.login("ambrotype", scope: IdentityFixture.project("service")).validated
        #expect(service.roles.map(\.name) == ["service"])
        let system = try await fixture.login("ambrotype", scope: ["system": ["all": true]]).validated
        #expect(system.roles.map(\.name) == ["reader"])
        #expect(try await fixture.identity.roles(as: fixture.admin).map(\.name).sorted() == FixedRoles.all.sorted())
    }

    @Test func laterStartsOnlyBringTheCatalogueUpToDate() async throws {
        let fixture = try await IdentityFixture()
        try await fixture.identity.deleteUser(fixture.userID("demo"), as: fixture.admin)
        let before = try await fixture.identity.endpoints(as: fixture.admin)
        let kept = Mutex(false)
        var plan = BootstrapPlan(catalog: [CatalogEntry(type: "image", name: "glance", url: "http://moved/image")])
        plan.keepPasswords = { _ in kept.withLock { $0 = true } }
        let result = try await fixture.identity.bootstrap(plan)
        #expect(result.createdPasswords.isEmpty)
        #expect(!kept.withLock { $0 })
        #expect(try await fixture.identity.users(UserFilter(name: "demo"), as: fixture.admin).isEmpty)
        let after = try await fixture.identity.endpoints(as: fixture.admin)
        #expect(before.map(\.id) == after.map(\.id))
        #expect(after.filter { $0.url == "http://moved/image" }.count == 3)
        #expect(after.filter { $0.url == "http://cloud/identity/v3" }.count == 3)
        _ = try await fixture.login("admin")
    }

    @Test func passwordsAreKeptBeforeTheUsersAre() async throws {
        let fixture = try await IdentityFixture()
        let database = try SQLiteDatabase(path: fixture.directory.appending(path: "second.db").path)
        try await database.migrate(IdentityMigrations.all, at: 0)
        var settings = IdentitySettings()
        settings.scryptCost = 4
        let identity = IdentityService(
            database: database, surroundings: fixture.surroundings, settings: settings, keys: fixture.keys)
        struct DiskFull: Error {}
        await #expect(throws: DiskFull.self) {
            try await identity.bootstrap(BootstrapPlan(catalog: []) { _ in throw DiskFull() })
        }
        #expect(try await identity.users(as: fixture.admin).isEmpty)
        let kept = Mutex<[String: String]>([:])
        let result = try await identity.bootstrap(
            BootstrapPlan(catalog: []) { passwords in kept.withLock { $0 = passwords } })
        #expect(kept.withLock { $0 } == result.createdPasswords)
        #expect(result.createdPasswords.count == 3)
    }

    // MARK: domains, projects, users

    @Test func projectsAreMadeChangedAndDeleted() async throws {
        let fixture = try await IdentityFixture()
        let identity = fixture.identity
        let made = try await identity.createProject(
            ["project": ["name": "p", "description": "d", "tags": ["x"], "colour": "blue"]], as: fixture.admin)
        #expect(made.domainID == "default" && made.isEnabled && made.tags == ["x"])
        #expect(made.extra.members == ["colour": "blue"])
        let changed = try await identity.updateProject(
            made.id, ["project": ["name": "q", "shape": ["round": true]]], as: fixture.admin)
        #expect(changed.name == "q" && changed.description == "d")
        let read = try await identity.project(made.id, as: fixture.admin)
        #expect(read.extra.members == ["colour": "blue", "shape": ["round": true]])
        let child = try await identity.createProject(
            ["project": ["name": "child", "parent_id": .string(made.id.rawValue)]], as: fixture.admin)
        #expect(child.parentID == made.id)
        #expect(
            try await identity.projects(ProjectFilter(parentID: made.id.rawValue), as: fixture.admin).map(\.id)
                == [child.id])
        #expect(await serviceError { try await identity.deleteProject(made.id, as: fixture.admin) }?.status == 403)
        try await identity.deleteProject(child.id, as: fixture.admin)
        try await identity.deleteProject(made.id, as: fixture.admin)
        #expect(await serviceError { try await identity.project(made.id, as: fixture.admin) }?.status == 404)
        #expect(await serviceError { try await identity.deleteProject(made.id, as: fixture.admin) }?.status == 404)
    }

    @Test func projectsNestFiveDeep() async throws {
        let fixture = try await IdentityFixture()
        var parent = "default"
        for level in 1...5 {
            parent = try await fixture.identity.createProject(
                ["project": ["name": .string("level\(level)"), "parent_id": .string(parent)]], as: fixture.admin
            ).id.rawValue
        }
        let deepest = parent
        let error = await serviceError {
            try await fixture.identity.createProject(
                ["project": ["name": "level6", "parent_id": .string(deepest)]], as: fixture.admin)
        }
        #expect(error?.status == 403)
    }

    @Test func namesAreUniqueWhereTheyMustBe() async throws {
        let fixture = try await IdentityFixture()
        let identity = fixture.identity
        let admin = fixture.admin
        let duplicates: [@Sendable () async throws -> Void] = [
            { _ = try await identity.createProject(["project": ["name": "demo"]], as: admin) },
            { _ = try await identity.createUser(["user": ["name": "demo"]], as: admin) },
            { _ = try await identity.createDomain(["domain": ["name": "Default"]], as: admin) },
            { _ = try await identity.createRole(["role": ["name": "member"]], as: admin) },
            { _ = try await identity.createRole(["role": ["name": "ADMIN"]], as: admin) },
            { _ = try await identity.createRegion(["region": ["id": "RegionOne"]], as: admin) },
        ]
        for (index, duplicate) in duplicates.enumerated() {
            #expect(await serviceError(duplicate)?.status == 409, "\(index)")
        }
        // Another domain has its own names.
        let domain = try await identity.createDomain(["domain": ["name": "other"]], as: admin)
        _ = try await identity.createUser(
            ["user": ["name": "demo", "domain_id": .string(domain.id.rawValue)]], as: admin)
    }

    @Test func aDomainGoesWithAllThatIsInIt() async throws {
        let fixture = try await IdentityFixture()
        let identity = fixture.identity
        let admin = fixture.admin
        let domain = try await identity.createDomain(["domain": ["name": "d"]], as: admin)
        let inDomain = JSONValue.string(domain.id.rawValue)
        let parent = try await identity.createProject(["project": ["name": "p", "domain_id": inDomain]], as: admin)
        _ = try await identity.createProject(
            ["project": ["name": "c", "parent_id": .string(parent.id.rawValue)]], as: admin)
        let user = try await identity.createUser(["user": ["name": "u", "domain_id": inDomain]], as: admin)
        try await identity.grant(fixture.roleID("member"), to: user.id, on: .project(parent.id), as: admin)
        try await identity.grant(fixture.roleID("reader"), to: user.id, on: .domain(domain.id), as: admin)
        #expect(await serviceError { try await identity.deleteDomain(domain.id, as: admin) }?.status == 403)
        _ = try await identity.updateDomain(domain.id, ["domain": ["enabled": false]], as: admin)
        try await identity.deleteDomain(domain.id, as: admin)
        #expect(await serviceError { try await identity.user(user.id, as: admin) }?.status == 404)
        #expect(await serviceError { try await identity.project(parent.id, as: admin) }?.status == 404)
        #expect(await serviceError { try await identity.domain(domain.id, as: admin) }?.status == 404)
        #expect(await serviceError { try await identity.deleteDomain("default", as: admin) }?.status == 403)
    }

    // MARK: roles and grants

    @Test func fixedRolesStayAsTheyAre() async throws {
        let fixture = try await IdentityFixture()
        let id = try await fixture.roleID("member")
        let identity = fixture.identity
        let admin = fixture.admin
        #expect(
            await serviceError { try await identity.updateRole(id, ["role": ["name": "m"]], as: admin) }?.status == 403)
        #expect(await serviceError { try await identity.deleteRole(id, as: admin) }?.status == 403)
        let inferences = try await identity.inferences(as: admin)
        #expect(inferences.map(\.prior.name) == ["admin", "manager", "member"])
        #expect(inferences.map { $0.implied.map(\.name) } == [["manager"], ["member"], ["reader"]])
        let own = try await identity.createRole(["role": ["name": "own"]], as: admin)
        #expect(try await identity.inference(of: own.id, as: admin).implied.isEmpty)
        #expect(
            await serviceError {
                try await identity.changeInference(of: own.id, to: id, isWanted: true, as: admin)
            }?.status == 403)
        try await identity.deleteRole(own.id, as: admin)
    }

    @Test func grantsAreListedWithNamesAndEffects() async throws {
        let fixture = try await IdentityFixture()
        let identity = fixture.identity
        let (user, project) = try await fixture.member("ann", role: "manager")
        var filter = AssignmentFilter()
        filter.userID = user.id
        let granted = try await identity.assignments(filter, as: fixture.admin)
        #expect(granted.map(\.role.name) == ["manager"])
        #expect(granted.first?.targetName == "ann" && granted.first?.userDomain.name == "Default")
        filter.isEffective = true
        let effective = try await identity.assignments(filter, as: fixture.admin)
        #expect(effective.map(\.role.name) == ["manager", "member", "reader"])
        #expect(effective.map { $0.priorRole?.name } == [nil, "manager", "manager"])
        filter.roleID = try await fixture.roleID("reader")
        #expect(try await identity.assignments(filter, as: fixture.admin).count == 1)
        filter = AssignmentFilter()
        filter.isSystem = true
        #expect(
            try await identity.assignments(filter, as: fixture.admin).map(\.userName).sorted() == [
                "admin", "ambrotype",
            ])
        filter.projectID = project.id
        let both = filter
        #expect(await serviceError { try await identity.assignments(both, as: fixture.admin) }?.status == 400)
    }

    @Test func grantsNeedAllTheirParts() async throws {
        let fixture = try await IdentityFixture()
        let identity = fixture.identity
        let admin = fixture.admin
        let user = try await fixture.userID("demo")
        let project = try await fixture.projectID("demo")
        let role = try await fixture.roleID("reader")
        let missing: [(RoleID, UserID, AssignmentTarget)] = [
            ("nothing", user, .project(project)), (role, "nobody", .project(project)),
            (role, user, .project("nowhere")),
            (role, user, .domain("nowhere")),
        ]
        for (role, user, target) in missing {
            #expect(
                await serviceError { try await identity.grant(role, to: user, on: target, as: admin) }?.status == 404)
        }
        #expect(
            await serviceError { try await identity.checkGrant(role, of: user, on: .project(project), as: admin) }?
                .status == 404)
        for _ in 1...2 { try await identity.grant(role, to: user, on: .project(project), as: admin) }
        try await identity.checkGrant(role, of: user, on: .project(project), as: admin)
        try await identity.revokeGrant(role, of: user, on: .project(project), as: admin)
        #expect(
            await serviceError { try await identity.revokeGrant(role, of: user, on: .project(project), as: admin) }?
                .status == 404)
    }

    // MARK: limits

    @Test func limitsNeedARegisteredOne() async throws {
        let fixture = try await IdentityFixture()
        let identity = fixture.identity
        let admin = fixture.admin
        let service = try #require(await identity.services(type: "image", as: admin).first)
        let project = try await fixture.projectID("demo")
        let base: [String: JSONValue] = [
            "service_id": .string(service.id.rawValue), "region_id": "RegionOne", "resource_name": "image_size_total",
        ]
        func limit(_ value: Int64, _ owner: [String: JSONValue]) -> JSONValue {
            ["limits": [.object(base.merging(owner.merging(["resource_limit": .integer(value)]) { $1 }) { $1 })]]
        }
        let own: [String: JSONValue] = ["project_id": .string(project.rawValue)]
        #expect(await serviceError { try await identity.createLimits(limit(5, own), as: admin) }?.status == 403)
        let registered = try await identity.createRegisteredLimits(
            ["registered_limits": [.object(base.merging(["default_limit": 10]) { $1 })]], as: admin)
        #expect(registered.map(\.defaultLimit) == [10])
        let again = await serviceError {
            try await identity.createRegisteredLimits(
                ["registered_limits": [.object(base.merging(["default_limit": 10]) { $1 })]], as: admin)
        }
        #expect(again?.status == 409)
        let made = try #require(await identity.createLimits(limit(5, own), as: admin).first)
        #expect(made.resourceName == "image_size_total" && made.serviceID == service.id)
        #expect(await serviceError { try await identity.createLimits(limit(6, own), as: admin) }?.status == 409)
        #expect(
            await serviceError { try await identity.createLimits(limit(6, ["project_id": "no"]), as: admin) }?.status
                == 400)
        #expect(await serviceError { try await identity.createLimits(limit(6, [:]), as: admin) }?.status == 400)
        #expect(await serviceError { try await identity.createLimits(limit(-2, own), as: admin) }?.status == 400)
        #expect(
            try await identity.updateLimit(made.id, ["limit": ["resource_limit": -1]], as: admin).resourceLimit == -1)
        let id = registered[0].id
        #expect(await serviceError { try await identity.deleteRegisteredLimit(id, as: admin) }?.status == 403)
        try await identity.deleteLimit(made.id, as: admin)
        try await identity.deleteRegisteredLimit(id, as: admin)
        #expect(try await identity.registeredLimits().isEmpty)
    }

    @Test func limitsAreSeenByTheirProjectAndByServices() async throws {
        let fixture = try await IdentityFixture()
        let identity = fixture.identity
        let service = try #require(await identity.services(type: "image", as: fixture.admin).first)
        let base: [String: JSONValue] = ["service_id": .string(service.id.rawValue), "resource_name": "r"]
        _ = try await identity.createRegisteredLimits(
            ["registered_limits": [.object(base.merging(["default_limit": 1]) { $1 })]], as: fixture.admin)
        for name in ["demo", "admin"] {
            let owner: [String: JSONValue] = [
                "project_id": .string(try await fixture.projectID(name).rawValue), "resource_limit": 2,
            ]
            _ = try await identity.createLimits(["limits": [.object(base.merging(owner) { $1 })]], as: fixture.admin)
        }
        let demo = try await fixture.caller(fixture.demoToken())
        let seen = try await identity.limits(LimitFilter(), as: demo)
        #expect(seen.map(\.projectID) == [demo.projectID])
        let agent = try await fixture.caller(
            fixture.login("ambrotype", scope: IdentityFixture.project("service")).token)
        #expect(try await identity.limits(LimitFilter(), as: agent).count == 2)
        let unscoped = try await fixture.caller(fixture.login("demo").token)
        #expect(try await identity.limits(LimitFilter(), as: unscoped).isEmpty)
        #expect(try await identity.registeredLimits().count == 1)
        let foreign = try #require(
            await identity.limits(LimitFilter(), as: agent).first { $0.projectID != demo.projectID })
        #expect(await serviceError { try await identity.limit(foreign.id, as: demo) }?.status == 403)
    }

    // MARK: policy

    @Test func membersSeeThemselvesAndNothingElse() async throws {
        let fixture = try await IdentityFixture()
        let identity = fixture.identity
        let demo = try await fixture.caller(fixture.demoToken())
        let own = try #require(demo.projectID)
        let admin = try await fixture.userID("admin")
        let foreign = try await fixture.projectID("admin")
        #expect(try await identity.user(demo.userID, as: demo).name == "demo")
        #expect(try await identity.project(own, as: demo).name == "demo")
        #expect(try await identity.domain("default", as: demo).name == "Default")
        #expect(try await identity.projects(of: demo.userID, as: demo).map(\.id) == [own])
        #expect(try await identity.projectsOfCaller(demo).map(\.id) == [own])
        #expect(try await !identity.hasSystemRole(demo))
        let refused: [(String, @Sendable () async throws -> Void)] = [
            ("users", { _ = try await identity.users(as: demo) }),
            ("another user", { _ = try await identity.user(admin, as: demo) }),
            ("a user there is not", { _ = try await identity.user("nobody", as: demo) }),
            ("projects", { _ = try await identity.projects(as: demo) }),
            ("another project", { _ = try await identity.project(foreign, as: demo) }),
            ("domains", { _ = try await identity.domains(as: demo) }),
            ("roles", { _ = try await identity.roles(as: demo) }),
            ("services", { _ = try await identity.services(as: demo) }),
            ("endpoints", { _ = try await identity.endpoints(as: demo) }),
            ("assignments", { _ = try await identity.assignments(AssignmentFilter(), as: demo) }),
            ("changing itself", { _ = try await identity.updateUser(demo.userID, ["user": ["name": "x"]], as: demo) }),
            ("making a project", { _ = try await identity.createProject(["project": ["name": "x"]], as: demo) }),
            ("making a user", { _ = try await identity.createUser(["user": ["name": "x"]], as: demo) }),
            ("making a role", { _ = try await identity.createRole(["role": ["name": "x"]], as: demo) }),
            ("making a region", { _ = try await identity.createRegion(["region": ["id": "x"]], as: demo) }),
            ("granting", { try await identity.grant("r", to: demo.userID, on: .project(own), as: demo) }),
            ("limiting", { _ = try await identity.createLimits(["limits": [[:]]], as: demo) }),
        ]
        for (name, call) in refused { #expect(await serviceError(call)?.status == 403, "\(name)") }
        let reader = try await fixture.caller(
            fixture.login("ambrotype", scope: ["system": ["all": true]]).token)
        #expect(try await identity.endpoints(as: reader).count == 6)
        #expect(try await identity.users(as: reader).count == 3)
        #expect(await serviceError { try await identity.deleteUser(admin, as: reader) }?.status == 403)
    }

    // MARK: bad input

    @Test(arguments: [
        "[]", "{}", #"{"user": null}"#, #"{"user": {}}"#, #"{"user": {"name": ""}}"#, #"{"user": {"name": "   "}}"#,
        #"{"user": {"name": null}}"#, #"{"user": {"name": 1}}"#, #"{"user": {"name": "a", "enabled": "yes"}}"#,
        #"{"user": {"name": "a", "enabled": null}}"#, #"{"user": {"name": "a", "password": 1}}"#,
        #"{"user": {"name": "a", "domain_id": 1}}"#,
        #"{"user": {"name": "a", "default_project_id": []}}"#,
        #"{"user": {"name": "a", "options": {"lock_password": true}}}"#,
    ])
    func usersAreChecked(_ body: String) async throws {
        let fixture = try await IdentityFixture()
        let document = try JSONValue(parsing: .init(string: body))
        #expect(
            await serviceError { try await fixture.identity.createUser(document, as: fixture.admin) }?.status == 400)
    }

    @Test func longNamesAreRefused() async throws {
        let fixture = try await IdentityFixture()
        let identity = fixture.identity
        let long = JSONValue.string(String(repeating: "é", count: 256))
        let admin = fixture.admin
        let calls: [@Sendable () async throws -> Void] = [
            { _ = try await identity.createUser(["user": ["name": long]], as: admin) },
            { _ = try await identity.createProject(["project": ["name": long]], as: admin) },
            { _ = try await identity.createDomain(["domain": ["name": long]], as: admin) },
            { _ = try await identity.createRole(["role": ["name": long]], as: admin) },
            { _ = try await identity.createRegion(["region": ["id": long]], as: admin) },
            { _ = try await identity.createService(["service": ["type": long]], as: admin) },
        ]
        for call in calls { #expect(await serviceError(call)?.status == 400) }
        _ = try await identity.createUser(
            ["user": ["name": .string(String(repeating: "é", count: 255))]], as: admin)
    }

    @Test(arguments: [
        #"{"service_id": "SERVICE", "url": "http://x"}"#, #"{"service_id": "SERVICE", "interface": "public"}"#,
        #"{"service_id": "nothing", "interface": "public", "url": "http://x"}"#,
        #"{"service_id": "SERVICE", "interface": "private", "url": "http://x"}"#,
        #"{"service_id": "SERVICE", "interface": "public", "url": "http://x/%(secret)s"}"#,
        #"{"service_id": "SERVICE", "interface": "public", "url": "http://x", "region_id": "nowhere"}"#,
    ])
    func endpointsAreChecked(_ body: String) async throws {
        let fixture = try await IdentityFixture()
        let service = try #require(await fixture.identity.services(as: fixture.admin).first)
        let text = #"{"endpoint": "# + body.replacing("SERVICE", with: service.id.rawValue) + "}"
        let document = try JSONValue(parsing: .init(string: text))
        let error = await serviceError { try await fixture.identity.createEndpoint(document, as: fixture.admin) }
        #expect(error?.status == 400)
    }

    @Test func regionsMakeNoCircles() async throws {
        let fixture = try await IdentityFixture()
        let identity = fixture.identity
        let admin = fixture.admin
        _ = try await identity.createRegion(["region": ["id": "a"]], as: admin)
        _ = try await identity.createRegion(["region": ["id": "b", "parent_region_id": "a"]], as: admin)
        #expect(
            await serviceError {
                try await identity.updateRegion("a", ["region": ["parent_region_id": "b"]], as: admin)
            }?.status == 400)
        #expect(await serviceError { try await identity.deleteRegion("RegionOne", as: admin) }?.status == 403)
        _ = try await identity.updateRegion("RegionOne", ["region": ["parent_region_id": "b"]], as: admin)
        #expect(await serviceError { try await identity.deleteRegion("a", as: admin) }?.status == 403)
        _ = try await identity.updateRegion("RegionOne", ["region": ["parent_region_id": .null]], as: admin)
        try await identity.deleteRegion("a", as: admin)
        #expect(try await identity.regions().map(\.id) == ["RegionOne"])
    }
}
