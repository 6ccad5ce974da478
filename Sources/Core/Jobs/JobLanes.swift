import Logging
import Persistence
import Synchronization

/// Jobs go in lanes: those that use the same store, and those that use nothing. A lane whose store hangs
/// or is away keeps no other waiting, and does not try all it has while the store is away.
extension Jobs {
    /// How many jobs are looked up at once, and done at once.
    private static let batch = 32
    private static let width = 8
    /// So many jobs that fail for want of their store end a run of the lane.
    private static let scouts = 3
    /// What is more waits for the next run, so that a run ends.
    private static let roundLimit = 64
    /// No job waits longer for its next attempt. One that seems to was put off by a clock that was ahead.
    private static let longestWaitSeconds: Int64 = 600

    /// Does all that is due in every lane, the lanes side by side.
    func runDue() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for lane in lanes { group.addTask { try await runLane(lane) } }
            try await group.waitForAll()
        }
    }

    /// Does what is due in one lane, until nothing is or nothing can be done.
    /// - Returns: whether anything was done, which may have asked for work in other lanes.
    @discardableResult
    func runLane(_ lane: JobLane) async throws -> Bool {
        if lane == .imports { return try await runAllDue(in: lane) }
        var didWork = false
        for _ in 0..<Self.roundLimit {
            let due = try await due(in: lane)
            try Task.checkCancellation()
            // A few go ahead: if what the lane uses is out of reach, the others need not find out as well.
            var ahead = 0
            var isOpen = due.isEmpty
            while !isOpen, ahead < min(Self.scouts, due.count) {
                let outcome = await run(due[ahead])
                isOpen = outcome != .failedForNow
                if outcome == .ended { didWork = true }
                ahead += 1
            }
            guard isOpen else { return didWork }
            let rest = due.dropFirst(ahead)
            let ended = await runAll(rest)
            if ended > 0 { didWork = true }
            if due.count < Self.batch || ended == 0 { return didWork }
        }
        return didWork
    }

    /// Does all that is due in a lane whose jobs have nothing in common.
    private func runAllDue(in lane: JobLane) async throws -> Bool {
        var didWork = false
        for _ in 0..<Self.roundLimit {
            let due = try await due(in: lane)
            try Task.checkCancellation()
            if due.isEmpty { return didWork }
            guard await runAll(due[...]) > 0 else { return didWork }
            didWork = true
        }
        return didWork
    }

    /// Does what comes in a lane of long jobs, until cancelled: up to `width` at once, each begun as soon as there is
    /// room, so that one that hangs keeps no other waiting.
    /// - Parameters:
    ///   - wake: asked for work by; otherwise every `pauseSeconds`.
    ///   - onEnd: called when a job ended, which may have asked for work in other lanes.
    func runSideBySide(
        _ lane: JobLane, width: Int, wake: WakeSignal, pauseSeconds: Double, logger: Logger,
        onEnd: @escaping @Sendable () -> Void
    ) async {
        let running = RunningJobs()
        await withDiscardingTaskGroup { group in
            while !Task.isCancelled {
                do {
                    for name in try await due(in: lane) where running.begin(name, atMost: width) {
                        group.addTask {
                            let outcome = await run(name)
                            running.end(name)
                            if outcome == .ended { onEnd() }
                        }
                    }
                } catch is CancellationError {
                } catch {
                    logger.error("jobs failed; they will be tried again", metadata: ["error": "\(error)"])
                }
                await wake.wait(seconds: pauseSeconds, clock: surroundings.clock)
            }
        }
    }

    /// - Returns: how many were ended.
    private func runAll(_ names: ArraySlice<JobName>) async -> Int {
        await withTaskGroup(of: JobRun.self) { group in
            var ended = 0
            for (index, name) in names.enumerated() {
                if index >= Self.width, await group.next() == .ended { ended += 1 }
                group.addTask { await run(name) }
            }
            for await run in group where run == .ended { ended += 1 }
            return ended
        }
    }

    private func due(in lane: JobLane) async throws -> [JobName] {
        let now = now
        return try await database.read { db in
            let due = try Self.due(in: lane, "next_attempt_at <= $2", now, in: db)
            if !due.isEmpty { return due }
            let never = now.adding(seconds: Self.longestWaitSeconds)
            return try Self.due(in: lane, "next_attempt_at > $2", never, in: db)
        }
    }

    private static func due(
        in lane: JobLane, _ condition: String, _ bound: Timestamp, in db: any SQLConnection
    ) throws -> [JobName] {
        try db.query(
            """
            SELECT kind, subject FROM jobs WHERE state = 'waiting' AND lane = $1 AND \(condition)
            ORDER BY next_attempt_at, kind, subject LIMIT $3
            """,
            lane, bound, batch
        ) { JobName(try $0.get(0), try $0.get(1)) }
    }
}

/// The jobs that one lane of this process has begun: until it is claimed, a job still looks due.
private final class RunningJobs: Sendable {
    private let names = Mutex<Set<JobName>>([])

    func begin(_ name: JobName, atMost limit: Int) -> Bool {
        names.withLock { $0.count < limit && $0.insert(name).inserted }
    }
    func end(_ name: JobName) { names.withLock { _ = $0.remove(name) } }
}

/// What came of trying a job.
enum JobRun: Sendable {
    /// Somebody else has it, or it could not be claimed.
    case notOurs
    /// It is done, or parked.
    case ended
    case notYet
    /// It failed, and may succeed when something outside is well again.
    case failedForNow
}

/// Wakes all who wait for work: each lane has a signal of its own, for one waits at each.
package struct WakeSignals: Sendable {
    /// In an order of their own: a dictionary's is another each time, and a run could not be replayed.
    let lanes: [(lane: JobLane, wake: WakeSignal)]

    init(_ lanes: [JobLane]) { self.lanes = lanes.map { ($0, WakeSignal()) } }

    package func signal() { for lane in lanes { lane.wake.signal() } }
}
