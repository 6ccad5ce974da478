import Persistence

/// What an operator sees and does of jobs.
package struct JobAdministration: Sendable {
    private let database: any SQLDatabase
    private let clock: any WallClock

    package init(database: any SQLDatabase, clock: any WallClock) {
        self.database = database
        self.clock = clock
    }

    /// Which jobs a list shows.
    package struct Filter: Sendable {
        package var state: Job.State?
        package var kind: JobKind?

        package init(state: Job.State? = nil, kind: JobKind? = nil) {
            self.state = state
            self.kind = kind
        }
    }

    /// The jobs there are, oldest first.
    /// - Throws: `SQLError`; `ServiceError.badRequest` for a marker that is not of this list.
    package func jobs(_ filter: Filter = Filter(), _ page: PageRequest = PageRequest()) async throws -> Page<Job> {
        let statement = try Self.statement(filter, page)
        let found = try await database.read { db in
            try db.query(statement.sql, statement.arguments, row: JobRow.read)
        }
        return Page(found, page) { PageMarker($0.createdAt, $0.name.description) }
    }

    package static func statement(_ filter: Filter, _ page: PageRequest) throws -> ListStatement {
        var statement = ListStatement("SELECT \(JobRow.columns) FROM jobs")
        // A literal, or the indexes of one state would be of no use.
        if let state = filter.state { statement.condition("state = '\(state.rawValue)'") }
        // An expression: of many jobs nearly all are of one kind, so the order decides which index is read.
        if let kind = filter.kind { statement.condition("kind || '' = \(statement.bind(kind))") }
        let after = try page.after.map { marker -> [any SQLBindable] in
            guard let name = JobName(marker.id) else {
                throw ServiceError.badRequest("Invalid marker: it is no place in the list of jobs.")
            }
            return [marker.time, name.kind, name.subject]
        }
        statement.page(page, by: ["created_at", "kind", "subject"], after: after)
        return statement
    }

    /// - Throws: `SQLError`.
    package func job(_ name: JobName) async throws -> Job? {
        try await database.read { try Self.job(name, in: $0) }
    }

    private static func job(_ name: JobName, in db: any SQLConnection) throws -> Job? {
        try db.first(
            "SELECT \(JobRow.columns) FROM jobs WHERE kind = $1 AND subject = $2", name.kind, name.subject,
            row: JobRow.read)
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

    /// Makes a job that waits or is parked due at once, as if it had never failed; why it failed stays to be
    /// seen until it is tried.
    /// - Throws: `ServiceError`: `.notFound`; `.conflict` when it runs just now.
    package func retry(_ name: JobName) async throws {
        let now = clock.now
        try await database.write { db in
            let changed = try db.execute(
                """
                UPDATE jobs SET state = 'waiting', attempts = 0, next_attempt_at = $1
                WHERE kind = $2 AND subject = $3 AND state IN ('waiting', 'parked')
                """,
                now, name.kind, name.subject)
            if changed == 1 { return }
            guard try Self.job(name, in: db) != nil else { throw Self.noJob(name) }
            throw ServiceError.conflict("Job \(name) is running just now.")
        }
    }

    static func noJob(_ name: JobName) -> ServiceError {
        .notFound("There is no job \(name): it never was, or it is done.")
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
