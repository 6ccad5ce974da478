import CSQLite
import Simulation
import Testing

/// Several connections and processes on one simulated database.
@Suite struct SharedDatabaseTests {
    private let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 28), seed: 7)

    private func connect(_ mount: Mount) throws -> SQLiteProbe {
        try SQLiteProbe(
            mount.databasePath("/x.db"),
            setup: ["PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE IF NOT EXISTS t(v)"])
    }

    @Test func readerKeepsItsSnapshotWhileAnotherProcessWrites() throws {
        let mounts = [disk.mount("a"), disk.mount("b")]
        let writer = try connect(mounts[0])
        let reader = try connect(mounts[1])
        try writer.execute("INSERT INTO t VALUES(1)")
        try reader.execute("BEGIN")
        #expect(try reader.integers("SELECT count(*) FROM t") == [1])
        for value in 2...100 as ClosedRange<Int64> { try writer.execute("INSERT INTO t VALUES(?)", value) }
        // The log that the reader needs must stay: a checkpoint is told that somebody is reading.
        #expect(throws: SQLiteProbe.Failure.self) {
            let result = try writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if result[0][0] == "1" { throw SQLiteProbe.Failure(code: SQLITE_BUSY, message: "busy") }
        }
        #expect(try reader.integers("SELECT count(*) FROM t") == [1])
        try reader.execute("COMMIT")
        #expect(try reader.integers("SELECT count(*) FROM t") == [100])
        #expect(try writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == "0")
    }

    @Test func secondWriterIsRefusedUntilTheFirstDies() throws {
        let mounts = [disk.mount("a"), disk.mount("b")]
        let first = try connect(mounts[0])
        let second = try connect(mounts[1])
        // The busy timeout must not take any real time.
        try second.execute("PRAGMA busy_timeout=10000")
        try first.execute("BEGIN IMMEDIATE")
        try first.execute("INSERT INTO t VALUES(1)")
        #expect(throws: SQLiteProbe.Failure.self) { try second.execute("BEGIN IMMEDIATE") }
        mounts[0].kill()
        try second.execute("INSERT INTO t VALUES(2)")
        #expect(throws: SQLiteProbe.Failure.self) { try first.execute("COMMIT") }
        first.close()
        #expect(try second.integers("SELECT v FROM t") == [2])
        #expect(try second.execute("PRAGMA integrity_check") == [["ok"]])
    }

    @Test func rollbackJournalModeWorksToo() throws {
        let mounts = [disk.mount("a"), disk.mount("b")]
        let first = try SQLiteProbe(mounts[0].databasePath("/j.db"), setup: ["CREATE TABLE t(v)"])
        let second = try SQLiteProbe(mounts[1].databasePath("/j.db"))
        try first.execute("BEGIN IMMEDIATE")
        try first.execute("INSERT INTO t VALUES(1)")
        #expect(try second.integers("SELECT count(*) FROM t") == [0])
        #expect(throws: SQLiteProbe.Failure.self) { try second.execute("BEGIN IMMEDIATE") }
        try first.execute("COMMIT")
        #expect(try second.integers("SELECT count(*) FROM t") == [1])
        try first.execute("BEGIN IMMEDIATE")
        try first.execute("INSERT INTO t VALUES(2)")
        mounts[0].kill()
        #expect(try second.integers("SELECT count(*) FROM t") == [1])
    }

    @Test func ordinaryFilesGoToTheOrdinaryVFS() throws {
        let memory = try SQLiteProbe(":memory:", setup: ["CREATE TABLE t(v)", "INSERT INTO t VALUES(1)"])
        #expect(try memory.integers("SELECT v FROM t") == [1])
        let temporary = try SQLiteProbe("", setup: ["CREATE TABLE t(v)", "INSERT INTO t VALUES(1)"])
        #expect(try temporary.integers("SELECT v FROM t") == [1])
        #expect(throws: SQLiteProbe.Failure.self) {
            try SQLiteProbe("/simulation/999999/0/x.db").execute("SELECT * FROM t")
        }
    }

    @Test func pathOutlivesTheMountItCameFrom() throws {
        let path = disk.mount("a").databasePath("/x.db")
        let probe = try SQLiteProbe(path, setup: ["CREATE TABLE t(v)"])
        #expect(try probe.integers("SELECT count(*) FROM t") == [0])
    }

    @Test func closingGivesEverythingBack() throws {
        weak var gone: SimulatedDisk?
        do {
            let disk = SimulatedDisk(state: DiskState(capacityBytes: 1 << 28), seed: 7)
            gone = disk
            let mount = disk.mount("a")
            let probes = [try connect(mount), try connect(mount)]
            try probes[0].execute("INSERT INTO t VALUES(1)")
            for probe in probes { probe.close() }
            #expect(disk.state.paths == ["/x.db"])
            #expect(disk.state.usedBytes == 8192)
        }
        #expect(gone == nil)
    }
}
