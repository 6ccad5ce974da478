import Core

/// The clock of one simulated server. All clocks of a world pass together; each may be wrong.
package final class SimulatedClock: WallClock, @unchecked Sendable {
    /// When worlds begin.
    package static let start = Timestamp(seconds: 1_700_000_000)

    private let executor: SeededExecutor
    private let start: Timestamp
    /// How far the clock was put forward (or back) since.
    private var shiftMicroseconds: Int64 = 0

    package init(_ executor: SeededExecutor, start: Timestamp = SimulatedClock.start) {
        self.executor = executor
        self.start = start
    }

    package var now: Timestamp {
        Timestamp(microseconds: start.microseconds + executor.elapsedMicroseconds + shiftMicroseconds)
    }

    package func sleep(seconds: Double) async throws {
        try await executor.sleep(microseconds: Self.microseconds(seconds))
    }

    /// Somebody sets the clock: `now` changes, and who sleeps sleeps as long as before.
    package func jump(seconds: Double) { shiftMicroseconds += Self.microseconds(seconds) }

    /// Rounded up, so that a sleep is never shorter than asked for.
    private static func microseconds(_ seconds: Double) -> Int64 {
        let exact = (seconds * 1_000_000).rounded(.up)
        return Int64(exactly: exact) ?? (exact > 0 ? Int64.max / 4 : 0)
    }
}

/// Blocking work done in place, after a wait as on a slow disk, so that others run before it.
package final class SimulatedWork: WorkPool, @unchecked Sendable {
    private let executor: SeededExecutor
    private let maximumDelayMicroseconds: Int
    private let stall: Stall?
    private var generator: SplitMix64

    /// - Parameters:
    ///   - maximumDelayMicroseconds: 0 for none at all, not even a step for others.
    ///   - stall: keeps work back while it is on.
    package init(
        _ executor: SeededExecutor, seed: UInt64 = 0, maximumDelayMicroseconds: Int = 0, stall: Stall? = nil
    ) {
        self.executor = executor
        self.stall = stall
        self.maximumDelayMicroseconds = maximumDelayMicroseconds
        generator = SplitMix64(seed: seed)
    }

    /// As in the real pool, work that was handed over is done, even if its task is cancelled meanwhile.
    package func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        if maximumDelayMicroseconds > 0 {
            await executor.pause(microseconds: Int64(generator.next(below: maximumDelayMicroseconds + 1)))
        }
        await stall?.wait()
        return try body()
    }
}
