import Core
import NIOCore
import Synchronization

/// Other servers that imports fetch from. The URL says what comes, and how: `http://sim/CONTENT/MANNER`, and the same of
/// an image service, with the image's path behind it.
package final class SimulatedRemote: RemoteContentSource {
    package enum Manner: String, Sendable, CaseIterable {
        case whole
        /// The size is not told beforehand.
        case unsized
        /// The bytes end midway: the first time, or always.
        case flaky, cut
        /// There is nothing.
        case refused
    }

    private let executor: SeededExecutor
    private let opened = Mutex<[String: Int]>([:])

    package init(_ executor: SeededExecutor) { self.executor = executor }

    package static func url(_ content: Int, _ manner: Manner) -> String { "http://sim/\(content)/\(manner.rawValue)" }

    package func judge(_ url: String) throws(EgressRefusal) {
        guard url.hasPrefix("http://sim/") else { throw .host(url) }
    }

    /// Of the image that every one of the image services has.
    static let imageThere = "11111111-2222-4333-8444-555555555555"
    private static let path = "/v2/images/\(imageThere)"

    package func open(
        _ url: String, range: Range<Int64>?, headers: [(name: String, value: String)]
    ) async throws -> RemoteContent {
        try judge(url)
        let isDescription = url.hasSuffix(Self.path)
        let place =
            isDescription
            ? url.dropLast(Self.path.count) : url.hasSuffix("/file") ? url.dropLast(Self.path.count + 5) : url[...]
        let parts = place.split(separator: "/")
        guard parts.count == 4, let content = Int(parts[2]), let manner = Manner(rawValue: String(parts[3])),
            manner != .refused
        else { throw RemoteContentError(.refused, "there is nothing at this URL") }
        let count = opened.withLock { opened in
            opened[url, default: 0] += 1
            return opened[url, default: 0]
        }
        await executor.pause(microseconds: 200)
        if isDescription {
            return RemoteContent(
                sizeBytes: nil, body: Parts(bytes: Self.description(content), isWhole: true, executor: executor))
        }
        let bytes = Payloads.bytes(content)
        let isWhole = manner != .cut && !(manner == .flaky && count == 1)
        return RemoteContent(
            sizeBytes: manner == .unsized ? nil : Int64(bytes.count),
            body: Parts(bytes: bytes, isWhole: isWhole, executor: executor))
    }

    /// What an image service says of an image with this content.
    private static func description(_ content: Int) -> [UInt8] {
        let digests = Payloads.digests[content]
        let members: [String: JSONValue] = [
            "id": .string(imageThere), "status": "active", "disk_format": "raw", "container_format": "bare",
            "size": .integer(digests.sizeBytes), "os_hash_algo": "sha512", "os_hash_value": .string(digests.hash),
            describedProperty: "scsi",
        ]
        return Array(JSONValue.object(members).text.utf8)
    }

    /// A property that only images have which came from an image service.
    static let describedProperty = "hw_disk_bus"

    private struct Parts: AsyncSequence, Sendable {
        typealias Failure = any Error
        let bytes: [UInt8]
        let isWhole: Bool
        let executor: SeededExecutor

        struct AsyncIterator: AsyncIteratorProtocol {
            let parts: Parts
            var index = 0

            mutating func next() async throws -> ByteBuffer? { try await next(isolation: nil) }

            mutating func next(isolation actor: isolated (any Actor)?) async throws(any Error) -> ByteBuffer? {
                try Task.checkCancellation()
                await parts.executor.pause(microseconds: 100)
                let count = parts.bytes.count
                defer { index += 1 }
                if index == 2, !parts.isWhole { throw RemoteContentError(.cutShort, "the bytes ended too early") }
                guard index < 3 else { return nil }
                return ByteBuffer(bytes: parts.bytes[count * index / 3..<count * (index + 1) / 3])
            }
        }
        func makeAsyncIterator() -> AsyncIterator { AsyncIterator(parts: self) }
    }
}

/// A cloud whose regions say in their names what their image service has: `CONTENT-MANNER`.
struct SimulatedCatalogue: ServiceCatalogue {
    static func region(_ content: Int, _ manner: SimulatedRemote.Manner) -> String { "\(content)-\(manner.rawValue)" }

    func url(
        ofService type: String, region: String, interface: String, for token: CallerToken
    ) async throws -> String? {
        "http://sim/" + region.split(separator: "-").joined(separator: "/")
    }
}

/// A store that has no room for anything new.
struct FullStore: BlobStore {
    let inner: any BlobStore

    var id: StoreID { inner.id }
    func begin(_ blob: BlobID, expectedBytes: Int64?) async throws -> any BlobWriter {
        throw BlobError(code: .full, operation: "begin", cause: "the store is full")
    }
    func open(_ blob: BlobID) async throws -> any BlobReader { try await inner.open(blob) }
    func erase(_ blob: BlobID) async throws { try await inner.erase(blob) }
    func inventory(_ visit: @Sendable ([StoredItem]) async throws -> Void) async throws {
        try await inner.inventory(visit)
    }
    func space() async throws -> StoreSpace { try await inner.space() }
}
