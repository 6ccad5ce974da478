import Logging
import NIOCore
import Persistence
import Synchronization

extension ImportRun {
    /// Runs the next step on the staged bytes.
    func step(_ plan: ImportPlan) async throws -> ImportPlan {
        guard let source = plan.source else { throw ImportLost() }
        let step = worker.steps[plan.stepsDone]
        let image = try await write(plan) { image, _ in image }
        let reader = try await store(source.store).open(source.blob)
        let input = ImportStepInput(
            bytes: reader, image: image, roles: plan.roles, surroundings: worker.surroundings, logger: worker.logger)
        do {
            let next = try await run(step, input, plan, in: source.store)
            await reader.close()
            return next
        } catch {
            await reader.close()
            throw error
        }
    }

    private func run(
        _ step: any ImportStep, _ input: ImportStepInput, _ plan: ImportPlan, in store: StoreID
    ) async throws -> ImportPlan {
        let pipe = StepPipe()
        return try await withTaskCancellationHandler {
            try await run(step, input, through: pipe, plan, in: store)
        } onCancel: {
            pipe.fail(CancellationError())
        }
    }

    private func run(
        _ step: any ImportStep, _ input: ImportStepInput, through pipe: StepPipe, _ plan: ImportPlan, in store: StoreID
    ) async throws -> ImportPlan {
        try await withThrowingTaskGroup(of: ImportPlan?.self) { group in
            group.addTask {
                do {
                    pipe.end(with: try await step.run(input, output: pipe))
                    return nil
                } catch {
                    pipe.fail(error)
                    throw error
                }
            }
            group.addTask {
                do {
                    return try await take(pipe, plan, in: store)
                } catch {
                    pipe.fail(error)
                    throw error
                }
            }
            do {
                var next: ImportPlan?
                for try await plan in group { next = plan ?? next }
                guard let next else { preconditionFailure("the taker gives the plan") }
                return next
            } catch {
                // The one end fails because the other does: the first failure is the reason.
                throw pipe.failure ?? error
            }
        }
    }

    /// The other end of a step: takes its bytes, if there are any, and records what it made of the image.
    private func take(_ pipe: StepPipe, _ plan: ImportPlan, in store: StoreID) async throws -> ImportPlan {
        let first = try await pipe.next()
        guard first != nil || pipe.result?.replacesBytes == true else {
            return try await advance(plan) { image, db in try record(pipe.result, plan, image, in: db) }
        }
        do {
            return try await stage(pipe.bytes(after: first), declaredSizeBytes: nil, in: store, plan) { image, db in
                // Known by now: the bytes end after it.
                guard let result = pipe.result, result.replacesBytes else { throw NothingToDo() }
                try record(result, plan, image, in: db)
            }
        } catch is NothingToDo {
            return try await advance(plan) { image, db in try record(pipe.result, plan, image, in: db) }
        }
    }

    private struct NothingToDo: Error {}

    private func record(
        _ result: ImportStepResult?, _ plan: ImportPlan, _ image: Image, in db: any SQLConnection
    ) throws {
        let changed = try db.execute(
            "UPDATE imports SET steps_done = steps_done + 1 WHERE task_id = $1 AND steps_done = $2", plan.task.id,
            plan.stepsDone)
        guard changed == 1 else { throw ImportLost() }
        guard let result else { return }
        try ImportPlan.noteStep(image, result, of: plan.task.id, in: db)
        try db.execute(
            """
            UPDATE images SET disk_format = COALESCE($1, disk_format), container_format = COALESCE($2, container_format)
            WHERE id = $3 AND status = 'importing'
            """, result.diskFormat, result.containerFormat, image.id)
        for (name, value) in result.properties.sorted(by: { $0.key < $1.key }) where ImportPlugins.mayInject(name) {
            try ImportMarks.set(name, value, of: image.id, in: db)
        }
    }
}

/// What a step writes on its way to the blob that takes it: a few buffers at a time.
private final class StepPipe: ImportOutput {
    private struct State {
        var result: ImportStepResult?
        var failure: (any Error)?
    }
    private let queue = BoundedQueue<[ByteBuffer]>(capacity: 2)
    private let state = Mutex(State())

    func write(_ buffers: [ByteBuffer]) async throws { try await queue.send(buffers) }

    func end(with result: ImportStepResult?) {
        state.withLock { $0.result = result }
        queue.finish()
    }

    func fail(_ error: any Error) {
        state.withLock { if $0.failure == nil { $0.failure = error } }
        queue.cancel()
    }

    /// Set before the bytes end.
    var result: ImportStepResult? { state.withLock { $0.result } }
    var failure: (any Error)? { state.withLock { $0.failure } }

    func next() async throws -> [ByteBuffer]? { try await queue.next() }

    func bytes(after first: [ByteBuffer]?) -> Bytes { Bytes(pipe: self, first: first ?? []) }

    struct Bytes: AsyncSequence, Sendable {
        let pipe: StepPipe
        let first: [ByteBuffer]

        struct AsyncIterator: AsyncIteratorProtocol {
            let pipe: StepPipe
            var waiting: ArraySlice<ByteBuffer>

            mutating func next() async throws -> ByteBuffer? {
                while waiting.isEmpty {
                    guard let more = try await pipe.next() else { return nil }
                    waiting = more[...]
                }
                return waiting.removeFirst()
            }
        }
        func makeAsyncIterator() -> AsyncIterator { AsyncIterator(pipe: pipe, waiting: first[...]) }
    }
}
