import Core
import Glibc

/// One run of `RandomRuns`. Of the thread that lives it, like all of its world.
final class RandomRun: @unchecked Sendable {
    var report = RandomRuns.Report()
    var random: SplitMix64
    let serverOptions: ServerOptions
    let hasTwoServers: Bool
    let hasFaults: Bool
    /// What each image may be.
    var allowed: [ImageID: Set<ModelImage>] = [:]
    /// What an operation that failed may still turn out to have done, if a crash comes before the next.
    var ghosts: [ImageID: Set<ModelImage>] = [:]
    /// Counts what happens that an operation may fail of.
    var disturbances = 0
    /// Whether a clock went so far that the recycle bin may have been emptied.
    var hasLostTime = false
    private static let roomyBytes = 64 << 20
    private let operationLimit: Int
    private let seed: UInt64
    private var imageCount = 0
    private var processCount: UInt64 = 0

    init(seed: UInt64, operations: Int, bug: PlantedBug?) {
        self.seed = seed
        operationLimit = operations
        random = SplitMix64(seed: seed)
        var options = ServerOptions()
        options.hasRecycleBin = random.chance(1, in: 3)
        options.workDelayMicroseconds = random.pick([0, 500, 20_000])
        options.bug = bug
        serverOptions = options
        hasTwoServers = random.chance(1, in: 2)
        hasFaults = random.chance(3, in: 4)
    }

    func live() {
        let capacity = random.chance(1, in: 4) ? 3 << 20 : Self.roomyBytes
        var state = DiskState.empty(capacityBytes: capacity)
        while report.operations < operationLimit, report.violations.isEmpty {
            report.lives += 1
            do {
                state.capacityBytes = capacity
                state = try Life(self, on: state).live()
                // Whoever repairs a full disk makes room first.
                state.capacityBytes = Self.roomyBytes
                state = try recover(state)
            } catch {
                report.violations.append("life \(report.lives): \(error)")
            }
        }
    }

    /// How many operations this life may still do.
    func drawBudget() -> Int { min(operationLimit - report.operations, 20 + random.next(below: 400)) }

    func nextImage() -> ImageID {
        imageCount += 1
        let digits = String(imageCount, radix: 16)
        return ImageID("00000000-0000-4000-8000-" + String(repeating: "0", count: 12 - digits.count) + digits)
    }

    func nextSeed() -> UInt64 {
        processCount += 1
        return Hash64.combine(seed, processCount)
    }

    /// Starts a server on what a life left, without faults; everything must then be as it may be.
    private func recover(_ state: DiskState) throws -> DiskState {
        let disk = SimulatedDisk(state: state, seed: nextSeed())
        let executor = SeededExecutor(seed: nextSeed())
        let seeds = [nextSeed(), nextSeed()]
        let expected = allowed.mapValues(expanded)
        let (options, hasTwoServers) = (serverOptions, hasTwoServers)
        let place = "after life \(report.lives)"
        let result = try executor.run(stepLimit: 20_000_000) { () async throws -> Audit.Result in
            let server = try await SimulatedServer("a", on: disk, executor, seed: seeds[0], options)
            defer { server.mount.kill() }
            // What the other held is taken over only when it is known to be gone.
            let other: SimulatedServer? =
                hasTwoServers ? try await SimulatedServer("b", on: disk, executor, seed: seeds[1], options) : nil
            defer { other?.mount.kill() }
            var isAtRest = try await server.settle()
            if !isAtRest, let other {
                _ = try await other.settle(within: 10)
                isAtRest = try await server.settle(within: 10)
            }
            var result = try await Audit(server, expected: expected).run(checksDatabase: true)
            if !isAtRest { result.violations.append("(g) it does not come to rest") }
            result.violations += try await server.fsckFindings()
            return result
        }
        report.violations += result.violations.map { "\(place): \($0)" }
        for (id, model) in result.found { allowed[id] = [model] }
        ghosts = [:]
        var unused = SplitMix64(seed: 0)
        return disk.state.afterPowerLoss(.none, &unused)
    }

    /// What time makes of an image by itself: an upload that was left is undone, and where time was lost
    /// the recycle bin may have been emptied.
    func expanded(_ models: Set<ModelImage>) -> Set<ModelImage> {
        var all = models
        for model in models {
            all.insert(model.recovered)
            if hasLostTime, case .recycled = model.status {
                var gone = ModelImage()
                gone.status = .deleted
                all.insert(gone)
            }
        }
        return all
    }
}
