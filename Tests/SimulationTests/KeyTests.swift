import Simulation
import Testing

/// Images that name keys, and the keys: slices of what `make torture` does.
@Suite(.serialized) struct KeyTests {
    private func expectNone(_ violations: [String], _ what: String) {
        #expect(violations.isEmpty, "\(what)\n\(violations.prefix(5).joined(separator: "\n"))")
    }

    /// One in two workloads of one step, in the server and with a key manager outside of it.
    @Test func everyCrashLeavesEachKeyToItsLastImage() {
        var options = KeyCrashPoints.Options()
        options.length = 1
        options.stride = 2
        options.recoveryLength = 0
        let report = KeyCrashPoints(options).run()
        expectNone(report.violations, "\(report)")
        #expect(report.points > 10_000)
        print("crash points of keys: \(report)")
    }

    @Test func randomLivesLoseNoKeyAndLeaveNone() {
        var options = RandomRuns.Options()
        options.seeds = 60
        options.hasKeys = true
        let report = RandomRuns(options).run()
        expectNone(report.violations, "\(report)")
        #expect(report.destroyedKeys > 50 && report.keyTroubles > 30)
        print("random lives with keys: \(report)")
    }

    /// Seeds that found a bug.
    @Test(arguments: [93, 134, 1323, 1513] as [UInt64])
    func seedsThatFoundABugStayClean(_ seed: UInt64) {
        var options = RandomRuns.Options()
        options.hasKeys = true
        expectNone(RandomRuns(options).run(seed: seed).violations, "seed \(seed)")
    }

    @Test func aSeedWithKeysReplaysExactly() {
        var options = RandomRuns.Options()
        options.hasKeys = true
        let runs = RandomRuns(options)
        for seed: UInt64 in [5, 6] { #expect("\(runs.run(seed: seed))" == "\(runs.run(seed: seed))") }
    }

    /// A check that finds nothing proves nothing. Random lives find each mistake sooner.
    @Test(arguments: [PlantedBug.keyBeforeBytes, .propertyWithoutEdge, .onlyFirstEdgeAsked, .quarantineSkipped])
    func crashPointsFind(_ bug: PlantedBug) {
        var options = KeyCrashPoints.Options()
        options.length = 1
        options.recoveryLength = 0
        options.violationLimit = 1
        options.bug = bug
        #expect(!KeyCrashPoints(options).run().violations.isEmpty)
    }

    @Test(arguments: PlantedBug.ofKeys) func randomLivesFind(_ bug: PlantedBug) {
        var options = RandomRuns.Options()
        options.seeds = 60
        options.violationLimit = 1
        options.hasKeys = true
        options.bug = bug
        #expect(!RandomRuns(options).run().violations.isEmpty)
    }
}
