import Core
import Glibc

/// One run of `RandomRuns`. Of the thread that lives it, like all of its world.
final class RandomRun: @unchecked Sendable {
    var report = RandomRuns.Report()
    var random: SplitMix64
    private(set) var serverOptions: ServerOptions
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
    /// Whether a clock went so far that deleted keys may have been erased, and keys have expired.
    var hasPassedRetention = false
    /// Nil in a cloud without keys.
    private(set) var keyBook: KeyBook?
    private static let roomyBytes = 64 << 20
    private let operationLimit: Int
    private let seed: UInt64
    private var imageCount = 0
    private var processCount: UInt64 = 0

    init(seed: UInt64, operations: Int, hasKeys: Bool, bug: PlantedBug?) {
        self.seed = seed
        operationLimit = operations
        random = SplitMix64(seed: seed)
        var options = ServerOptions()
        options.hasRecycleBin = random.chance(1, in: 3)
        options.workDelayMicroseconds = random.pick([0, 500, 20_000])
        options.bug = bug
        hasTwoServers = random.chance(1, in: 2)
        hasFaults = random.chance(3, in: 4)
        if hasKeys { options.keys = SimulatedKeys(random.pick(KeyFlavour.allCases), seed: random.next()) }
        serverOptions = options
        keyBook = options.keys.map { KeyBook($0, of: self) }
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
        let waitsForRetention = keyBook != nil && (random.chance(1, in: 3) || report.operations >= operationLimit)
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
            self.found(result)
            if let book = self.keyBook {
                try await self.look(at: server, book, before: expected, hasPassedRetention: false)
                self.hasPassedRetention = false
                if waitsForRetention { try await self.waitForRetention(server, book, &result) }
            }
            return result
        }
        report.violations += result.violations.map { "\(place): \($0)" }
        if let keyBook {
            report.violations += keyBook.violations.map { "\(place): \($0)" }
            report.destroyedKeys = keyBook.keys.troubles.destructions
            report.keyTroubles = keyBook.keys.troubles.count
        }
        var unused = SplitMix64(seed: 0)
        return disk.state.afterPowerLoss(.none, &unused)
    }

    private func found(_ result: Audit.Result) {
        for (id, model) in result.found { allowed[id] = [model] }
        ghosts = [:]
    }

    private func look(
        at server: SimulatedServer, _ book: KeyBook, before: [ImageID: Set<ModelImage>], hasPassedRetention: Bool
    ) async throws {
        let images = allowed.compactMapValues(\.first)
        let found = try await KeyAudit(server, stored: book.stored).run(images: images)
        book.settle(found, before, hasPassedRetention: hasPassedRetention)
    }

    /// More than the retention goes by, on these servers and for all that are started later.
    func pass(on servers: [SimulatedServer]) {
        let seconds = SimulatedKeys.retentionSeconds + 86_400
        for server in servers { server.clock.jump(seconds: Double(seconds)) }
        serverOptions.clockStart = serverOptions.clockStart.adding(seconds: seconds)
        hasPassedRetention = true
    }

    /// Time goes by until nothing is in the recycle bin, and no key in quarantine that nothing needs. What is
    /// there has its time only after it was put there: hence twice.
    private func waitForRetention(
        _ server: SimulatedServer, _ book: KeyBook, _ result: inout Audit.Result
    ) async throws {
        for _ in 0..<2 where book.violations.isEmpty && result.violations.isEmpty {
            let before = allowed
            pass(on: [server])
            let isAtRest = try await server.settle()
            let emptied = before.mapValues { Set($0.map(\.outOfRecycleBin)) }
            let audit = try await Audit(server, expected: emptied).run()
            result.violations += audit.violations.map { "after the retention: \($0)" }
            if !isAtRest { result.violations.append("(g) it does not come to rest after the retention") }
            found(audit)
            try await look(at: server, book, before: before, hasPassedRetention: true)
            hasPassedRetention = false
        }
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
