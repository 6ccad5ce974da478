import Core
import Persistence
import Testing
import Trust

@Suite struct IdentityTokenTests {
    @Test func aPasswordBuysATokenForTheProject() async throws {
        let fixture = try await IdentityFixture()
        let (token, issued) = try await fixture.login("demo", scope: IdentityFixture.project("demo"))
        #expect(issued.project?.name == "demo")
        #expect(issued.project?.domain.name == "Default")
        #expect(issued.roles.map(\.name) == ["member", "reader"])
        #expect(issued.methods == ["password"])
        #expect(issued.auditIDs.count == 1)
        #expect(issued.expiresAt == Timestamp(seconds: fixture.clock.now.seconds + 3600))
        let validated = try #require(await fixture.identity.validate(token))
        #expect(validated.user.id == issued.user.id)
        #expect(validated.auditIDs == issued.auditIDs)
        #expect(validated.expiresAt == issued.expiresAt)
    }

    @Test func scopesAreProjectDomainSystemOrNone() async throws {
        let fixture = try await IdentityFixture()
        let unscoped = try await fixture.login("admin").validated
        #expect(!unscoped.isScoped && unscoped.roles.isEmpty)
        let system = try await fixture.login("admin", scope: ["system": ["all": true]]).validated
        #expect(system.isSystem)
        #expect(system.roles.map(\.name) == ["admin", "manager", "member", "reader"])
        let byID = try await fixture.login(
            "admin", scope: .object(["project": ["id": .string(fixture.projectID("admin").rawValue)]])
        ).validated
        #expect(byID.project?.name == "admin")
        #expect(
            await serviceError { try await fixture.login("admin", scope: ["domain": ["id": "default"]]) }?.status == 401
        )
        try await fixture.identity.grant(
            fixture.roleID("reader"), to: fixture.userID("demo"), on: .domain("default"), as: fixture.admin)
        let domain = try await fixture.login("demo", scope: ["domain": ["name": "Default"]]).validated
        #expect(domain.domain?.id == "default")
        #expect(domain.roles.map(\.name) == ["reader"])
    }

    @Test(
        arguments: [
            IdentityFixture.project("admin"), IdentityFixture.project("nothing"), ["project": ["id": "nothing"]],
            ["domain": ["id": "default"]], ["domain": ["id": "nothing"]], ["system": ["all": true]],
        ] as [JSONValue])
    func aScopeWithoutARoleIsRefused(_ scope: JSONValue) async throws {
        let fixture = try await IdentityFixture()
        let error = await serviceError { try await fixture.login("demo", scope: scope) }
        #expect(error?.status == 401)
        #expect(error?.message == "The request you have made requires authentication.")
    }

    @Test func theDefaultProjectIsTakenWhenItCanBeHad() async throws {
        let fixture = try await IdentityFixture()
        let id = try await fixture.userID("demo")
        func prefer(_ project: String) async throws {
            _ = try await fixture.identity.updateUser(
                id, ["user": ["default_project_id": .string(project)]], as: fixture.admin)
        }
        try await prefer(fixture.projectID("demo").rawValue)
        #expect(try await fixture.login("demo").validated.project?.name == "demo")
        #expect(try await fixture.login("demo", scope: "unscoped").validated.isScoped == false)
        try await prefer("nothing")
        #expect(try await fixture.login("demo").validated.isScoped == false)
    }

    @Test func tokensExpire() async throws {
        let fixture = try await IdentityFixture { $0.tokenLifetimeSeconds = 100 }
        let token = try await fixture.demoToken()
        fixture.clock.advance(seconds: 99)
        #expect(try await fixture.isValid(token))
        fixture.clock.advance(seconds: 1)
        #expect(try await !fixture.isValid(token))
        #expect(try await fixture.identity.validate(token, allowsExpired: true) != nil)
        fixture.clock.advance(seconds: 172_800)
        #expect(try await fixture.identity.validate(token, allowsExpired: true) == nil)
    }

    @Test func rescopingKeepsExpiryAndChain() async throws {
        let fixture = try await IdentityFixture()
        let (parent, first) = try await fixture.login("demo")
        fixture.clock.advance(seconds: 1000)
        let (child, second) = try await fixture.rescope(parent, scope: IdentityFixture.project("demo"))
        #expect(second.expiresAt == first.expiresAt)
        #expect(second.issuedAt > first.issuedAt)
        #expect(second.methods == ["password", "token"])
        #expect(second.auditIDs.count == 2 && second.auditIDs[1] == first.auditIDs[0])
        let third = try await fixture.rescope(child).validated
        #expect(third.auditIDs.count == 2 && third.auditIDs[1] == first.auditIDs[0])
        fixture.clock.advance(seconds: 2600)
        #expect(await serviceError { try await fixture.rescope(parent) }?.status == 401)
    }

    @Test func aSystemTokenBecomesNoProjectToken() async throws {
        let fixture = try await IdentityFixture()
        let token = try await fixture.login("admin", scope: ["system": ["all": true]]).token
        let error = await serviceError { try await fixture.rescope(token, scope: IdentityFixture.project("admin")) }
        #expect(error?.status == 403)
        #expect(try await fixture.rescope(token, scope: "unscoped").validated.isScoped == false)
    }

    @Test func aRevokedTokenIsRefusedAtOnceAndOthersAreNot() async throws {
        let fixture = try await IdentityFixture()
        let first = try await fixture.demoToken()
        let second = try await fixture.demoToken()
        let caller = try await fixture.caller(second)
        #expect(try await fixture.isValid(first))
        try await fixture.identity.revoke(first, as: caller)
        #expect(try await !fixture.isValid(first))
        #expect(try await fixture.isValid(second))
        // Also where expired tokens are let through.
        fixture.clock.advance(seconds: 4000)
        #expect(try await fixture.identity.validate(first, allowsExpired: true) == nil)
        #expect(try await fixture.identity.validate(second, allowsExpired: true) != nil)
    }

    @Test func revocationsAreForgottenOnceTheyCannotMatter() async throws {
        let fixture = try await IdentityFixture()
        func revokeOne() async throws {
            let token = try await fixture.demoToken()
            try await fixture.identity.revoke(token, as: fixture.admin)
        }
        func count() async throws -> Int? {
            try await fixture.database.read { db in
                try db.first("SELECT COUNT(*) FROM identity_revocations") { try $0.get(0, as: Int.self) }
            }
        }
        try await revokeOne()
        try await revokeOne()
        #expect(try await count() == 2)
        fixture.clock.advance(seconds: 3600 + 172_800 + 1801)
        try await revokeOne()
        #expect(try await count() == 1)
    }

    @Test func othersTokensDoNotExist() async throws {
        let fixture = try await IdentityFixture()
        let mine = try await fixture.demoToken()
        let theirs = try await fixture.login("admin", scope: IdentityFixture.project("admin")).token
        let demo = try await fixture.caller(mine)
        let reader = try await fixture.caller(
            fixture.login("ambrotype", scope: IdentityFixture.project("service")).token)
        func status(_ subject: String?, bodyWanted: Bool = true, as caller: Caller) async -> Int? {
            await serviceError {
                try await fixture.identity.token(
                    subject, allowsExpired: true, knowsAccessRules: false, bodyWanted: bodyWanted, as: caller)
            }?.status
        }
        #expect(await status(mine, as: demo) == nil)
        #expect(await status(theirs, as: demo) == 404)
        #expect(await status("nonsense", as: demo) == 404)
        #expect(await status(nil, as: demo) == 404)
        #expect(await status(theirs, as: reader) == nil)
        #expect(await status(theirs, bodyWanted: false, as: reader) == 404)
        #expect(await serviceError { try await fixture.identity.revoke(theirs, as: demo) }?.status == 404)
        #expect(try await fixture.isValid(theirs))
        // The window for expired tokens is open to services alone.
        fixture.clock.advance(seconds: 3600)
        #expect(await status(mine, as: reader) == nil)
        #expect(await status(mine, as: fixture.admin) == 404)
    }

    @Test func aTokenOfAnotherInstallationIsRefused() async throws {
        let fixture = try await IdentityFixture()
        let other = try await IdentityFixture()
        let token = try await other.demoToken()
        #expect(try await !fixture.isValid(token))
        // Even with the right user id, the other's key does not count.
        let claims = TokenClaims(
            userID: try await fixture.userID("admin").rawValue,
            issuedAtMicroseconds: fixture.clock.now.microseconds,
            expiresAtSeconds: fixture.clock.now.seconds + 3600, methods: ["password"], auditIDs: ["x"], isSystem: true)
        #expect(try await !fixture.isValid(other.keys.sign(claims)))
        #expect(try await fixture.isValid(fixture.keys.sign(claims)))
    }

    @Test func roleChangesActOnTokensThatAreOut() async throws {
        let fixture = try await IdentityFixture()
        let (user, project) = try await fixture.member("ann")
        let token = try await fixture.login("ann", "password of ann", scope: IdentityFixture.project("ann")).token
        #expect(try await fixture.caller(token).roles == ["member", "reader"])
        let manager = try await fixture.roleID("manager")
        try await fixture.identity.grant(manager, to: user.id, on: .project(project.id), as: fixture.admin)
        #expect(try await fixture.caller(token).roles == ["manager", "member", "reader"])
        try await fixture.identity.revokeGrant(manager, of: user.id, on: .project(project.id), as: fixture.admin)
        #expect(try await fixture.caller(token).roles == ["member", "reader"])
        try await fixture.identity.revokeGrant(
            fixture.roleID("member"), of: user.id, on: .project(project.id), as: fixture.admin)
        #expect(await serviceError { try await fixture.caller(token) }?.status == 401)
    }

    @Test func theCatalogueIsResolvedForTheToken() async throws {
        let fixture = try await IdentityFixture()
        let service = try await fixture.identity.createService(
            ["service": ["type": "volumev3", "name": "cinder"]], as: fixture.admin)
        _ = try await fixture.identity.createEndpoint(
            [
                "endpoint": [
                    "service_id": .string(service.id.rawValue), "interface": "public", "region_id": "RegionOne",
                    "url": "http://cloud/volume/$(project_id)s",
                ]
            ], as: fixture.admin)
        func urls(_ token: ValidatedToken) async throws -> [String] {
            try await fixture.identity.catalog(for: token).first { $0.type == "volumev3" }?.endpoints.map(\.url) ?? []
        }
        let demo = try await fixture.login("demo", scope: IdentityFixture.project("demo")).validated
        #expect(try await urls(demo) == ["http://cloud/volume/\(fixture.projectID("demo"))"])
        let system = try await fixture.login("admin", scope: ["system": ["all": true]]).validated
        #expect(try await urls(system) == [])
        let image = try #require(await fixture.identity.catalog(for: system).first { $0.type == "image" })
        #expect(image.name == "glance")
        #expect(Set(image.endpoints.map(\.interface)) == ["public", "internal", "admin"])
    }
}
