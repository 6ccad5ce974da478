import Core
import Foundation
import Synchronization

/// The machine's time, in which nobody has to sleep.
final class ImpatientClock: WallClock {
    private struct State {
        var aheadSeconds: Int64 = 0
        var pauses: [Double] = []
    }
    private let state = Mutex(State())
    private let sleeps: Bool

    /// - Parameter sleeps: whether sleeping takes its time all the same.
    init(sleeps: Bool = false) { self.sleeps = sleeps }

    var now: Timestamp {
        let machine = Timestamp(microseconds: Int64(Date().timeIntervalSince1970 * 1_000_000))
        return machine.adding(seconds: state.withLock { $0.aheadSeconds })
    }
    /// All sleeps so far.
    var pauses: [Double] { state.withLock { $0.pauses } }
    func advance(seconds: Int64) { state.withLock { $0.aheadSeconds += seconds } }

    func sleep(seconds: Double) async throws {
        state.withLock { $0.pauses.append(seconds) }
        try await Task.sleep(for: .seconds(sleeps ? seconds : 0))
    }
}

struct AnyRandomness: Randomness {
    func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in .random(in: 0...255) } }
}

struct WorkInPlace: WorkPool {
    func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T { try body() }
}

extension Surroundings {
    static func forTests(clock: any WallClock) -> Surroundings {
        Surroundings(clock: clock, randomness: AnyRandomness(), work: WorkInPlace())
    }
}
