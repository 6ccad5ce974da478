import Foundation
import Persistence
import Testing

/// What a database finds when it looks at itself.
@Suite struct SelfCheckContract {
    private let first = Migration(1, "first", ["CREATE TABLE a (id TEXT PRIMARY KEY)"])
    private let second = Migration(2, "second", ["CREATE TABLE b (id TEXT PRIMARY KEY REFERENCES a (id))"])

    @Test func anSQLiteFileThatIsWholeHasNoProblems() async throws {
        try await withTemporaryDirectory { directory in
            let database = try SQLiteDatabase(path: directory + "/test.db")
            try await database.migrate([first, second], at: 1)
            _ = try await database.write { try $0.execute("INSERT INTO a VALUES ('x')") }
            _ = try await database.write { try $0.execute("INSERT INTO b VALUES ('x')") }
            #expect(try await database.integrityProblems() == [])
        }
    }

    /// A page overwritten, as by a failing disk.
    @Test func damageInAnSQLiteFileIsTold() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory + "/test.db"
            do {
                let database = try SQLiteDatabase(path: path)
                try await database.migrate([first, second], at: 1)
                _ = try await database.write { db in
                    let filler = String(repeating: "x", count: 3000)
                    for number in 0..<2000 { try db.execute("INSERT INTO a VALUES ($1)", "\(number) \(filler)") }
                }
            }
            // So much is copied from the log by itself; left there, it would hide the damage.
            for suffix in ["-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) }
            let pageBytes = 4096
            let file = try FileHandle(forUpdating: URL(filePath: path))
            let pages = try file.seekToEnd() / UInt64(pageBytes)
            try #require(pages > 12)
            try file.seek(toOffset: (pages - 5) * UInt64(pageBytes))
            try file.write(contentsOf: Data(repeating: 0xa5, count: pageBytes))
            try file.close()
            #expect(try await !SQLiteDatabase(path: path).integrityProblems().isEmpty)
        }
    }
}
