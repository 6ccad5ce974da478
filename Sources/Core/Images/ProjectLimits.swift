import Persistence

/// What a quota counts, by the names that clients and registered limits know (Image API digest, section 7).
package enum QuotaResource: String, Sendable, CaseIterable {
    case sizeTotal = "image_size_total"
    case stageTotal = "image_stage_total"
    case countTotal = "image_count_total"
    case countUploading = "image_count_uploading"

    /// What one of it is in Identity's limits: a MiB, or a thing that is counted.
    var unit: Int64 {
        switch self {
        case .sizeTotal, .stageTotal: 1 << 20
        case .countTotal, .countUploading: 1
        }
    }

    /// An amount as a person reads it, without rounding.
    func text(_ amount: Int64) -> String {
        guard unit > 1 else { return "\(amount)" }
        return amount % unit == 0 ? "\(amount / unit) MiB" : "\(amount) bytes"
    }
}

/// What one project may have, in bytes and in numbers of images; negative is unlimited.
package struct ProjectLimits: Sendable, Equatable {
    private let amounts: [QuotaResource: Int64]

    package subscript(_ resource: QuotaResource) -> Int64 { amounts[resource] ?? 0 }

    /// The same for every project. Nothing limits what is staged.
    init(_ settings: ImageSettings) {
        amounts = [
            .sizeTotal: settings.imageBytesQuota, .stageTotal: -1, .countTotal: settings.imageCountQuota,
            .countUploading: settings.uploadingCountQuota,
        ]
    }

    /// Limits as Identity has them. What is not registered is denied: its limit is 0.
    package init(registered: [String: Int64]) {
        amounts = Dictionary(
            uniqueKeysWithValues: QuotaResource.allCases.map { resource in
                let limit = registered[resource.rawValue] ?? 0
                let (amount, isTooLarge) = limit.multipliedReportingOverflow(by: resource.unit)
                return (resource, limit < 0 || isTooLarge ? -1 : amount)
            })
    }
}

/// Where the limits of projects are kept (`image.quota.source`).
package enum LimitSource: Sendable {
    /// In the settings, the same for every project.
    case settings
    /// In the Identity of this program: read in the transaction that uses them up, so no decision is ever made by
    /// an old limit.
    case identity(region: RegionID)
    /// In a Keystone.
    case remote(any RemoteLimits)
    /// In a Keystone that this process has no connection to: what needs to know them fails.
    case outOfReach
}

/// Limits that another service keeps.
package protocol RemoteLimits: Sendable {
    /// The limits of a project, if they were learnt lately. Neither waits nor fails.
    func known(of project: ProjectID) -> ProjectLimits?

    /// Finds the limits of a project out; `known` has them from then on for a while.
    /// - Throws: `ServiceError`: `.unavailable`, `.internalError` (the other service is not set up for it).
    func learn(of project: ProjectID) async throws
}

/// A transaction needs limits that are not known here; it is run again when they are (`LimitLearningDatabase`).
struct LimitsUnknown: Error {
    let project: ProjectID
}

extension ImageSettings {
    /// Whether bytes are counted against anything. When not, uploads need not reserve ahead.
    var mayLimitBytes: Bool {
        if case .settings = limits { return imageBytesQuota >= 0 }
        return true
    }

    /// Whether bytes that wait for an import count against a limit of their own.
    var countsStagedApart: Bool {
        if case .settings = limits { return false }
        return true
    }

    /// A step of the transaction that uses the limits up.
    /// - Throws: `LimitsUnknown`, `ServiceError.unavailable`.
    func limits(of project: ProjectID, in db: any SQLConnection) throws -> ProjectLimits {
        switch limits {
        case .settings:
            return ProjectLimits(self)
        case .identity(let region):
            return ProjectLimits(
                registered: try RegisteredLimit.effective(
                    for: project, serviceType: Self.serviceType, region: region, in: db))
        case .remote(let remote):
            guard let known = remote.known(of: project) else { throw LimitsUnknown(project: project) }
            return known
        case .outOfReach:
            throw ServiceError.unavailable(
                "The limits of projects are kept by Keystone, which only the running server asks.")
        }
    }

    /// What the image service is called where limits are registered.
    package static let serviceType = "image"
}

/// A database whose transactions may ask for limits that another service keeps. Transactions do not wait for other
/// services: one that needs what is not known is rolled back, and run again when it is.
struct LimitLearningDatabase: SQLDatabase {
    /// An image may go from one project to another meanwhile, but not for ever.
    private static let tries = 5

    private let base: any SQLDatabase
    private let limits: any RemoteLimits

    private init(_ base: any SQLDatabase, _ limits: any RemoteLimits) {
        self.base = base
        self.limits = limits
    }

    static func wrapping(_ database: any SQLDatabase, for source: LimitSource) -> any SQLDatabase {
        guard case .remote(let limits) = source else { return database }
        return LimitLearningDatabase(database, limits)
    }

    func read<T: Sendable>(_ body: @Sendable (any SQLConnection) throws -> T) async throws -> T {
        try await learning { try await base.read(body) }
    }

    func write<T: Sendable>(_ body: @escaping @Sendable (any SQLConnection) throws -> T) async throws -> T {
        try await learning { try await base.write(body) }
    }

    private func learning<T: Sendable>(_ attempt: () async throws -> T) async throws -> T {
        for _ in 1..<Self.tries {
            do {
                return try await attempt()
            } catch let unknown as LimitsUnknown {
                try await limits.learn(of: unknown.project)
            }
        }
        do {
            return try await attempt()
        } catch let unknown as LimitsUnknown {
            throw ServiceError.unavailable("The limits of the project cannot be found out; try again.", cause: unknown)
        }
    }
}
