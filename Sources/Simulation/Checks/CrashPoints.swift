import Core
import Synchronization

/// Every crash of every short workload, one after the other.
///
/// A workload runs once, while the disk is kept as it was after each of its effects. A crash at an effect
/// leaves the disk of the moment before, less what a loss of power takes of the unsynced; what a
/// restarted server makes of it must be a state that the clients' answers allow. The restarted server is
/// itself stopped at each of its effects, and started once more.
package struct CrashPoints: Sendable {
    package struct Options: Sendable {
        /// Operations a workload has at most.
        package var length = 3
        /// Of the workloads of that length one in so many is run, and of the shorter ones all.
        package var stride = 1
        package var offset = 0
        /// Up to which length of a workload its recoveries are crashed too.
        package var recoveryLength = 3
        package var bug: PlantedBug?
        /// Stop at so many violations.
        package var violationLimit = 20

        package init() {}
    }

    package struct Report: CheckReport, CustomStringConvertible {
        package var workloads = 0
        /// Crashes of a workload and of a recovery, each kind of loss counted.
        package var crashes = 0
        package var recoveryCrashes = 0
        /// Disks that were started from; the other crashes left one of these.
        package var disks = 0
        package var violations: [String] = []

        package var points: Int { crashes + recoveryCrashes }

        package var description: String {
            "\(workloads) workloads, \(points) crash points (\(crashes) in a workload, \(recoveryCrashes) in a "
                + "recovery), \(disks) different disks restarted, \(violations.count) violations"
        }

        package init() {}

        package mutating func add(_ other: Report) {
            workloads += other.workloads
            crashes += other.crashes
            recoveryCrashes += other.recoveryCrashes
            disks += other.disks
            violations += other.violations
        }
    }

    package struct Workload: Sendable, CustomStringConvertible {
        package let start: ModelImage.Status
        package let hasRecycleBin: Bool
        package let operations: [Operation]

        package var description: String {
            "from \(start)\(hasRecycleBin ? " with recycle bin" : ""): \(operations)"
        }
    }

    /// Each mutating verb.
    package static let verbs: [Operation] = [
        .create, .upload(content: 9, isDeclared: true), .upload(content: 4, isDeclared: false),
        .brokenUpload(content: 9), .delete, .rename("renamed"), .setProperty("debian"), .protect(true), .addTag("lts"),
        .removeTag("first"), .addMember("m2"), .acceptMembership("m1"), .removeMember("m1"), .deactivate, .reactivate,
        .undelete, .discard,
    ]

    static let image: ImageID = "00000000-0000-4000-8000-00000000000a"
    /// Never touched: whatever happens to the other, this one stays as it is.
    static let bystander: ImageID = "00000000-0000-4000-8000-00000000000b"

    package let options: Options
    private let disks = SeenDisks()

    package init(_ options: Options = Options()) { self.options = options }

    /// The workloads in a fixed order.
    package func workloads() -> [Workload] {
        var found: [Workload] = []
        for hasRecycleBin in [false, true] {
            let verbs = hasRecycleBin ? Self.verbs : Self.verbs.filter { $0 != .undelete && $0 != .discard }
            for start in [ModelImage.Status.absent, .queued, .active] {
                var lists: [[Operation]] = [[]]
                for length in 1...options.length {
                    lists = lists.flatMap { list in verbs.map { list + [$0] } }
                    for (index, list) in lists.enumerated()
                    where length < options.length || index % options.stride == options.offset % options.stride {
                        found.append(Workload(start: start, hasRecycleBin: hasRecycleBin, operations: list))
                    }
                }
            }
        }
        return found
    }

    /// Runs all, a part in each thread.
    /// - Parameter progress: told how many workloads of how many are done.
    package func run(threads: Int = 2, progress: (@Sendable (Int, Int) -> Void)? = nil) -> Report {
        let workloads = workloads()
        let templates = Templates(options)
        return InThreads.run(
            workloads.count, threads: threads, violationLimit: options.violationLimit,
            progress: progress.map { progress in { done, _ in progress(done, workloads.count) } }
        ) { explore(workloads[$0], templates) }
    }

    // MARK: One workload

    /// What a disk may turn out to hold, of the image under test.
    private typealias Allowed = Set<ModelImage>

    package func explore(_ workload: Workload, _ templates: Templates) -> Report {
        var report = Report()
        report.workloads = 1
        do {
            let moments = try record(workload, templates)
            for (index, moment) in moments.enumerated() {
                for loss in PowerLoss.allCases {
                    report.crashes += 1
                    explore(moment, loss, place: "\(workload), effect \(index) of \(moments.count)", workload, &report)
                }
            }
        } catch {
            report.violations.append("\(workload): \(error)")
        }
        return report
    }

    /// The disk at one moment, and what its image may be.
    private struct Moment {
        let disk: DiskState
        let allowed: Allowed
    }

    /// Runs a workload; keeps the disk from before its last operation on, after every effect.
    private func record(_ workload: Workload, _ templates: Templates) throws -> [Moment] {
        let recording = Recording(try templates.template(workload.start, workload.hasRecycleBin))
        let options = serverOptions(workload)
        try recording.executor.run(stepLimit: 2_000_000) {
            let server = try await SimulatedServer(
                "a", on: recording.disk, recording.executor, seed: 7, options)
            defer { server.mount.kill() }
            let client = SimulatedClient(server, Self.image)
            var model = Templates.image(workload.start)
            for (index, operation) in workload.operations.enumerated() {
                let (expected, after) = model.applying(operation, hasRecycleBin: workload.hasRecycleBin)
                if index == workload.operations.count - 1 { recording.begin(allowed: [model, after]) }
                let outcome = await client.perform(operation)
                guard outcome == expected || outcome.isFault && expected.isFault else {
                    throw Surprise("\(operation) on <\(model)>: \(outcome), expected \(expected)")
                }
                model = after
                recording.nowOnly(after)
                guard try await server.settle() else { throw Surprise("no rest after \(operation)") }
            }
            recording.end()
        }
        return recording.moments
    }

    private func explore(
        _ moment: Moment, _ loss: PowerLoss, place: String, _ workload: Workload, _ report: inout Report
    ) {
        var random = SplitMix64(seed: moment.disk.fingerprint ^ UInt64(place.utf8.count))
        let disk = moment.disk.afterPowerLoss(loss, &random)
        let crashesRecovery = workload.operations.count <= options.recoveryLength
        guard disks.isNew(disk, moment.allowed, isRecoveryCrashed: crashesRecovery) else { return }
        report.disks += 1
        let (violations, moments) = recover(disk, moment.allowed, workload, records: crashesRecovery)
        report.violations += violations.map { "\(place), \(loss): \($0)" }
        for (index, later) in moments.enumerated() {
            for secondLoss in PowerLoss.allCases {
                report.recoveryCrashes += 1
                let disk = later.disk.afterPowerLoss(secondLoss, &random)
                guard disks.isNew(disk, later.allowed, isRecoveryCrashed: false) else { continue }
                report.disks += 1
                let (violations, _) = recover(disk, later.allowed, workload, records: false)
                report.violations += violations.map {
                    "\(place), \(loss), then effect \(index) of recovery, \(secondLoss): \($0)"
                }
            }
        }
    }

    /// Starts a server on a disk, lets it come to rest and looks at everything.
    private func recover(
        _ disk: DiskState, _ allowed: Allowed, _ workload: Workload, records: Bool
    ) -> (violations: [String], moments: [Moment]) {
        let recording = Recording(disk)
        if records { recording.begin(allowed: allowed) }
        let options = serverOptions(workload)
        // It takes as long as all the rest.
        let checksDatabase = disk.fingerprint % 8 == 0
        do {
            let violations = try recording.executor.run(stepLimit: 2_000_000) { () async throws -> [String] in
                let server = try await SimulatedServer("a", on: recording.disk, recording.executor, seed: 8, options)
                defer { server.mount.kill() }
                let isAtRest = try await server.settle()
                recording.end()
                let audit = Audit(
                    server,
                    expected: [Self.image: allowed, Self.bystander: [Templates.bystanderModel]])
                var result = try await audit.run(checksDatabase: checksDatabase)
                if checksDatabase { result.violations += try await server.fsckFindings() }
                return result.violations + (isAtRest ? [] : ["(g) it does not come to rest"])
            }
            return (violations, recording.moments)
        } catch {
            return (["it does not start: \(error)"], recording.moments)
        }
    }

    private func serverOptions(_ workload: Workload) -> ServerOptions {
        var server = ServerOptions()
        server.hasRecycleBin = workload.hasRecycleBin
        server.bug = options.bug
        return server
    }

    struct Surprise: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    /// A machine whose disk is kept after every effect. One thread.
    private final class Recording: @unchecked Sendable {
        let disk: SimulatedDisk
        let executor = SeededExecutor(seed: 1, order: .fifo)
        private(set) var moments: [Moment] = []
        private var allowed: Allowed = []

        init(_ state: DiskState) { disk = SimulatedDisk(state: state, seed: 3) }

        func begin(allowed: Allowed) {
            self.allowed = allowed
            moments = [Moment(disk: disk.state, allowed: allowed)]
            disk.onEffect = { [unowned self] _, state in
                self.moments.append(Moment(disk: state, allowed: self.allowed))
            }
        }

        /// From now on only this: its client has the answer.
        func nowOnly(_ model: ModelImage) {
            guard disk.onEffect != nil else { return }
            allowed = [model]
            moments.append(Moment(disk: disk.state, allowed: allowed))
        }

        func end() { disk.onEffect = nil }
    }
}

/// The disks that workloads start from.
package final class Templates: Sendable {
    private let options: CrashPoints.Options
    private let made = Mutex<[String: DiskState]>([:])

    package init(_ options: CrashPoints.Options) { self.options = options }

    static func image(_ start: ModelImage.Status) -> ModelImage {
        if start == .absent { return .absent }
        var image = ModelImage.created
        image.tags = ["first"]
        image.members = ["m1": false]
        if start == .active {
            image.status = .active
            image.content = 5
        }
        return image
    }

    static var bystanderModel: ModelImage {
        var image = ModelImage.created
        image.status = .active
        image.content = 3
        return image
    }

    func template(_ start: ModelImage.Status, _ hasRecycleBin: Bool) throws -> DiskState {
        try made.withLock { made in
            let key = "\(start) \(hasRecycleBin)"
            if let state = made[key] { return state }
            let state = try Self.make(start, hasRecycleBin)
            made[key] = state
            return state
        }
    }

    private static func make(_ start: ModelImage.Status, _ hasRecycleBin: Bool) throws -> DiskState {
        let disk = SimulatedDisk(state: .empty(), seed: 2)
        let executor = SeededExecutor(seed: 2, order: .fifo)
        var options = ServerOptions()
        options.hasRecycleBin = hasRecycleBin
        let settled = options
        try executor.run {
            let server = try await SimulatedServer("a", on: disk, executor, seed: 6, settled)
            let other = SimulatedClient(server, CrashPoints.bystander)
            var steps: [(SimulatedClient, Operation)] = [
                (other, .create), (other, .upload(content: 3, isDeclared: true)),
            ]
            let client = SimulatedClient(server, CrashPoints.image)
            if start != .absent {
                steps += [(client, .create), (client, .addTag("first")), (client, .addMember("m1"))]
            }
            if start == .active { steps.append((client, .upload(content: 5, isDeclared: true))) }
            for (client, operation) in steps {
                let outcome = await client.perform(operation)
                guard outcome == .done else { throw CrashPoints.Surprise("\(operation): \(outcome)") }
            }
            _ = try await server.settle()
        }
        var random = SplitMix64(seed: 1)
        return disk.state.afterPowerLoss(.none, &random)
    }
}

/// Disks that were started from, with what was expected of them: the same again tells nothing new.
final class SeenDisks: Sendable {
    private let seen = Mutex<Set<UInt64>>([])

    /// - Parameter expecting: in an order that is the same for the same.
    func isNew(_ disk: DiskState, expecting texts: [String], isRecoveryCrashed: Bool) -> Bool {
        var hash = disk.fingerprint ^ (isRecoveryCrashed ? 1 : 0)
        for text in texts { hash = Hash64.combine(hash, Hash64.of(text)) }
        return seen.withLock { $0.insert(hash).inserted }
    }

    func isNew(_ disk: DiskState, _ allowed: Set<ModelImage>, isRecoveryCrashed: Bool) -> Bool {
        isNew(disk, expecting: allowed.map(\.description).sorted(), isRecoveryCrashed: isRecoveryCrashed)
    }
}
