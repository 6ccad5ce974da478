import CSQLite
import Glibc
import Simulation
import Testing

/// SQLite keeps its promises on a disk that keeps only its own.
@Suite struct DatabaseCrashTests {
    private struct Outcome {
        var problems: [String] = []
        var transactions = 0
        var crashes = 0
    }

    /// Lives of one database, each ended at a random call by a loss of power.
    private func run(
        seed: UInt64, synchronous: String, lives: Int, kinds: [PowerLoss] = PowerLoss.allCases
    ) -> Outcome {
        var generator = SplitMix64(seed: seed)
        var workload = DatabaseWorkload(synchronous: synchronous)
        var outcome = Outcome()
        let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 28), seed: seed)
        for life in 0..<lives {
            let fatal = disk.callCount + 1 + generator.next(below: 1500)
            disk.interceptor = { $0.number == fatal ? .crash : nil }
            live(disk, &workload, &generator)
            disk.interceptor = nil
            guard let crashed = disk.crashState else { continue }
            outcome.crashes += 1
            let kind = generator.pick(kinds)
            disk.restart(with: crashed.afterPowerLoss(kind, &generator))
            do {
                let probe = try workload.connect(disk.mount("check"))
                let problems = workload.problems(probe)
                outcome.problems += problems.map { "seed \(seed) life \(life) \(kind): \($0)" }
            } catch {
                outcome.problems.append("seed \(seed) life \(life) \(kind): \(error)")
            }
            if !outcome.problems.isEmpty { break }
        }
        outcome.transactions = workload.acknowledged.count
        return outcome
    }

    /// One or two processes write and read until the machine stops.
    private func live(_ disk: SimulatedDisk, _ workload: inout DatabaseWorkload, _ generator: inout SplitMix64) {
        let mounts = [disk.mount("a"), disk.mount("b")]
        var probes: [SQLiteProbe] = []
        while !disk.isCrashed {
            do {
                switch generator.next(below: 20) {
                case 0: probes.removeAll()
                case 1, 2: probes.append(try workload.connect(generator.pick(mounts)))
                case 3 where !probes.isEmpty: _ = try generator.pick(probes).execute("SELECT sum(k) FROM t")
                case 4 where !probes.isEmpty: try generator.pick(probes).execute("PRAGMA wal_checkpoint(TRUNCATE)")
                default:
                    if probes.isEmpty { probes.append(try workload.connect(generator.pick(mounts))) }
                    try workload.commitOne(generator.pick(probes))
                }
                if probes.count > 4 { probes.removeFirst() }
            } catch {
                guard disk.isCrashed else {
                    Issue.record("no fault, and yet: \(error)")
                    return
                }
            }
        }
    }

    @Test func fullSyncLosesNothingAcknowledged() {
        var transactions = 0
        var crashes = 0
        for seed in 1...150 as ClosedRange<UInt64> {
            let outcome = run(seed: seed, synchronous: "FULL", lives: 6)
            #expect(outcome.problems.isEmpty)
            transactions += outcome.transactions
            crashes += outcome.crashes
        }
        print("\(transactions) transactions, \(crashes) crashes")
        #expect(transactions > 5000 && crashes > 500)
    }

    /// Shows that the disk takes away what SQLite did not sync.
    @Test func lessThanFullLosesTransactions() {
        for kind in [PowerLoss.lost, .torn, .reordered] {
            for level in ["NORMAL", "OFF"] {
                var failures = 0
                for seed in 1...20 as ClosedRange<UInt64> {
                    let outcome = run(seed: seed, synchronous: level, lives: 4, kinds: [kind])
                    if !outcome.problems.isEmpty { failures += 1 }
                    // With NORMAL what is left is whole.
                    let isWhole = outcome.problems.allSatisfy { $0.contains(": lost ") || $0.contains("no such table") }
                    if level == "NORMAL" { #expect(isWhole, "\(outcome.problems)") }
                }
                print("\(level), \(kind): \(failures) of 20 runs lost something")
                #expect(failures > 0)
            }
        }
    }

    @Test func processDeathLosesNothingAtAnyLevel() {
        for seed in 1...20 as ClosedRange<UInt64> {
            #expect(run(seed: seed, synchronous: "OFF", lives: 6, kinds: [.none]).problems.isEmpty)
        }
    }

    @Test func sameSeedGivesSameDisk() {
        func fingerprint(_ seed: UInt64) -> UInt64 {
            var generator = SplitMix64(seed: seed)
            var workload = DatabaseWorkload(synchronous: "FULL")
            let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 28), seed: seed)
            disk.interceptor = { $0.number == 900 ? .crash : nil }
            live(disk, &workload, &generator)
            return disk.crashState?.fingerprint ?? 0
        }
        // The salts of a log come from a generator SQLite has for the whole process, so tests beside
        // this one can shift them; the calls cannot be shifted, and most runs are equal to the byte.
        let equal = (1...10).filter { fingerprint(UInt64($0)) == fingerprint(UInt64($0)) }.count
        #expect(equal >= 5)
        #expect(Set((1...10).map { fingerprint(UInt64($0)) }).count == 10)
    }

    /// Every call of a life fails in turn; the process goes on, dies, and its successor finds all.
    @Test(arguments: [DiskFault.error(EIO), .error(ENOSPC), .short]) func everyCallMayFail(fault: DiskFault) throws {
        var failures = 0
        var target = 1
        while true {
            var workload = DatabaseWorkload(synchronous: "FULL")
            let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 28), seed: 1)
            disk.interceptor = { $0.number == target ? fault : nil }
            let isSeen = life(disk, &workload)
            if isSeen { failures += 1 }
            if disk.callCount < target { break }
            disk.interceptor = nil
            var generator = SplitMix64(seed: UInt64(target))
            disk.restart(with: disk.state.afterPowerLoss(generator.pick(PowerLoss.allCases), &generator))
            let problems = workload.problems(try workload.connect(disk.mount("check")))
            #expect(problems.isEmpty, "call \(target)")
            target += 1
        }
        print("\(fault): \(target - 1) calls, \(failures) seen by the program")
        #expect(target > 200)
    }

    /// - Returns: whether anything failed.
    private func life(_ disk: SimulatedDisk, _ workload: inout DatabaseWorkload) -> Bool {
        let mount = disk.mount("a")
        var hasFailed = false
        var writer: SQLiteProbe?
        var reader: SQLiteProbe?
        for step in 0..<24 {
            do {
                if writer == nil { writer = try workload.connect(mount) }
                if let writer { try workload.commitOne(writer) }
                if reader == nil, step > 3 { reader = try workload.connect(mount) }
                _ = try reader?.execute("SELECT count(*) FROM t")
                if step == 15 { try writer?.execute("PRAGMA wal_checkpoint(TRUNCATE)") }
                if step == 20 { reader = nil }
                if step == 21 { writer = nil }
            } catch {
                hasFailed = true
            }
        }
        return hasFailed
    }

    @Test func fullDiskRefusesAndRecovers() throws {
        var workload = DatabaseWorkload(synchronous: "FULL")
        let disk = SimulatedDisk(state: DiskState(capacityBytes: 200_000), seed: 1)
        let mount = disk.mount("a")
        let probe = try workload.connect(mount)
        var refused = 0
        for _ in 0..<2000 where refused < 3 {
            do {
                try workload.commitOne(probe)
            } catch let error as SQLiteProbe.Failure {
                #expect(error.code == SQLITE_FULL)
                refused += 1
            }
        }
        #expect(refused == 3)
        #expect(disk.state.usedBytes <= disk.state.capacityBytes)
        #expect(workload.problems(probe).isEmpty)
    }
}
