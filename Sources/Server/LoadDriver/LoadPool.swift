import NIOCore
import NIOPosix

/// The connections of a load, spread over the event loops.
struct LoadPool: Sendable {
    /// What all of them did in a window, and how long it took.
    struct Outcome: Sendable {
        let counts: LoadCounts
        let seconds: Double
    }

    private let workers: [NIOLoopBound<LoadWorker>]
    private let loops: [any EventLoop]

    static func make(_ target: LoadTarget, connections: Int, on group: any EventLoopGroup) async throws -> LoadPool {
        var workers: [NIOLoopBound<LoadWorker>] = []
        var loops: [any EventLoop] = []
        for _ in 0..<connections {
            let loop = group.next()
            loops.append(loop)
            workers.append(
                try await loop.submit { NIOLoopBound(LoadWorker(target, on: loop), eventLoop: loop) }.get())
        }
        return LoadPool(workers: workers, loops: loops)
    }

    /// Connects all of them.
    /// - Throws: why one could not.
    func open() async throws {
        let opened = zip(loops, workers).map { loop, worker in loop.flatSubmit { worker.value.open() } }
        for future in opened { try await future.get() }
    }

    /// Has all of them work until the budget is spent; when the task is cancelled, until they have stopped.
    func run(_ plan: LoadPlan, _ budget: LoadBudget) async throws -> Outcome {
        let began = NIODeadline.now()
        let counts = try await withTaskCancellationHandler {
            let done = zip(loops, workers).map { loop, worker in loop.flatSubmit { worker.value.run(plan, budget) } }
            var all = LoadCounts()
            for future in done { all.merge(try await future.get()) }
            return all
        } onCancel: {
            stop()
        }
        return Outcome(counts: counts, seconds: Double((NIODeadline.now() - began).nanoseconds) / 1e9)
    }

    /// Closes all connections, for good.
    func stop() {
        for (loop, worker) in zip(loops, workers) { loop.execute { worker.value.stop() } }
    }
}
