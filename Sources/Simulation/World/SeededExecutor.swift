import Glibc

/// Runs all tasks of a simulated world on the calling thread, one step at a time, in an order that
/// follows from a seed, and lets virtual time pass when nothing is left to do.
///
/// Everything that waits in the world must wait here: tasks started from `run` and their child tasks
/// do, and so do the actors and continuations they use. What comes from another thread (a dispatch
/// queue, `Task.sleep`) has left the simulation, and stops the process, because the run could not be
/// had again.
///
/// Used by the thread that made it or last called `run`, and no other; hence unchecked.
package final class SeededExecutor: TaskExecutor, @unchecked Sendable {
    package enum Order: Sendable {
        /// Any step that is ready may be next.
        case seeded
        /// First come, first served: for runs that enumerate something else.
        case fifo
    }

    private enum Work {
        case job(UnownedJob)
        case closure(@Sendable () -> Void)
    }

    private struct Sleeper {
        let number: Int
        let deadline: Int64
        let wake: @Sendable () -> Void
    }

    /// Microseconds since the world began.
    package private(set) var elapsedMicroseconds: Int64 = 0
    package private(set) var stepCount = 0
    /// A hash of all choices made: equal for equal runs, and most likely for no others.
    package private(set) var scheduleHash: UInt64 = 0
    private let order: Order
    private var generator: SplitMix64
    private var ready: [Work] = []
    /// Where `ready` begins, in FIFO order.
    private var head = 0
    /// By deadline, the last one first; of equal deadlines the oldest is woken first.
    private var sleepers: [Sleeper] = []
    private var sleeperCount = 0
    private var thread = pthread_self()

    package init(seed: UInt64, order: Order = .seeded) {
        self.order = order
        generator = SplitMix64(seed: seed)
    }

    package func enqueue(_ job: consuming ExecutorJob) { add(.job(UnownedJob(job))) }

    /// Runs a closure as a step of its own: what a dispatch queue does outside.
    package func schedule(_ work: @escaping @Sendable () -> Void) { add(.closure(work)) }

    private func add(_ work: Work) {
        precondition(pthread_equal(thread, pthread_self()) != 0, "work came from a thread outside the simulation")
        ready.append(work)
    }

    private var readyCount: Int { ready.count - head }

    // MARK: Running

    /// Runs `body` as the root of all tasks until it has finished.
    /// - Parameter stepLimit: how many steps it may take.
    /// - Throws: the body's error; `SimulationStuck` if it can never finish, or has not within the
    ///   limit. Its tasks are then left as they are.
    package func run<T: Sendable>(
        stepLimit: Int = .max, _ body: @escaping @Sendable () async throws -> T
    ) throws -> T {
        thread = pthread_self()
        let outcome = Outcome<T>()
        startRoot {
            do {
                outcome.result = .success(try await body())
            } catch {
                outcome.result = .failure(error)
            }
        }
        let limit = stepLimit == .max ? Int.max : stepCount + stepLimit
        while true {
            if let result = outcome.result { return try result.get() }
            guard stepCount < limit else { throw stuck(.stepLimit) }
            guard step() || wakeNext() else { throw stuck(.deadlock) }
        }
    }

    /// The one task without a parent: every other one is a child of it, directly or not.
    private func startRoot(_ body: @escaping @Sendable () async -> Void) {
        _ = Task(executorPreference: self, operation: body)
    }

    /// Runs what is ready, and what becomes ready by it, without letting time pass.
    /// - Throws: `SimulationStuck` if there is still something after that many steps.
    package func drain(stepLimit: Int = .max) throws {
        thread = pthread_self()
        var rest = stepLimit
        while readyCount > 0 {
            guard rest > 0 else { throw stuck(.stepLimit) }
            rest -= 1
            _ = step()
        }
    }

    /// - Returns: whether there was something to do.
    private func step() -> Bool {
        guard let work = takeNext() else { return false }
        stepCount += 1
        switch work {
        case .job(let job): job.runSynchronously(on: asUnownedTaskExecutor())
        case .closure(let closure): closure()
        }
        return true
    }

    private func takeNext() -> Work? {
        let count = readyCount
        guard count > 0 else { return nil }
        switch order {
        case .seeded:
            let index = count == 1 ? 0 : generator.next(below: count)
            scheduleHash = Hash64.combine(scheduleHash, UInt64(count) << 32 | UInt64(index))
            ready.swapAt(index, count - 1)
            return ready.removeLast()
        case .fifo:
            scheduleHash = Hash64.combine(scheduleHash, UInt64(count))
            let work = ready[head]
            head += 1
            if head == ready.count {
                ready.removeAll(keepingCapacity: true)
                head = 0
            } else if head >= 1024 {
                ready.removeFirst(head)
                head = 0
            }
            return work
        }
    }

    private func stuck(_ cause: SimulationStuck.Cause) -> SimulationStuck {
        SimulationStuck(
            cause: cause, readyCount: readyCount, sleeperCount: sleepers.count, stepCount: stepCount,
            elapsedMicroseconds: elapsedMicroseconds)
    }

    // MARK: Virtual time

    /// Time jumps to the first deadline; all who wait for just that moment are woken.
    private func wakeNext() -> Bool {
        guard let first = sleepers.last else { return false }
        elapsedMicroseconds = max(elapsedMicroseconds, first.deadline)
        while let next = sleepers.last, next.deadline == first.deadline {
            sleepers.removeLast()
            next.wake()
        }
        return true
    }

    /// Calls `wake` when so much time has passed.
    /// - Returns: a number to cancel it by.
    @discardableResult
    package func schedule(afterMicroseconds delay: Int64, _ wake: @escaping @Sendable () -> Void) -> Int {
        sleeperCount += 1
        let (sum, isTooLate) = elapsedMicroseconds.addingReportingOverflow(max(0, delay))
        let deadline = isTooLate ? Int64.max : sum
        var low = 0
        var high = sleepers.count
        while low < high {
            let middle = (low + high) / 2
            if sleepers[middle].deadline > deadline { low = middle + 1 } else { high = middle }
        }
        sleepers.insert(Sleeper(number: sleeperCount, deadline: deadline, wake: wake), at: low)
        return sleeperCount
    }

    /// - Returns: whether it still waited; `wake` is then never called.
    package func cancelScheduled(_ number: Int) -> Bool {
        guard let index = sleepers.firstIndex(where: { $0.number == number }) else { return false }
        sleepers.remove(at: index)
        return true
    }

    /// Waits, cancelled or not: for work that was handed over and cannot be called back.
    package func pause(microseconds: Int64) async {
        await withCheckedContinuation { continuation in
            _ = schedule(afterMicroseconds: microseconds) { continuation.resume() }
        }
    }

    /// Waits.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    package func sleep(microseconds: Int64) async throws {
        try Task.checkCancellation()
        // Nobody else runs between the check and the suspension: one thread.
        let sleeper = SleepingTask()
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                sleeper.continuation = continuation
                sleeper.number = schedule(afterMicroseconds: microseconds) { continuation.resume() }
            }
        } onCancel: {
            if cancelScheduled(sleeper.number) { sleeper.continuation?.resume(throwing: CancellationError()) }
        }
    }
}

/// Of the executor's thread only.
private final class Outcome<T: Sendable>: @unchecked Sendable {
    var result: Result<T, any Error>?
}

/// Of the executor's thread only.
private final class SleepingTask: @unchecked Sendable {
    var number = 0
    var continuation: CheckedContinuation<Void, any Error>?
}

/// A run that did not come to its end.
package struct SimulationStuck: Error, Sendable, CustomStringConvertible {
    package enum Cause: String, Sendable {
        /// Nothing is ready and nobody sleeps, and the root has not finished: it waits for what never comes.
        case deadlock
        case stepLimit
    }

    package let cause: Cause
    package let readyCount: Int
    package let sleeperCount: Int
    package let stepCount: Int
    package let elapsedMicroseconds: Int64

    package var description: String {
        "the simulation stopped (\(cause.rawValue)) after \(stepCount) steps and \(elapsedMicroseconds) µs: "
            + "\(readyCount) ready, \(sleeperCount) asleep, the root unfinished"
    }
}
