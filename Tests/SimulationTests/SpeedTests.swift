import Blobs
import Dispatch
import Simulation
import Testing

/// Numbers, printed; they have no limits here because test machines differ.
@Suite(.serialized) struct SpeedTests {
    private static let setup = [
        "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
    ]

    private static func seconds(_ body: () throws -> Void) rethrows -> Double {
        let start = DispatchTime.now().uptimeNanoseconds
        try body()
        return Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
    }

    @Test(arguments: [0, 1, 2]) func commits(recording: Int) throws {
        let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 30), seed: 1)
        let mount = disk.mount("a")
        var last: DiskState?
        var hash: UInt64 = 0
        if recording > 0 {
            disk.onEffect = { _, state in
                last = state
                if recording > 1 { hash ^= state.fingerprint }
            }
        }
        let probe = try SQLiteProbe(
            mount.databasePath("/x.db"),
            setup: Self.setup)
        let count = 20000
        let time = try Self.seconds {
            for index in 0..<count { try probe.execute("INSERT INTO t VALUES(?,?)", Int64(index), 7) }
        }
        print("recording \(recording): \(Int(Double(count) / time)) commits/s of \(disk.callCount / count) calls each")
        #expect((last == nil) == (recording == 0))
        #expect((hash == 0) == (recording < 2))
        #expect(try probe.integers("SELECT count(*) FROM t") == [Int64(count)])
    }

    @Test(arguments: [false, true]) func pageWrites(isRecording: Bool) throws {
        let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 30), seed: 1)
        let mount = disk.mount("a")
        for index in 0..<300 { _ = try mount.create("/file\(index)", [1]) }
        let file = try mount.create("/f")
        var last: DiskState?
        if isRecording { disk.onEffect = { _, state in last = state } }
        let page = [UInt8](repeating: 7, count: 4096)
        let count = 16384
        let time = try Self.seconds {
            for index in 0..<count {
                try page.withUnsafeBytes { _ = try file.write([$0][...], offset: Int64(index * 4096), at: here) }
            }
        }
        print("recording \(isRecording): \(Int(Double(count) / time)) page writes/s")
        #expect((last == nil) == !isRecording)
    }

    @Test func opens() throws {
        var state = DiskState(capacityBytes: 1 << 30)
        do {
            let disk = SimulatedDisk(state: state, seed: 1)
            let mount = disk.mount("a")
            let probe = try SQLiteProbe(
                mount.databasePath("/x.db"),
                setup: Self.setup)
            for index in 0..<500 { try probe.execute("INSERT INTO t VALUES(?,?)", Int64(index), 7) }
            state = disk.state
        }
        let count = 500
        var generator = SplitMix64(seed: 1)
        let time = try Self.seconds {
            for _ in 0..<count {
                let disk = SimulatedDisk(state: state.afterPowerLoss(.lost, &generator), seed: 1)
                let mount = disk.mount("a")
                let probe = try SQLiteProbe(mount.databasePath("/x.db"), setup: [])
                #expect(try probe.integers("SELECT count(*) FROM t") == [500])
            }
        }
        print("open, recover 500 commits, read, close: \(Int(time / Double(count) * 1e6)) µs")
        let closed = SimulatedDisk(state: state, seed: 1)
        let mount = closed.mount("a")
        let first = try SQLiteProbe(mount.databasePath("/x.db"))
        #expect(try first.integers("SELECT count(*) FROM t") == [500])
        let second = try Self.seconds {
            for _ in 0..<count {
                let probe = try SQLiteProbe(mount.databasePath("/x.db"), setup: [])
                _ = try probe.execute("SELECT 1 FROM t LIMIT 1")
            }
        }
        let fresh = try Self.seconds {
            for _ in 0..<count {
                let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 30), seed: 1)
                let mount = disk.mount("a")
                _ = try SQLiteProbe(
                    mount.databasePath("/x.db"), setup: ["PRAGMA journal_mode=WAL", "CREATE TABLE t(v)"])
            }
        }
        print("new database, one table, close: \(Int(fresh / Double(count) * 1e6)) µs")
        print("open beside another connection, read, close: \(Int(second / Double(count) * 1e6)) µs")
    }
}
