import NIOCore
import Synchronization

/// What a connection sends over and over: the requests of one operation, prepared.
struct LoadPlan: Sendable {
    /// One request, and what has to come back.
    struct Step: Sendable {
        /// For errors: `POST an image`.
        let label: String
        let head: Head
        /// What follows the head: a block over and over, `totalBytes` in all.
        var body: (block: ByteBuffer, totalBytes: Int64)?
        let expectedStatus: Int
        /// Whether the answer has the id that the next step's head names.
        var answersID = false
    }

    enum Head: Sendable {
        case fixed(ByteBuffer)
        /// The id of an image stands in between.
        case naming(before: ByteBuffer, after: ByteBuffer)
    }

    let steps: [Step]
    /// Images for the operations, by number; empty when the first step needs none.
    var imageIDs: [String] = []
}

/// How much is to be done in a window, shared by its connections.
final class LoadBudget: Sendable {
    private let taken = Atomic<Int>(0)
    private let count: Int
    private let deadline: NIODeadline

    init(seconds: Double) {
        count = .max
        deadline = .now() + .nanoseconds(Int64(seconds * 1e9))
    }

    init(count: Int) {
        self.count = count
        deadline = .distantFuture
    }

    /// The number of the next operation; nil when enough was begun.
    func next() -> Int? {
        if deadline != .distantFuture, NIODeadline.now() >= deadline { return nil }
        let number = taken.add(1, ordering: .relaxed).oldValue
        return number < count ? number : nil
    }
}

/// What a connection did in a window.
struct LoadCounts: Sendable {
    var latency = LatencyHistogram()
    /// Of bodies, in the direction that the operation is about.
    var bytes: Int64 = 0
    /// What went wrong, and how often.
    var errors: [String: Int] = [:]

    mutating func merge(_ other: LoadCounts) {
        latency.merge(other.latency)
        bytes += other.bytes
        errors.merge(other.errors, uniquingKeysWith: +)
    }
}
