import Core
import Simulation
import Synchronization
import Testing

@Suite struct SeededExecutorTests {
    private actor Counter {
        var value = 0
        func add() { value += 1 }
    }

    private final class Trace: Sendable {
        private let entries = Mutex<[String]>([])
        func note(_ entry: String) { entries.withLock { $0.append(entry) } }
        var all: [String] { entries.withLock { $0 } }
    }

    /// Task groups, an actor, sleeps, scheduled closures and slow work, all noting when they run.
    private func trace(seed: UInt64, order: SeededExecutor.Order = .seeded) throws -> ([String], UInt64) {
        let executor = SeededExecutor(seed: seed, order: order)
        let clock = SimulatedClock(executor)
        let work = SimulatedWork(executor, seed: seed, maximumDelayMicroseconds: 500)
        let trace = Trace()
        let counter = Counter()
        try executor.run {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for task in 0..<6 {
                    group.addTask {
                        for step in 0..<4 {
                            trace.note("\(task).\(step)")
                            await counter.add()
                            if task % 2 == 0 { try await clock.sleep(seconds: 0.001) } else { await Task.yield() }
                            try await work.run { trace.note("work \(task).\(step)") }
                            await withCheckedContinuation { continuation in
                                executor.schedule { continuation.resume() }
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            async let one = counter.value
            #expect(await one == 24)
        }
        return (trace.all, executor.scheduleHash)
    }

    @Test func sameSeedGivesTheSameRun() throws {
        for seed in 1...20 as ClosedRange<UInt64> {
            let (first, firstHash) = try trace(seed: seed)
            let (second, secondHash) = try trace(seed: seed)
            #expect(first == second)
            #expect(firstHash == secondHash)
            #expect(first.count == 48)
        }
    }

    @Test func anotherSeedGivesAnotherRun() throws {
        let runs = try Set((1...20).map { try trace(seed: $0).0 })
        #expect(runs.count == 20)
        #expect(try trace(seed: 1, order: .fifo).0.prefix(6) == ["0.0", "1.0", "2.0", "3.0", "4.0", "5.0"])
    }

    @Test func virtualTimePassesOnlyWhenAllWait() throws {
        let executor = SeededExecutor(seed: 1)
        let clock = SimulatedClock(executor, start: Timestamp(seconds: 100))
        let other = SimulatedClock(executor, start: Timestamp(seconds: 100))
        other.jump(seconds: -50)
        let order = Trace()
        try executor.run {
            await withTaskGroup(of: Void.self) { group in
                for seconds in [3600.0, 1, 60] {
                    group.addTask {
                        try? await clock.sleep(seconds: seconds)
                        order.note("\(clock.now.microseconds / 1_000_000)")
                        if seconds == 1 { clock.jump(seconds: 1000) }
                    }
                }
            }
        }
        #expect(order.all == ["101", "1160", "4700"])
        #expect(other.now == Timestamp(seconds: 3650))
        #expect(executor.elapsedMicroseconds == 3_600_000_000)
    }

    @Test func cancellationEndsASleep() throws {
        let executor = SeededExecutor(seed: 1)
        let clock = SimulatedClock(executor)
        let wasCancelled = try executor.run {
            await withTaskGroup(of: Bool.self) { group in
                group.addTask {
                    do {
                        try await clock.sleep(seconds: 100)
                        return false
                    } catch {
                        return error is CancellationError
                    }
                }
                try? await clock.sleep(seconds: 1)
                group.cancelAll()
                return await group.next() ?? false
            }
        }
        #expect(wasCancelled)
        #expect(executor.elapsedMicroseconds == 1_000_000)
    }

    @Test func handedOverWorkIsDoneDespiteCancellation() throws {
        let executor = SeededExecutor(seed: 1)
        let work = SimulatedWork(executor, maximumDelayMicroseconds: 1000)
        let done = Trace()
        try executor.run {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { try? await work.run { done.note("done") } }
                group.cancelAll()
            }
        }
        #expect(done.all == ["done"])
    }

    /// What a test of a deadlock leaves waiting, so that it can be let go.
    private final class Stranded: Sendable {
        private let continuation = Mutex<CheckedContinuation<Void, Never>?>(nil)
        func keep(_ waiting: CheckedContinuation<Void, Never>) { continuation.withLock { $0 = waiting } }
        func release() { continuation.withLock { $0.take() }?.resume() }
    }

    @Test func deadlockIsReported() throws {
        let executor = SeededExecutor(seed: 1)
        let stranded = Stranded()
        let error = #expect(throws: SimulationStuck.self) {
            try executor.run { await withCheckedContinuation { stranded.keep($0) } }
        }
        #expect(error?.cause == .deadlock)
        #expect(error?.description.contains("0 ready, 0 asleep") == true)
        stranded.release()
        try executor.drain()
    }

    @Test func endlessRunsAreStopped() {
        let executor = SeededExecutor(seed: 1)
        let isOver = Mutex(false)
        let error = #expect(throws: SimulationStuck.self) {
            try executor.run(stepLimit: 1000) { while !isOver.withLock({ $0 }) { await Task.yield() } }
        }
        #expect(error?.cause == .stepLimit)
        #expect(executor.stepCount == 1000)
        isOver.withLock { $0 = true }
        #expect(throws: Never.self) { try executor.drain() }
    }

    @Test func errorsComeOut() {
        struct Expected: Error {}
        #expect(throws: Expected.self) { try SeededExecutor(seed: 1).run { throw Expected() } }
    }

    @Test func randomnessFollowsFromTheSeed() {
        // From the published reference program of SplitMix64, seed 1234567.
        var generator = SplitMix64(seed: 1_234_567)
        #expect(generator.next() == 6_457_827_717_110_365_317)
        #expect(generator.next() == 3_203_168_211_198_807_973)
        #expect(SimulatedRandomness(seed: 5).bytes(13) == SimulatedRandomness(seed: 5).bytes(13))
        var counts = [0, 0, 0]
        for _ in 0..<3000 { counts[generator.next(below: 3)] += 1 }
        #expect(counts.allSatisfy { $0 > 900 })
    }
}
