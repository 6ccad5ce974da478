import NIOCore
import Synchronization
import Trust

/// Bounds the memory of all uploads together: a chunk is charged from when it is complete until the
/// last of its users lets it go. The digests and the store always get on, so a waiter always gets its
/// turn; a client that stalls in the middle of a chunk holds no more than that chunk, and none of the
/// budget. Waiters are served in order.
final class UploadBudget: Sendable {
    private struct State {
        var freeBytes: Int
        var activeUploads = 0
        var waiters: [(bytes: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }
    /// What is still in a processor's cache when the next lane gets it.
    private static let largestChunk = 1 << 20
    private static let smallestChunk = 32 << 10
    private let limitBytes: Int
    private let state: Mutex<State>

    init(limitBytes: Int) {
        precondition(limitBytes >= Self.largestChunk)
        self.limitBytes = limitBytes
        state = Mutex(State(freeBytes: limitBytes))
    }

    /// Large chunks for few uploads (fewer hand-overs), small ones for many (fair shares).
    func beginUpload() { state.withLock { $0.activeUploads += 1 } }
    func endUpload() { state.withLock { $0.activeUploads -= 1 } }
    var activeUploads: Int { state.withLock { $0.activeUploads } }

    var chunkBytes: Int {
        // Half of the budget for chunks that wait or are worked on, so that a store that hangs stops no other.
        let share = limitBytes / (2 * UploadPipeline.chunksHeld * max(1, activeUploads))
        return min(Self.largestChunk, max(Self.smallestChunk, share))
    }

    /// A part may be larger than the chunk it completes, but never than the budget.
    func take(_ bytes: Int) async {
        let bytes = min(bytes, limitBytes)
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state -> Bool in
                if state.waiters.isEmpty, state.freeBytes >= bytes {
                    state.freeBytes -= bytes
                    return true
                }
                state.waiters.append((bytes, continuation))
                return false
            }
            if isFree { continuation.resume() }
        }
    }

    func giveBack(_ bytes: Int) {
        let bytes = min(bytes, limitBytes)
        let served = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.freeBytes += bytes
            var served: [CheckedContinuation<Void, Never>] = []
            while let first = state.waiters.first, state.freeBytes >= first.bytes {
                state.freeBytes -= first.bytes
                served.append(first.continuation)
                state.waiters.removeFirst()
            }
            return served
        }
        for continuation in served { continuation.resume() }
    }
}

/// A run of an upload's bytes, shared by the digests and the store; its memory is given back to the
/// budget when the last of them is done.
final class UploadChunk: Sendable {
    let buffers: [ByteBuffer]
    private let chargedBytes: Int
    private let budget: UploadBudget

    init(_ buffers: [ByteBuffer], chargedBytes: Int, budget: UploadBudget) {
        self.buffers = buffers
        self.chargedBytes = chargedBytes
        self.budget = budget
    }

    deinit { budget.giveBack(chargedBytes) }
}

/// A queue between two tasks, one at each end, with a bound: `send` waits for room.
final class BoundedQueue<Element: Sendable>: Sendable {
    private struct State {
        var elements: [Element] = []
        var isFinished = false
        var isCancelled = false
        var sender: CheckedContinuation<Void, Never>?
        var receiver: CheckedContinuation<Void, Never>?
    }
    private let capacity: Int
    private let state = Mutex(State())

    init(capacity: Int) { self.capacity = capacity }

    /// - Throws: `CancellationError` once the queue is cancelled.
    func send(_ element: Element) async throws {
        while true {
            let (isSent, receiver) = try state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
                if state.isCancelled { throw CancellationError() }
                guard state.elements.count < capacity else { return (false, nil) }
                state.elements.append(element)
                defer { state.receiver = nil }
                return (true, state.receiver)
            }
            receiver?.resume()
            if isSent { return }
            await wait { state, continuation in
                if state.isCancelled || state.elements.count < self.capacity { return false }
                state.sender = continuation
                return true
            }
        }
    }

    func finish() {
        let receiver = state.withLock { state in
            state.isFinished = true
            defer { state.receiver = nil }
            return state.receiver
        }
        receiver?.resume()
    }

    /// Ends both ends at once; what was queued is dropped.
    func cancel() {
        let waiting = state.withLock { state in
            state.isCancelled = true
            state.elements = []
            defer {
                state.sender = nil
                state.receiver = nil
            }
            return [state.sender, state.receiver]
        }
        for continuation in waiting { continuation?.resume() }
    }

    /// Nil after the last element.
    /// - Throws: `CancellationError` once the queue is cancelled.
    func next() async throws -> Element? {
        while true {
            let (element, isDone, sender) = try state.withLock {
                state -> (Element?, Bool, CheckedContinuation<Void, Never>?) in
                if state.isCancelled { throw CancellationError() }
                if state.elements.isEmpty { return (nil, state.isFinished, nil) }
                defer { state.sender = nil }
                return (state.elements.removeFirst(), false, state.sender)
            }
            sender?.resume()
            if let element { return element }
            if isDone { return nil }
            await wait { state, continuation in
                if state.isCancelled || state.isFinished || !state.elements.isEmpty { return false }
                state.receiver = continuation
                return true
            }
        }
    }

    private func wait(
        unless register: @Sendable (inout State, CheckedContinuation<Void, Never>) -> Bool
    ) async {
        await withCheckedContinuation { continuation in
            let isRegistered = state.withLock { register(&$0, continuation) }
            if !isRegistered { continuation.resume() }
        }
    }
}

/// What an upload's bytes turned out to be.
struct UploadedBytes: Sendable {
    let sizeBytes: Int64
    /// Of each algorithm the pipeline was asked for.
    private let digests: [DigestAlgorithm: [UInt8]]

    init(sizeBytes: Int64, digests: [DigestAlgorithm: [UInt8]]) {
        self.sizeBytes = sizeBytes
        self.digests = digests
    }

    subscript(_ algorithm: DigestAlgorithm) -> [UInt8] {
        guard let digest = digests[algorithm] else { preconditionFailure("\(algorithm) was not asked for") }
        return digest
    }
}

/// Streams bytes to a store and through the digests, all at once: the socket is read, the digests
/// are fed and the file is written by different threads, a few chunks apart.
///
///     body ──▶ chunks ──┬──▶ a digest, each algorithm once
///                       ├──▶ FormatWatch, if any
///                       └──▶ BlobWriter
struct UploadPipeline: Sendable {
    let work: any WorkPool
    let budget: UploadBudget
    let algorithms: Set<DigestAlgorithm>
    let format: FormatWatch?

    /// How far a lane may be behind the socket, beside what it has in hand: enough that a slow lane always has work while
    /// the others have none.
    private static let chunksAhead = 8
    /// Of one upload at most: those, one in a lane's hands, and one that waits to be handed on.
    static let chunksHeld = chunksAhead + 2

    /// - Parameter admit: told the number of bytes received so far before they go on; throws to refuse them.
    /// - Throws: what the body, `admit` or the writer throws.
    func run<Body: AsyncSequence & Sendable>(
        _ body: Body, to writer: any BlobWriter, admit: @escaping @Sendable (Int64) async throws -> Void
    ) async throws -> UploadedBytes where Body.Element == ByteBuffer {
        budget.beginUpload()
        defer { budget.endUpload() }
        let work = work
        // In an order of their own, so that a seeded run of the simulation is the same every time.
        let digests = algorithms.sorted { $0.rawValue < $1.rawValue }.map { Digest($0) }
        var lanes: [@Sendable (UploadChunk) async throws -> Void] = digests.map { digest in
            { chunk in try await work.run { chunk.feed { digest.update($0) } } }
        }
        if let format { lanes.append { chunk in try await work.run { chunk.feed { format.feed($0) } } } }
        lanes.append { chunk in try await writer.write(chunk.buffers) }
        let queues = lanes.map { _ in BoundedQueue<UploadChunk>(capacity: Self.chunksAhead) }
        let size = try await withThrowingTaskGroup(of: Int64.self) { group in
            for (lane, queue) in zip(lanes, queues) {
                group.addTask {
                    while let chunk = try await queue.next() { try await lane(chunk) }
                    return 0
                }
            }
            group.addTask { try await produce(body, into: queues, admit: admit) }
            var size: Int64 = 0
            do {
                for try await part in group { size += part }
            } catch {
                for queue in queues { queue.cancel() }
                throw error
            }
            return size
        }
        return UploadedBytes(
            sizeBytes: size, digests: Dictionary(uniqueKeysWithValues: digests.map { ($0.algorithm, $0.finish()) }))
    }

    private func produce<Body: AsyncSequence & Sendable>(
        _ body: Body, into queues: [BoundedQueue<UploadChunk>], admit: (Int64) async throws -> Void
    ) async throws -> Int64 where Body.Element == ByteBuffer {
        var received: Int64 = 0
        var chunk = ChunkBuilder()
        for try await part in body where part.readableBytes > 0 {
            if chunk.isEmpty { chunk.start(targetBytes: budget.chunkBytes) }
            received += Int64(part.readableBytes)
            chunk.add(part)
            if chunk.isFull {
                try await admit(received)
                try await send(await chunk.take(budget), to: queues)
            }
        }
        if !chunk.isEmpty {
            try await admit(received)
            try await send(await chunk.take(budget), to: queues)
        }
        for queue in queues { queue.finish() }
        return received
    }

    private func send(_ chunk: UploadChunk, to queues: [BoundedQueue<UploadChunk>]) async throws {
        for queue in queues { try await queue.send(chunk) }
    }
}

extension UploadChunk {
    func feed(_ reader: (UnsafeRawBufferPointer) -> Void) {
        for buffer in buffers { buffer.withUnsafeReadableBytes(reader) }
    }
}

/// Gathers a body's parts without copying them, unless a part is a small piece of a large buffer, for keeping it would
/// keep the whole buffer; or is small, for a buffer of its own takes more memory than it.
private struct ChunkBuilder {
    private static let smallPartBytes = 4096

    private var buffers: [ByteBuffer] = []
    private var gathered: ByteBuffer?
    private var targetBytes = 0
    private var count = 0

    var isEmpty: Bool { targetBytes == 0 }
    var isFull: Bool { count >= targetBytes }

    mutating func start(targetBytes: Int) {
        self.targetBytes = targetBytes
        buffers.reserveCapacity(targetBytes >> 15)
    }

    mutating func add(_ part: ByteBuffer) {
        count += part.readableBytes
        if part.readableBytes >= Self.smallPartBytes, part.readableBytes * 2 >= part.storageCapacity {
            closeGathered()
            buffers.append(part)
        } else {
            if gathered == nil { gathered = ByteBuffer() }
            gathered!.writeImmutableBuffer(part)
        }
    }

    private mutating func closeGathered() {
        guard let whole = gathered else { return }
        buffers.append(whole)
        gathered = nil
    }

    mutating func take(_ budget: UploadBudget) async -> UploadChunk {
        closeGathered()
        await budget.take(count)
        let chunk = UploadChunk(buffers, chargedBytes: count, budget: budget)
        self = ChunkBuilder()
        return chunk
    }
}
