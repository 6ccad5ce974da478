import Core
import Foundation
import NIOCore
import Persistence
import Testing
import Trust

/// Several stores: which copy comes first, which is read, and how one goes.
@Suite struct ImageStoreTests {
    private static let bytes: [UInt8] = [1, 2, 3, 4]

    /// A service with stores of these weights besides `local`, and an image that has a copy in each of those named.
    private func fixture(
        _ weights: [StoreID: Int], copies: [StoreID], _ change: (inout ImageSettings) -> Void = { _ in }
    ) async throws -> (ImageFixture, ImageID) {
        let fixture = try await ImageFixture(change, traits: weights.mapValues { StoreTraits(weight: $0) })
        let image = try await fixture.createImage()
        try await fixture.upload(Self.bytes, to: image.id)
        for store in copies where store != "local" { try await copy(image.id, to: store, fixture) }
        return (fixture, image.id)
    }

    /// Another copy, as an import makes it.
    private func copy(_ image: ImageID, to store: StoreID, _ fixture: ImageFixture) async throws {
        let blob = BlobID(fixture.surroundings.uuid())
        let writer = try await #require(fixture.stores[store]).begin(blob, expectedBytes: nil)
        try await writer.write([ByteBuffer(bytes: Self.bytes)])
        try await writer.commit()
        let now = fixture.clock.now
        _ = try await fixture.database.write { db in
            try db.execute(
                """
                INSERT INTO blobs (id, store, image_id, project, state, charged_bytes, size_bytes, epoch, created_at)
                VALUES ($1, $2, $3, 'p1', 'live', 4, 4, 1, $4)
                """, blob, store, image, now.adding(seconds: 1))
        }
    }

    private func stores(of id: ImageID, _ fixture: ImageFixture) async throws -> [StoreID] {
        try await fixture.images.get(id, as: fixture.caller()).stores
    }

    @Test func copiesStandByWeightAndTiesByAge() async throws {
        let (fixture, id) = try await fixture(
            ["heavy": 10, "light": -1, "same": 0], copies: ["light", "same", "heavy"])
        #expect(try await stores(of: id, fixture) == ["heavy", "local", "same", "light"])
        let listed = try await fixture.images.list(ImageListQuery(), as: fixture.caller())
        #expect(listed.images.first?.stores == ["heavy", "local", "same", "light"])
    }

    @Test func downloadsComeFromTheHeaviestThenFromTheOthers() async throws {
        let (fixture, id) = try await fixture(["heavy": 10], copies: ["heavy"])
        let heavy = fixture.directory.appending(path: "heavy").path
        try FileManager.default.moveItem(atPath: heavy, toPath: heavy + ".away")
        #expect(try await fixture.bytes(of: id) == Self.bytes)
        let local = fixture.directory.appending(path: "local").path
        try FileManager.default.moveItem(atPath: local, toPath: local + ".away")
        #expect(await status { _ = try await fixture.bytes(of: id) } == 503)
        try FileManager.default.moveItem(atPath: heavy + ".away", toPath: heavy)
        #expect(try await fixture.bytes(of: id) == Self.bytes)
    }

    @Test func whatIsPreferredComesFirstAndNobodyIsLost() async throws {
        let (fixture, id) = try await fixture(["heavy": 10, "empty": 0], copies: ["heavy"])
        let images = fixture.images
        func read(_ prefer: [StoreID], as caller: Caller? = nil) async -> Int {
            await status {
                let data = try await images.download(id, prefer: prefer, as: caller ?? fixture.caller())
                await data?.reader.close()
            }
        }
        for prefer in [["local"], ["empty"], ["empty", "local"], []] as [[StoreID]] {
            #expect(await read(prefer) == 200)
        }
        #expect(await read(["nowhere"]) == 400)
        // The preferred one is read: without the other's directory there is no other.
        let heavy = fixture.directory.appending(path: "heavy").path
        try FileManager.default.moveItem(atPath: heavy, toPath: heavy + ".away")
        #expect(await read(["local"]) == 200)
        #expect(await read(["heavy"]) == 200, "and if it is away, another is")
        let strict = try ImagePolicy(rules: ["download_from_store": "role:admin"])
        let (guarded, other) = try await self.fixture(["b": 0], copies: ["b"]) { $0.policy = strict }
        #expect(
            await status { _ = try await guarded.images.download(other, prefer: ["b"], as: guarded.caller()) } == 403)
        #expect(
            await status {
                let data = try await guarded.images.download(other, as: guarded.caller())
                await data?.reader.close()
            } == 200)
    }

    @Test func oneStoreIsEmptiedAndTheJobErases() async throws {
        let (fixture, id) = try await fixture(["b": 0, "c": 0], copies: ["b"])
        func delete(_ store: StoreID, as caller: Caller) async -> Int {
            await status { try await fixture.images.delete(id, from: store, as: caller) }
        }
        #expect(await delete("local", as: fixture.caller()) == 403)
        #expect(await delete("local", as: fixture.caller("p2")) == 404)
        #expect(await delete("nowhere", as: fixture.admin) == 409)
        #expect(await delete("c", as: fixture.admin) == 404)
        #expect(await delete("local", as: fixture.admin) == 200)
        #expect(try await stores(of: id, fixture) == ["b"])
        #expect(try await fixture.blobRows().sorted() == ["doomed 0", "live 4"])
        try await fixture.images.reconcile()
        #expect(try fixture.storedFiles() == [])
        #expect(try await fixture.blobRows() == ["live 4"])
        #expect(try await fixture.bytes(of: id) == Self.bytes)
        #expect(await delete("b", as: fixture.admin) == 403, "it is the last")
        #expect(await delete("local", as: fixture.admin) == 404)
        let queued = try await fixture.createImage()
        #expect(await status { try await fixture.images.delete(queued.id, from: "b", as: fixture.admin) } == 409)
        try await fixture.images.deactivate(id, as: fixture.caller())
        #expect(await delete("b", as: fixture.admin) == 409)
    }

    @Test func withOneStoreThereIsNoChoice() async throws {
        let fixture = try await ImageFixture()
        let image = try await fixture.createImage()
        try await fixture.upload(Self.bytes, to: image.id)
        #expect(await status { try await fixture.images.delete(image.id, from: "local", as: fixture.admin) } == 404)
        #expect(await status { _ = try fixture.images.storeInfos() } == 404)
        #expect(await status { _ = try fixture.images.storeDetails(as: fixture.admin) } == 404)
        #expect(try await stores(of: image.id, fixture) == [])
    }

    @Test func aReadOnlyStoreTakesNoData() async throws {
        let fixture = try await ImageFixture(traits: [
            "old": StoreTraits(isReadOnly: true), "web": StoreTraits(kind: .http, description: "others"),
        ])
        let image = try await fixture.createImage()
        func upload(_ store: StoreID) async -> Int {
            await status {
                try await fixture.images.upload(
                    Body(chunks: [ByteBuffer(bytes: Self.bytes)]), to: image.id, declaredSizeBytes: nil, store: store,
                    as: fixture.caller())
            }
        }
        #expect(await upload("old") == 410)
        #expect(await upload("web") == 410)
        #expect(await upload("nowhere") == 400)
        #expect(try await fixture.images.get(image.id, as: fixture.caller()).image.status == .queued)
        #expect(await upload("local") == 200)
        #expect(fixture.stores.writable == ["local"])
        let infos = try fixture.images.storeInfos()
        #expect(infos.map(\.id) == ["local", "old", "web"])
        #expect(infos.map(\.isReadOnly) == [false, true, true] && infos.map(\.isDefault) == [true, false, false])
        #expect(await status { _ = try fixture.images.storeDetails(as: fixture.caller()) } == 403)
        #expect(await status { _ = try fixture.images.storeDetails(as: fixture.caller(roles: ["service"])) } == 200)
    }
}
