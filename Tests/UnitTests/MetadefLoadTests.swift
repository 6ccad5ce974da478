import Core
import NIOCore
import Persistence
import Server
import Testing

@Suite struct MetadefLoadTests {
    private static let old = """
        {"namespace": "n", "description": "old", "visibility": "public", "protected": true,
         "resource_type_associations": [{"name": "A", "prefix": "old_"}],
         "properties": {"kept": {"title": "old", "type": "string"}, "own": {"title": "own", "type": "string"}},
         "objects": [{"name": "kept", "description": "old"}], "tags": [{"name": "own"}]}
        """
    private static let new = """
        {"namespace": "n", "description": "new",
         "resource_type_associations": [{"name": "A", "prefix": "new_"}, {"name": "B"}],
         "properties": {"kept": {"title": "new", "type": "string"}, "added": {"title": "new", "type": "string"}},
         "objects": [{"name": "kept", "description": "new"}, {"name": "added"}], "tags": [{"name": "added"}]}
        """

    private func loaded(_ mode: MetadefLoadMode) async throws -> (MetadefLoadOutcome, MetadefNamespaceDetail) {
        let fixture = try await MetadefFixture()
        let first = try await fixture.metadefs.load(try fixture.documents(Self.old), mode)
        #expect(first.added == ["n"])
        let outcome = try await fixture.metadefs.load(
            try fixture.documents(Self.new, #"{"namespace": "another"}"#), mode)
        #expect(outcome.added == ["another"])
        return (outcome, try await fixture.metadefs.namespace("n", as: fixture.admin))
    }

    private func titles(_ detail: MetadefNamespaceDetail) -> [String: String] {
        Dictionary(
            detail.properties.map { ($0.name, $0.definition["title"]?.stringValue ?? "") }, uniquingKeysWith: { $1 })
    }

    @Test func aNamespaceThatIsThereStaysAsItIs() async throws {
        let (outcome, detail) = try await loaded(.skip)
        #expect(outcome.skipped == ["n"])
        #expect(detail.namespace.description == "old" && detail.namespace.isProtected)
        #expect(detail.namespace.owner == "admin")
        #expect(titles(detail) == ["kept": "old", "own": "own"])
    }

    @Test func mergingAddsWhatIsLacking() async throws {
        let (outcome, detail) = try await loaded(.merge)
        #expect(outcome.merged == ["n"])
        #expect(detail.namespace.description == "old" && detail.namespace.visibility == .public)
        #expect(titles(detail) == ["kept": "old", "own": "own", "added": "new"])
        #expect(detail.associations.map(\.prefix) == ["old_", nil])
        #expect(detail.objects.map(\.name) == ["kept", "added"])
        #expect(detail.objects[0].description == "old")
        #expect(detail.tags.map(\.name) == ["own", "added"])
    }

    @Test func mergingCanPreferTheNew() async throws {
        let (outcome, detail) = try await loaded(.mergePreferringNew)
        #expect(outcome.merged == ["n"])
        #expect(detail.namespace.description == "new" && detail.namespace.visibility == .private)
        #expect(titles(detail) == ["kept": "new", "own": "own", "added": "new"])
        #expect(detail.associations.map(\.prefix) == ["new_", nil])
        #expect(detail.objects[0].description == "new")
        #expect(detail.tags.map(\.name) == ["own", "added"])
    }

    @Test func replacingLeavesNothingOfTheOldEvenIfItIsProtected() async throws {
        let (outcome, detail) = try await loaded(.replace)
        #expect(outcome.replaced == ["n"])
        #expect(detail.namespace.description == "new" && !detail.namespace.isProtected)
        #expect(titles(detail) == ["kept": "new", "added": "new"])
        #expect(detail.objects.map(\.name) == ["kept", "added"])
        #expect(detail.tags.map(\.name) == ["added"])
    }

    @Test func oneDocumentThatDoesNotFitKeepsOutTheOthers() async throws {
        let fixture = try await MetadefFixture()
        let twice = try fixture.documents(#"{"namespace": "a"}"#, #"{"namespace": "b"}"#, #"{"namespace": "a"}"#)
        #expect(await ServiceError.status { try await fixture.metadefs.load(twice, .skip) } == 409)
        let within = try fixture.documents(
            #"{"namespace": "a"}"#, #"{"namespace": "b", "tags": [{"name": "t"}, {"name": "t"}]}"#)
        #expect(await ServiceError.status { try await fixture.metadefs.load(within, .skip) } == 409)
        #expect(try await fixture.contentRows() == 0)
        do {
            _ = try fixture.documents(#"{"namespace": "a"}"#, #"{"namespace": ""}"#)
            Issue.record("a wrong document was taken")
        } catch let error as ServiceError {
            #expect(error.message.hasPrefix("1.json: "))
        }
    }

    @Test func whatIsExportedLoadsToTheSame() async throws {
        let fixture = try await MetadefFixture()
        try await fixture.create(MetadefFixture.whole)
        _ = try await fixture.metadefs.load(try fixture.documents(Self.old), .skip)
        let exported = try await fixture.metadefs.allNamespaces()
        #expect(exported.map(\.namespace.name) == ["OS::Test::Whole", "n"])
        let other = try await MetadefFixture()
        let documents = try exported.map { detail in
            try MetadefDocument(
                source: "file",
                json: JSONValue(parsing: ByteBuffer(string: IndentedJSON.text(detail.document))))
        }
        _ = try await other.metadefs.load(documents, .skip)
        let again = try await other.metadefs.allNamespaces()
        #expect(again.map(\.document) == exported.map(\.document))
        #expect(try await fixture.metadefs.allNamespaces(named: "n").count == 1)
        #expect(await ServiceError.status { try await fixture.metadefs.allNamespaces(named: "x") } == 404)
    }

    @Test func everyNamespaceHasAFileOfItsOwn() {
        let names = MetadefFiles.names(for: [
            "OS::Compute::Libvirt", "os-compute-libvirt", "../../etc", "é", "::", "a_b",
        ])
        #expect(
            names == [
                "OS-Compute-Libvirt.json", "os-compute-libvirt-2.json", "etc.json", "namespace.json",
                "namespace-2.json", "a_b.json",
            ])
    }

    @Test func indentedJSONIsTheSameJSON() throws {
        let value: JSONValue = ["b": [1, [], [:], "x\n"], "a": ["c": .null]]
        let text = IndentedJSON.text(value)
        #expect(try JSONValue(parsing: ByteBuffer(string: text)) == value)
        #expect(text.hasPrefix("{\n    \"a\": {\n        \"c\": null\n    },\n    \"b\": [\n        1,"))
    }
}
