import Logging
import Persistence

/// What an operator sees of the service and does to it over HTTP. Everything here reads rows and stores as
/// they are at that moment: nothing is counted beside them. Only for admins.
package struct OperatorView: Sendable {
    let database: any SQLDatabase
    let stores: StoreSet
    let settings: ImageSettings
    let clock: any WallClock
    private let wake: WakeSignals

    package init(_ images: Images) {
        database = images.database
        stores = images.stores
        settings = images.settings
        clock = images.surroundings.clock
        wake = images.reconcilerWake
    }

    /// For routes too, which must not tell what is wrong with a request that is nobody's business.
    /// - Throws: `ServiceError.forbidden`.
    package func requireOperator(_ caller: Caller) throws {
        guard caller.isAdmin else {
            throw ServiceError.forbidden("The operator's view is for admins.")
        }
    }
}

/// Jobs.
extension OperatorView {
    private var administration: JobAdministration { JobAdministration(database: database, clock: clock) }

    /// - Throws: `ServiceError`: `.forbidden`, `.badRequest` (marker).
    package func jobs(
        _ filter: JobAdministration.Filter, _ page: PageRequest, as caller: Caller
    ) async throws -> (page: Page<Job>, counts: [Job.State: Int64]) {
        try requireOperator(caller)
        return (try await administration.jobs(filter, page), try await administration.counts())
    }

    /// - Throws: `ServiceError`: `.forbidden`, `.notFound`.
    package func job(_ name: JobName, as caller: Caller) async throws -> Job {
        try requireOperator(caller)
        guard let job = try await administration.job(name) else { throw JobAdministration.noJob(name) }
        return job
    }

    /// The job is tried at once.
    /// - Throws: `ServiceError`: `.forbidden`, `.notFound`, `.conflict` (it runs).
    package func retry(_ name: JobName, as caller: Caller) async throws {
        try requireOperator(caller)
        try await administration.retry(name)
        wake.signal()
        caller.logger.notice("job retried by an operator", metadata: ["job": "\(name)"])
    }

    /// All parked jobs are tried at once.
    /// - Returns: how many there were.
    /// - Throws: `ServiceError.forbidden`.
    package func retryParked(as caller: Caller) async throws -> Int {
        try requireOperator(caller)
        let count = try await administration.retryParked()
        wake.signal()
        caller.logger.notice("parked jobs retried by an operator", metadata: ["count": "\(count)"])
        return count
    }
}

/// The recycle bin.
extension OperatorView {
    private var bin: RecycleBin { RecycleBin(database: database, clock: clock, settings: settings) }

    /// - Throws: `ServiceError.forbidden`.
    package func deletedImages(
        _ page: PageRequest, as caller: Caller
    ) async throws -> (page: Page<RecycleBin.Entry>, images: Int64, bytes: Int64) {
        try requireOperator(caller)
        let size = try await bin.size()
        return (try await bin.entries(page), size.images, size.bytes)
    }

    /// - Throws: `ServiceError`: `.forbidden`, `.notFound` (not in the bin), `.tooLarge` (quota).
    package func undelete(_ id: ImageID, mayExceedQuota: Bool, as caller: Caller) async throws {
        try requireOperator(caller)
        try await bin.undelete(id, mayExceedQuota: mayExceedQuota)
        wake.signal()
        caller.logger.notice("image undeleted by an operator", metadata: ["image": "\(id)"])
    }

    /// - Throws: `ServiceError`: `.forbidden`, `.notFound` (not in the bin).
    package func discard(_ id: ImageID, as caller: Caller) async throws {
        try requireOperator(caller)
        try await bin.discard(id)
        wake.signal()
        caller.logger.notice("deleted image discarded by an operator", metadata: ["image": "\(id)"])
    }
}
