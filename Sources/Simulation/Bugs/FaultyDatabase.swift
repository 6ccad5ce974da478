import Blobs
import Core
import Persistence
import Synchronization

/// A database that does not quite do what it is told: it changes, delays or leaves out statements, as a
/// program would that has the bug.
struct FaultyDatabase: SQLDatabase {
    let database: SQLiteDatabase
    let bug: PlantedBug
    let mount: Mount
    /// What the bug `bytesBeforeRow` says only when the bytes are there.
    private let unsaid = LaterStatements()

    init(database: SQLiteDatabase, bug: PlantedBug, mount: Mount) {
        self.database = database
        self.bug = bug
        self.mount = mount
    }

    func read<T: Sendable>(_ body: @Sendable (any SQLConnection) throws -> T) async throws -> T {
        try await database.read(body)
    }

    func write<T: Sendable>(_ body: @escaping @Sendable (any SQLConnection) throws -> T) async throws -> T {
        let later = LaterStatements()
        let result = try await database.write { db in
            later.forget()
            return try body(FaultyConnection(db: db, bug: bug, mount: mount, later: later, unsaid: unsaid))
        }
        let statements = later.all
        if !statements.isEmpty {
            _ = try await database.write { db in
                for statement in statements { try db.execute(statement.sql, statement.arguments) }
            }
        }
        return result
    }
}

/// What a body wanted done, and gets in a transaction of its own.
private final class LaterStatements: Sendable {
    private let statements = Mutex<[(sql: String, arguments: [any SQLBindable])]>([])
    var all: [(sql: String, arguments: [any SQLBindable])] { statements.withLock { $0 } }
    func add(_ sql: String, _ arguments: [any SQLBindable]) { statements.withLock { $0.append((sql, arguments)) } }
    func forget() { statements.withLock { $0 = [] } }
}

private struct FaultyConnection: SQLConnection {
    let db: any SQLConnection
    let bug: PlantedBug
    let mount: Mount
    let later: LaterStatements
    let unsaid: LaterStatements

    func forEachRow(_ sql: String, _ arguments: [any SQLBindable], _ row: (any SQLRow) throws -> Void) throws {
        try db.forEachRow(rewritten(sql), arguments, row)
    }

    func execute(_ sql: String, _ arguments: [any SQLBindable]) throws -> Int {
        switch bug {
        case .erasedBeforeCommit where sql.contains("INSERT INTO jobs"):
            unlink(blob: arguments[1].sqlValue)
        case .deletionInTwoTransactions where sql.contains("UPDATE blobs SET state = 'doomed'"):
            later.add(sql, arguments)
            return 1
        case .deletionInTwoTransactions where sql.contains("INSERT INTO jobs"):
            later.add(sql, arguments)
            return 1
        case .rowRemovedBeforeBytes where sql.contains("UPDATE blobs SET state = 'doomed'"):
            return try db.execute("DELETE FROM blobs WHERE id = $1", [arguments[2]])
        case .failedUploadLeftToItself where sql.contains("INSERT INTO jobs"):
            return try db.execute("DELETE FROM blobs WHERE id = $1 AND doom_reason = 'upload failed'", [arguments[1]])
        case .quotaNotReserved where sql.contains("INSERT INTO blobs"):
            var arguments = arguments
            arguments[4] = Int64(0)
            return try db.execute(sql, arguments)
        case .idReused where sql.contains("UPDATE images SET status = 'deleted'"):
            later.add("DELETE FROM images WHERE id = $1", [arguments[arguments.count - 1]])
        case .bytesBeforeRow where sql.contains("INSERT INTO blobs"):
            unsaid.add(sql, arguments)
            return 1
        case .propertyWithoutEdge where sql.contains("INSERT INTO key_edges"): return 1
        case .strangersEdgeHolds where sql.contains("INSERT INTO key_edges"):
            var arguments = arguments
            arguments[6] = Int64(1)
            return try db.execute(sql, arguments)
        case .edgeKeptByChangedProperty
        where sql.contains("DELETE FROM key_edges") && sql.contains("via = $5") && !sql.contains("state IN")
            && !Self.isText(arguments[4], "consumer"):
            return 1
        case .policyIgnored where sql.contains("UPDATE key_edges SET state") && Self.isText(arguments[0], "releasing"):
            return try db.execute(sql, [arguments[0], Int64(1)] + arguments.dropFirst(2))
        case .releaseNotAsked where sql.contains("INSERT INTO jobs") && Self.isText(arguments[0], "release-keys"):
            return 1
        case .consumerNotRegistered where sql.contains("INSERT INTO jobs") && Self.isText(arguments[0], "register-key"):
            return 1
        case .quarantineSkipped where sql.contains("UPDATE secrets SET deleted_at = $1"):
            return try db.execute("DELETE FROM secrets WHERE id = $1", [arguments[3]])
        case .recycledImageLetsGo where sql.contains("SET status_before_deletion = status"):
            let image = arguments[arguments.count - 1]
            _ = try db.execute("DELETE FROM key_edges WHERE resource_id = $1", [image])
        case .bytesBeforeRow where sql.contains("UPDATE blobs SET state = 'live'"):
            for statement in unsaid.all { try db.execute(statement.sql, statement.arguments) }
            unsaid.forget()
        default: break
        }
        return try db.execute(rewritten(sql), arguments)
    }

    private func rewritten(_ sql: String) -> String {
        switch bug {
        case .keyBeforeBytes:
            return sql.replacing("FROM blobs WHERE image_id = $1 LIMIT 1", with: "FROM blobs WHERE id = $1")
        case .onlyFirstEdgeAsked where sql.contains("FROM key_edges WHERE secret_id = $1"): return sql + " LIMIT 1"
        case .leaseWithoutFencing: break
        default: return sql
        }
        // The schema, the image's status and its one record fence as well: whoever forgets the lease forgets them too.
        if sql.contains("INSERT INTO image_provenance") {
            return sql.replacing("INSERT INTO", with: "INSERT OR REPLACE INTO")
        }
        if sql.contains("UPDATE images SET status = 'active'") {
            return sql.replacing(" AND status = $8", with: " AND $8 <> ''")
        }
        guard sql.contains("epoch = $"), sql.contains("'writing'") else { return sql }
        return sql.replacing(" AND epoch = $", with: " AND 0 <> $").replacing("AND state = 'writing'", with: "")
            .replacing("SET state = 'live'", with: "SET state = 'live', doomed_at = NULL, doom_reason = NULL")
    }

    private static func isText(_ argument: any SQLBindable, _ text: String) -> Bool { argument.sqlValue == .text(text) }

    private func unlink(blob: SQLValue) {
        guard case .text(let id) = blob else { return }
        let path = "\(SimulatedServer.storeDirectory)/blobs/\(id.prefix(2))/\(id)"
        try? mount.unlink(path, at: CallSite(#fileID, #line))
    }
}
