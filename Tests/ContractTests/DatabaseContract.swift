import Dispatch
import Foundation
import Persistence
import Synchronization
import Testing

/// An implementation of `SQLDatabase` under contract. A new driver joins by standing in `all`.
struct DatabaseUnderTest: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// Opens the database that belongs to `directory`; opened twice, it is the same one.
    let open: @Sendable (_ directory: String) throws -> any SQLDatabase

    static let all = [
        DatabaseUnderTest(testDescription: "SQLite") { try SQLiteDatabase(path: $0 + "/test.db") }
    ]

    func withDatabase(_ body: (any SQLDatabase) async throws -> Void) async throws {
        try await withTemporaryDirectory { try await body(try open($0)) }
    }
}

struct BodyFailed: Error, Equatable {}

func expectSQLError(
    _ code: SQLError.Code, at location: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async {
    do {
        try await body()
        Issue.record("expected \(code), nothing was thrown", sourceLocation: location)
    } catch let error as SQLError {
        #expect(error.code == code, "\(error)", sourceLocation: location)
    } catch {
        Issue.record("expected an SQLError, got \(error)", sourceLocation: location)
    }
}

/// Its tasks may block: a test that holds a transaction open does so here.
private final class BlockingExecutor: TaskExecutor {
    private let queue = DispatchQueue(label: "test.blocking", attributes: .concurrent)

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}

private final class Counter: Sendable {
    private let value = Atomic<Int>(0)
    func next() -> Int { value.add(1, ordering: .relaxed).newValue }
}

extension DispatchSemaphore {
    /// Blocks its thread, at most ten seconds: a test fails then instead of hanging.
    func arrives() -> Bool { wait(timeout: .now() + 10) == .success }
}

extension SQLDatabase {
    fileprivate func run(_ sql: String) async throws {
        _ = try await write { try $0.execute(sql) }
    }

    fileprivate func count(_ table: String) async throws -> Int {
        try await read { try $0.first("SELECT COUNT(*) FROM \(table)") { try $0.get(0, as: Int.self) } ?? -1 }
    }
}

/// What `SQLDatabase` promises, held against every implementation.
@Suite struct DatabaseContract {
    // MARK: Transactions

    @Test(arguments: DatabaseUnderTest.all)
    func bodyThatThrowsLeavesNothing(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.run("CREATE TABLE t (a BIGINT PRIMARY KEY)")
            await #expect(throws: BodyFailed()) {
                try await database.write { db in
                    try db.execute("INSERT INTO t VALUES ($1)", 1)
                    try db.execute("CREATE TABLE u (a BIGINT)")
                    throw BodyFailed()
                }
            }
            #expect(try await database.count("t") == 0)
            await expectSQLError(.statement) { _ = try await database.count("u") }
            // Nothing of it stands in the way of the next.
            try await database.run("INSERT INTO t VALUES (1)")
            #expect(try await database.count("t") == 1)
        }
    }

    /// Writes that wait together may share a commit; they must not share a fate.
    @Test(arguments: DatabaseUnderTest.all)
    func writesAtOnceAreIsolated(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.run("CREATE TABLE t (a BIGINT PRIMARY KEY)")
            try await database.run("INSERT INTO t VALUES (1000)")
            let gate = DispatchSemaphore(value: 0)
            let started = Counter()
            try await withThrowingTaskGroup(of: Void.self) { group in
                // Holds the writer until the others wait.
                group.addTask {
                    try await database.write { db in
                        guard gate.arrives() else { throw BodyFailed() }
                        try db.execute("INSERT INTO t VALUES ($1)", 2000)
                    }
                }
                for number in 0..<90 {
                    group.addTask {
                        if started.next() == 90 { gate.signal() }
                        do {
                            try await database.write { db in
                                try db.execute("INSERT INTO t VALUES ($1)", number)
                                if number % 3 == 1 { throw BodyFailed() }
                                if number % 3 == 2 { try db.execute("INSERT INTO t VALUES ($1)", 1000) }
                            }
                            #expect(number % 3 == 0)
                        } catch is BodyFailed {
                            #expect(number % 3 == 1)
                        } catch let error as SQLError {
                            #expect(number % 3 == 2 && error.code == .unique, "\(error)")
                        }
                    }
                }
                try await group.waitForAll()
            }
            let kept = try await database.read { db in
                try db.query("SELECT a FROM t ORDER BY a") { try $0.get(0, as: Int.self) }
            }
            #expect(kept == Array(stride(from: 0, to: 90, by: 3)) + [1000, 2000])
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func incrementsAtOnceAreAllCounted(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.run("CREATE TABLE t (a BIGINT NOT NULL)")
            try await database.run("INSERT INTO t VALUES (0)")
            try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<200 { group.addTask { try await increment(database) } }
                // Serializable: everyone saw another's result and nobody the same.
                let seen = try await group.reduce(into: Set<Int>()) { $0.insert($1) }
                #expect(seen == Set(1...200))
            }
        }
    }

    /// Reads, adds, writes back: right only if nobody wrote in between.
    private func increment(_ database: any SQLDatabase) async throws -> Int {
        try await database.write { db in
            let next = try (db.first("SELECT a FROM t") { try $0.get(0, as: Int.self) } ?? -1000) + 1
            try db.execute("UPDATE t SET a = $1", next)
            return next
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func anotherConnectionInterleavesCorrectly(_ kind: DatabaseUnderTest) async throws {
        try await withTemporaryDirectory { directory in
            let databases = [try kind.open(directory), try kind.open(directory)]
            try await databases[0].run("CREATE TABLE t (a BIGINT NOT NULL)")
            try await databases[1].run("INSERT INTO t VALUES (0)")
            try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 0..<100 { group.addTask { try await increment(databases[number % 2]) } }
                let seen = try await group.reduce(into: Set<Int>()) { $0.insert($1) }
                #expect(seen == Set(1...100))
            }
            for database in databases {
                let last = try await database.read { try $0.first("SELECT a FROM t") { try $0.get(0, as: Int.self) } }
                #expect(last == 100)
            }
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func readSeesOneSnapshot(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.run("CREATE TABLE t (a BIGINT NOT NULL)")
            try await database.run("INSERT INTO t VALUES (1)")
            let sum: @Sendable (any SQLConnection) throws -> Int? = { db in
                try db.first("SELECT SUM(a) FROM t") { try $0.get(0, as: Int.self) }
            }
            let committed = DispatchSemaphore(value: 0)
            let (firstRead, reached) = AsyncStream.makeStream(of: Void.self)
            async let seen = withTaskExecutorPreference(BlockingExecutor()) {
                try await database.read { db in
                    let before = try sum(db)
                    reached.finish()
                    guard committed.arrives() else { throw BodyFailed() }
                    return [before, try sum(db)]
                }
            }
            for await _ in firstRead {}
            try await database.run("INSERT INTO t VALUES (10)")
            let later = try await database.read(sum)
            committed.signal()
            #expect(try await seen == [1, 1])
            #expect(later == 11)
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func readCannotWrite(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.run("CREATE TABLE t (a BIGINT NOT NULL)")
            await #expect(throws: SQLError.self) {
                try await database.read { _ = try $0.execute("INSERT INTO t VALUES (1)") }
            }
            #expect(try await database.count("t") == 0)
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func queuedWriteIsDoneThoughItsTaskIsCancelled(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.run("CREATE TABLE t (a BIGINT NOT NULL)")
            try await withThrowingTaskGroup(of: Int.self) { group in
                let gate = DispatchSemaphore(value: 0)
                let (begun, reached) = AsyncStream.makeStream(of: Void.self)
                group.addTask {
                    try await database.write { db in
                        reached.finish()
                        guard gate.arrives() else { throw BodyFailed() }
                        return try db.execute("INSERT INTO t VALUES (1)")
                    }
                }
                for await _ in begun {}
                group.cancelAll()
                gate.signal()
                let changed = try await group.next()
                #expect(changed == 1)
            }
            #expect(try await database.count("t") == 1)
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func reopenedItHasWhatWasWritten(_ kind: DatabaseUnderTest) async throws {
        try await withTemporaryDirectory { directory in
            do {
                let database = try kind.open(directory)
                try await database.run("CREATE TABLE t (a BIGINT NOT NULL)")
                for number in 0..<20 { try await database.run("INSERT INTO t VALUES (\(number))") }
            }
            #expect(try await kind.open(directory).count("t") == 20)
        }
    }

    // MARK: Values

    @Test(arguments: DatabaseUnderTest.all)
    func valuesComeBackAsTheyWere(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.run("CREATE TABLE t (k BIGINT PRIMARY KEY, i BIGINT, s TEXT, b BYTEA)")
            let rows: [[SQLValue]] = [
                [.null, .null, .null],
                [.integer(.max), .text(""), .bytes([])],
                [.integer(.min), .text("Ünïcödé ☃ 🖼 e\u{301}"), .bytes([0, 1, 127, 128, 255])],
                [.integer(0), .text("'; DROP TABLE t; --"), .bytes(sampleBytes(100_000, seed: 8))],
                [.integer(-1), .text("12"), .bytes(Array("text".utf8))],
                [.integer(1), .text(String(repeating: "x", count: 100_000)), .bytes([0])],
                [.integer(1 << 53 + 1), .text("1e3"), .null],
            ]
            try await database.write { db in
                for (number, row) in rows.enumerated() {
                    try db.execute("INSERT INTO t (k, i, s, b) VALUES ($1, $2, $3, $4)", number, row[0], row[1], row[2])
                }
            }
            let found = try await database.read { db in
                try db.query("SELECT i, s, b FROM t ORDER BY k") { row in (0..<3).map(row.value) }
            }
            #expect(found == rows)
        }
    }

    /// PostgreSQL has no such text; SQLite's interface would cut it off in silence.
    @Test(arguments: DatabaseUnderTest.all)
    func textWithANullCharacterIsRefused(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.run("CREATE TABLE t (s TEXT)")
            await expectSQLError(.check) {
                try await database.write { _ = try $0.execute("INSERT INTO t VALUES ($1)", "a\0b") }
            }
            #expect(try await database.count("t") == 0)
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func typedValuesComeBack(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.run("CREATE TABLE t (a BIGINT, b BIGINT, c TEXT, d BYTEA, e TEXT)")
            _ = try await database.write { db in
                try db.execute(
                    "INSERT INTO t VALUES ($1, $2, $3, $4, $5)", true, Int64(7), "x", [UInt8]([1, 2]), String?.none)
            }
            try await database.read { db in
                try db.forEachRow("SELECT a, b, c, d, e FROM t", []) { row in
                    try #expect(row.get(0, as: Bool.self))
                    try #expect(row.get(1, as: Int64.self) == 7)
                    try #expect(row.get(2, as: String?.self) == "x")
                    try #expect(row.get(3, as: [UInt8].self) == [1, 2])
                    try #expect(row.get(4, as: String?.self) == nil)
                    #expect(throws: SQLError.self) { try row.get(4, as: String.self) }
                    #expect(throws: SQLError.self) { try row.get(2, as: Int.self) }
                    #expect(throws: SQLError.self) { try row.get(1, as: Bool.self) }
                }
            }
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func numberedParametersMayBeReused(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            let row = try await database.read { db in
                try db.first(
                    "SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($1 AS TEXT), CAST($3 AS TEXT), CAST($2 AS TEXT)",
                    "one", "two", "three"
                ) { row in try (0..<5).map { try row.get($0, as: String.self) } }
            }
            #expect(row == ["one", "two", "one", "three", "two"])
        }
    }

    /// The number says which argument is meant, not the place.
    @Test(arguments: DatabaseUnderTest.all)
    func numberedParametersMayComeInAnyOrder(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            let row = try await database.read { db in
                try db.first("SELECT CAST($2 AS TEXT), CAST($1 AS TEXT)", "one", "two") { row in
                    try (0..<2).map { try row.get($0, as: String.self) }
                }
            }
            #expect(row == ["two", "one"])
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func argumentsMustFitTheParameters(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            for (sql, arguments) in [
                ("SELECT CAST($1 AS TEXT)", []), ("SELECT CAST($1 AS TEXT)", ["a", "b"]), ("SELECT 1", ["a"]),
                ("SELECT CAST($1 AS TEXT), CAST($3 AS TEXT)", ["a", "b", "c"]),
            ] as [(String, [String])] {
                await expectSQLError(.statement) {
                    try await database.read { try $0.forEachRow(sql, arguments) { _ in } }
                }
            }
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func executeTellsHowManyRowsItTouched(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.run("CREATE TABLE t (a BIGINT)")
            let counts = try await database.write { db in
                [
                    try db.execute("INSERT INTO t VALUES (1), (2), (3)"),
                    try db.execute("UPDATE t SET a = a + 1 WHERE a > $1", 1),
                    try db.execute("UPDATE t SET a = 0 WHERE a > $1", 100),
                    try db.execute("DELETE FROM t"),
                    try db.execute("INSERT INTO t SELECT 1 WHERE 1 = 0"),
                ]
            }
            #expect(counts == [3, 2, 0, 3, 0])
        }
    }

    /// More different statements than a driver will want to keep prepared.
    @Test(arguments: DatabaseUnderTest.all)
    func manyDifferentStatementsRun(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            let sum = try await database.read { db in
                try (0..<2000).reduce(0) { sum, number in
                    try sum + (db.first("SELECT \(number) + $1", 1) { try $0.get(0, as: Int.self) } ?? 0)
                }
            }
            #expect(sum == 2_001_000)
        }
    }

    // MARK: Errors

    @Test(arguments: DatabaseUnderTest.all)
    func brokenConstraintsAreTold(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.run("CREATE TABLE parent (id TEXT PRIMARY KEY, name TEXT NOT NULL, UNIQUE (name))")
            try await database.run(
                """
                CREATE TABLE child (id BIGINT PRIMARY KEY, parent TEXT REFERENCES parent (id),
                    size BIGINT CHECK (size >= 0))
                """)
            try await database.run("INSERT INTO parent VALUES ('a', 'A')")
            try await database.run("INSERT INTO child VALUES (1, 'a', 0)")
            let cases: [(SQLError.Code, String)] = [
                (.unique, "INSERT INTO parent VALUES ('a', 'B')"),
                (.unique, "INSERT INTO parent VALUES ('b', 'A')"),
                (.unique, "INSERT INTO child VALUES (1, 'a', 0)"),
                (.foreignKey, "INSERT INTO child VALUES (2, 'x', 0)"),
                (.foreignKey, "DELETE FROM parent"),
                (.check, "INSERT INTO child VALUES (2, 'a', -1)"),
                (.check, "INSERT INTO parent VALUES ('b', NULL)"),
                (.statement, "INSERT INTO nowhere VALUES (1)"),
                (.statement, "SELEKT"),
            ]
            for (code, sql) in cases {
                await expectSQLError(code) { try await database.run(sql) }
            }
            #expect(try await database.count("parent") == 1)
            #expect(try await database.count("child") == 1)
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func errorsNameNoArguments(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.run("CREATE TABLE t (s TEXT UNIQUE)")
            var text = ""
            for _ in 0..<2 {
                do {
                    try await database.write { _ = try $0.execute("INSERT INTO t VALUES ($1)", "my-secret") }
                } catch let error as SQLError {
                    text = "\(error)"
                }
            }
            #expect(text.contains("INSERT INTO t"))
            #expect(!text.contains("my-secret"))
        }
    }

    // MARK: Migrations

    private let steps = [
        Migration(1, "first", ["CREATE TABLE one (a BIGINT)", "INSERT INTO one VALUES (1)"]),
        Migration(2, "second", ["CREATE TABLE two (a BIGINT)"]),
    ]

    @Test(arguments: DatabaseUnderTest.all)
    func migrationsAreAppliedOnce(_ kind: DatabaseUnderTest) async throws {
        try await withTemporaryDirectory { directory in
            let database = try kind.open(directory)
            #expect(try await database.migrate([steps[0]], at: 10) == [1])
            #expect(try await database.migrate(Array(steps.reversed()), at: 20) == [2])
            #expect(try await kind.open(directory).migrate(steps, at: 30) == [])
            #expect(try await database.count("one") == 1)
            let rows = try await database.read { db in
                try db.query("SELECT version, name, applied_at FROM schema_migrations ORDER BY version") { row in
                    "\(try row.get(0, as: Int.self)) \(try row.get(1, as: String.self)) \(try row.get(2, as: Int.self))"
                }
            }
            #expect(rows == ["1 first 10", "2 second 20"])
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func newerSchemaIsRefusedUntouched(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.migrate([steps[0], Migration(3, "third", ["CREATE TABLE three (a BIGINT)"])], at: 0)
            await #expect {
                try await database.migrate(steps, at: 0)
            } throws: { error in
                guard case MigrationError.newerSchema(found: 3, known: 2) = error else { return false }
                return true
            }
            await expectSQLError(.statement) { _ = try await database.count("two") }
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func renamedMigrationIsRefused(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.migrate([steps[0]], at: 0)
            await #expect {
                try await database.migrate([Migration(1, "other", []), steps[1]], at: 0)
            } throws: { error in
                guard case MigrationError.renamed(version: 1, found: "first", expected: "other") = error else {
                    return false
                }
                return true
            }
            await expectSQLError(.statement) { _ = try await database.count("two") }
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func failedMigrationLeavesNothing(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            let broken = Migration(2, "second", ["CREATE TABLE two (a BIGINT)", "INSERT INTO nowhere VALUES (1)"])
            await expectSQLError(.statement) { _ = try await database.migrate([steps[0], broken], at: 0) }
            await expectSQLError(.statement) { _ = try await database.count("two") }
            let applied = try await database.migrate(steps, at: 0)
            #expect(applied == [2])
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func twoServersMayMigrateAtOnce(_ kind: DatabaseUnderTest) async throws {
        try await withTemporaryDirectory { directory in
            let databases = try (0..<4).map { _ in try kind.open(directory) }
            let applied = try await withThrowingTaskGroup(of: [Int].self) { group in
                for database in databases { group.addTask { try await database.migrate(steps, at: 0) } }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(applied.sorted() == [1, 2])
        }
    }
}

/// What only the embedded database promises.
@Suite struct SQLiteDatabaseTests {
    /// With NORMAL, which WAL is usually run with, a commit would not survive a power cut.
    @Test func everyCommitIsSynced() async throws {
        try await withTemporaryDirectory { directory in
            for _ in 0..<2 {
                let database = try SQLiteDatabase(path: directory + "/test.db")
                #expect(try database.synchronousLevel() == 2)
            }
        }
    }

    @Test func fileThatIsNoDatabaseIsRefused() async throws {
        try await withTemporaryDirectory { directory in
            try String(repeating: "letter ", count: 1000).write(
                toFile: directory + "/test.db", atomically: true, encoding: .utf8)
            await expectSQLError(.corrupt) { _ = try SQLiteDatabase(path: directory + "/test.db") }
            await expectSQLError(.unavailable) { _ = try SQLiteDatabase(path: directory + "/missing/test.db") }
        }
    }

    /// A write that meets a full disk fails alone and does not spoil the database.
    @Test(.enabled(if: SmallDisk.isPossible, "mounting a tmpfs takes root"))
    func fullDiskFailsTheWriteAlone() async throws {
        try await withTemporaryDirectory { directory in
            try SmallDisk.mount(directory)
            do {
                try await fillDisk(directory)
            } catch {
                try SmallDisk.unmount(directory)
                throw error
            }
            try SmallDisk.unmount(directory)
        }
    }

    private func fillDisk(_ directory: String) async throws {
        let database = try SQLiteDatabase(path: directory + "/test.db")
        _ = try await database.write { try $0.execute("CREATE TABLE t (b BYTEA)") }
        let (tooMuch, little) = ([UInt8](repeating: 1, count: 20 << 20), [UInt8](repeating: 1, count: 100))
        await expectSQLError(.full) {
            _ = try await database.write { try $0.execute("INSERT INTO t VALUES ($1)", tooMuch) }
        }
        let count = try await database.read { try $0.first("SELECT COUNT(*) FROM t") { try $0.get(0, as: Int.self) } }
        #expect(count == 0)
        let changed = try await database.write { try $0.execute("INSERT INTO t VALUES ($1)", little) }
        #expect(changed == 1)
    }
}
