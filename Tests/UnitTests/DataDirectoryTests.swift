import Core
import Foundation
import Persistence
import Server
import Testing

/// Who may have a data directory, and with whom.
@Suite struct DataDirectoryTests {
    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let path = NSTemporaryDirectory() + "ambrotype-directory-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await body(path)
    }

    private func node(_ name: String) throws -> NodeName { try #require(NodeName(name)) }

    @Test(arguments: ["b", "2", "rack-3", "local", String(repeating: "x", count: 32)])
    func namesOfNodes(_ text: String) { #expect(NodeName(text)?.description == text) }

    @Test(arguments: ["", "-b", "B", "a/b", "../x", "a b", "ä", "a.b", String(repeating: "x", count: 33)])
    func whatIsNoName(_ text: String) { #expect(NodeName(text) == nil) }

    @Test func theFirstIsAloneUntilItShares() async throws {
        try await withDirectory { path in
            let first = try await DataDirectory(path: path)
            #expect(first.isAlone)
            async let waiting = DataDirectory(path: path, node: node("b"))
            // It waits for the first; what it would find now is half made.
            try await Task.sleep(for: .milliseconds(200))
            try first.share()
            let second = try await waiting
            #expect(!second.isAlone)
            withExtendedLifetime((first, second)) {}
        }
    }

    /// The schema is not changed under a server that runs.
    @Test func whoComesBackIsNotAlone() async throws {
        try await withDirectory { path in
            var first: DataDirectory? = try await DataDirectory(path: path)
            try first?.share()
            let second = try await DataDirectory(path: path, node: node("b"))
            first = nil
            first = try await DataDirectory(path: path)
            #expect(first?.isAlone == false)
            first = nil
            withExtendedLifetime(second) {}
        }
    }

    @Test func aNodeWhoseProcessEndedIsGone() async throws {
        try await withDirectory { path in
            let first = try await DataDirectory(path: path)
            try first.share()
            #expect(first.life(of: "b") == .unknown && first.life(of: "../x") == .unknown)
            var second: DataDirectory? = try await DataDirectory(path: path, node: node("b"))
            #expect(first.life(of: "b") == .lives)
            #expect(second?.life(of: "local") == .lives)
            second = nil
            #expect(first.life(of: "b") == .gone)
            second = try await DataDirectory(path: path, node: node("b"))
            #expect(first.life(of: "b") == .lives)
            withExtendedLifetime(second) {}
        }
    }

    /// Whoever comes too early is told so, and keeps the first one from nothing.
    @Test func whoComesTooEarlyIsInNobodysWay() async throws {
        try await withDirectory { path in
            await #expect(throws: StartProblem.self) { try await DataDirectory(path: path, node: node("b")) }
            let early = try FileLock(path: path + "/schema-lock")
            #expect(try early.take(.shared))
            async let first = DataDirectory(path: path)
            try await Task.sleep(for: .milliseconds(100))
            early.letGo()
            #expect(try await first.isAlone)
        }
    }

    /// Whoever has it may have been stopped for long; once it comes, turns are waited for again.
    @Test func aTurnThatDoesNotComeIsDoneWithout() async throws {
        try await withDirectory { path in
            let directory = try await DataDirectory(path: path)
            let turn = try WriteTurn(database: directory.database, patienceSeconds: 0.05)
            for name in ["-door", "-turn"] {
                let stopped = try FileLock(path: directory.database + name)
                #expect(try stopped.take(.exclusive))
                for _ in 0..<2 {
                    turn.take()
                    #expect(turn.hasRunOut)
                    turn.giveBack()
                }
                stopped.letGo()
                turn.take()
                #expect(!turn.hasRunOut)
                turn.giveBack()
            }
        }
    }

    @Test func aFullFileSystemIsFoundAtTheStart() throws {
        // Every write to it fails for want of room.
        #expect(throws: FileLock.Failure.self) { try SharedCounter(path: "/dev/full") }
    }

    @Test func countersOfOneFileAreOne() async throws {
        try await withDirectory { path in
            let directory = try await DataDirectory(path: path)
            let counters = try (0..<2).map { _ in try SharedCounter(path: directory.identityChanges) }
            let before = counters[1].count
            await withTaskGroup(of: Void.self) { group in
                for counter in counters {
                    group.addTask { for _ in 0..<1000 { counter.increment() } }
                }
            }
            #expect(counters.map(\.count) == [before + 2000, before + 2000])
        }
    }

    /// Of two that write all the time neither has to wait for the other to stop.
    @Test func writersTakeTurns() async throws {
        try await withDirectory { path in
            let directory = try await DataDirectory(path: path)
            let databases = try (0..<2).map { _ in
                try SQLiteDatabase(path: directory.database, turn: WriteTurn(database: directory.database))
            }
            try await databases[0].write { db in _ = try db.execute("CREATE TABLE t (who BIGINT)") }
            let writes: Int64 = 400
            let counts = try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<8 {
                    group.addTask {
                        for _ in 0..<writes / 8 {
                            try await databases[0].write { _ = try $0.execute("INSERT INTO t VALUES ($1)", writer) }
                        }
                    }
                }
                // One write after the other: as many turns as the busy one has had, at most.
                var seen: [Int64] = []
                for _ in 0..<10 {
                    seen.append(
                        try await databases[1].write { db in
                            _ = try db.execute("INSERT INTO t VALUES (8)")
                            return try db.first("SELECT COUNT(*) FROM t WHERE who < 8") { try $0.get(0) } ?? 0
                        })
                }
                try await group.waitForAll()
                return seen
            }
            // Between two turns of the one there is one of the other, or it was just over: 8 writes wait for it at a time.
            #expect(counts.last.map { $0 < writes } == true, "\(counts)")
            let total = try await databases[0].read { db in
                try db.first("SELECT COUNT(*) FROM t") { try $0.get(0, as: Int64.self) }
            }
            #expect(total == writes + 10)
        }
    }
}
