import Core
import NIOCore
import Persistence
import Testing
import Trust

@Suite struct IdentityLoginTests {
    private static let refusal = "The request you have made requires authentication."

    @Test func everyRefusalReadsTheSame() async throws {
        let fixture = try await IdentityFixture()
        _ = try await fixture.identity.createUser(["user": ["name": "speechless"]], as: fixture.admin)
        let (disabled, _) = try await fixture.member("disabled")
        _ = try await fixture.identity.updateUser(disabled.id, ["user": ["enabled": false]], as: fixture.admin)
        let cases = [
            ("demo", "wrong"), ("nobody", "wrong"), ("speechless", ""), ("disabled", "password of disabled"),
            ("demo", ""),
        ]
        for (user, password) in cases {
            let error = await serviceError { try await fixture.login(user, password) }
            guard case .unauthorized(let text)? = error else {
                Issue.record("\(user): \(String(describing: error))")
                continue
            }
            #expect(text == Self.refusal)
        }
    }

    @Test func fiveWrongPasswordsLockTheUserOut() async throws {
        let fixture = try await IdentityFixture()
        for _ in 1...5 { #expect(await serviceError { try await fixture.login("demo", "wrong") }?.status == 401) }
        #expect(await serviceError { try await fixture.login("demo") }?.message == Self.refusal)
        // Somebody else is not.
        _ = try await fixture.login("admin")
        fixture.clock.advance(seconds: 1799)
        #expect(await serviceError { try await fixture.login("demo") }?.status == 401)
        fixture.clock.advance(seconds: 1)
        _ = try await fixture.login("demo")
        #expect(await serviceError { try await fixture.login("demo", "wrong") }?.status == 401)
        _ = try await fixture.login("demo")
    }

    @Test func aRightPasswordForgetsTheWrongOnes() async throws {
        let fixture = try await IdentityFixture()
        for _ in 1...3 {
            for _ in 1...4 { #expect(await serviceError { try await fixture.login("demo", "wrong") }?.status == 401) }
            _ = try await fixture.login("demo")
        }
    }

    @Test func guessesAtTheSameTimeCountAsMany() async throws {
        let fixture = try await IdentityFixture { $0.hashingConcurrency = 1 }
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<50 { group.addTask { _ = await serviceError { try await fixture.login("demo", "wrong") } } }
        }
        let attempts = try await fixture.database.read { db in
            try db.first("SELECT failed_attempts FROM identity_users WHERE name = 'demo'") {
                try $0.get(0, as: Int.self)
            }
        }
        #expect(attempts == 5)
    }

    @Test func wrongAnswersAreDelayedMoreEachTimeForAnyName() async throws {
        let fixture = try await IdentityFixture()
        for name in ["demo", "nobody"] {
            let before = fixture.clock.slept.count
            for _ in 1...6 { _ = await serviceError { try await fixture.login(name, "wrong") } }
            #expect(fixture.clock.slept[before...] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0])
        }
    }

    @Test func tooManyWaitingLoginsAreSentAway() async throws {
        let fixture = try await IdentityFixture {
            $0.hashingConcurrency = 1
            $0.hashingQueueLimit = 0
            $0.scryptCost = 10
        }
        let outcomes = await withTaskGroup(of: Int?.self) { group in
            for _ in 0..<200 {
                group.addTask {
                    await serviceError { try await fixture.login("demo", scope: "unscoped") }?.status
                }
            }
            return await group.reduce(into: [Int?]()) { $0.append($1) }
        }
        #expect(outcomes.contains(nil))
        #expect(outcomes.allSatisfy { $0 == nil || $0 == 503 })
    }

    @Test func aNewPasswordEndsTheTokensBeforeItAndNoneAfter() async throws {
        let fixture = try await IdentityFixture()
        let old = try await fixture.demoToken()
        let id = try await fixture.userID("demo")
        // All at one and the same moment.
        try await fixture.identity.changePassword(
            of: id, ["user": ["original_password": .string(fixture.password("demo")), "password": "new"]])
        #expect(try await !fixture.isValid(old))
        let new = try await fixture.login("demo", "new", scope: IdentityFixture.project("demo")).token
        #expect(try await fixture.isValid(new))
        #expect(await serviceError { try await fixture.login("demo") }?.status == 401)
        _ = try await fixture.identity.updateUser(id, ["user": ["password": "newer"]], as: fixture.admin)
        #expect(try await !fixture.isValid(new))
        _ = try await fixture.login("demo", "newer")
    }

    @Test func changingThePasswordNeedsTheOldOne() async throws {
        let fixture = try await IdentityFixture()
        let id = try await fixture.userID("demo")
        let wrong = await serviceError {
            try await fixture.identity.changePassword(
                of: id, ["user": ["original_password": "wrong", "password": "new"]])
        }
        #expect(wrong?.status == 401)
        let missing = await serviceError {
            try await fixture.identity.changePassword(of: id, ["user": ["password": "new"]])
        }
        #expect(missing?.status == 400)
        _ = try await fixture.login("demo")
    }

    @Test func disabledAndDeletedThingsEndTheirTokens() async throws {
        let fixture = try await IdentityFixture()
        let domain = try await fixture.identity.createDomain(["domain": ["name": "d"]], as: fixture.admin)
        let project = try await fixture.identity.createProject(
            ["project": ["name": "p", "domain_id": .string(domain.id.rawValue)]], as: fixture.admin)
        let user = try await fixture.identity.createUser(
            ["user": ["name": "u", "password": "pw", "domain_id": .string(domain.id.rawValue)]], as: fixture.admin)
        try await fixture.identity.grant(
            fixture.roleID("member"), to: user.id, on: .project(project.id), as: fixture.admin)
        func token() async throws -> String {
            try await fixture.identity.issueToken(
                IdentityFixture.body(
                    "password", ["user": ["id": .string(user.id.rawValue), "password": "pw"]],
                    scope: ["project": ["id": .string(project.id.rawValue)]]), logger: IdentityFixture.logger
            ).token
        }
        let first = try await token()
        #expect(try await fixture.isValid(first))
        let admin = fixture.admin
        let identity = fixture.identity
        _ = try await identity.updateProject(project.id, ["project": ["enabled": false]], as: admin)
        #expect(try await !fixture.isValid(first))
        #expect(await serviceError { try await token() }?.status == 401)
        _ = try await identity.updateProject(project.id, ["project": ["enabled": true]], as: admin)
        #expect(try await fixture.isValid(first))

        _ = try await identity.updateDomain(domain.id, ["domain": ["enabled": false]], as: admin)
        #expect(try await !fixture.isValid(first))
        #expect(await serviceError { try await token() }?.status == 401)
        _ = try await identity.updateDomain(domain.id, ["domain": ["enabled": true]], as: admin)
        #expect(try await fixture.isValid(first))

        _ = try await identity.updateUser(user.id, ["user": ["enabled": false]], as: admin)
        #expect(try await !fixture.isValid(first))
        _ = try await identity.updateUser(user.id, ["user": ["enabled": true]], as: admin)
        // A user who was put out has to log in again.
        #expect(try await !fixture.isValid(first))
        let second = try await token()
        #expect(try await fixture.isValid(second))
        try await identity.deleteUser(user.id, as: admin)
        #expect(try await !fixture.isValid(second))
    }

    @Test func hashesOfAnotherCostAreReplacedAtLogin() async throws {
        let fixture = try await IdentityFixture()
        func hash() async throws -> String? {
            try await fixture.database.read { db in
                try db.first("SELECT password_hash FROM identity_users WHERE name = 'demo'") {
                    try $0.get(0, as: String.self)
                }
            }
        }
        let id = try await fixture.userID("demo")
        _ = try await fixture.database.write { db in
            try db.execute(
                "UPDATE identity_users SET password_hash = $1 WHERE id = $2",
                "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", id)
        }
        _ = try await fixture.login("demo", "U*U")
        #expect(try await hash()?.hasPrefix("$scrypt$ln=4,") == true)
        _ = try await fixture.login("demo", "U*U")
    }

    @Test(arguments: [
        "{}", "[]", "null", #"{"auth": 1}"#, #"{"auth": {}}"#, #"{"auth": {"identity": {}}}"#,
        #"{"auth": {"identity": {"methods": "password"}}}"#, #"{"auth": {"identity": {"methods": [1]}}}"#,
        #"{"auth": {"identity": {"methods": ["password"]}}}"#,
        #"{"auth": {"identity": {"methods": ["password"], "password": []}}}"#,
        #"{"auth": {"identity": {"methods": ["password"], "password": {"user": {"password": "x"}}}}}"#,
        #"{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "a", "password": "x"}}}}}"#,
        #"{"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": 1, "password": "x"}}}}}"#,
        #"{"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": "a", "password": 1}}}}}"#,
        #"{"auth": {"identity": {"methods": ["token"], "token": {"id": null}}}}"#,
        #"{"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": "everything"}}"#,
        #"{"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": {}}}"#,
        #"{"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": {"system": {}}}}"#,
        #"{"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": {"project": {"name": "p"}}}}"#,
        #"{"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": {"project": {"id": "p"}, "domain": {"id": "d"}}}}"#,
        #"{"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": {"OS-TRUST:trust": {"id": "t"}}}}"#,
    ])
    func anotherShapeIsABadRequest(_ body: String) async throws {
        let fixture = try await IdentityFixture()
        let document = try JSONValue(parsing: .init(string: body))
        let error = await serviceError {
            try await fixture.identity.issueToken(document, logger: IdentityFixture.logger)
        }
        #expect(error?.status == 400)
    }

    @Test func longPasswordsAreRefusedBeforeAnyWork() async throws {
        let fixture = try await IdentityFixture()
        let long = String(repeating: "a", count: 4097)
        #expect(await serviceError { try await fixture.login("demo", long) }?.status == 400)
        let create = await serviceError {
            try await fixture.identity.createUser(
                ["user": ["name": "x", "password": .string(long)]], as: fixture.admin)
        }
        #expect(create?.status == 400)
        let longest = String(long.dropLast())
        _ = try await fixture.identity.createUser(
            ["user": ["name": "x", "password": .string(longest)]], as: fixture.admin)
        _ = try await fixture.login("x", longest)
        #expect(await serviceError { try await fixture.login("x", String(longest.dropLast()) + "b") }?.status == 401)
    }
}
