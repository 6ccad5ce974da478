import Simulation
import Testing

/// A check that finds nothing proves nothing: each of these mistakes, planted into the simulated parts, must
/// be found.
@Suite(.serialized) struct PlantedBugTests {
    @Test(
        arguments: PlantedBug.allCases.filter {
            $0 != .leaseWithoutFencing && $0 != .quotaNotReserved && !PlantedBug.ofKeys.contains($0)
        })
    func crashPointsFind(_ bug: PlantedBug) {
        var options = CrashPoints.Options()
        options.length = 1
        options.recoveryLength = 0
        options.violationLimit = 1
        options.bug = bug
        #expect(!CrashPoints(options).run().violations.isEmpty)
    }

    @Test func theStalledServerFindsALeaseWithoutFencing() throws {
        var found = 0
        for delay in stride(from: 0, through: 12_000, by: 400) {
            let outcome = try Fencing(bug: .leaseWithoutFencing).run(delay: Int64(delay), seed: UInt64(delay + 1))
            if !outcome.violations.isEmpty { found += 1 }
        }
        #expect(found > 0)
    }

    @Test func racesForAQuotaFindOneThatIsNotReserved() throws {
        var found = 0
        for seed: UInt64 in 1...20 {
            if try !QuotaRaces(bug: .quotaNotReserved).run(seed: seed).violations.isEmpty { found += 1 }
        }
        #expect(found > 0)
    }

    @Test(arguments: [PlantedBug.idReused, .bytesBeforeRow])
    func racesFind(_ bug: PlantedBug) {
        var options = Races.Options()
        options.histories = 500
        options.violationLimit = 1
        options.bug = bug
        #expect(!Races(options).run().violations.isEmpty)
    }

    @Test(arguments: [PlantedBug.forgottenDirectorySync, .commitNotSynced, .erasedBeforeCommit, .rowRemovedBeforeBytes])
    func randomLivesFind(_ bug: PlantedBug) {
        var options = RandomRuns.Options()
        options.seeds = 40
        options.violationLimit = 1
        options.bug = bug
        #expect(!RandomRuns(options).run().violations.isEmpty)
    }
}
