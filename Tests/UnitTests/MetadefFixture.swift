import Core
import Foundation
import NIOCore
import Persistence

/// The catalogue of metadata definitions on a database of its own.
final class MetadefFixture: Sendable {
    let directory: URL
    let clock = StillClock()
    let database: SQLiteDatabase
    let metadefs: Metadefs

    init() async throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "ambrotype-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        database = try SQLiteDatabase(path: directory.appending(path: "test.db").path)
        try await database.migrate(MetadefMigrations.all, at: clock.now.microseconds)
        metadefs = Metadefs(
            database: database,
            surroundings: Surroundings(clock: clock, randomness: SeededRandomness(), work: DirectWork()))
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    func caller(_ project: ProjectID = "p1", roles: Set<String> = ["reader"]) -> Caller {
        Caller(userID: "u", projectID: project, roles: roles, requestID: "req-test", logger: .silent)
    }

    var admin: Caller { caller("admins", roles: ["admin", "reader"]) }

    static func json(_ text: String) throws -> JSONValue { try JSONValue(parsing: ByteBuffer(string: text)) }

    static func draft(_ text: String) throws -> MetadefNamespaceDraft { try MetadefNamespaceDraft(json: json(text)) }

    @discardableResult
    func create(_ text: String, as caller: Caller? = nil) async throws -> MetadefNamespaceDetail {
        try await metadefs.createNamespace(try Self.draft(text), as: caller ?? admin)
    }

    func documents(_ texts: String...) throws -> [MetadefDocument] {
        try texts.enumerated().map { index, text in
            try MetadefDocument(source: "\(index).json", json: Self.json(text))
        }
    }

    /// Rows of all tables of what is in namespaces, the resource types apart.
    func contentRows() async throws -> Int {
        try await database.read { db in
            try ["properties", "objects", "tags", "associations", "namespaces"].reduce(0) { sum, table in
                try sum + (db.first("SELECT COUNT(*) FROM metadef_\(table)") { try $0.get(0, as: Int.self) } ?? 0)
            }
        }
    }

    /// A namespace with one of everything.
    static let whole = """
        {"namespace": "OS::Test::Whole", "display_name": "Whole", "description": "All there is.",
         "visibility": "public", "owner": "p9",
         "resource_type_associations": [
           {"name": "OS::Glance::Image", "prefix": "hw_"}, {"name": "OS::Nova::Flavor"},
           {"name": "OS::Cinder::Volume", "prefix": "hw_", "properties_target": "image"}],
         "properties": {"cores": {"title": "Cores", "type": "integer", "minimum": 1, "default": 2, "enum": [1, 2, 4]}},
         "objects": [
           {"name": "zeta", "description": "last by name", "required": ["size"],
            "properties": {"size": {"title": "Size", "type": "number", "maximum": 1.5}}},
           {"name": "alpha", "properties": {}}],
         "tags": [{"name": "one"}, {"name": "two"}]}
        """
}

extension ServiceError {
    /// The status of what a body throws; nil if it throws nothing, or no `ServiceError`.
    static func status(of body: () async throws -> some Any) async -> Int? {
        do {
            _ = try await body()
            return nil
        } catch {
            return (error as? ServiceError)?.status
        }
    }
}
