import Persistence

/// What a project has, derived from the rows that say so.
package struct ProjectUsage: Sendable, Equatable {
    /// Nil for what belongs to no project.
    package let project: ProjectID?
    /// Not counting the recycle bin.
    package var images: Int64 = 0
    package var liveBytes: Int64 = 0
    /// By uploads under way.
    package var reservedBytes: Int64 = 0
    package var recycledImages: Int64 = 0
    package var recycledBytes: Int64 = 0
    /// Deleted and not erased yet, as far as the size is known.
    package var doomedBytes: Int64 = 0

    init(project: ProjectID?) { self.project = project }

    /// What the quota of bytes is charged for.
    package var chargedBytes: Int64 { liveBytes + reservedBytes }
}

/// The quotas in force; nil is unlimited, or, when Identity keeps the limits, a matter of the project.
package struct ImageQuotas: Sendable, Equatable {
    /// Whether Identity keeps the limits.
    package let areIdentitys: Bool
    package let images: Int64?
    package let bytes: Int64?
    package let uploads: Int64?

    /// - Parameter limits: nil when they are not the same for all that is asked about.
    init(areIdentitys: Bool, _ limits: ProjectLimits?) {
        func limit(_ resource: QuotaResource) -> Int64? {
            limits.map { $0[resource] }.flatMap { $0 < 0 ? nil : $0 }
        }
        self.areIdentitys = areIdentitys
        images = limit(.countTotal)
        bytes = limit(.sizeTotal)
        uploads = limit(.countUploading)
    }
}

extension OperatorView {
    /// One entry a project that has anything, by project. Counts every image there is.
    /// - Parameter project: this one alone, also if it has nothing.
    /// - Throws: `ServiceError.forbidden`.
    package func usage(
        of project: ProjectID? = nil, as caller: Caller
    ) async throws -> (projects: [ProjectUsage], quotas: ImageQuotas) {
        try requireOperator(caller)
        var found: [ProjectID?: ProjectUsage] = [:]
        if let project { found[project] = ProjectUsage(project: project) }
        let (images, blobs) = try await database.read { db in
            (try Self.imageCounts(of: project, in: db), try Self.blobSums(of: project, in: db))
        }
        for (owner, live, recycled) in images {
            found[owner, default: ProjectUsage(project: owner)].images = live
            found[owner, default: ProjectUsage(project: owner)].recycledImages = recycled
        }
        for (owner, sums) in blobs {
            var usage = found[owner] ?? ProjectUsage(project: owner)
            usage.liveBytes = sums.live
            usage.reservedBytes = sums.writing
            usage.recycledBytes = sums.recycled
            usage.doomedBytes = sums.doomed
            found[owner] = usage
        }
        let projects = found.values.sorted { ($0.project?.rawValue ?? "") < ($1.project?.rawValue ?? "") }
        return (projects, try await quotas(of: project))
    }

    private func quotas(of project: ProjectID?) async throws -> ImageQuotas {
        if case .settings = settings.limits { return ImageQuotas(areIdentitys: false, ProjectLimits(settings)) }
        guard let project else { return ImageQuotas(areIdentitys: true, nil) }
        return ImageQuotas(
            areIdentitys: true, try await database.read { try settings.limits(of: project, in: $0) })
    }

    private static func imageCounts(
        of project: ProjectID?, in db: any SQLConnection
    ) throws -> [(ProjectID?, live: Int64, recycled: Int64)] {
        var statement = ListStatement(
            """
            SELECT owner, SUM(CASE WHEN deleted_at IS NULL THEN 1 ELSE 0 END),
                SUM(CASE WHEN recycled_until IS NOT NULL THEN 1 ELSE 0 END)
            FROM images
            """)
        statement.condition("(deleted_at IS NULL OR recycled_until IS NOT NULL)")
        if let project { statement.condition("owner = \(statement.bind(project))") }
        statement.add("GROUP BY owner")
        return try db.query(statement.sql, statement.arguments) { (try $0.get(0), try $0.get(1), try $0.get(2)) }
    }

    private struct Sums: Sendable {
        let live: Int64
        let writing: Int64
        let recycled: Int64
        let doomed: Int64
    }

    private static func blobSums(
        of project: ProjectID?, in db: any SQLConnection
    ) throws -> [(ProjectID?, Sums)] {
        func sum(_ column: String, _ state: String) -> String {
            "SUM(CASE WHEN state = '\(state)' THEN COALESCE(\(column), 0) ELSE 0 END)"
        }
        var statement = ListStatement(
            """
            SELECT project, \(sum("charged_bytes", "live")), \(sum("charged_bytes", "writing")),
                \(sum("size_bytes", "recycled")), \(sum("size_bytes", "doomed"))
            FROM blobs
            """)
        if let project { statement.condition("project = \(statement.bind(project))") }
        statement.add("GROUP BY project")
        return try db.query(statement.sql, statement.arguments) {
            (
                try $0.get(0),
                Sums(live: try $0.get(1), writing: try $0.get(2), recycled: try $0.get(3), doomed: try $0.get(4))
            )
        }
    }
}
