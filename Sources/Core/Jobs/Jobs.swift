import Logging
import Metrics
import Persistence

/// Durable jobs: asked for in the transaction that needs them, done at once if possible, and tried
/// again until they are done. A job that no further attempt can help is parked, shown and kept.
package struct Jobs: Sendable {
    /// After so many failures that do not look as if they would pass, a job is parked.
    private static let hopelessAttempts = 8

    let database: any SQLDatabase
    let surroundings: Surroundings
    let instance: InstanceID
    let leaseSeconds: Int64
    let workers: [JobKind: JobWorker]
    let lanes: [JobLane]
    private let leases: LeaseWatch

    init(
        database: any SQLDatabase, surroundings: Surroundings, instance: InstanceID, leaseSeconds: Int64,
        workers: [JobKind: JobWorker], lanes: [JobLane]
    ) {
        self.database = database
        self.surroundings = surroundings
        self.instance = instance
        self.leaseSeconds = leaseSeconds
        self.workers = workers
        self.lanes = lanes
        leases = LeaseWatch(leaseSeconds: leaseSeconds)
    }

    var now: Timestamp { surroundings.clock.now }

    /// A step of the caller's transaction. Asked for again, a job that waits stays as it is.
    static func enqueue(
        _ name: JobName, in lane: JobLane, for project: ProjectID?, now: Timestamp, _ db: any SQLConnection
    ) throws {
        try db.execute(
            """
            INSERT INTO jobs (kind, subject, project, state, attempts, next_attempt_at, epoch, created_at, lane)
            VALUES ($1, $2, $3, 'waiting', 0, $4, 0, $4, $5)
            ON CONFLICT (kind, subject) DO NOTHING
            """,
            name.kind, name.subject, project, now, lane)
    }

    /// Whether the lease that a worker was given is still its own.
    static func isHeld(_ job: Job, in db: any SQLConnection) throws -> Bool {
        try db.first(
            "SELECT 1 FROM jobs WHERE kind = $1 AND subject = $2 AND epoch = $3 AND state = 'running'", job.name.kind,
            job.name.subject, job.epoch
        ) { _ in true } ?? false
    }

    /// A step for a worker whose effect came after its lease was lost: the job is done again from its beginning,
    /// whether others have it by now or have done it.
    static func redo(_ job: Job, in lane: JobLane, now: Timestamp, in db: any SQLConnection) throws {
        try db.execute(
            """
            UPDATE jobs SET state = 'waiting', lease_owner = NULL, lease_until = NULL, next_attempt_at = $1
            WHERE kind = $2 AND subject = $3 AND state = 'running'
            """, now, job.name.kind, job.name.subject)
        try enqueue(job.name, in: lane, for: job.project, now: now, db)
    }

    package static let runningSQL = """
        SELECT j.kind, j.subject, j.lease_until, j.epoch, CASE WHEN n.id IS NULL THEN 1 ELSE 0 END
        FROM jobs j LEFT JOIN instances n ON n.id = j.lease_owner
        WHERE j.state = 'running' ORDER BY j.lease_until
        """

    /// Gives back the jobs of whoever is gone, or did not renew its lease.
    /// - Returns: how many there were.
    @discardableResult
    func takeBack() async throws -> Int {
        let now = now
        let running = try await database.read { db in
            try db.query(Self.runningSQL) { row in
                (
                    name: JobName(try row.get(0), try row.get(1)), until: try row.get(2, as: Timestamp.self),
                    epoch: try row.get(3, as: Int64.self), isOwnerGone: try row.get(4, as: Bool.self)
                )
            }
        }
        let late = leases.late(of: running.map { ("\($0.name)#\($0.epoch)", $0.until) }, now: now)
        let lost = running.filter { $0.isOwnerGone || late.contains("\($0.name)#\($0.epoch)") }
        if lost.isEmpty { return 0 }
        try await database.write { db in
            for job in lost {
                try db.execute(
                    """
                    UPDATE jobs SET state = 'waiting', lease_owner = NULL, lease_until = NULL, next_attempt_at = $1
                    WHERE kind = $2 AND subject = $3 AND epoch = $4 AND state = 'running'
                    """,
                    now, job.name.kind, job.name.subject, job.epoch)
            }
        }
        return lost.count
    }

    /// Does one job now, if it waits and nobody else has it. What goes wrong is kept in its row.
    @discardableResult
    func run(_ name: JobName) async -> JobRun {
        guard let job = await claim(name) else { return .notOurs }
        do {
            guard let worker = workers[name.kind] else {
                throw JobIsHopeless("this program knows no jobs of the kind \(name.kind)")
            }
            switch try await underLease(job, worker) {
            case .done(let lastSteps):
                try await finish(job, lastSteps)
                return .ended
            case .notYet(let reason, let seconds):
                await postpone(job, seconds: seconds, reason)
                return .notYet
            }
        } catch is CancellationError {
            await postpone(job, seconds: 0, nil)
            return .notOurs
        } catch {
            await fail(job, error)
            return error.mayPass ? .failedForNow : .ended
        }
    }

    private func claim(_ name: JobName) async -> Job? {
        let now = now
        // A claim that cannot be written is no claim: the job waits on.
        let claimed = try? await database.write { db -> Job? in
            let changed = try db.execute(
                """
                UPDATE jobs SET state = 'running', lease_owner = $1, lease_until = $2, epoch = epoch + 1
                WHERE kind = $3 AND subject = $4 AND state = 'waiting'
                """,
                instance, now.adding(seconds: leaseSeconds), name.kind, name.subject)
            guard changed == 1 else { return nil }
            return try db.first(
                "SELECT \(JobRow.columns) FROM jobs WHERE kind = $1 AND subject = $2", name.kind, name.subject,
                row: JobRow.read)
        }
        return claimed ?? nil
    }

    /// The worker runs for as long as the lease is ours; lost, it is cancelled.
    private func underLease(_ job: Job, _ worker: @escaping JobWorker) async throws -> JobOutcome {
        try await withThrowingTaskGroup(of: JobOutcome.self) { group in
            group.addTask {
                while true {
                    try await surroundings.clock.sleep(seconds: Double(leaseSeconds) / 3)
                    let until = now.adding(seconds: leaseSeconds)
                    let isOurs = try await database.write { db in
                        try Self.update(job, "lease_until = $3", until, in: db)
                    }
                    guard isOurs else { throw LeaseLost() }
                }
            }
            group.addTask { try await worker(job) }
            defer { group.cancelAll() }
            guard let outcome = try await group.next() else { throw CancellationError() }
            return outcome
        }
    }

    private func finish(_ job: Job, _ lastSteps: @escaping @Sendable (any SQLConnection) throws -> Void) async throws {
        try await database.write { db in
            let removed = try db.execute(
                "DELETE FROM jobs WHERE kind = $1 AND subject = $2 AND state = 'running' AND epoch = $3",
                job.name.kind, job.name.subject, job.epoch)
            // Whoever claimed it since ends it.
            if removed == 1 { try lastSteps(db) }
        }
    }

    private func postpone(_ job: Job, seconds: Int64, _ reason: String?) async {
        let next = now.adding(seconds: seconds)
        _ = try? await database.write { db in
            try Self.update(
                job,
                """
                state = 'waiting', lease_owner = NULL, lease_until = NULL, next_attempt_at = $3,
                    last_error = COALESCE($4, last_error)
                """,
                next, reason, in: db)
        }
    }

    private func fail(_ job: Job, _ error: any Error) async {
        if error is LeaseLost { return }
        let text = "\(error)"
        if error is JobIsHopeless || !error.mayPass && job.attempts + 1 >= Self.hopelessAttempts {
            Counter(label: "ambrotype_jobs_parked_total", dimensions: [("kind", job.name.kind.rawValue)]).increment()
            _ = try? await database.write { db in
                try Self.update(
                    job,
                    "state = 'parked', lease_owner = NULL, lease_until = NULL, attempts = attempts + 1, last_error = $3",
                    text, in: db)
            }
            return
        }
        let limit: Int64 = 1 << min(9, job.attempts + 1)
        // Spreads the attempts of many jobs over time: half of the wait is drawn.
        let draw = Int64(surroundings.randomness.bytes(1)[0])
        let next = Timestamp(microseconds: now.microseconds + limit * 500_000 + limit * 500_000 * draw / 255)
        _ = try? await database.write { db in
            try Self.update(
                job,
                """
                state = 'waiting', lease_owner = NULL, lease_until = NULL, attempts = attempts + 1,
                    next_attempt_at = $3, last_error = $4
                """,
                next, text, in: db)
        }
    }

    /// Changes a job that is still ours; `$3` and on are the arguments given.
    private static func update(
        _ job: Job, _ assignments: String, _ arguments: any SQLBindable..., in db: any SQLConnection
    ) throws -> Bool {
        try db.execute(
            "UPDATE jobs SET \(assignments) WHERE kind = $1 AND subject = $2 AND state = 'running' "
                + "AND epoch = $\(arguments.count + 3)",
            [job.name.kind, job.name.subject] + arguments + [job.epoch]) == 1
    }
}

/// No further attempt can help.
struct JobIsHopeless: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

private struct LeaseLost: Error {}

extension Error {
    /// Whether the same work may succeed later although nobody repaired anything in the program.
    fileprivate var mayPass: Bool {
        switch self {
        case let error as BlobError: error.isRetryable
        case let error as SQLError: [.serialization, .full, .unavailable].contains(error.code)
        case let error as ServiceError: error.status == 503
        case let error as KeyManagerError: error.isRetryable
        default: false
        }
    }
}
