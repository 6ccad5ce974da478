import Persistence
import Testing

/// A program beside the server uses only the schema it knows, and never changes it.
@Suite struct SchemaContract {
    private static let steps = [
        Migration(1, "first", ["CREATE TABLE one (a BIGINT)"]), Migration(2, "second", ["CREATE TABLE two (a BIGINT)"]),
    ]

    private func expectRefusal(
        _ text: String, at location: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
    ) async {
        do {
            try await body()
            Issue.record("nothing was thrown", sourceLocation: location)
        } catch let error as MigrationError {
            #expect(error.description.contains(text), sourceLocation: location)
        } catch {
            Issue.record(error, sourceLocation: location)
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func theSchemaThatIsKnownIsAccepted(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.migrate(Self.steps, at: 0)
            try await database.requireSchema(Self.steps.reversed())
        }
    }

    @Test(arguments: DatabaseUnderTest.all)
    func anotherSchemaIsRefusedInASentence(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            await expectRefusal("start the server once") { try await database.requireSchema(Self.steps) }
            try await database.migrate([Self.steps[0]], at: 0)
            await expectRefusal("lacks schema version 2") { try await database.requireSchema(Self.steps) }
            try await database.migrate(Self.steps, at: 0)
            await expectRefusal("knows others, up to 1") { try await database.requireSchema([Self.steps[0]]) }
            await expectRefusal("expected 'other'") {
                try await database.requireSchema([Migration(1, "other", []), Self.steps[1]])
            }
        }
    }

    /// A step of a number below the newest one that the database has never seen.
    @Test(arguments: DatabaseUnderTest.all)
    func aGapIsAnOlderSchema(_ kind: DatabaseUnderTest) async throws {
        try await kind.withDatabase { database in
            try await database.migrate([Self.steps[1]], at: 0)
            await expectRefusal("lacks schema version 1") { try await database.requireSchema(Self.steps) }
        }
    }
}
