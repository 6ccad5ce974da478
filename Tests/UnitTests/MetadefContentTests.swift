import Core
import Persistence
import Testing

@Suite struct MetadefContentTests {
    @Test func propertiesAreMadeReplacedRenamedAndRemoved() async throws {
        let fixture = try await MetadefFixture()
        let metadefs = fixture.metadefs
        let admin = fixture.admin
        try await fixture.create(#"{"namespace": "n"}"#)
        func property(_ name: String, _ title: String) throws -> MetadefProperty {
            try MetadefProperty(json: ["name": .string(name), "title": .string(title), "type": "string"])
        }
        try await metadefs.addProperty(try property("a", "A"), to: "n", as: admin)
        try await metadefs.addProperty(try property("b", "B"), to: "n", as: admin)
        let again = try property("a", "other")
        #expect(await ServiceError.status { try await metadefs.addProperty(again, to: "n", as: admin) } == 409)
        try await metadefs.replaceProperty("a", with: try property("c", "C"), in: "n", as: admin)
        #expect(try await metadefs.properties(in: "n", as: admin).map(\.name) == ["b", "c"])
        let taken = try property("b", "C")
        #expect(
            await ServiceError.status { try await metadefs.replaceProperty("c", with: taken, in: "n", as: admin) }
                == 409)
        #expect(
            await ServiceError.status { try await metadefs.replaceProperty("a", with: taken, in: "n", as: admin) }
                == 404)
        #expect(try await metadefs.property("c", in: "n", as: admin).definition == ["title": "C", "type": "string"])
        try await metadefs.removeProperty("c", from: "n", as: admin)
        #expect(await ServiceError.status { try await metadefs.removeProperty("c", from: "n", as: admin) } == 404)
        #expect(await ServiceError.status { try await metadefs.property("c", in: "n", as: admin) } == 404)
        try await metadefs.removeProperties(from: "n", as: admin)
        #expect(try await metadefs.properties(in: "n", as: admin).isEmpty)
    }

    @Test func namesHaveThePrefixOfTheResourceTypeTheyAreAskedFor() async throws {
        let fixture = try await MetadefFixture()
        let metadefs = fixture.metadefs
        let reader = fixture.caller()
        let bare = try await fixture.create(MetadefFixture.whole)
        func detail(_ type: String) async throws -> MetadefNamespaceDetail {
            try await metadefs.namespace("OS::Test::Whole", for: type, as: reader)
        }
        let prefixed = try await detail("OS::Glance::Image")
        #expect(prefixed.properties.map(\.name) == ["hw_cores"])
        #expect(prefixed.objects[0].required == ["hw_size"])
        #expect(Array(prefixed.objects[0].properties.keys) == ["hw_size"])
        #expect(prefixed.tags == bare.tags)
        #expect(try await detail("OS::Nova::Flavor") == bare)
        #expect(try await detail("OS::Unknown") == bare)

        func property(_ name: String, _ type: String) async -> Int? {
            await ServiceError.status {
                try await metadefs.property(name, in: "OS::Test::Whole", for: type, as: reader)
            }
        }
        #expect(await property("hw_cores", "OS::Glance::Image") == nil)
        #expect(await property("cores", "OS::Glance::Image") == 404)
        #expect(await property("cores", "OS::Nova::Flavor") == nil)
        #expect(await property("cores", "OS::Unknown") == 404)
    }

    @Test func objectsAreReplacedRenamedAndStayInTheirPlace() async throws {
        let fixture = try await MetadefFixture()
        let metadefs = fixture.metadefs
        let admin = fixture.admin
        try await fixture.create(MetadefFixture.whole)
        let name = "OS::Test::Whole"
        let made = try await metadefs.addObject(try MetadefObjectDraft(json: ["name": "third"]), to: name, as: admin)
        #expect(made.required.isEmpty && made.properties.isEmpty && made.description == nil)
        fixture.clock.advance(seconds: 3)
        let draft = try MetadefObjectDraft(json: ["name": "omega", "description": "new"])
        let changed = try await metadefs.replaceObject("zeta", with: draft, in: name, as: admin)
        #expect(changed.properties.isEmpty && changed.required.isEmpty && changed.description == "new")
        #expect(changed.updatedAt == fixture.clock.now && changed.createdAt < changed.updatedAt)
        #expect(
            try await metadefs.objects(in: name, .inOrder, as: admin).map(\.name) == ["omega", "alpha", "third"])
        #expect(await ServiceError.status { try await metadefs.addObject(draft, to: name, as: admin) } == 409)
        #expect(
            await ServiceError.status { try await metadefs.replaceObject("alpha", with: draft, in: name, as: admin) }
                == 409)
        try await metadefs.deleteObject("omega", from: name, as: admin)
        #expect(await ServiceError.status { try await metadefs.object("omega", in: name, as: admin) } == 404)
        try await metadefs.deleteObjects(from: name, as: admin)
        #expect(try await metadefs.objects(in: name, .inOrder, as: admin).isEmpty)
    }

    @Test func tagsTakeThePlaceOfOthersUnlessTheyAreAppended() async throws {
        let fixture = try await MetadefFixture()
        let metadefs = fixture.metadefs
        let admin = fixture.admin
        try await fixture.create(MetadefFixture.whole)
        let name = "OS::Test::Whole"
        func tags() async throws -> [String] {
            try await metadefs.tags(in: name, .inOrder, as: admin).map(\.name)
        }
        try await metadefs.addTags(["three", "one"], to: name, isAppending: false, as: admin)
        #expect(try await tags() == ["three", "one"])
        try await metadefs.addTags(["four"], to: name, isAppending: true, as: admin)
        #expect(
            await ServiceError.status {
                try await metadefs.addTags(["five", "one"], to: name, isAppending: true, as: admin)
            } == 409)
        #expect(
            await ServiceError.status {
                try await metadefs.addTags(["five", "five"], to: name, isAppending: false, as: admin)
            } == 409)
        try await metadefs.addTags([], to: name, isAppending: false, as: admin)
        #expect(try await tags() == ["three", "one", "four"])
        #expect(try await metadefs.addTag("six", to: name, as: admin).name == "six")
        #expect(await ServiceError.status { try await metadefs.addTag("six", to: name, as: admin) } == 409)
        #expect(try await metadefs.renameTag("one", to: "uno", in: name, as: admin).name == "uno")
        #expect(try await metadefs.renameTag("uno", to: "uno", in: name, as: admin).name == "uno")
        #expect(await ServiceError.status { try await metadefs.renameTag("one", to: "x", in: name, as: admin) } == 404)
        #expect(
            await ServiceError.status { try await metadefs.renameTag("uno", to: "four", in: name, as: admin) } == 409)
        try await metadefs.deleteTag("uno", from: name, as: admin)
        #expect(try await tags() == ["three", "four", "six"])
        try await metadefs.deleteTags(from: name, as: admin)
        #expect(try await tags().isEmpty)
    }

    @Test func aResourceTypeIsMadeByItsFirstAssociationAndStays() async throws {
        let fixture = try await MetadefFixture()
        let metadefs = fixture.metadefs
        let admin = fixture.admin
        try await fixture.create(#"{"namespace": "n"}"#)
        let draft = try MetadefAssociationDraft(json: ["name": "OS::New", "prefix": "p:", "properties_target": "t"])
        let made = try await metadefs.associate(draft, with: "n", as: admin)
        #expect(try await metadefs.associations(in: "n", as: admin) == [made])
        #expect(await ServiceError.status { try await metadefs.associate(draft, with: "n", as: admin) } == 409)
        try await metadefs.dissociate("OS::New", from: "n", as: admin)
        #expect(await ServiceError.status { try await metadefs.dissociate("OS::New", from: "n", as: admin) } == 404)
        #expect(try await metadefs.associations(in: "n", as: admin).isEmpty)
        #expect(try await metadefs.resourceTypes(as: admin).map(\.name) == ["OS::New"])
    }

    @Test func whatTheSchemasForbidIsRefused() throws {
        let long = String(repeating: "n", count: 81)
        func property(_ members: String) -> String { #"{"namespace": "n", "properties": {"p": {\#(members)}}}"# }
        for text in [
            "[]", "1", "null", "{}", #"{"namespace": ""}"#, #"{"namespace": "\#(long)"}"#, #"{"namespace": 1}"#,
            #"{"namespace": null}"#, #"{"namespace": "n", "visibility": "shared"}"#,
            #"{"namespace": "n", "visibility": null}"#, #"{"namespace": "n", "protected": "true"}"#,
            #"{"namespace": "n", "description": "\#(String(repeating: "d", count: 501))"}"#,
            #"{"namespace": "n", "display_name": "\#(long)"}"#, #"{"namespace": "n", "owner": ""}"#,
            #"{"namespace": "n", "unknown": 1}"#, #"{"namespace": "n", "tags": ["a"]}"#,
            #"{"namespace": "n", "tags": [{}]}"#, #"{"namespace": "n", "tags": {"name": "a"}}"#,
            #"{"namespace": "n", "objects": [{"name": "\#(long)"}]}"#,
            #"{"namespace": "n", "objects": [{"name": "o", "required": ["a", "a"]}]}"#,
            #"{"namespace": "n", "objects": [{"name": "o", "properties": []}]}"#,
            #"{"namespace": "n", "objects": [{"name": "o", "properties": {"": {"title": "a", "type": "string"}}}]}"#,
            #"{"namespace": "n", "properties": {"\#(long)": {"title": "a", "type": "string"}}}"#,
            #"{"namespace": "n", "resource_type_associations": [{"prefix": "p"}]}"#,
            #"{"namespace": "n", "resource_type_associations": [{"name": "a", "prefix": "\#(long)"}]}"#,
            property(#""title": "a""#), property(#""type": "string""#), property(#""title": "a", "type": "text""#),
            property(#""title": "a", "type": null"#), property(#""title": "a", "type": "string", "enum": "a""#),
            property(#""title": "a", "type": "string", "minLength": -1"#),
            property(#""title": "a", "type": "string", "maxLength": 1.5"#),
            property(#""title": "a", "type": "string", "maximum": "9""#),
            property(#""title": "a", "type": "string", "readonly": 1"#),
            property(#""title": "a", "type": "string", "operators": [1]"#),
            property(#""title": "a", "type": "array", "items": {"type": "thing"}"#),
            property(#""title": "a", "type": "string", "unknown": 1"#),
        ] {
            #expect(throws: ServiceError.self, "\(text.prefix(80))") { try MetadefFixture.draft(text) }
        }
        for name in ["self", "schema", "created_at", "updated_at"] {
            do {
                _ = try MetadefFixture.draft(#"{"namespace": "n", "\#(name)": "x"}"#)
                Issue.record("\(name) was taken")
            } catch ServiceError.forbidden {
            } catch {
                Issue.record(error)
            }
        }
    }

    @Test func aNameAsLongAsTheRequestDoesNotComeBackInTheMessage() throws {
        let long = String(repeating: "x", count: 10_000)
        do {
            _ = try MetadefFixture.draft(#"{"namespace": "n", "\#(long)": 1}"#)
            Issue.record("it was taken")
        } catch let error as ServiceError {
            #expect(error.message.count < 300)
        }
    }

    @Test func aPropertyByItselfNeedsItsName() {
        #expect(throws: ServiceError.self) { try MetadefProperty(json: ["title": "a", "type": "string"]) }
        #expect(throws: ServiceError.self) {
            try MetadefProperty(json: ["name": "", "title": "a", "type": "string"])
        }
    }
}
