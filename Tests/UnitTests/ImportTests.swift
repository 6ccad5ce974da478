import Core
import Foundation
import NIOCore
import Persistence
import Synchronization
import Testing
import Trust

/// Imports that end well, and what is refused before they begin.
@Suite struct ImportTests {
    private static let direct: JSONValue = ["method": ["name": "glance-direct"]]
    private static let bytes = [UInt8]((0..<250_000).map { UInt8(truncatingIfNeeded: $0 / 7) })
    private static let hash = Hex.encode(Digest.of(bytes, .sha512))

    @Test func behaviour36_glanceDirectMakesTheImageActiveWithItsHashes() async throws {
        let service = try await ImageFixture()
        let id = try await service.stagedImage(Self.bytes)
        try await service.importImage(id, Self.direct)
        var image = try await service.image(id)
        #expect(image.status == .importing)
        let task = try #require(try await service.tasks(of: id).first)
        #expect(try await service.mark("import_task", of: id) == task.id.rawValue)
        #expect(try await service.mark("importing_to_stores", of: id) == "local")
        #expect(try await service.mark("failed_import", of: id) == "")
        #expect(task.status == .pending)
        try await service.settleImports()
        image = try await service.image(id)
        #expect(image.status == .active)
        #expect(image.sizeBytes == Int64(Self.bytes.count) && image.virtualSizeBytes == Int64(Self.bytes.count))
        #expect(image.hashValue == Self.hash && image.checksum == Hex.encode(Digest.of(Self.bytes, .md5)))
        #expect(try await service.bytes(of: id) == Self.bytes)
        // The staged bytes stay where they are: no second copy is made.
        #expect(try await service.blobs() == ["local data live \(Self.bytes.count)"])
        #expect(try await service.mark("import_task", of: id) == nil)
        #expect(try await service.mark("importing_to_stores", of: id) == "")
        #expect(try await service.mark("failed_import", of: id) == "")
        #expect(try await service.jobs() == [])
        #expect(try await service.count("imports") == 0)
        #expect(try await service.count("import_targets") == 0)
        let provenance = try await service.images.provenance(of: id, as: service.caller())
        #expect(provenance.record.seal == .intact && provenance.record.provenance.digest == Self.hash)
    }

    @Test func aTaskSaysWhatWasAskedForAndWhatCameOfIt() async throws {
        let service = try await ImageFixture()
        let id = try await service.stagedImage([1, 2, 3])
        try await service.importImage(id, Self.direct)
        let began = service.clock.now
        var tasks = try await service.tasks(of: id)
        #expect(tasks.count == 1)
        #expect(tasks[0].type == "api_image_import" && tasks[0].requestID == "req-test")
        #expect(tasks[0].owner == "p1" && tasks[0].user == "u" && tasks[0].expiresAt == nil)
        #expect(tasks[0].input == ["image_id": .string(id.rawValue), "import_req": Self.direct, "backend": ["local"]])
        try await service.images.reconcile()
        tasks = try await service.tasks(of: id)
        #expect(tasks[0].status == .success)
        #expect(tasks[0].result == ["image_id": .string(id.rawValue)])
        #expect(tasks[0].expiresAt == began.adding(seconds: 48 * 3600))
    }

    @Test func behaviour21_anImportedVirtualSizeIsTheHeaders() async throws {
        let service = try await ImageFixture()
        var qcow2 = [UInt8](repeating: 0, count: 1024)
        qcow2.replaceSubrange(0..<8, with: [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 2])
        qcow2[23] = 16
        qcow2.replaceSubrange(24..<32, with: [0, 0, 0, 0, 0x40, 0, 0, 0])
        let id = try await service.stagedImage(qcow2) { $0.diskFormat = "qcow2" }
        try await service.importImage(id, Self.direct)
        try await service.settleImports()
        let image = try await service.image(id)
        let message = try await service.tasks(of: id)[0].message
        #expect(image.status == .active, "\(message)")
        #expect(image.virtualSizeBytes == 1 << 30)
    }

    @Test(arguments: [true, false]) func webDownloadFetchesOnce(_ isSizeKnown: Bool) async throws {
        let remote = FakeRemote([ImageFixture.url: [.init(bytes: Self.bytes, isSizeKnown: isSizeKnown)]])
        let service = try await ImageFixture(remote: remote)
        let id = try await service.createImage().id
        try await service.download(id)
        #expect(try await service.image(id).status == .importing)
        try await service.settleImports()
        let image = try await service.image(id)
        #expect(image.status == .active && image.hashValue == Self.hash)
        #expect(try await service.bytes(of: id) == Self.bytes)
        #expect(try await service.blobs() == ["local data live \(Self.bytes.count)"])
        #expect(remote.opened.withLock { $0 } == [ImageFixture.url])
    }

    @Test func anEmptyImageCanBeImported() async throws {
        let service = try await ImageFixture(remote: FakeRemote([ImageFixture.url: [.init()]]))
        let id = try await service.createImage().id
        try await service.download(id)
        try await service.settleImports()
        #expect(try await service.image(id).status == .active)
        #expect(try await service.bytes(of: id) == [])
    }

    // MARK: several stores

    @Test func behaviour38_anImportGoesToSeveralStoresAndToAll() async throws {
        for body in [#"["b", "a"]"#, "all"] {
            let service = try await ImageFixture(stores: ["a", "b", "c"])
            let id = try await service.stagedImage(Self.bytes)
            try await service.importImage(
                id,
                body == "all"
                    ? ["method": ["name": "glance-direct"], "all_stores": true]
                    : ["method": ["name": "glance-direct"], "stores": ["b", "a"]])
            #expect(try await service.mark("importing_to_stores", of: id) == (body == "all" ? "a,b,c" : "b,a"))
            #expect(try await service.view(id).stores == [])
            try await service.settleImports()
            let stores = body == "all" ? ["a", "b", "c"] : ["a", "b"]
            #expect(try await service.view(id).image.status == .active)
            #expect(try await service.view(id).stores.map(\.rawValue).sorted() == stores)
            #expect(try await service.blobs() == stores.map { "\($0) data live \(Self.bytes.count)" })
            #expect(try await service.mark("importing_to_stores", of: id) == "")
            for store in stores {
                #expect(try service.files(in: store).count == 1)
                let data = try await service.images.download(id, prefer: [StoreID(store)], as: service.caller())
                let reader = try #require(data).reader
                let read = try await reader.read(offset: 0, count: Self.bytes.count)
                #expect(Array(read.readableBytesView) == Self.bytes)
                await reader.close()
            }
        }
    }

    @Test func stagedBytesThatAreNotToStayGo() async throws {
        let service = try await ImageFixture(stores: ["a", "b"])
        let id = try await service.stagedImage(Self.bytes)
        try await service.importImage(id, ["method": ["name": "glance-direct"], "stores": ["b"]])
        try await service.settleImports()
        #expect(try await service.blobs() == ["b data live \(Self.bytes.count)"])
        #expect(try service.files(in: "a") == [])
    }

    @Test func behaviour39_aCopyAppendsStoresWithOneTaskEach() async throws {
        let service = try await ImageFixture(stores: ["a", "b", "c"])
        let id = try await service.createImage().id
        try await service.upload(Self.bytes, to: id)
        for (store, count) in [("c", 2), ("b", 3)] {
            try await service.copy(id, to: [.string(store)])
            #expect(try await service.image(id).status == .active)
            #expect(try await service.mark("importing_to_stores", of: id) == store)
            try await service.settleImports()
            #expect(try await service.view(id).stores.count == count)
        }
        #expect(try await service.tasks(of: id).map(\.status) == [.success, .success])
        #expect(try await service.blobs() == ["a", "b", "c"].map { "\($0) data live \(Self.bytes.count)" })
        #expect(try await service.chargedBytes() == Int64(3 * Self.bytes.count))
        // All stores have it: nothing is left to do, and nothing is asked for.
        try await service.importImage(id, ["method": ["name": "copy-image"], "all_stores": true], as: service.admin)
        #expect(try await service.tasks(of: id).count == 2)
        #expect(await status { try await service.copy(id, to: ["b"]) } == 400)
    }

    @Test func aCopyIsTheAdminsAlone() async throws {
        let service = try await ImageFixture(stores: ["a", "b"])
        let id = try await service.createImage().id
        try await service.upload([1], to: id)
        let body: JSONValue = ["method": ["name": "copy-image"], "stores": ["b"]]
        #expect(await status { try await service.importImage(id, body) } == 403)
        #expect(await status { try await service.importImage(id, body, as: service.caller("p2")) } == 404)
    }

    // MARK: what is refused

    @Test func whatCannotBeImportedIsRefused() async throws {
        let service = try await ImageFixture(stores: ["a", "b"], remote: FakeRemote())
        let queued = try await service.createImage().id
        let active = try await service.activeImage()
        let staged = try await service.stagedImage([1])
        let formless = try await service.createImage { $0.diskFormat = nil }.id
        let web: JSONValue = ["method": ["name": "web-download", "uri": "http://mirror.example/"]]
        let copy: JSONValue = ["method": ["name": "copy-image"], "stores": ["b"]]
        let expected: [(ImageID, JSONValue, Int)] = [
            (queued, Self.direct, 409), (active, Self.direct, 409), (staged, web, 409), (active, web, 409),
            (queued, copy, 409), (staged, copy, 409), (formless, web, 409),
            ("0e0b0c0d-1111-4222-8333-444455556666", web, 404),
            (queued, ["method": ["name": "web-download", "uri": "file:///etc/passwd"]], 400),
            (queued, ["method": ["name": "web-download", "uri": "http://0x7f000001/"]], 400),
            (staged, ["method": ["name": "glance-direct"], "stores": ["a", "nowhere"]], 409),
        ]
        for (id, body, code) in expected {
            #expect(await status { try await service.importImage(id, body, as: service.admin) } == code, "\(body)")
        }
        #expect(try await service.count("tasks") == 0)
        #expect(try await service.image(staged).status == .uploading)
    }

    @Test func withOneStoreAllHaveToSucceed() async throws {
        let service = try await ImageFixture()
        let id = try await service.stagedImage([1])
        let body: JSONValue = [
            "method": ["name": "glance-direct"], "all_stores": true, "all_stores_must_succeed": false,
        ]
        #expect(await status { try await service.importImage(id, body) } == 400)
        // As tempest asks it of every server.
        try await service.importImage(id, ["method": ["name": "glance-direct"], "all_stores": true])
        try await service.settleImports()
        #expect(try await service.image(id).status == .active)
    }

    static let malformed: [(String, StoreID?)] = [
        ("[]", nil), (#""import""#, nil), ("{}", nil), (#"{"method": "glance-direct"}"#, nil),
        (#"{"method": {}}"#, nil), (#"{"method": {"name": 1}}"#, nil), (#"{"method": {"name": "magic"}}"#, nil),
        (#"{"method": {"name": "copy-image"}, "all_stores": "yes"}"#, nil),
        (#"{"method": {"name": "copy-image"}, "all_stores_must_succeed": 1}"#, nil),
        (#"{"method": {"name": "copy-image"}, "stores": "a"}"#, nil),
        (#"{"method": {"name": "copy-image"}, "stores": [1]}"#, nil),
        (#"{"method": {"name": "copy-image"}, "stores": []}"#, nil),
        (#"{"method": {"name": "copy-image"}, "stores": ["a"]}"#, "b"),
        (#"{"method": {"name": "copy-image"}, "all_stores": true}"#, "b"),
        (#"{"method": {"name": "copy-image"}, "all_stores": true, "stores": ["a"]}"#, nil),
        (#"{"method": {"name": "web-download"}}"#, nil),
        (#"{"method": {"name": "web-download", "uri": 5}}"#, nil),
        (#"{"method": {"name": "glance-direct", "uri": "http://mirror.example/"}}"#, nil),
    ]

    @Test(arguments: malformed.indices) func malformedRequestsAreRefused(_ index: Int) async throws {
        let (text, header) = Self.malformed[index]
        let json = try JSONValue(parsing: ByteBuffer(string: text))
        let code = await status {
            _ = try ImportRequest(json: json, header: header, enabled: ImportMethod.allCases)
        }
        #expect(code == 400, "\(text)")
    }

    @Test func aMethodThatIsNotThereIsNotOffered() async throws {
        let service = try await ImageFixture()
        #expect(service.images.importMethods == [.glanceDirect, .copyImage])
        #expect(
            await status {
                _ = try service.request(["method": ["name": "web-download", "uri": "http://mirror.example/"]])
            } == 400)
        let other = try await ImageFixture({ $0.imports.methods = [.webDownload] }, remote: FakeRemote())
        #expect(other.images.importMethods == [.webDownload])
    }

    // MARK: steps

    private struct Reverse: ImportStep {
        let name = "reverse"
        var makesFormat: String?
        var isNeeded = true
        var writesInVain = false

        func run(_ input: ImportStepInput, output: any ImportOutput) async throws -> ImportStepResult? {
            let bytes = try await input.bytes.read(offset: 0, count: Int(input.bytes.sizeBytes))
            if writesInVain { try await output.write([ByteBuffer(string: "in vain")]) }
            guard isNeeded else { return nil }
            for part in bytes.readableBytesView.reversed().chunked(50_000) {
                try await output.write([ByteBuffer(bytes: part)])
            }
            return ImportStepResult(
                replacesBytes: true, diskFormat: makesFormat,
                properties: [
                    "os_distro": "reversed", "os_glance_import_task": "stolen",
                    "cinder_encryption_key_id": "0e0b0c0d-1111-4222-8333-444455556666",
                ])
        }
    }

    @Test func stepsChangeBytesAndRecordBeforeTheyAreVerified() async throws {
        let service = try await ImageFixture(
            stores: ["a", "b"],
            steps: [Reverse(), Reverse(isNeeded: false), Reverse(isNeeded: false, writesInVain: true)])
        let id = try await service.stagedImage(Self.bytes)
        try await service.importImage(id, ["method": ["name": "glance-direct"], "all_stores": true])
        try await service.settleImports()
        let image = try await service.image(id)
        let message = try await service.tasks(of: id)[0].message
        #expect(image.status == .active, "\(message)")
        #expect(image.hashValue == Hex.encode(Digest.of(Array(Self.bytes.reversed()), .sha512)))
        #expect(image.properties["os_distro"] == "reversed")
        #expect(image.properties["os_glance_import_task"] == nil)
        #expect(image.properties["cinder_encryption_key_id"] == nil)
        #expect(try await service.bytes(of: id) == Array(Self.bytes.reversed()))
        #expect(try await service.blobs() == ["a data live \(Self.bytes.count)", "b data live \(Self.bytes.count)"])
        #expect(try service.files(in: "a").count == 1)
    }

    @Test func stepsAreNotForCopies() async throws {
        let service = try await ImageFixture(stores: ["a", "b"], steps: [Reverse()])
        let id = try await service.createImage().id
        try await service.upload([1, 2, 3], to: id)
        try await service.copy(id, to: ["b"])
        try await service.settleImports()
        #expect(try await service.bytes(of: id) == [1, 2, 3])
        #expect(try await service.view(id).stores.count == 2)
    }

    @Test func aFormatThatAStepMadeIsTheOneThatIsLookedFor() async throws {
        let service = try await ImageFixture(steps: [Reverse(makesFormat: "qcow2")])
        let id = try await service.stagedImage([1, 2, 3])
        try await service.importImage(id, Self.direct)
        try await service.settleImports()
        #expect(try await service.image(id).status == .queued)
        #expect(try await service.tasks(of: id)[0].message.contains("qcow2"))
    }
}

extension Sequence {
    fileprivate func chunked(_ size: Int) -> [[Element]] {
        var all: [[Element]] = []
        for element in self {
            if all.last?.count ?? size == size { all.append([]) }
            all[all.count - 1].append(element)
        }
        return all
    }
}
