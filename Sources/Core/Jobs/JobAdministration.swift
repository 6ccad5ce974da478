import Persistence

/// What an operator sees and does of jobs.
package struct JobAdministration: Sendable {
    private let database: any SQLDatabase
    private let clock: any WallClock

    package init(database: any SQLDatabase, clock: any WallClock) {
        self.database = database
        self.clock = clock
    }

    /// The jobs there are, oldest first.
    /// - Throws: `SQLError`.
    package func jobs(state: Job.State? = nil, limit: Int = 1000) async throws -> [Job] {
        try await database.read { db in
            guard let state else {
                return try db.query(
                    "SELECT \(JobRow.columns) FROM jobs ORDER BY created_at, kind, subject LIMIT $1", limit,
                    row: JobRow.read)
            }
            return try db.query(
                """
                SELECT \(JobRow.columns) FROM jobs WHERE state = $1 ORDER BY created_at, kind, subject LIMIT $2
                """, state.rawValue, limit, row: JobRow.read)
        }
    }

    /// How many jobs there are in each state.
    /// - Throws: `SQLError`.
    package func counts() async throws -> [Job.State: Int64] {
        try await database.read { db in
            let rows = try db.query("SELECT state, COUNT(*) FROM jobs GROUP BY state") {
                (try $0.get(0, as: String.self), try $0.get(1, as: Int64.self))
            }
            return Dictionary(
                uniqueKeysWithValues: rows.compactMap { name, count in Job.State(rawValue: name).map { ($0, count) } })
        }
    }

    /// Makes a job that waits or is parked due at once, as if it had never failed. A job that runs stays.
    /// - Returns: whether there was such a job.
    /// - Throws: `SQLError`.
    package func retry(_ name: JobName) async throws -> Bool {
        let now = clock.now
        return try await database.write { db in
            try db.execute(
                """
                UPDATE jobs SET state = 'waiting', attempts = 0, next_attempt_at = $1
                WHERE kind = $2 AND subject = $3 AND state IN ('waiting', 'parked')
                """,
                now, name.kind, name.subject) == 1
        }
    }

    /// Makes every parked job due at once.
    /// - Returns: how many there were.
    /// - Throws: `SQLError`.
    package func retryParked() async throws -> Int {
        let now = clock.now
        return try await database.write { db in
            try db.execute(
                "UPDATE jobs SET state = 'waiting', attempts = 0, next_attempt_at = $1 WHERE state = 'parked'", now)
        }
    }
}
