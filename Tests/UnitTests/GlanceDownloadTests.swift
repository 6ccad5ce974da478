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

/// Changes nothing, and takes as long as a test wants.
private struct WaitingStep: ImportStep {
    let name = "waiting"
    let gate: Gate
    func run(_ input: ImportStepInput, output: any ImportOutput) async throws -> ImportStepResult? {
        await gate.pass()
        return nil
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
        ("no formats", { _, remote in remote.set(url, description { $0["disk_format"] = .null }) }),
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

    /// What stores have by then stays, and with it what describes it.
    @Test func anActiveImageKeepsItsDescription() async throws {
        remote.set(Self.url, Self.description())
        remote.set(Self.url + "/file", .init(bytes: Self.bytes))
        let troubled = Mutex<[TroubledStore]>([])
        let service = try await ImageFixture(
            { $0.imports.methods = ImportMethod.allCases }, stores: ["a", "b"], remote: remote, catalogue: catalogue
        ) { store in
            let store = TroubledStore(store)
            troubled.withLock { $0.append(store) }
            return store
        }
        troubled.withLock { $0 }.first { $0.id == "b" }?.failure.withLock { $0 = .corrupt }
        let id = try await service.createImage { $0.properties = ["hw_disk_bus": "virtio"] }.id
        var body = Self.method().objectValue ?? [:]
        body["stores"] = ["a", "b"]
        body["all_stores_must_succeed"] = false
        try await service.importImage(id, .object(body), token: Self.token)
        try await service.settleImports()
        let image = try await service.image(id)
        #expect(image.status == .active && image.properties["hw_disk_bus"] == "scsi")
        #expect(try await service.mark("failed_import", of: id) == "b")
    }

    @Test func aDeletedImageComesBackAsItWas() async throws {
        let gate = Gate()
        let service = try await fixture(steps: [WaitingStep(gate: gate)]) { $0.recycleBinSeconds = 1000 }
        let id = try await asked(service)
        let images = service.images
        let worker = Task { try await images.reconcile() }
        try await gate.waitForArrival()
        #expect(try await service.image(id).properties["hw_disk_bus"] == "scsi")
        let token = try await service.database.read { db in
            try db.first("SELECT token FROM import_glance") { try $0.get(0, as: String.self) }
        }
        #expect(token == "", "it is of no more use")
        try await service.images.delete(id, as: service.caller())
        gate.open()
        _ = try? await worker.value
        #expect(try await service.count("import_glance") == 0)
        let kept = try await service.database.read { db in
            try db.query("SELECT name, value FROM image_properties WHERE image_id = $1 ORDER BY name", id) {
                "\(try $0.get(0, as: String.self))=\(try $0.get(1, as: String.self))"
            }
        }
        #expect(kept.filter { !$0.hasPrefix("os_glance") } == ["hw_disk_bus=virtio", "note=mine"])
    }

    @Test func whatTheOwnerChangesMeanwhileStays() async throws {
        let gate = Gate()
        let service = try await fixture(steps: [WaitingStep(gate: gate), FailingStep()])
        let id = try await asked(service)
        let images = service.images
        let worker = Task { try await images.reconcile() }
        try await gate.waitForArrival()
        let patches = [("os_distro", "mine"), ("disk_format", "iso")].map { name, value in
            ImagePatch(verb: .replace, path: [name], value: .string(value), addRefusesExisting: false)
        }
        _ = try await service.images.patch(id, patches, as: service.caller())
        gate.open()
        try await worker.value
        try await service.settleImports()
        let image = try await service.image(id)
        #expect(image.status == .queued && image.diskFormat == "iso")
        #expect(image.properties["os_distro"] == "mine" && image.properties["hw_disk_bus"] == "virtio")
        #expect(image.properties["trait:CUSTOM_X"] == nil)
    }

    @Test func noKeyAndNoNameOfTheServersOwnIsCopied() async throws {
        let service = try await fixture { $0.imports.copiedProperties = [""] }
        remote.set(
            Self.url,
            Self.description {
                $0["cinder_encryption_key_id"] = "99999999-2222-4333-8444-555555555555"
                $0["cinder_encryption_key_deletion_policy"] = "on_image_deletion"
                $0["os_glance_other"] = "x"
                $0["os_hidden"] = "true"
                $0["hw_ephemeral_encryption_secret_uuid"] = "99999999-2222-4333-8444-555555555555"
                $0["owner"] = "p2"
                $0["visibility"] = "public"
            })
        let id = try await asked(service)
        try await service.settleImports()
        let image = try await service.image(id)
        #expect(image.status == .active && image.owner == "p1" && image.visibility == .shared)
        for name in [
            "os_glance_other", "owner", "visibility", "os_hidden", "status", "size", "id", "cinder_encryption_key_id",
            "cinder_encryption_key_deletion_policy", "hw_ephemeral_encryption_secret_uuid",
        ] { #expect(image.properties[name] == nil, "\(name)") }
        #expect(!image.isHidden)
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
        let policy = try ImagePolicy(rules: [:], protections: drafts)
        let service = try await fixture { $0.policy = policy }
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
