import Core
import Persistence
import Synchronization
import Testing
import Trust

/// A catalogue of one image service in each of its regions, as one token sees it.
private final class Catalogue: ServiceCatalogue {
    let regions = Mutex(["elsewhere": "http://glance.example/v2/"])
    /// Thrown instead of an answer; the first goes first.
    let failures = Mutex<[ServiceError]>([])
    let tokens = Mutex<[String]>([])

    func url(
        ofService type: String, region: String, interface: String, for token: CallerToken
    ) async throws -> String? {
        tokens.withLock { $0.append(token.text) }
        if let failure = failures.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { throw failure }
        guard type == "image", interface == "public" else { return nil }
        return regions.withLock { $0[region] }
    }
}

/// Refuses whatever came.
private struct FailingStep: ImportStep {
    let name = "failing"
    func run(_ input: ImportStepInput, output: any ImportOutput) async throws -> ImportStepResult? {
        throw ServiceError.badRequest("a step fails")
    }
}

/// Imports from another image service of the cloud.
@Suite struct GlanceDownloadTests {
    private static let there = "11111111-2222-4333-8444-555555555555"
    private static let url = "http://glance.example/v2/images/\(there)"
    private static let bytes = [UInt8]((0..<250_000).map { UInt8(truncatingIfNeeded: $0 / 3) })
    private static let token = CallerToken("gAAAA-secret")

    private let catalogue = Catalogue()
    private let remote = FakeRemote()

    private static func method(_ change: (inout [String: JSONValue]) -> Void = { _ in }) -> JSONValue {
        var method: [String: JSONValue] = [
            "name": "glance-download", "glance_region": "elsewhere", "glance_image_id": .string(there),
        ]
        change(&method)
        return ["method": .object(method)]
    }

    private static func description(_ change: (inout [String: JSONValue]) -> Void = { _ in }) -> FakeRemote.Answer {
        var members: [String: JSONValue] = [
            "id": .string(there), "status": "active", "disk_format": "raw", "container_format": "ovf",
            "size": .integer(Int64(bytes.count)), "os_hash_algo": "sha512",
            "os_hash_value": .string(Hex.encode(Digest.of(bytes, .sha512))), "hw_disk_bus": "scsi",
            "trait:CUSTOM_X": "required", "os_distro": "debian", "speed": "fast",
        ]
        change(&members)
        return FakeRemote.Answer(bytes: Array(JSONValue.object(members).text.utf8))
    }

    private func fixture(
        steps: [any ImportStep] = [], _ change: (inout ImageSettings) -> Void = { _ in }
    ) async throws -> ImageFixture {
        remote.set(Self.url, Self.description())
        remote.set(Self.url + "/file", .init(bytes: Self.bytes))
        return try await ImageFixture(
            {
                $0.imports.methods = ImportMethod.allCases
                change(&$0)
            }, remote: remote, catalogue: catalogue, steps: steps)
    }

    /// A queued image, with an import asked for.
    private func asked(
        _ service: ImageFixture, _ json: JSONValue = method(), roles: Set<String> = ["member", "reader"]
    ) async throws -> ImageID {
        let caller = service.caller(roles: roles)
        let id = try await service.createImage(
            { $0.properties = ["hw_disk_bus": "virtio", "note": "mine"] }, as: caller
        ).id
        try await service.importImage(id, json, as: caller, token: Self.token)
        return id
    }

    @Test func anImageComesWithWhatDescribesIt() async throws {
        let service = try await fixture()
        let id = try await asked(service)
        // What the database holds of the token is not the token.
        let kept = try await service.database.read { db in
            try db.first("SELECT token FROM import_glance") { try $0.get(0, as: String.self) }
        }
        let sealed = try #require(kept.flatMap(Hex.decode))
        #expect(!String(decoding: sealed, as: UTF8.self).contains("secret"))
        try await service.settleImports()
        let image = try await service.image(id)
        #expect(image.status == .active && image.hashValue == Hex.encode(Digest.of(Self.bytes, .sha512)))
        #expect(image.diskFormat == "raw" && image.containerFormat == "ovf")
        let own = image.properties.filter { !$0.key.hasPrefix("os_glance") }
        #expect(
            own == ["hw_disk_bus": "scsi", "trait:CUSTOM_X": "required", "os_distro": "debian", "note": "mine"])
        #expect(try await service.bytes(of: id) == Self.bytes)
        #expect(remote.opened.withLock { $0 } == [Self.url, Self.url + "/file"])
        #expect(remote.sent.withLock { $0 } == [["X-Auth-Token: gAAAA-secret"], ["X-Auth-Token: gAAAA-secret"]])
        #expect(try await service.count("import_glance") == 0)
        #expect(try await service.blobs() == ["local data live \(Self.bytes.count)"])
        #expect(try await service.tasks(of: id).map(\.status) == [.success])
    }

    @Test func anotherProcessGoesOnAfterACrash() async throws {
        let service = try await fixture()
        let id = try await asked(service)
        try await service.settleImports(service.restarted())
        #expect(try await service.image(id).status == .active)
        #expect(catalogue.tokens.withLock { $0 } == ["gAAAA-secret"])
    }

    @Test func whatIsOutOfReachIsTriedAgain() async throws {
        let service = try await fixture()
        catalogue.failures.withLock { $0 = [.unavailable("Identity is out of reach")] }
        remote.set(
            Self.url + "/file", .init(bytes: Self.bytes, failsAfter: 100_000),
            // Other bytes than the digest says, then what was asked for.
            .init(bytes: Self.bytes.map { ~$0 }), .init(bytes: Self.bytes))
        let id = try await asked(service)
        try await service.settleImports()
        let message = try await service.tasks(of: id)[0].message
        #expect(try await service.image(id).status == .active, "\(message)")
        #expect(try await service.bytes(of: id) == Self.bytes)
    }

    private static let troubles: [(String, @Sendable (Catalogue, FakeRemote) -> Void)] = [
        ("has no image service", { catalogue, _ in catalogue.regions.withLock { $0 = [:] } }),
        ("expired", { catalogue, _ in catalogue.failures.withLock { $0 = [.unauthorized("The token expired.")] } }),
        ("there is nothing", { _, remote in remote.set(url, .init(refusal: nothing)) }),
        ("active instead of queued", { _, remote in remote.set(url, description { $0["status"] = "queued" }) }),
        ("could not be determined", { _, remote in remote.set(url, description { $0["size"] = .null }) }),
        ("no JSON", { _, remote in remote.set(url, .init(bytes: Array("<html>".utf8))) }),
        ("too long", { _, remote in remote.set(url, .init(bytes: [UInt8](repeating: 0x20, count: 5 << 20))) }),
        ("disk_format", { _, remote in remote.set(url, description { $0["disk_format"] = "floppy" }) }),
        ("hw_disk_bus", { _, remote in remote.set(url, description { $0["hw_disk_bus"] = ["a"] }) }),
        ("250000 bytes there", { _, remote in remote.set(url + "/file", .init(bytes: [1])) }),
        ("do not have the sha512", { _, remote in remote.set(url + "/file", .init(bytes: bytes.map { ~$0 })) }),
        (
            "do not have the md5",
            { _, remote in
                remote.set(
                    url,
                    description {
                        $0["os_hash_algo"] = .null
                        $0["checksum"] = "00"
                    })
            }
        ),
    ]
    private static let nothing = RemoteContentError(.refused, "there is nothing at this URL")

    @Test(arguments: troubles.indices) func aFailureLeavesTheImageAsItWas(_ index: Int) async throws {
        let (reason, trouble) = Self.troubles[index]
        let service = try await fixture()
        trouble(catalogue, remote)
        let id = try await asked(service)
        try await service.settleImports()
        let image = try await service.image(id)
        #expect(image.status == .queued)
        #expect(image.diskFormat == "raw" && image.containerFormat == "bare")
        #expect(
            image.properties.filter { !$0.key.hasPrefix("os_glance") } == ["hw_disk_bus": "virtio", "note": "mine"])
        let task = try await service.tasks(of: id)[0]
        #expect(task.status == .failure && task.message.contains(reason), "\(task.message)")
        #expect(try await service.blobs() == [])
        #expect(try await service.jobs() == [])
        #expect(try await service.count("import_glance") == 0)
    }

    /// The bytes came, and with them the description; then something else fails.
    @Test func aLaterFailurePutsTheDescriptionBack() async throws {
        let service = try await fixture(steps: [FailingStep()])
        let id = try await asked(service)
        try await service.settleImports()
        let image = try await service.image(id)
        #expect(image.status == .queued && image.diskFormat == "raw" && image.containerFormat == "bare")
        #expect(
            image.properties.filter { !$0.key.hasPrefix("os_glance") } == ["hw_disk_bus": "virtio", "note": "mine"])
        #expect(try await service.tasks(of: id)[0].message == "a step fails")
        #expect(remote.opened.withLock { $0 }.count == 2)
        #expect(try await service.blobs() == [])
    }

    @Test func noKeyAndNoNameOfTheServersOwnIsCopied() async throws {
        let service = try await fixture { $0.imports.copiedProperties = [""] }
        remote.set(
            Self.url,
            Self.description {
                $0["cinder_encryption_key_id"] = "99999999-2222-4333-8444-555555555555"
                $0["cinder_encryption_key_deletion_policy"] = "on_image_deletion"
                $0["os_glance_import_task"] = "x"
                $0["owner"] = "p2"
                $0["visibility"] = "public"
            })
        let id = try await asked(service)
        try await service.settleImports()
        let image = try await service.image(id)
        #expect(image.status == .active && image.owner == "p1" && image.visibility == .shared)
        #expect(image.properties.keys.allSatisfy { !$0.hasPrefix("cinder") && $0 != "os_glance_import_task" })
        #expect(image.properties["speed"] == "fast")
    }

    @Test func protectedPropertiesStayWhoseTheyAre() async throws {
        let drafts = [
            PropertyProtections.Draft(
                pattern: "^os_distro$",
                rules: ["create": "role:admin", "read": "@", "update": "role:admin", "delete": "role:admin"].byOperation
            ),
            PropertyProtections.Draft(
                pattern: ".*", rules: ["create": "@", "read": "@", "update": "@", "delete": "@"].byOperation),
        ]
        let service = try await fixture { $0.policy = try! ImagePolicy(rules: [:], protections: drafts) }
        let member = try await asked(service)
        let admin = try await asked(service, roles: ["admin"])
        try await service.settleImports()
        #expect(try await service.image(member).status == .active)
        #expect(try await service.image(member).properties["os_distro"] == nil)
        #expect(try await service.image(member).properties["trait:CUSTOM_X"] == "required")
        #expect(try await service.image(admin).properties["os_distro"] == "debian")
    }

    @Test(
        arguments: [
            ("glance_region", nil), ("glance_region", ""), ("glance_region", 7), ("glance_image_id", nil),
            ("glance_image_id", "foo"), ("glance_service_interface", .null),
        ] as [(String, JSONValue?)])
    func whatIsMissingOrWrongIsRefused(_ name: String, _ value: JSONValue?) async throws {
        let service = try await fixture()
        let id = try await service.createImage().id
        let error = try await #require(throws: ServiceError.self) {
            try await service.importImage(id, Self.method { $0[name] = value }, token: Self.token)
        }
        #expect(error.status == 400)
        #expect(try await service.image(id).status == .queued)
    }

    @Test func itIsThereWhenTheOperatorWantsItAndACatalogueSaysWhere() async throws {
        #expect(
            !(try await ImageFixture(remote: remote, catalogue: catalogue)).images.importMethods.contains(
                .glanceDownload))
        let all: (inout ImageSettings) -> Void = { $0.imports.methods = ImportMethod.allCases }
        #expect(!(try await ImageFixture(all, remote: remote)).images.importMethods.contains(.glanceDownload))
        #expect(try await fixture().images.importMethods.contains(.glanceDownload))
    }

    @Test func theEmbeddedCatalogueShowsWhatATokensBearerSees() async throws {
        let fixture = try await IdentityFixture()
        let token = CallerToken(try await fixture.demoToken())
        let catalogue = EmbeddedCatalogue(fixture.identity)
        let found = try await catalogue.url(ofService: "image", region: "RegionOne", interface: "public", for: token)
        #expect(found == "http://cloud/image")
        for (type, region, interface) in [
            ("compute", "RegionOne", "public"), ("image", "elsewhere", "public"), ("image", "RegionOne", "nobody's"),
        ] {
            let none = try await catalogue.url(ofService: type, region: region, interface: interface, for: token)
            #expect(none == nil, "\(type) \(region) \(interface)")
        }
        let error = try await #require(throws: ServiceError.self) {
            _ = try await catalogue.url(
                ofService: "image", region: "RegionOne", interface: "public", for: CallerToken("forged"))
        }
        #expect(error.status == 401)
    }
}

extension [String: String] {
    fileprivate var byOperation: [PropertyProtections.Operation: String] {
        let pairs = map { (PropertyProtections.Operation(rawValue: $0.key)!, $0.value) }
        return [PropertyProtections.Operation: String](uniqueKeysWithValues: pairs)
    }
}
