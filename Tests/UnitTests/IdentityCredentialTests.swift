import Core
import Persistence
import Testing
import Trust

/// Application credentials, and tokens as services meet them.
@Suite struct IdentityCredentialTests {
    private func make(
        _ fixture: IdentityFixture, _ members: [String: JSONValue] = [:], token: String? = nil
    ) async throws -> (credential: ApplicationCredential, secret: String) {
        let text = if let token { token } else { try await fixture.demoToken() }
        let validated = try #require(await fixture.identity.validate(text))
        return try await fixture.identity.createApplicationCredential(
            of: fixture.userID("demo"),
            ["application_credential": .object(members.merging(["name": "robot"]) { own, _ in own })],
            token: validated, as: fixture.caller(text))
    }

    private func login(
        _ fixture: IdentityFixture, _ content: JSONValue, scope: JSONValue? = nil
    ) async throws -> (token: String, validated: ValidatedToken) {
        try await fixture.identity.issueToken(
            IdentityFixture.body("application_credential", content, scope: scope), logger: IdentityFixture.logger)
    }

    private func login(
        _ fixture: IdentityFixture, _ made: (credential: ApplicationCredential, secret: String)
    ) async throws -> (token: String, validated: ValidatedToken) {
        try await login(
            fixture, ["id": .string(made.credential.id.rawValue), "secret": .string(made.secret)])
    }

    @Test func theyActForTheirUserInTheirProject() async throws {
        let fixture = try await IdentityFixture()
        let made = try await make(fixture)
        #expect(made.credential.roles.map(\.name).sorted() == ["member", "reader"])
        let (token, validated) = try await login(fixture, made)
        #expect(validated.project?.name == "demo")
        #expect(validated.methods == ["application_credential"])
        #expect(validated.applicationCredential?.isUnrestricted == false)
        #expect(try await fixture.caller(token).userName == "demo")
        let byName = try await login(
            fixture, ["name": "robot", "secret": .string(made.secret), "user": IdentityFixture.named("demo")])
        #expect(byName.validated.applicationCredential?.id == made.credential.id)
    }

    @Test func emptyListsMeanThatNothingWasAsked() async throws {
        let fixture = try await IdentityFixture()
        let made = try await make(fixture, ["roles": [], "access_rules": []])
        #expect(made.credential.roles.map(\.name).sorted() == ["member", "reader"])
        #expect(made.credential.accessRules == nil)
        _ = try await fixture.caller(login(fixture, made).token, method: "DELETE")
    }

    @Test func theSecretIsStoredHashed() async throws {
        let fixture = try await IdentityFixture()
        let made = try await make(fixture)
        let chosen = try await make(fixture, ["name": "other", "secret": "chosen by hand"])
        let stored = try await fixture.database.read { db in
            try db.query("SELECT secret_hash FROM identity_app_credentials") { try $0.get(0, as: String.self) }
        }
        #expect(Set(stored.map { $0.split(separator: "$").first }) == ["sha256", "scrypt"])
        #expect(!stored.contains { $0.contains(made.secret) || $0.contains(chosen.secret) })
        #expect(made.secret.utf8.count == 43)
        _ = try await login(fixture, chosen)
    }

    @Test func wrongSecretsAndScopesAreRefused() async throws {
        let fixture = try await IdentityFixture()
        let made = try await make(fixture)
        let id = JSONValue.string(made.credential.id.rawValue)
        let refused: [JSONValue] = [
            ["id": id, "secret": "wrong"], ["id": "nothing", "secret": "wrong"],
            ["name": "robot", "secret": .string(made.secret), "user": IdentityFixture.named("admin")],
        ]
        for content in refused {
            let error = await serviceError { try await login(fixture, content) }
            #expect(error?.message == "The request you have made requires authentication.")
        }
        let scoped = await serviceError {
            try await login(
                fixture, ["id": id, "secret": .string(made.secret)], scope: IdentityFixture.project("demo"))
        }
        #expect(scoped?.status == 401)
        let token = try await login(fixture, made).token
        let rescoped = await serviceError { try await fixture.rescope(token, scope: IdentityFixture.project("demo")) }
        #expect(rescoped?.status == 401)
        // Without a scope the new token is as restricted as the old one.
        #expect(try await fixture.rescope(token).validated.applicationCredential?.id == made.credential.id)
    }

    @Test func theirTokensDoNotOutliveThem() async throws {
        let fixture = try await IdentityFixture()
        let end = fixture.clock.now.adding(seconds: 600)
        let made = try await make(fixture, ["expires_at": .string(String(end.iso8601Microseconds.dropLast()))])
        let (token, validated) = try await login(fixture, made)
        #expect(validated.expiresAt == end)
        fixture.clock.advance(seconds: 600)
        #expect(try await !fixture.isValid(token))
        #expect(await serviceError { try await login(fixture, made) }?.status == 401)
    }

    @Test func deletingOneEndsItsTokens() async throws {
        let fixture = try await IdentityFixture()
        let made = try await make(fixture)
        let token = try await login(fixture, made).token
        let demo = try await fixture.caller(fixture.demoToken())
        #expect(try await fixture.isValid(token))
        try await fixture.identity.deleteApplicationCredential(
            made.credential.id, of: demo.userID, token: nil, as: demo)
        #expect(try await !fixture.isValid(token))
        #expect(await serviceError { try await login(fixture, made) }?.status == 401)
    }

    @Test func rolesAreAtMostTheUsersOwn() async throws {
        let fixture = try await IdentityFixture()
        let tooMuch = await serviceError { try await make(fixture, ["roles": [["name": "admin"]]]) }
        #expect(tooMuch?.status == 400)
        let made = try await make(fixture, ["roles": [["name": "reader"]]])
        let token = try await login(fixture, made).token
        #expect(try await fixture.caller(token).roles == ["reader"])
        // What the user loses, the credential loses.
        let demo = try await fixture.userID("demo")
        let project = try await fixture.projectID("demo")
        try await fixture.identity.revokeGrant(
            fixture.roleID("member"), of: demo, on: .project(project), as: fixture.admin)
        #expect(try await !fixture.isValid(token))
    }

    @Test func aRestrictedOneMakesNoFurther() async throws {
        let fixture = try await IdentityFixture()
        let token = try await login(fixture, make(fixture)).token
        #expect(await serviceError { try await make(fixture, ["name": "child"], token: token) }?.status == 403)
        let unrestricted = try await make(fixture, ["name": "free", "unrestricted": true])
        let freeToken = try await login(fixture, unrestricted).token
        _ = try await make(fixture, ["name": "child"], token: freeToken)
    }

    @Test func othersMayNotSeeOrMakeThem() async throws {
        let fixture = try await IdentityFixture()
        let made = try await make(fixture)
        let (ann, _) = try await fixture.member("ann")
        let token = try await fixture.login("ann", "password of ann", scope: IdentityFixture.project("ann")).token
        let caller = try await fixture.caller(token)
        let demo = try await fixture.userID("demo")
        let validated = try #require(await fixture.identity.validate(token))
        let identity = fixture.identity
        #expect(await serviceError { try await identity.applicationCredentials(of: demo, as: caller) }?.status == 403)
        #expect(
            await serviceError {
                try await identity.createApplicationCredential(
                    of: demo, ["application_credential": ["name": "x"]], token: validated, as: caller)
            }?.status == 403)
        #expect(
            await serviceError {
                try await identity.deleteApplicationCredential(made.credential.id, of: demo, token: nil, as: caller)
            }?.status == 403)
        // Nor does one's own path lead to another's.
        #expect(
            await serviceError {
                try await identity.applicationCredential(made.credential.id, of: ann.id, as: caller)
            }?.status == 404)
    }

    @Test func accessRulesDecideWhatTheTokenIsGoodFor() async throws {
        let fixture = try await IdentityFixture()
        let made = try await make(
            fixture,
            [
                "access_rules": [
                    ["service": "image", "method": "GET", "path": "/v2/images/*"],
                    ["service": "image", "method": "PUT", "path": "/v2/images/{image_id}/file"],
                    ["service": "key-manager", "method": "GET", "path": "/v1/**"],
                ]
            ])
        let token = try await login(fixture, made).token
        let cases: [(String, String, String, Bool)] = [
            ("GET", "/v2/images/abc", "image", true), ("HEAD", "/v2/images/abc", "image", false),
            ("GET", "/v2/images", "image", false), ("GET", "/v2/images/abc/file", "image", false),
            ("PUT", "/v2/images/abc/file", "image", true), ("PUT", "/v2/images/abc/stage", "image", false),
            ("GET", "/v2/images/abc", "key-manager", false), ("GET", "/v1/secrets/a/payload", "key-manager", true),
        ]
        for (method, path, type, isAllowed) in cases {
            let error = await serviceError { try await fixture.caller(token, method: method, path: path, type: type) }
            #expect(error?.status == (isAllowed ? nil : 401), "\(method) \(path) of \(type)")
        }
        // With a service's token the rules are the service's affair.
        let service = try await fixture.login("ambrotype", scope: IdentityFixture.project("service")).token
        _ = try await fixture.caller(token, service: service, method: "DELETE", path: "/v2/images/abc")
        // To who does not know of access rules such a token does not exist.
        let unaware = await serviceError {
            try await fixture.identity.token(
                token, allowsExpired: false, knowsAccessRules: false, bodyWanted: true, as: fixture.admin)
        }
        #expect(unaware?.status == 404)
    }

    @Test func equalAccessRulesAreOne() async throws {
        let fixture = try await IdentityFixture()
        let rules: JSONValue = [["service": "image", "method": "GET", "path": "/v2/images"]]
        let first = try await make(fixture, ["access_rules": rules])
        _ = try await make(fixture, ["name": "second", "access_rules": rules])
        let demo = try await fixture.caller(fixture.demoToken())
        let identity = fixture.identity
        let all = try await identity.accessRules(of: demo.userID, as: demo)
        #expect(all.count == 1)
        let id = try #require(all.first).id
        #expect(
            await serviceError { try await identity.deleteAccessRule(id, of: demo.userID, as: demo) }?.status == 403)
        for credential in try await identity.applicationCredentials(of: demo.userID, as: demo) {
            try await identity.deleteApplicationCredential(credential.id, of: demo.userID, token: nil, as: demo)
        }
        try await identity.deleteAccessRule(id, of: demo.userID, as: demo)
        #expect(first.credential.accessRules?.map(\.id) == [id])
        // And a user with credentials and rules can go as a whole.
        _ = try await make(fixture, ["access_rules": rules])
        try await identity.deleteUser(demo.userID, as: fixture.admin)
    }

    // MARK: services

    @Test func anExpiredTokenIsGoodWithAServiceToken() async throws {
        let fixture = try await IdentityFixture()
        let token = try await fixture.demoToken()
        fixture.clock.advance(seconds: 3600)
        let service = try await fixture.login("ambrotype", scope: IdentityFixture.project("service")).token
        #expect(await serviceError { try await fixture.caller(token) }?.status == 401)
        let caller = try await fixture.caller(token, service: service)
        #expect(caller.userName == "demo")
        #expect(caller.isService && !caller.has("service"))
        #expect(await serviceError { try await fixture.caller(token) }?.status == 401)
        // An expired service token helps nobody.
        fixture.clock.advance(seconds: 3600)
        #expect(await serviceError { try await fixture.caller(token, service: service) }?.status == 401)
    }

    @Test func aServiceTokenOfNoServiceSpoilsTheRequest() async throws {
        let fixture = try await IdentityFixture()
        let token = try await fixture.demoToken()
        let admin = try await fixture.login("admin", scope: IdentityFixture.project("admin")).token
        _ = try await fixture.caller(token)
        #expect(await serviceError { try await fixture.caller(token, service: admin) }?.status == 401)
        #expect(await serviceError { try await fixture.caller(token, service: "nonsense") }?.status == 401)
        #expect(await serviceError { try await fixture.caller(nil) }?.status == 401)
    }

    @Test func theCallerIsWhatTheTokenSays() async throws {
        let fixture = try await IdentityFixture()
        let (token, validated) = try await fixture.login("demo", scope: IdentityFixture.project("demo"))
        // The second comes from the cache.
        for _ in 1...2 {
            let caller = try await fixture.caller(token)
            #expect(caller.userID == validated.user.id)
            #expect(caller.projectID == validated.project?.id)
            #expect(caller.projectDomainID == "default")
            #expect(caller.auditID == validated.auditID)
            #expect(caller.requestID == "req-1")
            #expect(caller.roles == ["member", "reader"] && caller.serviceRoles.isEmpty)
        }
        #expect(fixture.authenticator.challenge == #"Keystone uri="http://127.0.0.1:5000/v3""#)
    }

    @Test func theCacheHoldsForAMinuteAtMost() async throws {
        let fixture = try await IdentityFixture()
        let token = try await fixture.demoToken()
        #expect(try await fixture.isValid(token))
        // Another process's write, which this one does not hear of.
        _ = try await fixture.database.write { db in
            try db.execute("UPDATE identity_users SET enabled = 0 WHERE name = 'demo'")
        }
        fixture.clock.advance(seconds: 60)
        #expect(try await fixture.isValid(token))
        fixture.clock.advance(seconds: 1)
        #expect(try await !fixture.isValid(token))
    }
}
