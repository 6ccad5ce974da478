import API
import Core
import NIOCore
import NIOHTTP1
import Remote
import Synchronization

/// How an operation is measured.
struct LoadShape: Sendable {
    var connections = 8
    var seconds = 5.0
    /// Operations a repeat, instead of seconds.
    var count: Int?
    var warmUpSeconds = 1.0
    var repeats = 3
    var sizeBytes: Int64 = 64 << 20
    var query = "limit=25"
    /// The image to read; without it, one is made.
    var image: String?
}

/// Whether there may be images of a run.
final class LoadTraces: Sendable {
    private let exist = Atomic<Bool>(false)

    var mayExist: Bool { exist.load(ordering: .relaxed) }

    func note() { exist.store(true, ordering: .relaxed) }
}

/// Measures a service, and takes away what was made for that.
struct LoadSession: Sendable {
    let target: LoadTarget
    let client: CloudClient
    let shape: LoadShape
    let server: ProcessUsage?
    let group: any EventLoopGroup
    /// The name of all images of this run: by it they are found again, also those whose making was never answered.
    let imageName: String
    private let traces = LoadTraces()

    init(
        target: LoadTarget, client: CloudClient, shape: LoadShape, server: ProcessUsage?, group: any EventLoopGroup,
        imageName: String
    ) {
        self.target = target
        self.client = client
        self.shape = shape
        self.server = server
        self.group = group
        self.imageName = imageName
    }

    /// - Throws: `CloudError`, `Refusal`, `CancellationError`.
    func measure(_ operation: LoadOperation) async throws -> LoadResult {
        let pool = try await LoadPool.make(target, connections: shape.connections, on: group)
        defer { pool.stop() }
        do {
            try await pool.open()
        } catch {
            throw Refusal("\(target.url) cannot be connected to: \(error)")
        }
        var result = LoadResult(operation: operation, shape: shape)
        let data = operation.isTransfer ? LoadData(sizeBytes: shape.sizeBytes) : nil
        let plan = try await plan(operation, data)
        for number in (shape.warmUpSeconds > 0 ? -1 : 0)..<shape.repeats {
            let images = operation == .upload ? try await newImages(count(operation)) : []
            let round = try await window(
                operation == .upload ? target.uploadPlan(data!, into: images) : plan!, pool, operation,
                isWarmUp: number < 0)
            try Task.checkCancellation()
            var mismatches = 0
            for image in images { mismatches += try await takeBack(image, data!) ? 0 : 1 }
            result.add(round, mismatches: mismatches, isWarmUp: number < 0)
        }
        if case .get = operation, shape.image == nil { try await removeAll() }
        if case .download = operation, shape.image == nil { try await removeAll() }
        return result
    }

    /// Removes every image of this run that is left.
    /// - Throws: `CloudError`, `Refusal`.
    func removeAll() async throws {
        guard traces.mayExist else { return }
        let operation = "remove the images \(imageName)"
        while true {
            let answer = try await client.call(.GET, .image, "/v2/images?name=\(imageName)&limit=100", operation)
            guard answer.status == 200, let images = answer.json["images"]?.arrayValue else {
                throw Refusal("\(operation): the service answered \(answer.status)")
            }
            if images.isEmpty { return }
            for image in images {
                guard let id = image["id"]?.stringValue, CloudClient.isID(id) else {
                    throw Refusal("\(operation): the service's list makes no sense")
                }
                try await remove(id)
            }
        }
    }

    // MARK: windows

    private func plan(_ operation: LoadOperation, _ data: LoadData?) async throws -> LoadPlan? {
        switch operation {
        case .get:
            if let image = shape.image { return target.getPlan(image) }
            return target.getPlan(try await newImage())
        case .list: return target.listPlan(shape.query)
        case .createDelete:
            traces.note()
            return target.createDeletePlan(document: document)
        case .upload: return nil
        case .download:
            if let image = shape.image { return target.downloadPlan(image) }
            return target.downloadPlan(try await newImage(holding: data!))
        }
    }

    /// Operations of a repeat that are counted.
    private func count(_ operation: LoadOperation) -> Int { shape.count ?? shape.connections }

    private func budget(_ operation: LoadOperation, isWarmUp: Bool) -> LoadBudget {
        switch operation {
        case .upload: LoadBudget(count: count(operation))
        case .download where isWarmUp: LoadBudget(count: shape.connections)
        default:
            if isWarmUp {
                LoadBudget(seconds: shape.warmUpSeconds)
            } else if let count = shape.count {
                LoadBudget(count: count)
            } else {
                LoadBudget(seconds: shape.seconds)
            }
        }
    }

    private func window(
        _ plan: LoadPlan, _ pool: LoadPool, _ operation: LoadOperation, isWarmUp: Bool
    ) async throws -> LoadRound {
        let before = try server?.snapshot()
        let ownBefore = ProcessUsage.ownCPUSeconds()
        let (outcome, peak) = try await withThrowingTaskGroup(of: Int64?.self) { tasks in
            if let server { tasks.addTask { try await Self.peakMemory(server) } }
            let outcome = try await pool.run(plan, budget(operation, isWarmUp: isWarmUp))
            tasks.cancelAll()
            return (outcome, try await tasks.next() ?? nil)
        }
        let own = ProcessUsage.ownCPUSeconds() - ownBefore
        let after = try server?.snapshot()
        var round = LoadRound(outcome, driverCPUSeconds: own)
        if let before, let after {
            round.serverCPUSeconds = after.cpuSeconds - before.cpuSeconds
            round.serverResidentBytes = max(after.residentBytes, peak ?? 0)
        }
        return round
    }

    /// The most there was resident until the task is cancelled.
    private static func peakMemory(_ server: ProcessUsage) async throws -> Int64? {
        var peak: Int64 = 0
        while !Task.isCancelled {
            peak = max(peak, try server.snapshot().residentBytes)
            try? await Task.sleep(for: .milliseconds(100))
        }
        return peak
    }

    // MARK: images

    private var document: String {
        var json = JSONWriter()
        json.object { json in
            json.member("name", imageName)
            json.member("disk_format", "raw")
            json.member("container_format", "bare")
            for (name, value) in [("os_distro", "debian"), ("architecture", "x86_64"), ("hw_disk_bus", "virtio")] {
                json.member(name, value)
            }
            json.member("tags", array: { $0.string("bench") })
        }
        return String(buffer: json.finish())
    }

    private func newImages(_ count: Int) async throws -> [String] {
        var images: [String] = []
        for _ in 0..<count { images.append(try await newImage()) }
        return images
    }

    private func newImage() async throws -> String {
        let operation = "make an image"
        traces.note()
        let answer = try await client.call(.POST, .image, "/v2/images", json: document, operation)
        guard answer.status == 201, let id = answer.json["id"]?.stringValue, CloudClient.isID(id) else {
            throw Refusal(SignedUpload.problem(operation, answer))
        }
        return id
    }

    private func newImage(holding data: LoadData) async throws -> String {
        let operation = "upload the data to be read"
        let image = try await newImage()
        let answer = try await client.send(
            "/v2/images/\(image)/file", RepeatedBlock(data: data), sizeBytes: data.sizeBytes, operation)
        guard answer.status == 204 else { throw Refusal(SignedUpload.problem(operation, answer)) }
        return image
    }

    /// Removes an image that data was uploaded to.
    /// - Returns: whether the service had got what was sent.
    private func takeBack(_ image: String, _ data: LoadData) async throws -> Bool {
        let shown = try await client.call(.GET, .image, "/v2/images/\(image)", "read an image").json
        try await remove(image)
        return shown["status"]?.stringValue == "active" && shown["checksum"]?.stringValue == data.checksum
            && shown["size"]?.integerValue == data.sizeBytes
    }

    private func remove(_ image: String) async throws {
        let operation = "remove an image"
        let answer = try await client.call(.DELETE, .image, "/v2/images/\(image)", operation)
        guard answer.status == 204 || answer.status == 404 else {
            throw Refusal(SignedUpload.problem(operation, answer))
        }
    }
}

/// The data of an upload, part by part.
private struct RepeatedBlock: AsyncSequence, Sendable {
    let data: LoadData

    func makeAsyncIterator() -> Iterator { Iterator(block: data.block, left: data.sizeBytes) }

    struct Iterator: AsyncIteratorProtocol {
        let block: ByteBuffer
        var left: Int64

        mutating func next() async -> ByteBuffer? {
            guard left > 0 else { return nil }
            let count = Int(Swift.min(left, Int64(block.readableBytes)))
            left -= Int64(count)
            return block.getSlice(at: block.readerIndex, length: count)
        }
    }
}
