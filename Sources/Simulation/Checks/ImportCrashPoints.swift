import Core
import Synchronization

/// Every crash of short workloads of stages, imports and copies between two stores. What is done is what `CrashPoints`
/// does. An import goes on after its answer, so the moments of a step reach until all is at rest again.
package struct ImportCrashPoints: Sendable {
    package struct Options: Sendable {
        /// Steps a workload has at most.
        package var length = 2
        /// Of the workloads of that length one in so many is run, and of the shorter ones all.
        package var stride = 1
        /// Of the moments of a workload one in so many is crashed.
        package var momentStride = 1
        /// Up to which length of a workload its recoveries are crashed too.
        package var recoveryLength = 0
        package var bug: PlantedBug?
        package var violationLimit = 20

        package init() {}
    }

    package struct Workload: Sendable, CustomStringConvertible {
        package let isSecondStoreFull: Bool
        package let steps: [ImportModel.Step]

        package var description: String { "\(isSecondStoreFull ? "a full second store, " : "")\(steps)" }
    }

    private static let image: ImageID = "00000000-0000-4000-8000-00000000000a"
    /// Never touched: whatever happens to the other, this one stays as it is.
    private static let bystander: ImageID = "00000000-0000-4000-8000-00000000000b"

    package static let verbs: [ImportModel.Step] = [
        .stage(9), .brokenStage(9), .upload(5), .importStaged(["local"], mustAllSucceed: true),
        .importStaged(["second", "local"], mustAllSucceed: true), .importStaged(["second"], mustAllSucceed: true),
        .importStaged(["local", "second"], mustAllSucceed: false),
        .download(4, .whole, ["local"], mustAllSucceed: true),
        .download(4, .flaky, ["second", "local"], mustAllSucceed: true),
        .download(4, .unsized, ["local", "second"], mustAllSucceed: false),
        .download(4, .cut, ["local"], mustAllSucceed: true), .download(4, .refused, ["local"], mustAllSucceed: true),
        .fetchImage(4, .whole, ["local"], mustAllSucceed: true),
        .fetchImage(4, .flaky, ["second", "local"], mustAllSucceed: true),
        .fetchImage(4, .unsized, ["local", "second"], mustAllSucceed: false),
        .fetchImage(4, .cut, ["local"], mustAllSucceed: true),
        .fetchImage(4, .refused, ["local"], mustAllSucceed: true),
        .copy(["second"], mustAllSucceed: true), .copy(["second"], mustAllSucceed: false), .delete,
    ]

    package let options: Options
    private let disks = SeenDisks()

    package init(_ options: Options = Options()) { self.options = options }

    /// The workloads in a fixed order; what would only be refused, at the end of another, is tried once.
    package func workloads() -> [Workload] {
        var found: [Workload] = []
        for isFull in [false, true] {
            var lists: [(steps: [ImportModel.Step], model: ImportModel)] = [([], .queued)]
            for length in 1...options.length {
                lists = lists.flatMap { list in
                    Self.verbs.compactMap { verb in
                        let (reply, after) = list.model.applying(verb, isSecondStoreFull: isFull)
                        if case .refused = reply, length > 1 { return nil }
                        return (list.steps + [verb], after)
                    }
                }
                for (index, list) in lists.enumerated() where length < options.length || index % options.stride == 0 {
                    found.append(Workload(isSecondStoreFull: isFull, steps: list.steps))
                }
            }
        }
        return found
    }

    package func run(threads: Int = 2, progress: (@Sendable (Int, Int) -> Void)? = nil) -> CrashPoints.Report {
        let workloads = workloads()
        let templates = ImportTemplates()
        return InThreads.run(
            workloads.count, threads: threads, violationLimit: options.violationLimit,
            progress: progress.map { progress in { done, _ in progress(done, workloads.count) } }
        ) { explore(workloads[$0], templates) }
    }

    // MARK: One workload

    private struct Moment {
        let disk: DiskState
        let allowed: Set<ImportModel>
    }

    private func explore(_ workload: Workload, _ templates: ImportTemplates) -> CrashPoints.Report {
        var report = CrashPoints.Report()
        report.workloads = 1
        do {
            let moments = try record(workload, try templates.template(workload.isSecondStoreFull, make: make))
            for (index, moment) in moments.enumerated() where index % options.momentStride == 0 {
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

    private func record(_ workload: Workload, _ start: DiskState) throws -> [Moment] {
        let recording = Recording(start)
        let options = serverOptions(workload.isSecondStoreFull)
        try recording.executor.run(stepLimit: 4_000_000) {
            let server = try await SimulatedServer("a", on: recording.disk, recording.executor, seed: 7, options)
            defer { server.mount.kill() }
            var model = ImportModel.queued
            for (index, step) in workload.steps.enumerated() {
                let (expected, after) = model.applying(step, isSecondStoreFull: workload.isSecondStoreFull)
                if index == workload.steps.count - 1 { recording.begin(allowed: [model, after]) }
                let reply = await ImportClient(server: server, image: Self.image).perform(step)
                guard reply == expected || reply.isFault && expected.isFault else {
                    throw CrashPoints.Surprise("\(step) on <\(model)>: \(reply), expected \(expected)")
                }
                model = after
                // Its client has the answer: what was promised comes, whatever happens.
                recording.nowOnly(after)
                guard try await server.settle() else { throw CrashPoints.Surprise("no rest after \(step)") }
                let (found, violations) = try await ImportAudit(server: server).run()
                guard violations.isEmpty, found[Self.image] == after else {
                    throw CrashPoints.Surprise(
                        "\(step): \(found[Self.image].map(\.description) ?? "nothing"), expected \(after); \(violations)"
                    )
                }
            }
            recording.end()
        }
        return recording.moments
    }

    private func explore(
        _ moment: Moment, _ loss: PowerLoss, place: String, _ workload: Workload, _ report: inout CrashPoints.Report
    ) {
        var random = SplitMix64(seed: moment.disk.fingerprint ^ UInt64(place.utf8.count))
        let crashesRecovery = workload.steps.count <= options.recoveryLength
        let disk = moment.disk.afterPowerLoss(loss, &random)
        guard isNew(disk, moment.allowed, isRecoveryCrashed: crashesRecovery) else { return }
        report.disks += 1
        let (violations, moments) = recover(disk, moment.allowed, workload, records: crashesRecovery)
        report.violations += violations.map { "\(place), \(loss): \($0)" }
        for (index, later) in moments.enumerated() {
            for secondLoss in PowerLoss.allCases {
                report.recoveryCrashes += 1
                let disk = later.disk.afterPowerLoss(secondLoss, &random)
                guard isNew(disk, later.allowed, isRecoveryCrashed: false) else { continue }
                report.disks += 1
                let (violations, _) = recover(disk, later.allowed, workload, records: false)
                report.violations += violations.map {
                    "\(place), \(loss), then effect \(index) of recovery, \(secondLoss): \($0)"
                }
            }
        }
    }

    private func isNew(_ disk: DiskState, _ allowed: Set<ImportModel>, isRecoveryCrashed: Bool) -> Bool {
        disks.isNew(disk, expecting: allowed.map(\.description).sorted(), isRecoveryCrashed: isRecoveryCrashed)
    }

    private func recover(
        _ disk: DiskState, _ allowed: Set<ImportModel>, _ workload: Workload, records: Bool
    ) -> (violations: [String], moments: [Moment]) {
        let recording = Recording(disk)
        if records { recording.begin(allowed: allowed) }
        let options = serverOptions(workload.isSecondStoreFull)
        let checksDatabase = disk.fingerprint % 8 == 0
        do {
            let violations = try recording.executor.run(stepLimit: 4_000_000) { () async throws -> [String] in
                let server = try await SimulatedServer("a", on: recording.disk, recording.executor, seed: 8, options)
                defer { server.mount.kill() }
                let isAtRest = try await server.settle()
                recording.end()
                let (found, problems) = try await ImportAudit(server: server).run()
                var violations = problems
                let image = found[Self.image] ?? .absent
                if !allowed.contains(image) {
                    violations.append(
                        "(a) the image is <\(image)>, expected <\(allowed.map(\.description).sorted())>")
                }
                if found[Self.bystander] != .active(3, stores: ["local"]) {
                    violations.append("(a) the other image is <\(found[Self.bystander] ?? .absent)>")
                }
                if checksDatabase { violations += try await server.fsckFindings() }
                return violations + (isAtRest ? [] : ["(g) it does not come to rest"])
            }
            return (violations, recording.moments)
        } catch {
            return (["it does not start: \(error)"], recording.moments)
        }
    }

    private func serverOptions(_ isSecondStoreFull: Bool) -> ServerOptions {
        var server = ServerOptions()
        server.hasImports = true
        server.isSecondStoreFull = isSecondStoreFull
        server.bug = options.bug
        return server
    }

    /// The machine that workloads start from: an image that waits for data, and one that is left alone.
    private func make(_ isSecondStoreFull: Bool) throws -> DiskState {
        let disk = SimulatedDisk(state: .empty(), seed: 2)
        let executor = SeededExecutor(seed: 2, order: .fifo)
        var options = serverOptions(isSecondStoreFull)
        options.bug = nil
        let settled = options
        try executor.run {
            let server = try await SimulatedServer("a", on: disk, executor, seed: 6, settled)
            for (image, step) in [
                (Self.bystander, ImportModel.Step.create), (Self.bystander, .upload(3)), (Self.image, .create),
            ] {
                let reply = await ImportClient(server: server, image: image).perform(step)
                guard reply == .done else { throw CrashPoints.Surprise("\(step): \(reply)") }
            }
            _ = try await server.settle()
        }
        var random = SplitMix64(seed: 1)
        return disk.state.afterPowerLoss(.none, &random)
    }

    /// A machine whose disk is kept after every effect. One thread.
    private final class Recording: @unchecked Sendable {
        let disk: SimulatedDisk
        let executor = SeededExecutor(seed: 1, order: .fifo)
        private(set) var moments: [Moment] = []
        private var allowed: Set<ImportModel> = []

        init(_ state: DiskState) { disk = SimulatedDisk(state: state, seed: 3) }

        func begin(allowed: Set<ImportModel>) {
            self.allowed = allowed
            moments = [Moment(disk: disk.state, allowed: allowed)]
            disk.onEffect = { [unowned self] _, state in
                self.moments.append(Moment(disk: state, allowed: self.allowed))
            }
        }

        func nowOnly(_ model: ImportModel) {
            guard disk.onEffect != nil else { return }
            allowed = [model]
            moments.append(Moment(disk: disk.state, allowed: allowed))
        }

        func end() { disk.onEffect = nil }
    }
}

private final class ImportTemplates: Sendable {
    private let made = Mutex<[Bool: DiskState]>([:])

    func template(_ isSecondStoreFull: Bool, make: (Bool) throws -> DiskState) throws -> DiskState {
        try made.withLock { made in
            if let state = made[isSecondStoreFull] { return state }
            let state = try make(isSecondStoreFull)
            made[isSecondStoreFull] = state
            return state
        }
    }
}
