import Blobs
import Core
import Foundation
import Logging
import NIOCore
import Persistence
import Synchronization
import Testing

/// Copies of images, and what goes wrong while they are made.
@Suite struct ImageCacheTests {
    /// A store that counts how often it is read, and can give other bytes than it has.
    private final class Watched: BlobStore {
        private let store: any BlobStore
        private struct State {
            var opened = 0
            var flips = false
            var fails = false
        }
        private let state = Mutex(State())

        init(_ store: any BlobStore) { self.store = store }
        var id: StoreID { store.id }
        var opened: Int { state.withLock { $0.opened } }
        func flip(_ flips: Bool) { state.withLock { $0.flips = flips } }
        func fail(_ fails: Bool) { state.withLock { $0.fails = fails } }

        func begin(_ blob: BlobID, expectedBytes: Int64?) async throws -> any BlobWriter {
            try await store.begin(blob, expectedBytes: expectedBytes)
        }
        func open(_ blob: BlobID) async throws -> any BlobReader {
            let (flips, fails) = state.withLock { state in
                state.opened += 1
                return (state.flips, state.fails)
            }
            return Reader(reader: try await store.open(blob), flips: flips, fails: fails)
        }
        func erase(_ blob: BlobID) async throws { try await store.erase(blob) }
        func inventory(_ visit: @Sendable ([StoredItem]) async throws -> Void) async throws {
            try await store.inventory(visit)
        }
        func space() async throws -> StoreSpace { try await store.space() }

        private struct Reader: BlobReader {
            let reader: any BlobReader
            let flips: Bool
            let fails: Bool
            var sizeBytes: Int64 { reader.sizeBytes }

            func read(offset: Int64, count: Int) async throws -> ByteBuffer {
                if fails { throw BlobError(code: .unavailable, operation: "read", cause: "a test") }
                let bytes = try await reader.read(offset: offset, count: count)
                return flips ? ByteBuffer(repeating: 0xff, count: bytes.readableBytes) : bytes
            }
            func close() async { await reader.close() }
        }
    }

    private final class Fixture: Sendable {
        let images: ImageFixture
        let far: Watched
        let cacheStore: FileBlobStore
        let service: Images

        init(limitBytes: Int64 = 1000) async throws {
            images = try await ImageFixture()
            far = Watched(images.store)
            cacheStore = try FileBlobStore(
                id: "cache", directory: images.directory.appending(path: "cache").path, work: DirectWork(),
                reserveBytes: 0)
            service = Self.service(images, far, cacheStore, limitBytes: limitBytes, instance: "this")
        }

        static func service(
            _ images: ImageFixture, _ far: Watched, _ cache: FileBlobStore, limitBytes: Int64, instance: InstanceID
        ) -> Images {
            Images(
                database: images.database, stores: StoreSet([far], default: "local"),
                surroundings: images.surroundings, settings: images.settings, seal: ImageFixture.seal,
                cache: ImageCacheSettings(store: cache, limitBytes: limitBytes, stores: ["local"]),
                instance: instance, logger: .silent)
        }

        func restarted(limitBytes: Int64 = 1000) -> Images {
            Self.service(images, far, cacheStore, limitBytes: limitBytes, instance: "another")
        }

        func uploaded(_ bytes: [UInt8]) async throws -> ImageID {
            let image = try await images.createImage()
            try await images.upload(bytes, to: image.id)
            return image.id
        }

        func download(_ id: ImageID, isWhole: Bool = true) async throws -> [UInt8] {
            let data = try #require(
                try await service.download(id, isWhole: isWhole, as: images.caller()))
            var bytes = try await data.wholeReader.read(offset: 0, count: Int(data.sizeBytes))
            await data.reader.close()
            return bytes.readBytes(length: bytes.readableBytes) ?? []
        }

        func contents() async throws -> (cached: [ImageID], queued: [ImageID]) {
            let contents = try await service.cacheContents(as: images.admin)
            return (contents.cached.map(\.image), contents.queued)
        }

        /// What the cache's directory holds.
        func stored() async throws -> Int {
            let count = Counter()
            try await cacheStore.inventory { items in await count.add(items.count) }
            return await count.value
        }

        private actor Counter {
            var value = 0
            func add(_ number: Int) { value += number }
        }
    }

    @Test func oneFillServesManyReaders() async throws {
        let fixture = try await Fixture()
        let id = try await fixture.uploaded([1, 2, 3])
        // All of them find nothing; one row says so.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    let bytes = try await fixture.download(id)
                    #expect(bytes == [1, 2, 3])
                }
            }
            try await group.waitForAll()
        }
        #expect(try await fixture.contents().queued == [id])
        let before = fixture.far.opened
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 { group.addTask { _ = try await fixture.service.tendCache() } }
            try await group.waitForAll()
        }
        #expect(fixture.far.opened == before + 1)
        #expect(try await fixture.contents().cached == [id])
        for _ in 0..<5 { #expect(try await fixture.download(id) == [1, 2, 3]) }
        #expect(fixture.far.opened == before + 1)
        #expect(try await fixture.service.cacheContents(as: fixture.images.admin).cached.map(\.hits) == [5])
    }

    @Test func aPartIsNeitherServedNorCached() async throws {
        let fixture = try await Fixture()
        let id = try await fixture.uploaded([1, 2, 3])
        _ = try await fixture.download(id, isWhole: false)
        #expect(try await fixture.contents().queued == [])
    }

    /// Bytes that are not the image's, and bytes that do not come: nothing is left of them.
    @Test(arguments: [true, false])
    func aFillThatFailsLeavesNothing(_ isWrong: Bool) async throws {
        let fixture = try await Fixture()
        let id = try await fixture.uploaded([1, 2, 3])
        _ = try await fixture.download(id)
        if isWrong { fixture.far.flip(true) } else { fixture.far.fail(true) }
        try await fixture.service.tendCache()
        let contents = try await fixture.contents()
        #expect(contents.cached == [] && contents.queued == [])
        #expect(try await fixture.stored() == 0)
        fixture.far.flip(false)
        fixture.far.fail(false)
        // The next download asks for it again.
        #expect(try await fixture.download(id) == [1, 2, 3])
        try await fixture.service.tendCache()
        #expect(try await fixture.contents().cached == [id])
    }

    @Test func whatAProcessLeftIsTakenBackAndQueuedAgain() async throws {
        let fixture = try await Fixture()
        let id = try await fixture.uploaded([1, 2, 3])
        let blob: BlobID = "0a000000-0000-4000-8000-000000000001"
        let writer = try await fixture.cacheStore.begin(blob, expectedBytes: 3)
        try await writer.write([ByteBuffer(bytes: [1])])
        _ = try await fixture.images.database.write { db in
            try db.execute(
                """
                INSERT INTO image_cache (node, image_id, state, blob, size_bytes, hits, queued_at)
                VALUES ('local', $1, 'filling', $2, 3, 0, 1)
                """, id, blob)
        }
        #expect(try await fixture.download(id) == [1, 2, 3])
        let restarted = fixture.restarted()
        try await restarted.recover(logger: .silent)
        try await restarted.tendCache()
        #expect(try await fixture.contents().cached == [id])
        #expect(try await fixture.stored() == 1)
    }

    /// An image that is deleted, or taken out, while it is copied: the copy goes too.
    @Test func whatIsDeletedIsNotCached() async throws {
        let fixture = try await Fixture()
        let id = try await fixture.uploaded([1, 2, 3])
        try await fixture.service.queueForCache(id, as: fixture.images.admin)
        try await fixture.service.tendCache()
        #expect(try await fixture.stored() == 1)
        try await fixture.service.delete(id, as: fixture.images.caller())
        try await fixture.service.tendCache()
        #expect(try await fixture.stored() == 0)
        let other = try await fixture.uploaded([1])
        try await fixture.service.queueForCache(other, as: fixture.images.admin)
        try await fixture.service.delete(other, as: fixture.images.caller())
        try await fixture.service.tendCache()
        let contents = try await fixture.contents()
        #expect(contents.cached == [] && contents.queued == [])
    }

    /// A copy that is damaged later is dropped; the image is not to blame.
    @Test func aCopyThatIsGoneIsServedFromTheStore() async throws {
        let fixture = try await Fixture()
        let id = try await fixture.uploaded([1, 2, 3])
        try await fixture.service.queueForCache(id, as: fixture.images.admin)
        try await fixture.service.tendCache()
        let cache = fixture.images.directory.appending(path: "cache/blobs")
        try FileManager.default.removeItem(at: cache)
        try FileManager.default.createDirectory(at: cache, withIntermediateDirectories: false)
        #expect(try await fixture.download(id) == [1, 2, 3])
        #expect(try await fixture.contents().cached == [])
    }

    @Test func whatWasUsedLongestAgoGivesWay() async throws {
        let fixture = try await Fixture(limitBytes: 250)
        var ids: [ImageID] = []
        for number in 0..<3 {
            ids.append(try await fixture.uploaded([UInt8](repeating: UInt8(number), count: 100)))
            try await fixture.service.queueForCache(ids[number], as: fixture.images.admin)
            if number < 2 { try await fixture.service.tendCache() }
            fixture.images.clock.advance(seconds: 1)
            if number == 1 { _ = try await fixture.download(ids[0]) }
        }
        try await fixture.service.tendCache()
        #expect(Set(try await fixture.contents().cached) == [ids[0], ids[2]])
        #expect(try await fixture.stored() == 2)
        let pruned = try await fixture.restarted(limitBytes: 100).pruneCache(as: fixture.images.admin)
        #expect(pruned.images == 1)
        #expect(pruned.bytes == 100)
        #expect(try await fixture.contents().cached == [ids[2]])
        #expect(try await fixture.stored() == 1)
    }
}
