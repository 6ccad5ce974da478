import Blobs
import Core
import Persistence

/// Why a command does not do what it was asked. The description is one line for the operator.
struct Refusal: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// A server's database, opened by a command beside it: the server may run meanwhile or not. Commands never
/// make a database nor change its schema.
struct OpenCatalogue: Sendable {
    let settings: ServerSettings
    let database: SQLiteDatabase
    let clock = SystemClock()

    /// - Throws: `Refusal`, `MigrationError`, `SQLError`.
    init(_ settings: ServerSettings) async throws {
        self.settings = settings
        let path = settings.dataDirectory + "/ambrotype.db"
        guard SmallFile.exists(path) else {
            throw Refusal(
                "data_dir: there is no database under \(settings.dataDirectory); was the server ever started?")
        }
        database = try SQLiteDatabase(path: path, turn: WriteTurn(database: path))
        do {
            try await database.requireSchema(DatabaseSchema.migrations)
        } catch let error as MigrationError {
            throw Refusal("\(path): \(error)")
        }
    }

    var jobs: JobAdministration { JobAdministration(database: database, clock: clock) }

    /// - Throws: `Refusal` when the image service is switched off.
    func recycleBin() throws -> RecycleBin {
        guard let image = settings.image else {
            throw Refusal("image.enabled: the image service is switched off by the settings")
        }
        return RecycleBin(database: database, clock: clock, settings: image.settings)
    }
}

/// A list read to its end, page by page.
enum WholeList {
    static func collect<Entry: Sendable>(
        _ page: (PageRequest) async throws -> Page<Entry>
    ) async throws -> [Entry] {
        var entries: [Entry] = []
        var request = PageRequest(limit: PageRequest.maxLimit)
        while true {
            let page = try await page(request)
            entries += page.entries
            guard let next = page.next else { return entries }
            request.after = next
        }
    }
}
