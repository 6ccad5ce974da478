import Persistence

/// What a job does. A kind without a worker parks its jobs: nothing is dropped.
package struct JobKind: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }

    /// Takes a doomed blob's bytes out of its store, then its row. Subject: the blob.
    package static let eraseBlob: JobKind = "erase-blob"
    /// Lets go of the keys of an image whose bytes are gone. Subject: the image.
    package static let releaseKeys: JobKind = "release-keys"
    /// Tells a key manager of its own that an image needs a key, or not any more. Subject: key and image.
    package static let registerKey: JobKind = "register-key"
    /// Brings an image's bytes in, or to further stores. Subject: the task that clients watch.
    package static let importImage: JobKind = "import-image"
    /// Reads what another server keeps for an image, for its digest. Subject: the location.
    package static let hashLocation: JobKind = "hash-location"
}

/// A job's name: there is one job of a kind for a subject, however often it is asked for.
package struct JobName: Sendable, Hashable, Comparable, CustomStringConvertible {
    package let kind: JobKind
    package let subject: String

    package init(_ kind: JobKind, _ subject: String) {
        self.kind = kind
        self.subject = subject
    }

    /// From `KIND/SUBJECT`; nil when it is no such text.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else { return nil }
        self.init(JobKind(String(parts[0])), String(parts[1]))
    }

    package var description: String { "\(kind)/\(subject)" }
    package static func < (a: Self, b: Self) -> Bool { (a.kind, a.subject) < (b.kind, b.subject) }
}

/// Work that a committed transaction asked for, as its row has it.
///
///     waiting ──claimed──▶ running ──done──▶ (no row)
///        ▲  └──not yet, failed──┘ │
///        └────retry──── parked ◀──┘ no attempt can help
package struct Job: Sendable, Equatable {
    package enum State: String, Sendable, CaseIterable { case waiting, running, parked }

    package let name: JobName
    /// For whom it is done.
    package let project: ProjectID?
    package let state: State
    /// How often it failed in a row.
    package let attempts: Int64
    package let nextAttemptAt: Timestamp
    package let leaseOwner: InstanceID?
    package let leaseUntil: Timestamp?
    /// Fences: who claimed the job last has the highest, and only with it can the job be ended.
    package let epoch: Int64
    package let lastError: String?
    package let createdAt: Timestamp
}

enum JobRow {
    static let columns = """
        kind, subject, project, state, attempts, next_attempt_at, lease_owner, lease_until, epoch, last_error, \
        created_at
        """

    /// The same columns where jobs are joined under this name.
    static func columns(of table: String) -> String {
        columns.split(separator: ", ").map { "\(table).\($0)" }.joined(separator: ", ")
    }

    static func read(_ row: any SQLRow) throws -> Job { try read(row, from: 0) }

    /// - Parameter first: where the columns begin.
    static func read(_ row: any SQLRow, from first: Int) throws -> Job {
        guard let state = Job.State(rawValue: try row.get(first + 3)) else {
            throw SQLError(code: .corrupt, operation: "read job", message: "unknown state")
        }
        return Job(
            name: JobName(try row.get(first), try row.get(first + 1)), project: try row.get(first + 2), state: state,
            attempts: try row.get(first + 4), nextAttemptAt: try row.get(first + 5),
            leaseOwner: try row.get(first + 6), leaseUntil: try row.get(first + 7), epoch: try row.get(first + 8),
            lastError: try row.get(first + 9), createdAt: try row.get(first + 10))
    }
}

/// What jobs may have to wait for each other: those of one lane use the same thing outside, a store say.
package struct JobLane: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }

    /// Of jobs that use nothing that others use.
    package static let common: JobLane = ""
    /// Of jobs that use the key manager. No store is called so.
    package static let keys: JobLane = "@keys"
    /// Of imports: long, and side by side (`Jobs.runSideBySide`).
    package static let imports: JobLane = "@imports"

    package static func store(_ id: StoreID) -> JobLane { JobLane(id.rawValue) }
}

/// What a worker made of a job.
package enum JobOutcome: Sendable {
    /// The effect is there; these are the last steps, in the transaction that removes the job.
    case done(@Sendable (any SQLConnection) throws -> Void)
    /// Nothing went wrong, but something else has to happen first: it is tried again after `seconds`.
    case notYet(String, seconds: Int64)
}

/// Does jobs of one kind. May run twice, also at once, and may be cut off anywhere.
package typealias JobWorker = @Sendable (Job) async throws -> JobOutcome

/// The tables of jobs and of the processes that do them. Versions 150 to 199.
package enum JobMigrations {
    package static let all = [Migration(150, "jobs", jobs + instances), Migration(151, "lists of jobs", lists)]

    private static let jobs = [
        """
        CREATE TABLE jobs (
            kind TEXT NOT NULL,
            subject TEXT NOT NULL,
            lane TEXT NOT NULL DEFAULT '',
            project TEXT,
            state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'parked')),
            attempts BIGINT NOT NULL,
            next_attempt_at BIGINT NOT NULL,
            lease_owner TEXT,
            lease_until BIGINT,
            epoch BIGINT NOT NULL,
            last_error TEXT,
            created_at BIGINT NOT NULL,
            PRIMARY KEY (kind, subject),
            CHECK ((state = 'running') = (lease_owner IS NOT NULL)),
            CHECK ((state = 'running') = (lease_until IS NOT NULL)),
            CHECK (state <> 'parked' OR last_error IS NOT NULL)
        )
        """,
        "CREATE INDEX jobs_due ON jobs (lane, next_attempt_at, kind, subject) WHERE state = 'waiting'",
        "CREATE INDEX jobs_running ON jobs (lease_until) WHERE state = 'running'",
        "CREATE INDEX jobs_parked ON jobs (created_at) WHERE state = 'parked'",
    ]

    /// For the operator's lists, oldest first.
    private static let lists = ["CREATE INDEX jobs_created ON jobs (created_at, kind, subject)"]

    /// A process that is known to be gone has no row: what it held can be taken for good.
    private static let instances = [
        """
        CREATE TABLE instances (
            id TEXT PRIMARY KEY,
            node TEXT NOT NULL,
            started_at BIGINT NOT NULL,
            seen_at BIGINT NOT NULL
        )
        """
    ]
}
