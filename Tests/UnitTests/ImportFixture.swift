import Core
import Foundation
import NIOCore
import Persistence
import Synchronization

/// Other servers, as far as an import sees them: what each URL gives, answer by answer; the last one stays.
final class FakeRemote: RemoteContentSource {
    struct Answer: Sendable {
        var bytes: [UInt8] = []
        /// Whether the size is told beforehand.
        var isSizeKnown = true
        /// How many of the bytes come before the failure.
        var failsAfter: Int?
        var failure: any Error = RemoteContentError(.cutShort, "the bytes ended too early")
        /// Thrown instead of an answer.
        var refusal: (any Error)?
        var before: @Sendable () async -> Void = {}
    }
    private let answers: Mutex<[String: [Answer]]>
    let opened = Mutex<[String]>([])
    /// The headers of each request, `name: value`.
    let sent = Mutex<[[String]]>([])

    init(_ answers: [String: [Answer]] = [:]) { self.answers = Mutex(answers) }

    func set(_ url: String, _ next: Answer...) { answers.withLock { $0[url] = next } }

    func judge(_ url: String) throws(EgressRefusal) {
        guard url.hasPrefix("http://") || url.hasPrefix("https://") else {
            throw .scheme(String(url.prefix { $0 != ":" }))
        }
        if url.hasPrefix("http://0x7f000001") { throw .malformedHost }
    }

    func open(
        _ url: String, range: Range<Int64>?, headers: [(name: String, value: String)]
    ) async throws -> RemoteContent {
        try judge(url)
        opened.withLock { $0.append(url) }
        sent.withLock { $0.append(headers.map { "\($0.name): \($0.value)" }) }
        let answer = answers.withLock { all -> Answer? in
            guard let next = all[url]?.first else { return nil }
            if all[url]!.count > 1 { all[url]!.removeFirst() }
            return next
        }
        guard let answer else { throw RemoteContentError(.refused, "there is nothing at this URL") }
        await answer.before()
        if let refusal = answer.refusal { throw refusal }
        return RemoteContent(
            sizeBytes: answer.isSizeKnown ? Int64(answer.bytes.count) : nil, body: Bytes(answer: answer))
    }

    private struct Bytes: AsyncSequence, Sendable {
        typealias Failure = any Error
        let answer: Answer

        struct AsyncIterator: AsyncIteratorProtocol {
            let answer: Answer
            var offset = 0
            mutating func next() async throws -> ByteBuffer? {
                try await next(isolation: nil)
            }
            mutating func next(isolation actor: isolated (any Actor)?) async throws(any Error) -> ByteBuffer? {
                try Task.checkCancellation()
                if let limit = answer.failsAfter, offset >= limit { throw answer.failure }
                guard offset < answer.bytes.count else { return nil }
                let end = Swift.min(offset + 100_000, answer.failsAfter ?? answer.bytes.count)
                defer { offset = end }
                return ByteBuffer(bytes: answer.bytes[offset..<end])
            }
        }
        func makeAsyncIterator() -> AsyncIterator { AsyncIterator(answer: answer) }
    }
}

/// A store that fails at will.
final class TroubledStore: BlobStore {
    let inner: any BlobStore
    /// Thrown by `begin`; nil lets it pass.
    let failure = Mutex<BlobError.Code?>(nil)
    /// Called before a blob is begun.
    let before = Mutex<(@Sendable () async throws -> Void)?>(nil)
    /// Turns a byte of each blob that is written, when set.
    let damages = Mutex(false)

    init(_ inner: any BlobStore) { self.inner = inner }

    var id: StoreID { inner.id }

    func begin(_ blob: BlobID, expectedBytes: Int64?) async throws -> any BlobWriter {
        try await before.withLock { $0 }?()
        if let code = failure.withLock({ $0 }) { throw BlobError(code: code, operation: "begin", cause: "a test") }
        return try await inner.begin(blob, expectedBytes: expectedBytes)
    }

    func open(_ blob: BlobID) async throws -> any BlobReader {
        let reader = try await inner.open(blob)
        return damages.withLock { $0 } ? DamagedReader(inner: reader) : reader
    }

    func erase(_ blob: BlobID) async throws { try await inner.erase(blob) }
    func inventory(_ visit: @Sendable ([StoredItem]) async throws -> Void) async throws {
        try await inner.inventory(visit)
    }
    func space() async throws -> StoreSpace { try await inner.space() }
    func place(of blob: BlobID) -> String { inner.place(of: blob) }

    private struct DamagedReader: BlobReader {
        let inner: any BlobReader
        var sizeBytes: Int64 { inner.sizeBytes }
        func read(offset: Int64, count: Int) async throws -> ByteBuffer {
            var bytes = Array((try await inner.read(offset: offset, count: count)).readableBytesView)
            if !bytes.isEmpty { bytes[0] ^= 1 }
            return ByteBuffer(bytes: bytes)
        }
        func close() async { await inner.close() }
    }
}

extension ImageFixture {
    static let url = "http://mirror.example/image"

    func request(_ json: JSONValue, header: StoreID? = nil) throws -> ImportRequest {
        try ImportRequest(json: json, header: header, enabled: images.importMethods)
    }

    func stage(_ bytes: [UInt8], for id: ImageID, as caller: Caller? = nil) async throws {
        try await images.stage(
            Body(chunks: [ByteBuffer(bytes: bytes)]), for: id, declaredSizeBytes: nil, as: caller ?? self.caller())
    }

    func stagedImage(_ bytes: [UInt8], _ change: (inout ImageDraft) -> Void = { _ in }) async throws -> ImageID {
        let id = try await createImage(change).id
        try await stage(bytes, for: id)
        return id
    }

    func importImage(
        _ id: ImageID, _ json: JSONValue, as caller: Caller? = nil, token: CallerToken? = nil
    ) async throws {
        try await images.importImage(id, try request(json), as: caller ?? self.caller(), token: token)
    }

    func download(_ id: ImageID, to stores: [JSONValue]? = nil, mustAllSucceed: Bool = true) async throws {
        var body: [String: JSONValue] = [
            "method": ["name": "web-download", "uri": .string(Self.url)],
            "all_stores_must_succeed": .bool(mustAllSucceed),
        ]
        if let stores { body["stores"] = .array(stores) }
        try await importImage(id, .object(body))
    }

    func copy(_ id: ImageID, to stores: [JSONValue], mustAllSucceed: Bool = true) async throws {
        try await importImage(
            id,
            [
                "method": ["name": "copy-image"], "stores": .array(stores),
                "all_stores_must_succeed": .bool(mustAllSucceed),
            ], as: admin)
    }

    /// Does what is due until nothing is, time passing so that what failed is tried again.
    func settleImports(_ images: Images? = nil) async throws {
        for _ in 0..<12 {
            try await (images ?? self.images).reconcile()
            clock.advance(seconds: 15)
        }
    }

    func view(_ id: ImageID) async throws -> ImageView { try await images.get(id, as: admin) }
    func image(_ id: ImageID) async throws -> Image { try await view(id).image }

    func mark(_ name: String, of id: ImageID) async throws -> String? {
        (try await image(id).properties["os_glance_" + name]) ?? nil
    }

    func tasks(of id: ImageID) async throws -> [ImageTask] { try await images.tasks(of: id, as: admin) }

    /// `store role state size` of each blob, in the order of stores.
    func blobs(of id: ImageID? = nil) async throws -> [String] {
        try await database.read { db in
            try db.query(
                """
                SELECT store, role, state, COALESCE(size_bytes, -1) FROM blobs
                WHERE image_id = COALESCE($1, image_id) ORDER BY store, role, state
                """, id
            ) {
                "\(try $0.get(0, as: String.self)) \(try $0.get(1, as: String.self)) "
                    + "\(try $0.get(2, as: String.self)) \(try $0.get(3, as: Int64.self))"
            }
        }
    }

    func jobs() async throws -> [String] {
        try await database.read { db in
            try db.query("SELECT kind, state FROM jobs ORDER BY kind, subject") {
                "\(try $0.get(0, as: String.self)) \(try $0.get(1, as: String.self))"
            }
        }
    }

    func count(_ table: String) async throws -> Int {
        try await database.read { db in try db.first("SELECT COUNT(*) FROM \(table)") { try $0.get(0) } ?? 0 }
    }

    /// The names of files in a store.
    func files(in store: String) throws -> [String] {
        let files = FileManager.default.enumerator(
            at: directory.appending(path: store), includingPropertiesForKeys: [.isRegularFileKey])
        var names: [String] = []
        while let file = files?.nextObject() as? URL {
            let isFile = try file.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile ?? false
            if isFile, !file.lastPathComponent.hasPrefix(".") { names.append(file.lastPathComponent) }
        }
        return names
    }
}

/// A gate that tasks wait at until it is opened.
final class Gate: Sendable {
    private let state = Mutex<(isOpen: Bool, waiting: [CheckedContinuation<Void, Never>])>((false, []))
    private let arrived = Mutex(0)

    var arrivals: Int { arrived.withLock { $0 } }

    func pass() async {
        arrived.withLock { $0 += 1 }
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock { state in
                if !state.isOpen { state.waiting.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
    }

    func open() {
        let waiting = state.withLock { state in
            state.isOpen = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    func waitForArrival() async throws {
        while arrivals == 0 { try await Task.sleep(for: .milliseconds(2)) }
    }
}
