import Persistence
import Synchronization

/// An independent check of the database against the stores. Nothing that the use cases believe is believed
/// here: it has statements of its own, and looks at what is really there.
///
/// It may run while servers do. The database is looked at in snapshots, each consistent by itself. A row is
/// written before its bytes and removed after them, and no id is ever used again; so what a store and the
/// database disagree on is looked at once more, the one that changes first at last, before it is a finding.
package struct Fsck: Sendable {
    package enum Reading: Sendable, Equatable {
        case nothing
        case everything
        /// A blob is in the sample or not by its id and the seed alone.
        case sample(percent: Double, seed: UInt32)
    }

    package struct Options: Sendable {
        package var reading = Reading.nothing
        /// Whether to put right what can be put right without touching what an image refers to.
        package var repairs = false
        /// Stores whose blobs without a row a repair erases even if a crash cannot have left them.
        package var erasesUnowned: Set<StoreID> = []
        /// How long ago a lease must have run out for its end to be worth a finding.
        package var leaseGraceSeconds: Int64 = 600

        package init() {}
    }

    /// A store that is configured and could not even be opened.
    package struct UnopenedStore: Sendable {
        package let id: StoreID
        package let cause: String

        package init(id: StoreID, cause: String) {
            self.id = id
            self.cause = cause
        }
    }

    private let database: any SQLDatabase
    private let stores: [any BlobStore]
    private let unopened: [UnopenedStore]
    private let remote: StoreID?
    private let surroundings: Surroundings
    private let options: Options

    /// - Parameter remote: the store of what other servers keep, which is not asked.
    package init(
        database: any SQLDatabase, stores: [any BlobStore], unopened: [UnopenedStore] = [], remote: StoreID? = nil,
        surroundings: Surroundings, options: Options = Options()
    ) {
        self.database = database
        self.stores = stores
        self.unopened = unopened
        self.remote = remote
        self.surroundings = surroundings
        self.options = options
    }

    /// Checks all there is, and tells `report` of each thing as it comes. Run again, it begins anew.
    /// - Throws: `SQLError` when the database cannot be read on; `CancellationError`.
    package func run(_ report: @escaping @Sendable (FsckEvent) -> Void) async throws -> FsckSummary {
        let run = FsckRun(
            database: database, stores: stores.sorted { $0.id < $1.id },
            unopened: unopened.sorted { $0.id < $1.id }, remote: remote, surroundings: surroundings, options: options,
            report: report)
        try await run.checkDatabase()
        for store in run.unopened { run.lose(store.id, store.cause) }
        try await run.planBlobs()
        for store in run.stores {
            do {
                try await run.checkBlobs(of: store)
                try await run.checkInventory(of: store)
            } catch let lost as StoreLost {
                run.lose(store.id, lost.cause)
            }
        }
        return run.tally.withLock { $0.summary }
    }
}

/// What a check tells while it runs.
package enum FsckEvent: Sendable, Equatable {
    case finding(Finding, FindingOutcome)
    /// Something in a store that no image people can use refers to.
    case garbage(Garbage)
    case progress(FsckProgress)
}

package struct FsckProgress: Sendable, Equatable {
    package enum Phase: Sendable, Equatable {
        case database
        /// Rows against their bytes: counts blobs.
        case blobs
        /// The same, reading them: counts bytes.
        case data
        /// What is in a store: counts files.
        case listing(StoreID)
    }
    package let phase: Phase
    package let done: Int64
    /// Nil where nobody knows beforehand.
    package let total: Int64?

    package init(phase: Phase, done: Int64, total: Int64?) {
        self.phase = phase
        self.done = done
        self.total = total
    }
}

/// What a check came to.
package struct FsckSummary: Sendable, Equatable {
    /// Findings that are as they were found.
    package fileprivate(set) var remaining = 0
    package fileprivate(set) var repaired = 0
    /// Some of what there is could not be looked at.
    package fileprivate(set) var isIncomplete = false
    package fileprivate(set) var blobs: Int64 = 0
    package fileprivate(set) var blobsRead: Int64 = 0
    package fileprivate(set) var bytesRead: Int64 = 0
    package fileprivate(set) var files: Int64 = 0
    package fileprivate(set) var garbage: [GarbageTotal] = []

    package init() {}
}

/// The state of one run.
struct FsckRun: Sendable {
    let database: any SQLDatabase
    let stores: [any BlobStore]
    let unopened: [Fsck.UnopenedStore]
    let remote: StoreID?
    let surroundings: Surroundings
    let options: Fsck.Options
    let report: @Sendable (FsckEvent) -> Void
    let tally = SharedTally()

    var now: Timestamp { surroundings.clock.now }

    /// Repairs a finding if that was asked for and is possible, counts it and tells of it.
    func settle(_ finding: Finding) async throws {
        var outcome = FindingOutcome.open
        if options.repairs, case .repair = finding.remedy {
            do {
                outcome = try await repair(finding) ? .repaired : .settled
            } catch let error as SQLError {
                outcome = .repairFailed("\(error)")
            } catch let error as BlobError {
                outcome = .repairFailed("\(error)")
            }
        }
        count(finding, outcome)
    }

    func lose(_ store: StoreID, _ cause: String) { count(.storeOutOfReach(store, cause: cause), .open) }

    private func count(_ finding: Finding, _ outcome: FindingOutcome) {
        tally.withLock { tally in
            switch outcome {
            case .repaired: tally.summary.repaired += 1
            case .open, .repairFailed: tally.summary.remaining += 1
            case .settled: break
            }
            if finding.leavesGap { tally.summary.isIncomplete = true }
        }
        report(.finding(finding, outcome))
    }

    func tell(_ garbage: Garbage) {
        tally.withLock { $0.summary.garbage.add(garbage) }
        report(.garbage(garbage))
    }
}

/// A store went out of reach in the middle of its check.
struct StoreLost: Error {
    let cause: String
}

/// What a run has counted so far; several tasks count.
final class SharedTally: Sendable {
    struct Tally: Sendable {
        var summary = FsckSummary()
        /// Blobs to look at, or bytes to read.
        var planned: Int64 = 0
        var done: Int64 = 0

        mutating func countBlob() { summary.blobs += 1 }
        mutating func countFiles(_ count: Int) { summary.files += Int64(count) }
        mutating func countRead(blobs: Int64, bytes: Int64) {
            summary.blobsRead += blobs
            summary.bytesRead += bytes
        }
    }
    private let state = Mutex(Tally())

    func withLock<T: Sendable>(_ body: (inout Tally) -> T) -> T { state.withLock { body(&$0) } }
}
