import Logging
import NIOCore
import Persistence
import Trust

/// The job that does an import:
///
/// 1. *fetch*: what is to be downloaded comes into a staged blob;
/// 2. *steps*: each may put other staged bytes in the place of those there are (`ImportStep.swift`);
/// 3. *copies*: each store gets a verified copy; staged bytes that lie where they are to stay are verified there;
/// 4. *end*: one transaction, which also removes the job.
///
/// Each step is recorded in the transaction that makes it last, so a worker that comes after a crash goes on where the
/// last one was. Every transaction asks first whether the job is still this worker's. What fails for reasons that may
/// pass is tried again by the job, a few times; whatever else fails ends the import, and never leaves anything behind.
struct ImportWorker: Sendable {
    /// How often a job may be claimed in all: a server that dies of an import does not take it up for ever.
    private static let claimLimit: Int64 = 20

    let database: any SQLDatabase
    let stores: StoreSet
    let intake: BlobIntake
    let seal: RecordSeal
    let remote: (any RemoteContentSource)?
    let catalogue: (any ServiceCatalogue)?
    let steps: [any ImportStep]
    let logger: Logger

    var settings: ImageSettings { intake.settings }
    var surroundings: Surroundings { intake.surroundings }
    var now: Timestamp { intake.now }

    func run(_ job: Job) async throws -> JobOutcome {
        guard let plan = try await begin(job) else { return .done { _ in } }
        do {
            let run = ImportRun(worker: self, job: job)
            let end = try await run.toItsEnd(plan)
            logger.info("import done", metadata: run.metadata(plan))
            return .done(end)
        } catch is ImportLost {
            // Somebody else has the job, or has ended it.
            throw CancellationError()
        } catch let error where error is CancellationError || Task.isCancelled {
            throw CancellationError()
        } catch let failure as ImportFailure {
            return try end(plan, job, failure.error, in: failure.stores)
        } catch {
            return try end(plan, job, error, in: [])
        }
    }

    /// - Returns: the plan, or nil when there is nothing to do any more.
    /// - Throws: `ImportLost`.
    private func begin(_ job: Job) async throws -> ImportPlan? {
        let id = TaskID(job.name.subject)
        let now = now
        return try await database.write { db in
            guard try Jobs.isHeld(job, in: db) else { throw CancellationError() }
            guard let plan = try ImportPlan.find(id, in: db) else { return nil }
            try db.execute(
                "UPDATE tasks SET status = 'processing', updated_at = $1 WHERE id = $2 AND status = 'pending'", now, id)
            // What an earlier attempt was writing is of no use. It may still be at it: it lets go when it notices.
            if let image = plan.task.image { try BlobLedger.doomWriting(of: image, .importFailed, now: now, in: db) }
            return plan
        }
    }

    /// Tries again, or ends in failure.
    private func end(
        _ plan: ImportPlan, _ job: Job, _ error: any Error, in stores: [StoreID]
    ) throws -> JobOutcome {
        let run = ImportRun(worker: self, job: job)
        if let retry = Self.retry(error), hasAttemptsLeft(job) { throw retry }
        let message = Self.message(error)
        logger.warning(
            "import failed",
            metadata: run.metadata(plan).merging(["error": "\(error)", "message": "\(message)"]) { $1 })
        let (settings, now) = (settings, now)
        return .done { db in
            guard let task = try ImageTask.find(plan.task.id, in: db), task.status.isOpen else { return }
            try ImportEnd.fail(task, message, at: stores, settings, now: now, in: db)
        }
    }

    private func hasAttemptsLeft(_ job: Job) -> Bool {
        job.attempts + 1 < settings.imports.attempts && job.epoch < Self.claimLimit
    }

    /// Whether the job tries again what failed so.
    func isTriedAgain(_ error: any Error, _ job: Job) -> Bool { Self.retry(error) != nil && hasAttemptsLeft(job) }

    /// What the job is to fail with, if another attempt may help.
    private static func retry(_ error: any Error) -> (any Error)? {
        switch error {
        case let error as RemoteContentError:
            error.isRetryable ? ServiceError.unavailable(error.message, cause: error) : nil
        case let error as BlobError: error.isRetryable && error.code != .readOnly ? error : nil
        case let error as ServiceError: error.status == 503 ? error : nil
        case is BlobLeaseTaken: ServiceError.unavailable("The import stalled for too long.")
        case let error as SQLError: [.serialization, .full, .unavailable].contains(error.code) ? error : nil
        default: nil
        }
    }

    /// Why it failed, for whoever asked for it: says nothing of paths or addresses.
    static func message(_ error: any Error) -> String {
        switch error {
        case let error as RemoteContentError: error.message
        case let error as EgressRefusal: error.message
        case let error as ServiceError: error.message
        case is BlobLeaseTaken: "The import stalled for too long."
        case let error as BlobError where error.code == .corrupt: "A store's bytes are not what they were."
        default: ServiceError(storage: error)?.message ?? "Task failed due to Internal Error"
        }
    }
}

/// The job is not this worker's any more.
struct ImportLost: Error {}

/// A failure that is some stores', not the import's as a whole.
struct ImportFailure: Error {
    let error: any Error
    let stores: [StoreID]
}

/// One attempt at an import.
struct ImportRun: Sendable {
    let worker: ImportWorker
    let job: Job

    var database: any SQLDatabase { worker.database }
    var intake: BlobIntake { worker.intake }
    var settings: ImageSettings { worker.settings }
    var now: Timestamp { worker.now }

    func metadata(_ plan: ImportPlan) -> Logger.Metadata {
        [
            "task": "\(plan.task.id)", "method": "\(plan.method.rawValue)",
            "image": "\(plan.task.image.map(\.rawValue) ?? "none")", "request_id": "\(plan.task.requestID ?? "none")",
        ]
    }

    /// A transaction that is only this worker's to make, on the image as it is.
    /// - Throws: `ImportLost`; and what `body` throws.
    func write<T: Sendable>(
        _ plan: ImportPlan, _ body: @escaping @Sendable (Image, any SQLConnection) throws -> T
    ) async throws -> T {
        try await database.write { db in
            guard try Jobs.isHeld(job, in: db) else { throw ImportLost() }
            guard let id = plan.task.image, let image = try db.image(id) else { throw ImportLost() }
            return try body(image, db)
        }
    }

    /// As `write`, and gives the plan as it is afterwards.
    func advance(
        _ plan: ImportPlan, _ body: @escaping @Sendable (Image, any SQLConnection) throws -> Void
    ) async throws -> ImportPlan {
        try await write(plan) { image, db in
            try body(image, db)
            guard let next = try ImportPlan.find(plan.task.id, in: db) else { throw ImportLost() }
            return next
        }
    }

    /// - Returns: the last transaction's steps.
    func toItsEnd(_ start: ImportPlan) async throws -> @Sendable (any SQLConnection) throws -> Void {
        var plan = start
        if plan.source == nil {
            switch plan.method {
            case .webDownload: plan = try await fetch(plan)
            case .glanceDownload: plan = try await fetchFromGlance(plan)
            case .glanceDirect, .copyImage: break
            }
        }
        if plan.method != .copyImage {
            guard plan.source != nil else {
                throw ServiceError.conflict("The staged data is gone.")
            }
            while plan.stepsDone < worker.steps.count, plan.found == nil { plan = try await step(plan) }
        }
        return try await copy(plan)
    }
}
