import ArgumentParser
import Dispatch
import Glibc
import Simulation

/// Breaks the service on purpose, at length: what `make torture` runs.
struct Torture: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "torture", abstract: "Break the image service on purpose, and see that it holds.",
        subcommands: [CrashPointsCommand.self, RacesCommand.self, RandomCommand.self, CallsCommand.self])
}

/// At once: somebody may be watching the log.
func say(_ line: String) {
    print(line)
    fflush(nil)
}

/// What every part can be told.
struct Common: ParsableArguments {
    @Option(help: "How many worlds run side by side.")
    var threads = 2

    @Option(
        help: "Plant this bug, to see it found: one of \(PlantedBug.allCases.map(\.rawValue).joined(separator: ", ")).")
    var bug: String?

    func plantedBug() throws -> PlantedBug? {
        guard let bug else { return nil }
        guard let found = PlantedBug(rawValue: bug) else { throw ValidationError("there is no bug '\(bug)'") }
        return found
    }

    /// Prints what came of it, and ends with 1 if anything was violated.
    static func tell(_ report: String, _ violations: [String], since start: DispatchTime) throws {
        for violation in violations.prefix(20) { say("VIOLATION \(violation)") }
        let seconds = Double(DispatchTime.now().uptimeNanoseconds - start.uptimeNanoseconds) / 1e9
        say("\(report); \(Int(seconds.rounded())) s")
        if !violations.isEmpty { throw ExitCode.failure }
    }
}

struct CrashPointsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "crash-points", abstract: "Every crash of every short workload, and of its recovery.")

    @OptionGroup var common: Common
    @Option(help: "Operations a workload has at most.")
    var length = 3
    @Option(help: "Of the longest workloads run one in so many.")
    var stride = 1
    @Option(help: "Up to which length of a workload its recoveries are crashed too.")
    var recoveryLength = 3
    @Flag(help: "Workloads on images that name keys, instead of those on images alone.")
    var keys = false
    @Flag(help: "Workloads of stages, imports and copies, instead.")
    var imports = false

    func run() throws {
        if keys { return try runKeys() }
        if imports { return try runImports() }
        let start = DispatchTime.now()
        var options = CrashPoints.Options()
        options.length = length
        options.stride = stride
        options.recoveryLength = recoveryLength
        options.bug = try common.plantedBug()
        let report = CrashPoints(options).run(threads: common.threads) { done, all in
            if done % 500 == 0 { say("\(done) of \(all) workloads") }
        }
        try Common.tell("\(report)", report.violations, since: start)
    }

    private func runKeys() throws {
        let start = DispatchTime.now()
        var options = KeyCrashPoints.Options()
        options.length = length
        options.stride = stride
        options.recoveryLength = recoveryLength
        options.bug = try common.plantedBug()
        let report = KeyCrashPoints(options).run(threads: common.threads) { done, all in
            if done % 500 == 0 { say("\(done) of \(all) workloads") }
        }
        try Common.tell("\(report)", report.violations, since: start)
    }
}

extension CrashPointsCommand {
    private func runImports() throws {
        let start = DispatchTime.now()
        var options = ImportCrashPoints.Options()
        options.length = length
        options.stride = stride
        options.recoveryLength = recoveryLength
        options.bug = try common.plantedBug()
        let report = ImportCrashPoints(options).run(threads: common.threads) { done, all in
            if done % 50 == 0 { say("\(done) of \(all) workloads") }
        }
        try Common.tell("\(report)", report.violations, since: start)
    }
}

struct RacesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "races", abstract: "Short histories of clients that use one image at once.")

    @OptionGroup var common: Common
    @Option var histories = 10_000
    @Option var clients = 8
    @Option var seed: UInt64 = 1

    func run() throws {
        let start = DispatchTime.now()
        var options = Races.Options()
        options.histories = histories
        options.clients = clients
        options.seed = seed
        options.bug = try common.plantedBug()
        let report = Races(options).run(threads: common.threads)
        try Common.tell("\(report)", report.violations, since: start)
    }
}

struct RandomCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "random", abstract: "Long random runs with every fault; --seeds 1 --first-seed N replays one.")

    @OptionGroup var common: Common
    @Option var seeds = 100
    @Option var firstSeed: UInt64 = 1
    @Option(help: "Operations of each seed.")
    var operations = 1000
    @Flag(help: "With keys, in the server or in a key manager outside of it.")
    var keys = false
    @Flag(help: "Lives of stages, imports and copies, instead.")
    var imports = false

    func run() throws {
        let start = DispatchTime.now()
        if imports {
            var options = ImportRuns.Options()
            options.seeds = seeds
            options.firstSeed = firstSeed
            options.bug = try common.plantedBug()
            let report = ImportRuns(options).run(threads: common.threads)
            return try Common.tell("\(report)", report.violations, since: start)
        }
        var options = RandomRuns.Options()
        options.seeds = seeds
        options.firstSeed = firstSeed
        options.operationsPerSeed = operations
        options.hasKeys = keys
        options.bug = try common.plantedBug()
        let report = RandomRuns(options).run(threads: common.threads) { report in
            if report.seeds % 500 == 0 { say("\(report.seeds) seeds, \(report.operations) operations") }
        }
        try Common.tell("\(report)", report.violations, since: start)
    }
}

struct CallsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "calls", abstract: "Every call to the disk fails in turn, once and for good.")

    func run() throws {
        let start = DispatchTime.now()
        let store = FailingCalls().store()
        say("store: \(store)")
        let server = FailingCalls().server()
        try Common.tell("server: \(server)", store.violations + server.violations, since: start)
    }
}

Torture.main()
