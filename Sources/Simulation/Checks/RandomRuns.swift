import Core

/// Long random runs: one or two servers, clients with images of their own, and everything that can go
/// wrong with disks, clocks and processes, from one seed.
///
/// A run is a row of lives. In each, servers start on what the last left, clients work, and faults come;
/// it ends with a loss of power, with the processes killed, or in peace. Then the servers are started
/// once more without faults, come to rest and are looked at as a whole.
package struct RandomRuns: Sendable {
    package struct Options: Sendable {
        package var seeds = 100
        package var firstSeed: UInt64 = 1
        package var operationsPerSeed = 1000
        /// Whether there are keys, in a key manager that the seed picks.
        package var hasKeys = false
        package var bug: PlantedBug?
        package var violationLimit = 5

        package init() {}
    }

    package struct Report: CheckReport, CustomStringConvertible {
        package var seeds = 0
        package var operations = 0
        package var acknowledged = 0
        package var refused = 0
        package var failed = 0
        package var unanswered = 0
        package var lives = 0
        package var crashes = 0
        package var kills = 0
        package var faults = 0
        package var outages = 0
        package var clockJumps = 0
        package var stalls = 0
        package var duplicates = 0
        package var keyOperations = 0
        package var destroyedKeys = 0
        package var keyTroubles = 0
        package var violations: [String] = []

        package init() {}

        package var description: String {
            "\(seeds) seeds, \(operations) operations (\(acknowledged) acknowledged, \(refused) refused, \(failed) "
                + "failed, \(unanswered) unanswered, \(duplicates) sent twice), \(lives) lives, \(crashes) losses of "
                + "power, \(kills) killed processes, \(faults) failed calls, \(outages) outages, \(clockJumps) clock "
                + "jumps, \(stalls) stalls, \(keys)\(violations.count) violations"
        }

        private var keys: String {
            guard keyOperations > 0 else { return "" }
            return "\(keyOperations) operations on keys, \(destroyedKeys) keys destroyed with their images, "
                + "\(keyTroubles) troubles of the key manager, "
        }

        package mutating func add(_ other: Report) {
            keyOperations += other.keyOperations
            destroyedKeys += other.destroyedKeys
            keyTroubles += other.keyTroubles
            seeds += other.seeds
            operations += other.operations
            acknowledged += other.acknowledged
            refused += other.refused
            failed += other.failed
            unanswered += other.unanswered
            lives += other.lives
            crashes += other.crashes
            kills += other.kills
            faults += other.faults
            outages += other.outages
            clockJumps += other.clockJumps
            stalls += other.stalls
            duplicates += other.duplicates
            violations += other.violations
        }
    }

    package let options: Options

    package init(_ options: Options = Options()) { self.options = options }

    package func run(threads: Int = 2, progress: (@Sendable (Report) -> Void)? = nil) -> Report {
        InThreads.run(
            options.seeds, threads: threads, violationLimit: options.violationLimit,
            progress: progress.map { progress in { _, report in progress(report) } }
        ) { run(seed: options.firstSeed &+ UInt64($0)) }
    }

    /// One run; the same for the same seed.
    package func run(seed: UInt64) -> Report {
        let run = RandomRun(
            seed: seed, operations: options.operationsPerSeed, hasKeys: options.hasKeys, bug: options.bug)
        run.live()
        var report = run.report
        report.seeds = 1
        report.violations = report.violations.map { "seed \(seed): \($0)" }
        return report
    }
}
