import Core
import Synchronization

/// Every crash of short workloads on images that name keys, with the key manager in the server and outside of it.
/// What is done is what `CrashPoints` does; a change in the key manager outside is a moment too: the server may
/// end between it and anything it writes.
package struct KeyCrashPoints: Sendable {
    package struct Options: Sendable {
        /// Steps a workload has at most.
        package var length = 2
        /// Of the workloads of that length one in so many is run, and of the shorter ones all.
        package var stride = 1
        /// Up to which length of a workload its recoveries are crashed too.
        package var recoveryLength = 1
        package var bug: PlantedBug?
        package var violationLimit = 20

        package init() {}
    }

    package struct Workload: Sendable, CustomStringConvertible {
        package let start: Start
        package let flavour: KeyFlavour
        package let hasRecycleBin: Bool
        package let steps: [KeyCloud.Step]

        package var description: String {
            "\(flavour) keys\(hasRecycleBin ? ", recycle bin" : ""), from \(start): \(steps)"
        }
    }

    /// What there is before. Image 2 and its key 2 are bystanders: whatever happens, they stay.
    package enum Start: String, Sendable, CaseIterable {
        case nothing
        /// An image whose key goes with it.
        case oneImage
        /// Two images with one key, which is to go with the first.
        case twoImages
        /// And one where it is to go with either.
        case twoImagesThatDestroy

        var steps: [KeyCloud.Step] {
            let key: [KeyCloud.Step] = [.store(0, .symmetric), .store(1, .certificate)]
            let first: [KeyCloud.Step] = [
                .createNaming(0, key: 0, destroys: true), .image(0, .upload(content: 5, isDeclared: true)),
            ]
            switch self {
            case .nothing: return []
            case .oneImage: return key + first
            case .twoImages: return key + first + [.createNaming(1, key: 0, destroys: false)]
            case .twoImagesThatDestroy: return key + first + [.createNaming(1, key: 0, destroys: true)]
            }
        }
    }

    private static let bystanders: [KeyCloud.Step] = [
        .store(2, .passphrase), .createNaming(2, key: 2, destroys: true),
        .image(2, .upload(content: 3, isDeclared: true)),
    ]

    static let images: [ImageID] = [
        "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b",
        "00000000-0000-4000-8000-00000000000c",
    ]
    /// What stands for keys that were never stored.
    static let noKeys: [SecretID] = [
        "00000000-0000-4000-9000-00000000000a", "00000000-0000-4000-9000-00000000000b",
        "00000000-0000-4000-9000-00000000000c",
    ]

    static func payload(_ index: Int) -> [UInt8] { Array(repeating: UInt8(index + 1), count: 32) }

    package static func verbs(_ start: Start, _ flavour: KeyFlavour, hasRecycleBin: Bool) -> [KeyCloud.Step] {
        var verbs: [KeyCloud.Step] = [
            .createNaming(0, key: 0, destroys: true), .createNaming(1, key: 0, destroys: true),
            .nameKey(0, key: 0, destroys: false), .nameKey(0, key: 1, destroys: true),
            .nameKey(1, key: 0, destroys: nil),
            .signWith(1, key: 0), .image(0, .forgetKey), .image(1, .forgetKey),
            .image(0, .setKeyPolicy(destroys: false)),
            .image(1, .setKeyPolicy(destroys: true)), .image(0, .nameKey("no key", destroys: true)),
            .image(0, .upload(content: 4, isDeclared: true)), .image(0, .brokenUpload(content: 9)), .image(0, .delete),
            .image(1, .delete), .key(0, .delete(isForced: false)), .key(0, .delete(isForced: true)),
            .key(0, .register("b")), .key(0, .unregister("b")),
        ]
        if start == .nothing { verbs += [.store(0, .symmetric), .store(1, .certificate)] }
        if flavour == .embedded { verbs += [.key(0, .undelete), .key(0, .erase)] }
        if hasRecycleBin { verbs += [.image(0, .undelete), .image(0, .discard), .image(1, .discard)] }
        return verbs
    }

    package let options: Options
    private let disks = SeenDisks()

    package init(_ options: Options = Options()) { self.options = options }

    /// The workloads in a fixed order.
    package func workloads() -> [Workload] {
        var found: [Workload] = []
        for flavour in KeyFlavour.allCases {
            for hasRecycleBin in [false, true] {
                for start in Start.allCases {
                    let verbs = Self.verbs(start, flavour, hasRecycleBin: hasRecycleBin)
                    var lists: [[KeyCloud.Step]] = [[]]
                    for length in 1...options.length {
                        // A key is stored once.
                        lists = lists.flatMap { list in
                            verbs.filter { !$0.isStore || !list.contains($0) }.map { list + [$0] }
                        }
                        for (index, list) in lists.enumerated()
                        where length < options.length || index % options.stride == 0 {
                            found.append(
                                Workload(start: start, flavour: flavour, hasRecycleBin: hasRecycleBin, steps: list))
                        }
                    }
                }
            }
        }
        return found
    }

    package func run(threads: Int = 2, progress: (@Sendable (Int, Int) -> Void)? = nil) -> CrashPoints.Report {
        let workloads = workloads()
        let templates = KeyTemplates()
        return InThreads.run(
            workloads.count, threads: threads, violationLimit: options.violationLimit,
            progress: progress.map { progress in { done, _ in progress(done, workloads.count) } }
        ) { explore(workloads[$0], templates) }
    }

    // MARK: One workload

    private func explore(_ workload: Workload, _ templates: KeyTemplates) -> CrashPoints.Report {
        var report = CrashPoints.Report()
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

    private func record(_ workload: Workload, _ templates: KeyTemplates) throws -> [KeyMoment] {
        let recording = KeyRecording(try templates.template(workload), workload.flavour)
        let options = serverOptions(workload, recording.keys)
        try recording.executor.run(stepLimit: 2_000_000) {
            let server = try await SimulatedServer("a", on: recording.disk, recording.executor, seed: 7, options)
            defer { server.mount.kill() }
            for (index, step) in workload.steps.enumerated() {
                try await recording.perform(step, on: server, records: index == workload.steps.count - 1)
            }
            recording.end()
        }
        let violations = recording.keys.troubles.takeViolations()
        guard violations.isEmpty else { throw CrashPoints.Surprise(violations.joined(separator: "; ")) }
        return recording.moments
    }

    private func explore(
        _ moment: KeyMoment, _ loss: PowerLoss, place: String, _ workload: Workload, _ report: inout CrashPoints.Report
    ) {
        var random = SplitMix64(seed: moment.disk.fingerprint ^ UInt64(place.utf8.count))
        let crashesRecovery = workload.steps.count <= options.recoveryLength
        let found = moment.after(loss, &random)
        guard isNew(found, isRecoveryCrashed: crashesRecovery) else { return }
        report.disks += 1
        let (violations, moments) = recover(found, workload, records: crashesRecovery)
        report.violations += violations.map { "\(place), \(loss): \($0)" }
        for (index, later) in moments.enumerated() {
            for secondLoss in PowerLoss.allCases {
                report.recoveryCrashes += 1
                let found = later.after(secondLoss, &random)
                guard isNew(found, isRecoveryCrashed: false) else { continue }
                report.disks += 1
                let (violations, _) = recover(found, workload, records: false)
                report.violations += violations.map {
                    "\(place), \(loss), then effect \(index) of recovery, \(secondLoss): \($0)"
                }
            }
        }
    }

    private func isNew(_ moment: KeyMoment, isRecoveryCrashed: Bool) -> Bool {
        let allowed = moment.allowed.map(\.description).sorted() + ["\(moment.remote.fingerprint)"]
        return disks.isNew(moment.disk, expecting: allowed, isRecoveryCrashed: isRecoveryCrashed)
    }

    /// Starts a server on what a crash left, lets it come to rest and looks at everything.
    private func recover(
        _ moment: KeyMoment, _ workload: Workload, records: Bool
    ) -> (violations: [String], moments: [KeyMoment]) {
        let recording = KeyRecording(moment, workload.flavour)
        if records { recording.begin(allowed: moment.allowed) }
        let options = serverOptions(workload, recording.keys)
        let checksDatabase = moment.disk.fingerprint % 8 == 0
        do {
            let violations = try recording.executor.run(stepLimit: 2_000_000) { () async throws -> [String] in
                let server = try await SimulatedServer("a", on: recording.disk, recording.executor, seed: 8, options)
                defer { server.mount.kill() }
                let isAtRest = try await server.settle()
                recording.end()
                var violations = try await look(at: server, moment, checksDatabase: checksDatabase)
                if checksDatabase { violations += try await server.fsckFindings() }
                return violations + (isAtRest ? [] : ["(g) it does not come to rest"])
            }
            return (violations + recording.keys.troubles.takeViolations(), recording.moments)
        } catch {
            return (["it does not start: \(error)"], recording.moments)
        }
    }

    private func look(at server: SimulatedServer, _ moment: KeyMoment, checksDatabase: Bool) async throws -> [String] {
        var expected: [ImageID: Set<ModelImage>] = [:]
        for (index, id) in Self.images.enumerated() { expected[id] = Set(moment.allowed.map { $0.images[index] }) }
        let images = try await Audit(server, expected: expected).run(checksDatabase: checksDatabase)
        let keys = try await KeyAudit(server, stored: moment.stored).run(images: images.found)
        var violations = images.violations + keys.violations
        let fits = moment.allowed.contains { cloud in
            cloud.images.indices.allSatisfy { images.found[Self.images[$0]] == cloud.images[$0] }
                && cloud.keys.indices.allSatisfy { index in
                    let id = moment.ids[index]
                    // One that nobody was told of has no name here.
                    guard moment.stored[id] != nil else { return true }
                    return keys.statuses[id] == cloud.keys[index].status
                        && keys.backups[id, default: []] == cloud.keys[index].backups
                }
        }
        if !fits {
            let found = moment.ids.map {
                "\(moment.stored[$0] == nil ? .absent : keys.statuses[$0, default: .absent]) \(keys.backups[$0, default: []])"
            }
            violations.append(
                "(e) keys are \(found), images \(Self.images.map { images.found[$0, default: .absent].description }); "
                    + "expected <\(moment.allowed.map(\.description).joined(separator: "; or "))>")
        }
        let mayBeStray = moment.allowed.count > 1 ? 1 : 0
        if keys.strays > mayBeStray { violations.append("(b) \(keys.strays) secrets that nobody stored") }
        return violations
    }

    private func serverOptions(_ workload: Workload, _ keys: SimulatedKeys) -> ServerOptions {
        var server = ServerOptions()
        server.hasRecycleBin = workload.hasRecycleBin
        server.keys = keys
        server.bug = options.bug
        return server
    }

    static var bystanderSteps: [KeyCloud.Step] { bystanders }
}

extension KeyCloud.Step {
    fileprivate var isStore: Bool {
        if case .store = self { true } else { false }
    }
}

/// A machine and its key manager at one moment, and what they may be after it.
struct KeyMoment: Sendable {
    var disk: DiskState
    var remote: RemoteKeys
    var allowed: [KeyCloud]
    /// The keys' ids by their numbers, and what was stored under them.
    var ids: [SecretID]
    var stored: [SecretID: StoredKey]

    func after(_ loss: PowerLoss, _ random: inout SplitMix64) -> KeyMoment {
        var moment = self
        moment.disk = disk.afterPowerLoss(loss, &random)
        return moment
    }
}

/// A machine whose disk and key manager are kept after every effect. One thread.
private final class KeyRecording: @unchecked Sendable {
    let disk: SimulatedDisk
    let keys: SimulatedKeys
    let executor = SeededExecutor(seed: 1, order: .fifo)
    private(set) var moments: [KeyMoment] = []
    private var isOn = false
    /// The machine as it is, but for what changes by itself.
    private var now: KeyMoment

    init(_ start: KeyMoment, _ flavour: KeyFlavour) {
        now = start
        disk = SimulatedDisk(state: start.disk, seed: 3)
        keys = SimulatedKeys(flavour, start.remote)
    }

    func begin(allowed: [KeyCloud]) {
        isOn = true
        now.allowed = allowed
        keep()
        disk.onEffect = { [unowned self] _, _ in keep() }
        keys.barbican.onEffect = { [unowned self] in keep() }
    }

    private func keep() {
        now.disk = disk.state
        now.remote = keys.barbican.keys
        moments.append(now)
    }

    func end() {
        isOn = false
        disk.onEffect = nil
        keys.barbican.onEffect = nil
    }

    /// - Parameter records: keeps every moment of it.
    func perform(_ step: KeyCloud.Step, on server: SimulatedServer, records: Bool) async throws {
        let (expected, after) = now.allowed[0].applying(step, ids: now.ids)
        let before = now.allowed[0]
        if records { begin(allowed: before == after ? [after] : [before, after]) }
        let reply: Reply
        switch step {
        case .store(let index, let type):
            let key = StoredKey(
                project: SimulatedKeyClient.owner, type: type, payload: KeyCrashPoints.payload(index))
            let (told, id) = await SimulatedKeyClient(server).store(key)
            if let id {
                now.ids[index] = id
                now.stored[id] = key
            }
            reply = told
        case .key(let index, let operation):
            reply = await SimulatedKeyClient(server).perform(operation, on: now.ids[index])
        default:
            guard let (index, operation) = step.onImage(ids: now.ids) else { preconditionFailure("not on an image") }
            reply = await SimulatedClient(server, KeyCrashPoints.images[index]).perform(operation)
        }
        guard reply == expected || reply.isFault && expected.isFault else {
            throw CrashPoints.Surprise("\(step) on \(before): \(reply), expected \(expected)")
        }
        now.allowed = [after]
        // Its client has the answer.
        if isOn { keep() }
        guard try await server.settle() else { throw CrashPoints.Surprise("no rest after \(step)") }
    }

    /// As the next start finds it.
    var left: KeyMoment {
        var random = SplitMix64(seed: 1)
        var moment = now
        moment.disk = disk.state.afterPowerLoss(.none, &random)
        moment.remote = keys.barbican.keys
        return moment
    }
}

/// What workloads start from.
private final class KeyTemplates: Sendable {
    private let made = Mutex<[String: KeyMoment]>([:])

    func template(_ workload: KeyCrashPoints.Workload) throws -> KeyMoment {
        try made.withLock { made in
            let key = "\(workload.start) \(workload.flavour) \(workload.hasRecycleBin)"
            if let moment = made[key] { return moment }
            let moment = try Self.make(workload)
            made[key] = moment
            return moment
        }
    }

    private static func make(_ workload: KeyCrashPoints.Workload) throws -> KeyMoment {
        let cloud = KeyCloud(images: 3, keys: 3, workload.flavour, hasRecycleBin: workload.hasRecycleBin)
        let start = KeyMoment(
            disk: .empty(), remote: RemoteKeys(), allowed: [cloud], ids: KeyCrashPoints.noKeys, stored: [:])
        let recording = KeyRecording(start, workload.flavour)
        var options = ServerOptions()
        options.hasRecycleBin = workload.hasRecycleBin
        options.keys = recording.keys
        let settled = options
        try recording.executor.run {
            let server = try await SimulatedServer("a", on: recording.disk, recording.executor, seed: 6, settled)
            defer { server.mount.kill() }
            for step in KeyCrashPoints.bystanderSteps + workload.start.steps {
                try await recording.perform(step, on: server, records: false)
            }
        }
        return recording.left
    }
}
