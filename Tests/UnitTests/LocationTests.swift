import Core
import Foundation
import NIOCore
import Persistence
import Testing
import Trust

/// Data that stays with another server: how it becomes an image's, and what is checked of it.
@Suite struct LocationTests {
    static let url = "http://images.example/disk.raw"
    static let bytes = [UInt8]((0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
    static var sha512: String { Hex.encode(Digest.of(bytes, .sha512)) }

    private func fixture(
        _ content: ServedContent, _ change: (inout ImageSettings) -> Void = { _ in }
    ) async throws -> ImageFixture {
        try await ImageFixture(change, traits: ["web": StoreTraits(kind: .http)], remote: content)
    }

    private func served(_ answer: ServedContent.Answer = .bytes(bytes)) -> ServedContent {
        ServedContent([Self.url: answer])
    }

    private func draft(_ text: String) throws -> LocationDraft {
        try LocationDraft(request: try JSONValue(parsing: ByteBuffer(string: text)))
    }

    private func promise(_ algorithm: String, _ digest: String) throws -> LocationDraft {
        try draft(
            #"{"url": "\#(Self.url)", "validation_data": {"os_hash_algo": "\#(algorithm)", "os_hash_value": "\#(digest)"}}"#
        )
    }

    private var plain: LocationDraft { get throws { try draft(#"{"url": "\#(Self.url)"}"#) } }

    private func shown(_ id: ImageID, _ fixture: ImageFixture) async throws -> ImageView {
        try await fixture.images.get(id, as: fixture.caller())
    }

    private func locationRows(_ fixture: ImageFixture) async throws -> [String] {
        try await fixture.database.read { db in
            try db.query("SELECT state FROM image_locations ORDER BY created_at, id") { try $0.get(0, as: String.self) }
        }
    }

    private func jobs(_ fixture: ImageFixture) async throws -> Int {
        try await fixture.database.read { db in
            try db.query("SELECT subject FROM jobs WHERE kind = 'hash-location'") { try $0.get(0, as: String.self) }
        }.count
    }

    @Test func withoutAPromiseTheImageIsActiveAtOnceAndItsDigestComesLater() async throws {
        let fixture = try await fixture(served())
        let image = try await fixture.createImage()
        try await fixture.images.addLocation(plain, to: image.id, as: fixture.caller())
        var view = try await shown(image.id, fixture)
        #expect(view.image.status == .active)
        #expect(view.image.sizeBytes == 5000)
        #expect(view.image.hashAlgorithm == "sha512" && view.image.hashValue == nil)
        #expect(view.stores == ["web"])
        #expect(try await fixture.bytes(of: image.id) == Self.bytes)
        try await fixture.images.reconcile()
        view = try await shown(image.id, fixture)
        #expect(view.image.hashValue == Self.sha512)
        #expect(view.image.checksum == Hex.encode(Digest.of(Self.bytes, .md5)))
        #expect(try await jobs(fixture) == 0)
        #expect(try await fixture.chargedBytes() == 0)
    }

    @Test func whatWasPromisedIsCheckedBeforeTheImageIsActive() async throws {
        let fixture = try await fixture(served())
        let image = try await fixture.createImage()
        let sha256 = Hex.encode(Digest.of(Self.bytes, .sha256))
        try await fixture.images.addLocation(
            promise("sha256", sha256.uppercased()), to: image.id, as: fixture.caller())
        #expect(try await shown(image.id, fixture).image.status == .importing)
        #expect(try await fixture.bytes(of: image.id) == nil)
        try await fixture.images.reconcile()
        let view = try await shown(image.id, fixture)
        #expect(view.image.status == .active)
        #expect(view.image.hashAlgorithm == "sha256" && view.image.hashValue == sha256)
        #expect(try await fixture.bytes(of: image.id) == Self.bytes)
        #expect(try await locationRows(fixture) == ["live"])
    }

    @Test func bytesThatWereNotPromisedAreNotTheImages() async throws {
        let fixture = try await fixture(served())
        let image = try await fixture.createImage()
        try await fixture.images.addLocation(
            promise("sha512", String(repeating: "beefdead", count: 16)), to: image.id, as: fixture.caller())
        try await fixture.images.reconcile()
        let view = try await shown(image.id, fixture)
        #expect(view.image.status == .queued)
        #expect(view.image.sizeBytes == nil && view.image.hashValue == nil && view.image.hashAlgorithm == nil)
        // Clients are told which store holds what was refused.
        #expect(view.stores == ["web"])
        #expect(try await fixture.bytes(of: image.id) == nil)
        // And it takes other data.
        try await fixture.images.addLocation(
            promise("sha512", Self.sha512), to: image.id, as: fixture.caller())
        try await fixture.images.reconcile()
        #expect(try await shown(image.id, fixture).image.status == .active)
        #expect(try await locationRows(fixture) == ["live"])
    }

    @Test func anUploadAfterARefusedLocationIsTheImagesAlone() async throws {
        let fixture = try await fixture(served())
        let image = try await fixture.createImage()
        try await fixture.images.addLocation(
            promise("md5", String(repeating: "0", count: 32)), to: image.id, as: fixture.caller())
        try await fixture.images.reconcile()
        try await fixture.upload([1, 2, 3], to: image.id)
        #expect(try await shown(image.id, fixture).stores == ["local"])
        #expect(try await fixture.bytes(of: image.id) == [1, 2, 3])
    }

    @Test(arguments: [ServedContent.Answer.down, .gone, .cutShort(bytes, after: 100), .bytes([1, 2, 3])])
    func anImageNeverWaitsForEver(_ answer: ServedContent.Answer) async throws {
        let content = served()
        let fixture = try await fixture(content)
        let image = try await fixture.createImage()
        try await fixture.images.addLocation(promise("sha512", Self.sha512), to: image.id, as: fixture.caller())
        content.set(Self.url, answer)
        for _ in 0..<8 {
            try await fixture.images.reconcile()
            fixture.clock.advance(seconds: 600)
        }
        #expect(try await shown(image.id, fixture).image.status == .queued)
        #expect(try await jobs(fixture) == 0)
        // The digest of one that is active is given up, and it stays active.
        let other = try await fixture.createImage()
        content.set(Self.url, .bytes(Self.bytes))
        try await fixture.images.addLocation(plain, to: other.id, as: fixture.caller())
        content.set(Self.url, answer)
        for _ in 0..<8 {
            try await fixture.images.reconcile()
            fixture.clock.advance(seconds: 600)
        }
        let view = try await shown(other.id, fixture)
        #expect(view.image.status == .active && view.image.hashAlgorithm == nil && view.image.hashValue == nil)
        #expect(try await jobs(fixture) == 0)
    }

    @Test func aServerThatComesBackInTimeIsAskedAgain() async throws {
        let content = served()
        let fixture = try await fixture(content)
        let image = try await fixture.createImage()
        try await fixture.images.addLocation(promise("sha512", Self.sha512), to: image.id, as: fixture.caller())
        content.set(Self.url, .down)
        try await fixture.images.reconcile()
        #expect(try await shown(image.id, fixture).image.status == .importing)
        content.set(Self.url, .bytes(Self.bytes))
        fixture.clock.advance(seconds: 600)
        try await fixture.images.reconcile()
        #expect(try await shown(image.id, fixture).image.status == .active)
    }

    @Test(arguments: [0, 3600] as [Int64])
    func deletionEndsTheCheck(recycleBin: Int64) async throws {
        let fixture = try await fixture(served()) { $0.recycleBinSeconds = recycleBin }
        let image = try await fixture.createImage()
        try await fixture.images.addLocation(promise("sha512", Self.sha512), to: image.id, as: fixture.caller())
        let other = try await fixture.createImage()
        try await fixture.images.addLocation(plain, to: other.id, as: fixture.caller())
        try await fixture.images.delete(image.id, as: fixture.caller())
        try await fixture.images.delete(other.id, as: fixture.caller())
        #expect(try await jobs(fixture) == 0)
        guard recycleBin > 0 else {
            #expect(try await locationRows(fixture) == [])
            return
        }
        let bin = RecycleBin(database: fixture.database, clock: fixture.clock, settings: fixture.settings)
        try await bin.undelete(image.id)
        #expect(try await shown(image.id, fixture).image.status == .queued)
        // What was active is, and its digest is still asked for.
        try await bin.undelete(other.id)
        try await fixture.images.reconcile()
        #expect(try await shown(other.id, fixture).image.hashValue == Self.sha512)
        #expect(try await fixture.bytes(of: other.id) == Self.bytes)
    }

    @Test func bytesOfAnotherServerAreHeldAgainstTheDigest() async throws {
        let content = served()
        let fixture = try await fixture(content)
        let image = try await fixture.createImage()
        try await fixture.images.addLocation(promise("sha512", Self.sha512), to: image.id, as: fixture.caller())
        try await fixture.images.reconcile()
        var changed = Self.bytes
        changed[4000] ^= 1
        content.set(Self.url, .bytes(changed))
        let data = try #require(try await fixture.images.download(image.id, as: fixture.caller()))
        await #expect(throws: BlobError.self) {
            _ = try await data.wholeReader.read(offset: 0, count: Int(data.sizeBytes))
        }
        await data.reader.close()
        let view = OperatorView(fixture.images)
        #expect(try await view.flaggedImages(PageRequest(), as: fixture.admin).entries.map(\.image) == [image.id])
    }

    @Test func withoutSecureHashWhatIsPromisedIsBelieved() async throws {
        let fixture = try await fixture(served()) { $0.locations.areHashed = false }
        let image = try await fixture.createImage()
        let wrong = String(repeating: "beefdead", count: 16)
        try await fixture.images.addLocation(promise("sha512", wrong), to: image.id, as: fixture.caller())
        let view = try await shown(image.id, fixture)
        #expect(view.image.status == .active && view.image.hashValue == wrong)
        #expect(try await jobs(fixture) == 0)
        let other = try await fixture.createImage()
        try await fixture.images.addLocation(plain, to: other.id, as: fixture.caller())
        #expect(try await shown(other.id, fixture).image.hashAlgorithm == nil)
        #expect(try await jobs(fixture) == 0)
    }

    @Test(arguments: [
        "null", "[]", "{}", #"{"url": 1}"#, #"{"url": ""}"#, #"{"url": "http://a", "metadata": {}}"#,
        #"{"url": "http://a", "validation_data": 1}"#,
        #"{"url": "http://a", "validation_data": {"os_hash_algo": "sha512"}}"#,
        #"{"url": "http://a", "validation_data": {"os_hash_value": "00"}}"#,
        #"{"url": "http://a", "validation_data": {"os_hash_algo": "sha512", "os_hash_value": "00"}}"#,
        #"{"url": "http://a", "validation_data": {"os_hash_algo": "sha123", "os_hash_value": "00"}}"#,
        #"{"url": "http://a", "validation_data": {"os_hash_algo": "md5", "os_hash_value": "zz000000000000000000000000000000"}}"#,
        #"{"url": "http://a", "validation_data": {"os_hash_algo": "md5", "os_hash_value": "00000000000000000000000000000000", "x": "y"}}"#,
    ])
    func wrongRequestsAreRefused(_ text: String) async throws {
        #expect(await status { _ = try draft(text) } == 400)
    }

    @Test func whoMayNameWhat() async throws {
        let fixture = try await fixture(served())
        let image = try await fixture.createImage()
        func add(_ url: String, _ caller: Caller) async -> Int {
            await status {
                try await fixture.images.addLocation(draft(#"{"url": "\#(url)"}"#), to: image.id, as: caller)
            }
        }
        let service = fixture.caller("p1", roles: ["service"])
        #expect(await add("file:///etc/passwd", fixture.caller()) == 403)
        #expect(await add("rbd://a/b", fixture.caller()) == 403)
        for url in ["file:///etc/passwd", "filesystem:///etc", "swift+config://a/b", "FILE:///a", "rbd://a/b", "a"] {
            #expect(await add(url, service) == 400, "\(url)")
        }
        #expect(await add("http://nowhere.example/", fixture.caller()) == 400)
        #expect(await add(Self.url, fixture.caller("p2")) == 404)
        #expect(await add(Self.url, fixture.caller("p1", roles: ["reader"])) == 403)
        #expect(await add(Self.url, service) == 200)
        #expect(await add(Self.url, service) == 409)
        #expect(await status { _ = try await fixture.images.locations(of: image.id, as: fixture.caller()) } == 403)
        let seen = try await fixture.images.locations(of: image.id, as: service)
        #expect(seen == [ShownLocation(url: Self.url, metadata: ["store": "web"])])
    }

    @Test func whereNothingIsFetchedNoLocationIsAdded() async throws {
        for traits in [[:], ["web": StoreTraits(kind: .http)]] as [[StoreID: StoreTraits]] {
            let fixture = try await ImageFixture(traits: traits)
            let image = try await fixture.createImage()
            #expect(
                await status { try await fixture.images.addLocation(plain, to: image.id, as: fixture.caller()) } == 403)
            let service = fixture.caller("p1", roles: ["service"])
            #expect(await status { try await fixture.images.addLocation(plain, to: image.id, as: service) } == 400)
        }
    }

    @Test(arguments: [ServedContent.Answer.down, .gone, .bytes([]), .unsized([1]), .refused(.credentials)])
    func aLocationWithoutBytesIsRefused(_ answer: ServedContent.Answer) async throws {
        let fixture = try await fixture(served(answer))
        let image = try await fixture.createImage()
        #expect(
            await status { try await fixture.images.addLocation(plain, to: image.id, as: fixture.caller()) } == 400)
        #expect(try await shown(image.id, fixture).image.status == .queued)
    }

    @Test func signedImagesAndImagesWithoutFormatsTakeNoLocation() async throws {
        let fixture = try await fixture(served()) { $0.sizeCapBytes = 4999 }
        let big = try await fixture.createImage()
        #expect(await status { try await fixture.images.addLocation(plain, to: big.id, as: fixture.caller()) } == 413)
        let strict = try await self.fixture(served()) { $0.signatures.requireSigned = .everyone }
        let unsigned = try await strict.createImage()
        #expect(
            await status { try await strict.images.addLocation(plain, to: unsigned.id, as: strict.caller()) } == 403)
        let other = try await self.fixture(served())
        let bare = try await other.createImage { $0.diskFormat = nil }
        #expect(await status { try await other.images.addLocation(plain, to: bare.id, as: other.caller()) } == 400)
        #expect(try await shown(bare.id, other).image.status == .queued)
    }

    @Test func theAddressesOfOthersAreInNoLog() async throws {
        // What fails is told without its URL.
        let content = served()
        let store = RemoteStore(id: "web", source: content)
        content.set(Self.url, .down)
        do {
            _ = try await store.open(Self.url, sizeBytes: 10)
            Issue.record("it opened")
        } catch {
            #expect(!"\(error)".contains("images.example"))
        }
    }
}
