import Simulation
import Testing

/// Stages, imports and copies: slices of what `make torture` does.
@Suite(.serialized) struct ImportSimulationTests {
    private func expectNone(_ violations: [String], _ what: String) {
        #expect(violations.isEmpty, "\(what)\n\(violations.prefix(5).joined(separator: "\n"))")
    }

    @Test func everyCrashOfAnImportIsRecoveredFrom() {
        var options = ImportCrashPoints.Options()
        options.momentStride = 7
        let report = ImportCrashPoints(options).run()
        expectNone(report.violations, "\(report)")
        #expect(report.workloads > 40 && report.disks > 500, "\(report)")
        print("crash points of imports: \(report)")
    }

    @Test func randomLivesLeaveNothingInBetween() {
        var options = ImportRuns.Options()
        options.seeds = 60
        let report = ImportRuns(options).run()
        expectNone(report.violations, "\(report)")
        #expect(report.active > 60 && report.kills > 20 && report.faults > 100, "\(report)")
        print("random lives with imports: \(report)")
    }

    @Test func aSeedReplaysExactly() {
        let runs = ImportRuns()
        for seed: UInt64 in [3, 4] { #expect("\(runs.run(seed: seed))" == "\(runs.run(seed: seed))") }
    }
}
