import Core
import NIOHTTP1
import Remote
import Synchronization
import Testing

/// What only the Barbican client promises: as whom it asks, and what it makes of a Barbican's and a Keystone's
/// troubles.
@Suite struct BarbicanTroubleTests {
    private let key: SecretID = "5ec4e711-0000-4000-8000-000000000001"
    private let image = KeyConsumer.image("1a1a1a1a-0000-4000-8000-000000000001")
    private let ours = BarbicanFake.Consumer(
        service: "image", resourceType: "image", resourceID: "1a1a1a1a-0000-4000-8000-000000000001")
    private let volume = BarbicanFake.Consumer(service: "volume", resourceType: "volume", resourceID: "v1")
    private let project: ProjectID = "p-demo"
    private let clock = ImpatientClock()

    private func withBarbican(_ body: (BarbicanFake, BarbicanKeyManager) async throws -> Void) async throws {
        try await withBarbican(changing: { _ in }, body)
    }

    private func withBarbican(
        changing change: (inout BarbicanSettings) -> Void,
        _ body: (BarbicanFake, BarbicanKeyManager) async throws -> Void
    ) async throws {
        let fake = BarbicanFake(clock: clock)
        try await fake.start()
        fake.add(key)
        var settings = BarbicanSettings(
            keystone: KeystoneSettings(authURL: fake.identityURL, username: "glance", password: "s\"ecret"), url: nil)
        change(&settings)
        let keys = BarbicanKeyManager(settings, surroundings: .forTests(clock: clock))
        let result = await Result { try await body(fake, keys) }
        try await keys.shutdown()
        try await fake.stop()
        try result.get()
    }

    /// - Returns: what the error says.
    @discardableResult
    private func expectError(
        _ code: KeyManagerError.Code, at location: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
    ) async -> String {
        do {
            try await body()
            Issue.record("expected \(code), nothing was thrown", sourceLocation: location)
        } catch let error as KeyManagerError {
            #expect(error.code == code, "\(error)", sourceLocation: location)
            for secret in ["token-", "s\"ecret"] {
                #expect(!error.description.contains(secret), "\(error)", sourceLocation: location)
            }
            return error.description
        } catch {
            Issue.record("expected a KeyManagerError, got \(error)", sourceLocation: location)
        }
        return ""
    }

    /// So many of the requests of a kind meet with a fate, then all are served.
    private func first(
        _ count: Int, _ isMeant: @escaping @Sendable (BarbicanFake.Request) -> Bool, _ fate: BarbicanFake.Fate
    ) -> @Sendable (BarbicanFake.Request) -> BarbicanFake.Fate {
        let left = Counted(count)
        return { isMeant($0) && left.take() ? fate : .served }
    }

    private final class Counted: Sendable {
        private let left: Mutex<Int>
        init(_ count: Int) { left = Mutex(count) }
        func take() -> Bool {
            left.withLock { left in
                left -= 1
                return left >= 0
            }
        }
    }

    private static func status(_ status: Int) -> BarbicanFake.Fate { .answered(.init(status: status, body: "{}")) }

    // MARK: As whom

    @Test func everyCallIsMadeInTheProjectOfTheOwner() async throws {
        try await withBarbican { fake, keys in
            try await keys.register(image, of: key, for: project)
            #expect(fake.consumers(of: key) == [ours])
            #expect(try await keys.destroy(key, of: image, for: project) == .destroyed)
            let login = try #require(fake.requests.first { $0.isLogin })
            #expect(login.body.hasSuffix("\"scope\": {\"project\": {\"id\": \"p-demo\"}}}}"), "\(login.body)")
            #expect(fake.loginCount == 1)
            for request in fake.requests where request.isOfSecret {
                #expect(request.headers["X-Auth-Token"] == ["token-1"])
                #expect(request.headers["OpenStack-API-Version"] == ["key-manager 1.2"])
                #expect(!request.uri.contains("force"))
            }
        }
    }

    @Test func withoutARoleInTheProjectItIsRefusedAndSaysWhatToGrant() async throws {
        try await withBarbican { (fake, keys) async throws in
            fake.setRoles([], in: "p-demo")
            let told = await expectError(.refused) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(told.contains("glance has no role in project p-demo"))
            #expect(told.contains("openstack role add --user glance --user-domain Default --project p-demo member"))
            #expect(told.contains("--inherited"))
            await expectError(.refused) { try await keys.register(image, of: key, for: project) }
            #expect(fake.requests.count == fake.loginCount)
            fake.setRoles(["member"], in: "p-demo")
            #expect(try await keys.destroy(key, of: image, for: project) == .destroyed)
        }
    }

    /// With an admin's token Barbican would delete the keys of all projects.
    @Test func asAdminItDoesNothing() async throws {
        try await withBarbican { fake, keys in
            fake.setRoles(["admin", "member"], in: "p-demo")
            fake.add(key, in: "p-alt")
            let told = await expectError(.refused) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(told.contains("is admin in project p-demo"))
            #expect(fake.has(key))
        }
    }

    @Test func withALesserRoleItIsRefusedAndSaysWhatToGrant() async throws {
        try await withBarbican { fake, keys in
            fake.setRoles(["reader"], in: "p-demo")
            let told = await expectError(.refused) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(told.contains("only the roles reader in project p-demo"))
            #expect(told.contains("openstack role add"))
        }
    }

    @Test func aKeyThatTheMembersMayNotTouchIsRefusedOnce() async throws {
        try await withBarbican { fake, keys in
            fake.makePrivate(key)
            let told = await expectError(.refused) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(told.contains("403"))
            await expectError(.refused) { try await keys.unregister(image, of: key, for: project) }
            #expect(fake.requests.count { $0.isOfSecret } == 2)
            #expect(fake.has(key))
        }
    }

    @Test func aSpentQuotaIsSaidSo() async throws {
        try await withBarbican { fake, keys in
            fake.decide { request in
                guard request.method == .POST, request.isOfSecret else { return .served }
                let text = "SecretConsumer creation issue seen - Creation not allowed because a quota has been reached."
                return .answered(.init(status: 403, body: "{\"code\": 403, \"description\": \"\(text)\"}"))
            }
            let told = await expectError(.refused) { try await keys.register(image, of: key, for: project) }
            #expect(told.contains("quota of project p-demo"))
        }
    }

    @Test func aTokenOfAnotherProjectIsNotUsed() async throws {
        try await withBarbican { fake, keys in
            fake.setProjectOfTokens("p-alt")
            await expectError(.unexpected) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(fake.requests.count == fake.loginCount)
        }
    }

    @Test func projectsDoNotShareTokens() async throws {
        try await withBarbican { (fake, keys) async throws in
            let other: SecretID = "5ec4e711-0000-4000-8000-000000000002"
            fake.add(other, in: "p-alt")
            #expect(try await keys.destroy(other, of: image, for: "p-alt") == .destroyed)
            #expect(try await keys.destroy(key, of: image, for: project) == .destroyed)
            #expect(fake.loginCount == 2)
        }
    }

    @Test func aTokenIsRenewedBeforeItsEnd() async throws {
        try await withBarbican { fake, keys in
            fake.setTokenLifetime(seconds: 600)
            try await keys.register(image, of: key, for: project)
            clock.advance(seconds: 300)
            try await keys.register(image, of: key, for: project)
            #expect(fake.loginCount == 1)
            clock.advance(seconds: 275)
            try await keys.register(image, of: key, for: project)
            #expect(fake.loginCount == 2)
            #expect(fake.requests.count { $0.isOfSecret } == 3)
        }
    }

    // MARK: Keystone's troubles

    @Test func credentialsThatAreNotTakenAreForAllToWaitFor() async throws {
        try await withBarbican(changing: { $0.keystone.password = "wrong" }) { fake, keys in
            let told = await expectError(.unavailable) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(told.contains("refused"))
            #expect(!told.contains("wrong"))
        }
    }

    @Test(arguments: [500, 502, 503, 504, 429])
    func aKeystoneThatIsNotWellIsWaitedFor(_ status: Int) async throws {
        try await withBarbican { fake, keys in
            fake.decide(first(1, \.isLogin, Self.status(status)))
            await expectError(.unavailable) { try await keys.register(image, of: key, for: project) }
            try await keys.register(image, of: key, for: project)
        }
    }

    @Test func aKeystoneThatIsAwayIsWaitedFor() async throws {
        try await withBarbican(changing: { $0.keystone.authURL = "http://127.0.0.1:1/v3" }) { _, keys in
            await expectError(.unavailable) { try await keys.register(image, of: key, for: project) }
            await #expect(throws: KeyManagerError.self) { try await keys.checkReachable() }
        }
    }

    // MARK: Where Barbican is

    @Test func theCatalogueSaysWhereItIs() async throws {
        try await withBarbican { (fake, keys) async throws in
            #expect(try await keys.checkReachable())
            #expect(try await keys.destroy(key, of: image, for: project) == .destroyed)
        }
        try await withBarbican(changing: { $0.interface = "internal" }) { _, keys in
            await expectError(.unavailable) { try await keys.register(image, of: key, for: project) }
        }
        try await withBarbican { fake, keys in
            fake.setCatalogue("[]")
            let told = await expectError(.unavailable) { try await keys.register(image, of: key, for: project) }
            #expect(told.contains("catalogue has no public endpoint"))
        }
    }

    @Test(arguments: ["", "/", "/v1", "/v1/"])
    func whatTheSettingsSayGoesBeforeTheCatalogue(_ end: String) async throws {
        let fake = BarbicanFake(clock: clock)
        try await fake.start()
        let (identity, url) = (fake.identityURL, fake.url + end)
        fake.setCatalogue("[]")
        fake.add(key)
        let keys = BarbicanKeyManager(
            BarbicanSettings(
                keystone: KeystoneSettings(authURL: identity, username: "glance", password: "s\"ecret"), url: url),
            surroundings: .forTests(clock: clock))
        let fate = await Result { try await keys.destroy(key, of: image, for: project) }
        try await keys.shutdown()
        try await fake.stop()
        #expect(try fate.get() == .destroyed)
    }

    @Test func ofSeveralRegionsOneHasToBeNamed() async throws {
        func catalogue(_ fake: BarbicanFake) -> String {
            """
            [{"type": "key-manager", "endpoints": [\
            {"interface": "public", "region": "one", "url": "http://127.0.0.1:1"}, \
            {"interface": "public", "region": "two", "url": "\(fake.url)"}]}]
            """
        }
        try await withBarbican { fake, keys in
            fake.setCatalogue(catalogue(fake))
            let told = await expectError(.unavailable) { try await keys.register(image, of: key, for: project) }
            #expect(told.contains("keys.barbican_url"))
        }
        try await withBarbican(changing: { $0.region = "two" }) { fake, keys in
            fake.setCatalogue(catalogue(fake))
            try await keys.register(image, of: key, for: project)
        }
    }

    @Test(arguments: [
        "[]", "{}", "{\"versions\": []}", "no JSON", "{\"versions\": [{\"id\": \"v1\", \"max_version\": \"x\"}]}",
    ])
    func whatIsNoBarbicanIsNotTakenForOne(_ body: String) async throws {
        try await withBarbican { fake, keys in
            fake.decide { $0.isDiscovery ? .answered(.init(status: 300, body: body)) : .served }
            await expectError(.unexpected) { try await keys.register(image, of: key, for: project) }
            #expect(!fake.requests.contains { $0.isOfSecret })
        }
    }

    // MARK: Versions

    @Test(arguments: [(Int?.none, 0), (1, 1), (2, 1), (3, 1)])
    func whatItOffersIsTaken(_ newest: Int?, _ registered: Int) async throws {
        try await withBarbican { fake, keys in
            fake.setNewestMinor(newest)
            #expect(try await keys.checkReachable() == (registered == 1))
            try await keys.register(image, of: key, for: project)
            #expect(fake.consumers(of: key).count == registered)
            try await keys.unregister(image, of: key, for: project)
            #expect(fake.consumers(of: key).isEmpty)
            #expect(try await keys.destroy(key, of: image, for: project) == .destroyed)
            let sent = try #require(fake.requests.last { $0.isDeletion }).headers["OpenStack-API-Version"]
            #expect(sent == (newest.map { ["key-manager 1.\(min($0, 2))"] } ?? []))
            #expect(fake.requests.count(where: \.isDiscovery) == 1)
        }
    }

    /// At 1.1 Barbican itself would not look.
    @Test func consumersCountAtAnOlderVersionToo() async throws {
        try await withBarbican { (fake, keys) async throws in
            fake.setNewestMinor(1)
            fake.add(volume, to: key)
            #expect(try await keys.destroy(key, of: image, for: project) == .kept("volume/volume v1 needs it"))
            #expect(fake.has(key))
        }
    }

    @Test func anUpgradeAndADowngradeAreNoticed() async throws {
        try await withBarbican { fake, keys in
            fake.setNewestMinor(nil)
            try await keys.register(image, of: key, for: project)
            #expect(fake.consumers(of: key).isEmpty)
            fake.setNewestMinor(2)
            clock.advance(seconds: 3600)
            try await keys.register(image, of: key, for: project)
            #expect(fake.consumers(of: key) == [ours])
            fake.setNewestMinor(1)
            await expectError(.unavailable) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(try await keys.destroy(key, of: image, for: project) == .destroyed)
        }
    }

    // MARK: Consumers

    @Test func aConsumerOnALaterPageCounts() async throws {
        try await withBarbican { (fake, keys) async throws in
            // More of them than of ours there can be: what a server sends twice must not end the search.
            fake.decide { request in
                guard request.method == .GET, request.path.hasSuffix("/consumers") else { return .served }
                let isFirst = request.uri.hasSuffix("offset=0")
                let row = isFirst ? "1a1a1a1a-0000-4000-8000-000000000001" : "another"
                return .answered(
                    .init(
                        status: 200,
                        body: """
                            {"consumers": [{"service": "image", "resource_type": "image", "resource_id": "\(row)"}],
                             "total": 2}
                            """))
            }
            #expect(try await keys.destroy(key, of: image, for: project) == .kept("image/image another needs it"))
            #expect(fake.has(key))
        }
    }

    /// A registration of ours that was under way when the image was deleted.
    @Test func aLateRegistrationIsTakenBack() async throws {
        try await withBarbican { (fake, keys) async throws in
            let (key, ours) = (key, ours)
            let late = Counted(1)
            fake.decide { request in
                if request.isDeletion, late.take() { fake.add(ours, to: key) }
                return .served
            }
            #expect(try await keys.destroy(key, of: image, for: project) == .destroyed)
            #expect(fake.requests.count(where: \.isDeletion) == 2)
        }
    }

    @Test func oneThatComesBetweenLookingAndDeletingKeepsTheKey() async throws {
        try await withBarbican { (fake, keys) async throws in
            let (key, volume) = (key, volume)
            let late = Counted(1)
            fake.decide { request in
                if request.isDeletion, late.take() { fake.add(volume, to: key) }
                return .served
            }
            #expect(try await keys.destroy(key, of: image, for: project) == .kept("volume/volume v1 needs it"))
            #expect(fake.has(key))
        }
    }

    // MARK: Barbican's troubles

    @Test func aBarbicanThatIsAwayIsTriedAFewTimes() async throws {
        try await withBarbican { fake, keys in
            try await keys.register(image, of: key, for: project)
            try await fake.stop()
            // What is connected already is served until it is closed.
            fake.decide { _ in .servedAndCut }
            let before = clock.pauses.count
            await expectError(.unavailable) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(clock.pauses.count - before == 3)
            fake.decide(nil)
            try await fake.start()
            #expect(try await keys.destroy(key, of: image, for: project) == .destroyed)
        }
    }

    @Test(arguments: [429, 502, 503, 504])
    func whatPassesSoonIsNotNoticed(_ status: Int) async throws {
        try await withBarbican { (fake, keys) async throws in
            for isMeant in [{ $0.isOfSecret }, { $0.isDeletion }, { $0.isDiscovery }]
                as [@Sendable (BarbicanFake.Request) -> Bool]
            {
                fake.add(key)
                clock.advance(seconds: 3600)
                fake.decide(first(3, isMeant, Self.status(status)))
                #expect(try await keys.destroy(key, of: image, for: project) == .destroyed)
            }
            #expect(clock.pauses.count == 9)
            for (index, pause) in clock.pauses.enumerated() {
                let full = 0.5 * Double(1 << (index % 3))
                #expect((full / 2...full).contains(pause))
            }
            fake.decide(first(.max, { $0.isOfSecret }, Self.status(status)))
            await expectError(.unavailable) { try await keys.register(image, of: key, for: project) }
        }
    }

    /// The answer to each request in turn is lost once.
    @Test func aLostAnswerChangesNothing() async throws {
        try await withBarbican { fake, keys in
            let kinds: [@Sendable (BarbicanFake.Request) -> Bool] = [
                { $0.method == .POST && $0.isOfSecret }, { $0.method == .GET && $0.isOfSecret },
                { $0.method == .DELETE && $0.path.hasSuffix("/consumers") }, { $0.isDeletion }, { $0.isLogin },
            ]
            for kind in kinds {
                fake.add(key)
                clock.advance(seconds: 3600)
                fake.decide(first(1, kind, .servedAndCut))
                try await keys.register(image, of: key, for: project)
                #expect(fake.consumers(of: key) == [ours])
                #expect(try await keys.destroy(key, of: image, for: project) == .destroyed)
                #expect(!fake.has(key))
            }
        }
    }

    @Test func aTokenThatIsNotTakenIsReplacedOnce() async throws {
        try await withBarbican { fake, keys in
            try await keys.register(image, of: key, for: project)
            fake.revokeTokens()
            #expect(try await keys.destroy(key, of: image, for: project) == .destroyed)
            #expect(fake.loginCount == 2)
            fake.decide { $0.isOfSecret ? Self.status(401) : .served }
            let before = fake.requests.count { $0.isOfSecret }
            await expectError(.unavailable) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(fake.requests.count { $0.isOfSecret } - before == 2)
        }
    }

    @Test(arguments: ["no JSON", "", "[]", "{}", "{\"secret_type\": 5}"])
    func whatCannotBeReadIsNotGuessed(_ body: String) async throws {
        try await withBarbican { fake, keys in
            fake.decide { $0.method == .GET && $0.isOfSecret ? .answered(.init(status: 200, body: body)) : .served }
            await expectError(.unexpected) { _ = try await keys.destroy(key, of: image, for: project) }
            fake.decide {
                $0.method == .GET && $0.path.hasSuffix("/consumers")
                    ? .answered(.init(status: 200, body: body)) : .served
            }
            await expectError(.unexpected) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(fake.has(key))
        }
    }

    @Test func aConsumerThatCannotBeReadCounts() async throws {
        try await withBarbican { fake, keys in
            fake.decide {
                $0.method == .GET && $0.path.hasSuffix("/consumers")
                    ? .answered(.init(status: 200, body: "{\"consumers\": [{\"service\": \"image\"}], \"total\": 1}"))
                    : .served
            }
            await expectError(.unexpected) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(fake.has(key))
        }
    }

    @Test(arguments: [500, 400, 405, 418])
    func otherAnswersAreUnexpected(_ status: Int) async throws {
        try await withBarbican { fake, keys in
            fake.decide { $0.isDeletion || $0.method == .POST && $0.isOfSecret ? Self.status(status) : .served }
            await expectError(.unexpected) { _ = try await keys.destroy(key, of: image, for: project) }
            await expectError(.unexpected) { try await keys.register(image, of: key, for: project) }
            #expect(fake.has(key))
        }
    }

    @Test func aRedirectIsNotFollowed() async throws {
        try await withBarbican { fake, keys in
            let there = fake.url + "/elsewhere"
            fake.decide {
                $0.isOfSecret ? .answered(.init(status: 302, headers: ["Location": there], body: "")) : .served
            }
            await expectError(.unexpected) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(!fake.requests.contains { $0.uri.contains("elsewhere") })
        }
    }

    @Test func aHugeAnswerIsCutShort() async throws {
        try await withBarbican { fake, keys in
            let body = "{\"secret_type\": \"symmetric\", \"name\": \"\(String(repeating: "x", count: 3 << 20))\"}"
            fake.decide { $0.isOfSecret ? .answered(.init(status: 200, body: body)) : .served }
            await expectError(.unexpected) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(fake.requests.count { $0.isOfSecret } == 1)
        }
    }

    @Test(arguments: [true, false])
    func aSlowAnswerIsNotWaitedForForever(_ drips: Bool) async throws {
        try await withBarbican(changing: { $0.timeoutSeconds = 4 }) { fake, keys in
            fake.decide { $0.isOfSecret ? (drips ? .dripping : .never) : .served }
            let began = ContinuousClock.now
            await expectError(.unavailable) { _ = try await keys.destroy(key, of: image, for: project) }
            #expect(ContinuousClock.now - began < .seconds(30))
            #expect(fake.requests.count { $0.isOfSecret } == 1)
        }
    }
}
