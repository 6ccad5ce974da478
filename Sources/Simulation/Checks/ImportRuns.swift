import Core
import Glibc

/// Random lives of a cloud in which clients stage, import, copy and delete the same few images all at once, on one or two
/// servers, while calls fail, processes are killed or stall, and the power goes. What is told to each is not explained
/// one by one, as in `Races`; what is looked at is what is left: nothing in between, copies that are all the same bytes,
/// bytes that somebody sent, and what was acknowledged to be deleted is.
package struct ImportRuns: Sendable {
    package struct Options: Sendable {
        package var seeds = 100
        package var firstSeed: UInt64 = 1
        /// Lives of each seed.
        package var lives = 4
        package var bug: PlantedBug?
        package var violationLimit = 5

        package init() {}
    }

    package struct Report: CheckReport, CustomStringConvertible {
        package var seeds = 0
        package var steps = 0
        package var acknowledged = 0
        package var kills = 0
        package var faults = 0
        package var stalls = 0
        package var crashes = 0
        /// Images that were found with data at the end of a life.
        package var active = 0
        package var violations: [String] = []

        package init() {}

        package var description: String {
            "\(seeds) seeds, \(steps) steps (\(acknowledged) acknowledged), \(crashes) losses of power, \(kills) killed "
                + "processes, \(faults) failed calls, \(stalls) stalls, \(active) images active, "
                + "\(violations.count) violations"
        }

        package mutating func add(_ other: Report) {
            seeds += other.seeds
            steps += other.steps
            acknowledged += other.acknowledged
            kills += other.kills
            faults += other.faults
            stalls += other.stalls
            crashes += other.crashes
            active += other.active
            violations += other.violations
        }
    }

    package let options: Options

    package init(_ options: Options = Options()) { self.options = options }

    package func run(threads: Int = 2) -> Report {
        InThreads.run(options.seeds, threads: threads, violationLimit: options.violationLimit) {
            run(seed: options.firstSeed + UInt64($0))
        }
    }

    package func run(seed: UInt64) -> Report {
        let run = ImportRun(seed: seed, bug: options.bug)
        run.live(options.lives)
        run.report.seeds = 1
        run.report.violations = run.report.violations.map { "seed \(seed): \($0)" }
        return run.report
    }
}

/// One seed's cloud. Of the thread that lives it.
private final class ImportRun: @unchecked Sendable {
    private static let clients = 4
    private static let images = 3
    private static let stepsOfALife = 40

    var report = ImportRuns.Report()
    private var random: SplitMix64
    private let options: ServerOptions
    private let hasTwoServers: Bool
    private var processCount: UInt64 = 0
    private let seed: UInt64
    /// Images that were acknowledged to be deleted.
    private var deleted: Set<ImageID> = []
    private var imageCount = 0
    private var current: [ImageID] = []

    // Of the life that is lived.
    private var servers: [String: SimulatedServer] = [:]
    private var isOver = false
    private var budget = 0

    init(seed: UInt64, bug: PlantedBug?) {
        self.seed = seed
        random = SplitMix64(seed: seed)
        var options = ServerOptions()
        options.hasImports = true
        options.isSecondStoreFull = random.chance(1, in: 5)
        options.workDelayMicroseconds = random.pick([0, 500, 20_000])
        options.bug = bug
        self.options = options
        hasTwoServers = random.chance(1, in: 2)
    }

    func live(_ lives: Int) {
        var state = DiskState.empty()
        for life in 1...lives where report.violations.isEmpty {
            do {
                state = try live(on: state)
                state = try recover(state)
            } catch {
                report.violations.append("life \(life): \(error)")
            }
        }
    }

    private func nextSeed() -> UInt64 {
        processCount += 1
        return Hash64.combine(seed, processCount)
    }

    private func newImage() -> ImageID {
        imageCount += 1
        let digits = String(imageCount, radix: 16)
        return ImageID("00000000-0000-4000-8000-" + String(repeating: "0", count: 12 - digits.count) + digits)
    }

    // MARK: A life

    private func live(on state: DiskState) throws -> DiskState {
        let disk = SimulatedDisk(state: state, seed: nextSeed())
        let executor = SeededExecutor(seed: nextSeed())
        var faultDraws = random.split()
        let lastEffect = random.chance(1, in: 2) ? 1 + random.next(below: 1500) : nil
        disk.interceptor = { [unowned self] call in
            if let lastEffect, call.isEffect, call.effectNumber >= lastEffect { return .crash }
            guard !isOver, Self.mayFail(call), faultDraws.chance(1, in: 500) else { return nil }
            report.faults += 1
            return .error(faultDraws.pick([EIO, ENOSPC]))
        }
        while current.count < Self.images { current.append(newImage()) }
        budget = Self.stepsOfALife
        isOver = false
        let draws = (0..<Self.clients).map { _ in random.split() }
        let chaos = (0..<3).map { _ in (kind: random.next(below: 3), wait: Int64(random.next(below: 8_000_000))) }
        try executor.run(stepLimit: 20_000_000) {
            await withTaskGroup(of: Void.self) { group in
                for name in self.hasTwoServers ? ["a", "b"] : ["a"] {
                    group.addTask { await self.keepServer(name, disk, executor) }
                }
                for event in chaos {
                    group.addTask { await self.disturb(event.kind, after: event.wait, disk, executor) }
                }
                await withTaskGroup(of: Void.self) { clients in
                    for draws in draws { clients.addTask { await self.work(draws, disk, executor) } }
                }
                self.isOver = true
                group.cancelAll()
            }
        }
        servers = [:]
        if disk.isCrashed { report.crashes += 1 }
        var draw = random.split()
        let loss: PowerLoss = disk.isCrashed ? draw.pick([.lost, .torn, .reordered]) : .none
        return (disk.crashState ?? disk.state).afterPowerLoss(loss, &draw)
    }

    private static func mayFail(_ call: DiskCall) -> Bool {
        switch call.kind {
        case .close, .lock, .unlock, .map: false
        default: true
        }
    }

    private func keepServer(_ name: String, _ disk: SimulatedDisk, _ executor: SeededExecutor) async {
        while !isOver, !disk.isCrashed, !Task.isCancelled {
            do {
                let server = try await SimulatedServer(name, on: disk, executor, seed: nextSeed(), options)
                servers[name] = server
                await withTaskGroup(of: Void.self) { group in
                    group.addTask { await server.images.runReconciler(logger: SimulatedServer.quiet) }
                    group.addTask {
                        while !server.mount.isDead, !Task.isCancelled { try? await server.clock.sleep(seconds: 0.05) }
                    }
                    await group.next()
                    group.cancelAll()
                }
                servers[name] = nil
                server.mount.kill()
            } catch {
                // A start that a fault spoils is tried again.
                await executor.pause(microseconds: 100_000)
            }
        }
    }

    private func running(_ draws: inout SplitMix64) -> SimulatedServer? {
        let running = servers.keys.sorted().compactMap { servers[$0] }.filter { !$0.mount.isDead }
        return running.isEmpty ? nil : draws.pick(running)
    }

    private func disturb(_ kind: Int, after wait: Int64, _ disk: SimulatedDisk, _ executor: SeededExecutor) async {
        await executor.pause(microseconds: wait)
        guard !isOver, !disk.isCrashed else { return }
        var draws = random.split()
        guard let server = running(&draws) else { return }
        switch kind {
        case 0:
            report.kills += 1
            server.mount.kill()
        case 1:
            // Nothing of it comes to the disk for longer than its leases last.
            report.stalls += 1
            server.stall.begin()
            await executor.pause(microseconds: Int64(20_000_000 + draws.next(below: 60_000_000)))
            server.stall.end()
        default:
            disk.unavailablePrefix = SimulatedServer.secondStoreDirectory
            await executor.pause(microseconds: Int64(draws.next(below: 10_000_000)))
            disk.unavailablePrefix = nil
        }
    }

    // MARK: Clients

    private func work(_ start: SplitMix64, _ disk: SimulatedDisk, _ executor: SeededExecutor) async {
        var draws = start
        while budget > 0, !disk.isCrashed {
            budget -= 1
            report.steps += 1
            await executor.pause(microseconds: Int64(draws.pick([0, 200, 5000, 3_000_000])))
            guard let server = running(&draws) else { continue }
            let index = draws.next(below: current.count)
            let image = current[index]
            let step = pick(&draws)
            let client = ImportClient(server: server, image: image) { await executor.pause(microseconds: 200) }
            let reply = await client.perform(step)
            guard reply == .done else { continue }
            report.acknowledged += 1
            if step == .delete {
                deleted.insert(image)
                if current[index] == image { current[index] = newImage() }
            }
        }
    }

    private func pick(_ draws: inout SplitMix64) -> ImportModel.Step {
        let content = draws.next(below: Payloads.count)
        let stores = draws.pick([["local"], ["second"], ["local", "second"], ["second", "local"]])
        let all = draws.chance(1, in: 2)
        switch draws.next(below: 23) {
        case 20...22:
            return .fetchImage(content, draws.pick(SimulatedRemote.Manner.allCases), stores, mustAllSucceed: all)
        case 0...3: return .create
        case 4...6: return .stage(content)
        case 7: return .brokenStage(content)
        case 8: return .upload(content)
        case 9...11: return .importStaged(stores, mustAllSucceed: all)
        case 12...15:
            return .download(content, draws.pick(SimulatedRemote.Manner.allCases), stores, mustAllSucceed: all)
        case 16...18: return .copy(draws.pick([["second"], ["local"]]), mustAllSucceed: all)
        default: return .delete
        }
    }

    // MARK: What is left

    private func recover(_ state: DiskState) throws -> DiskState {
        let disk = SimulatedDisk(state: state, seed: nextSeed())
        let executor = SeededExecutor(seed: nextSeed())
        let seeds = [nextSeed(), nextSeed()]
        let violations = try executor.run(stepLimit: 20_000_000) { () async throws -> [String] in
            let server = try await SimulatedServer("a", on: disk, executor, seed: seeds[0], self.options)
            defer { server.mount.kill() }
            // What the other held is taken over only when it is known to be gone.
            let other: SimulatedServer? =
                self.hasTwoServers
                ? try await SimulatedServer("b", on: disk, executor, seed: seeds[1], self.options) : nil
            defer { other?.mount.kill() }
            var isAtRest = try await server.settle()
            if !isAtRest, let other {
                _ = try await other.settle(within: 10)
                isAtRest = try await server.settle(within: 10)
            }
            let (found, problems) = try await ImportAudit(server: server).run()
            var violations = problems
            if !isAtRest { violations.append("(g) it does not come to rest") }
            for (image, model) in found.sorted(by: { $0.key < $1.key }) {
                if self.deleted.contains(image), model != .deleted {
                    violations.append("(a) image \(image) was deleted and is <\(model)>")
                }
                if case .active = model { self.report.active += 1 }
            }
            return violations + (try await server.fsckFindings())
        }
        report.violations += violations
        var unused = SplitMix64(seed: 0)
        return disk.state.afterPowerLoss(.none, &unused)
    }
}
