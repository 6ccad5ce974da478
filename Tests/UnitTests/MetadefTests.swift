import Core
import Persistence
import Testing

@Suite struct MetadefTests {
    @Test func aNamespaceComesBackWithAllThatIsInIt() async throws {
        let fixture = try await MetadefFixture()
        let made = try await fixture.create(MetadefFixture.whole)
        #expect(made == (try await fixture.metadefs.namespace("OS::Test::Whole", as: fixture.caller())))
        #expect(made.namespace.owner == "p9")
        #expect(made.namespace.visibility == .public)
        #expect(!made.namespace.isProtected)
        #expect(made.associations.map(\.name) == ["OS::Cinder::Volume", "OS::Glance::Image", "OS::Nova::Flavor"])
        #expect(made.objects.map(\.name) == ["zeta", "alpha"])
        #expect(made.objects[0].required == ["size"])
        #expect(made.tags.map(\.name) == ["one", "two"])
        #expect(
            made.properties.first?.definition
                == ["title": "Cores", "type": "integer", "minimum": 1, "default": 2, "enum": [1, 2, 4]])
    }

    @Test func aNamespaceIsPrivateUnprotectedAndTheCallersUnlessItSaysOtherwise() async throws {
        let fixture = try await MetadefFixture()
        let made = try await fixture.create(#"{"namespace": "plain"}"#).namespace
        #expect(made.visibility == .private && !made.isProtected && made.owner == "admins")
        #expect(made.createdAt == made.updatedAt)
    }

    @Test func aConflictWithinLeavesNothingOfTheNamespace() async throws {
        let fixture = try await MetadefFixture()
        for text in [
            #"{"namespace": "twice", "tags": [{"name": "a"}, {"name": "a"}]}"#,
            #"{"namespace": "twice", "objects": [{"name": "a"}, {"name": "a"}]}"#,
            #"{"namespace": "twice", "resource_type_associations": [{"name": "a"}, {"name": "a"}]}"#,
        ] {
            #expect(await ServiceError.status { try await fixture.create(text) } == 409)
        }
        #expect(try await fixture.contentRows() == 0)
        #expect(try await fixture.metadefs.resourceTypes(as: fixture.admin).isEmpty)
    }

    @Test func aTakenNameIsAConflictHoweverItIsTaken() async throws {
        let fixture = try await MetadefFixture()
        try await fixture.create(#"{"namespace": "first"}"#)
        try await fixture.create(#"{"namespace": "second"}"#)
        #expect(await ServiceError.status { try await fixture.create(#"{"namespace": "first"}"#) } == 409)
        let rename = try MetadefFixture.draft(#"{"namespace": "first"}"#)
        let status = await ServiceError.status {
            try await fixture.metadefs.replaceNamespace("second", with: rename, as: fixture.admin)
        }
        #expect(status == 409)
    }

    @Test func namesThatOnlyLookAlikeAreTwoNames() async throws {
        let fixture = try await MetadefFixture()
        try await fixture.create("{\"namespace\": \"caf\u{e9}\"}")
        try await fixture.create("{\"namespace\": \"cafe\u{301}\"}")
        let rename = try MetadefFixture.draft("{\"namespace\": \"cafe\u{301}\"}")
        let status = await ServiceError.status {
            try await fixture.metadefs.replaceNamespace("caf\u{e9}", with: rename, as: fixture.admin)
        }
        #expect(status == 409)
    }

    @Test func replacingANamespaceRenamesItAndKeepsWhatIsInIt() async throws {
        let fixture = try await MetadefFixture()
        let before = try await fixture.create(MetadefFixture.whole)
        fixture.clock.advance(seconds: 5)
        let draft = try MetadefFixture.draft(#"{"namespace": "renamed", "properties": {}}"#)
        let new = try await fixture.metadefs.replaceNamespace("OS::Test::Whole", with: draft, as: fixture.admin)
        #expect(new.visibility == .private && new.owner == "admins" && new.displayName == nil)
        #expect(new.createdAt == before.namespace.createdAt && new.updatedAt == fixture.clock.now)
        let after = try await fixture.metadefs.namespace("renamed", as: fixture.admin)
        #expect(after.namespace == new)
        #expect(after.properties == before.properties && after.objects == before.objects && after.tags == before.tags)
        let old = await ServiceError.status {
            try await fixture.metadefs.namespace("OS::Test::Whole", as: fixture.admin)
        }
        #expect(old == 404)
    }

    @Test func deletingANamespaceLeavesNoRowsAndTheResourceTypes() async throws {
        let fixture = try await MetadefFixture()
        try await fixture.create(MetadefFixture.whole)
        #expect(try await fixture.contentRows() == 9)
        try await fixture.metadefs.deleteNamespace("OS::Test::Whole", as: fixture.admin)
        #expect(try await fixture.contentRows() == 0)
        #expect(try await fixture.metadefs.resourceTypes(as: fixture.caller()).count == 3)
    }

    @Test func nothingOfAProtectedNamespaceCanBeTakenAway() async throws {
        let fixture = try await MetadefFixture()
        let metadefs = fixture.metadefs
        let admin = fixture.admin
        try await fixture.create(
            MetadefFixture.whole.replacing(#""owner": "p9""#, with: #""owner": "p9", "protected": true"#))
        let name = "OS::Test::Whole"
        let rows = try await fixture.contentRows()
        #expect(await ServiceError.status { try await metadefs.deleteNamespace(name, as: admin) } == 403)
        #expect(await ServiceError.status { try await metadefs.removeProperty("cores", from: name, as: admin) } == 403)
        #expect(await ServiceError.status { try await metadefs.removeProperties(from: name, as: admin) } == 403)
        #expect(await ServiceError.status { try await metadefs.deleteObject("zeta", from: name, as: admin) } == 403)
        #expect(await ServiceError.status { try await metadefs.deleteObjects(from: name, as: admin) } == 403)
        #expect(await ServiceError.status { try await metadefs.deleteTag("one", from: name, as: admin) } == 403)
        #expect(await ServiceError.status { try await metadefs.deleteTags(from: name, as: admin) } == 403)
        #expect(
            await ServiceError.status { try await metadefs.dissociate("OS::Nova::Flavor", from: name, as: admin) }
                == 403
        )
        #expect(try await fixture.contentRows() == rows)
    }

    // MARK: who sees what

    @Test func privateNamespacesAreThereOnlyForTheirProjectAndAdministrators() async throws {
        let fixture = try await MetadefFixture()
        try await fixture.create(#"{"namespace": "private", "owner": "p1"}"#)
        try await fixture.create(#"{"namespace": "public", "owner": "p1", "visibility": "public"}"#)
        func seen(by caller: Caller) async throws -> Set<String> {
            Set(
                try await fixture.metadefs.namespaces(MetadefNamespaceQuery(limit: 10), as: caller).namespaces
                    .map(\.namespace.name))
        }
        #expect(try await seen(by: fixture.caller("p1")) == ["private", "public"])
        #expect(try await seen(by: fixture.caller("p2")) == ["public"])
        #expect(try await seen(by: fixture.admin) == ["private", "public"])
        let other = fixture.caller("p2")
        #expect(await ServiceError.status { try await fixture.metadefs.namespace("private", as: other) } == 404)
        #expect(
            await ServiceError.status { try await fixture.metadefs.tags(in: "private", .inOrder, as: other) } == 404)
        #expect(await ServiceError.status { try await fixture.metadefs.tags(in: "public", .inOrder, as: other) } == nil)
        let nobody = fixture.caller("p1", roles: [])
        #expect(await ServiceError.status { try await seen(by: nobody) } == 403)
        #expect(await ServiceError.status { try await fixture.metadefs.namespace("private", as: nobody) } == 404)
        #expect(await ServiceError.status { try await fixture.metadefs.resourceTypes(as: nobody) } == 403)
    }

    @Test(arguments: ["p1", "p2"] as [ProjectID])
    func onlyAdministratorsWrite(_ project: ProjectID) async throws {
        let fixture = try await MetadefFixture()
        let metadefs = fixture.metadefs
        try await fixture.create(MetadefFixture.whole.replacing("p9", with: "p1").replacing("public", with: "private"))
        let name = "OS::Test::Whole"
        let member = fixture.caller(project, roles: ["member", "reader"])
        // Another project is not even told that there is such a namespace.
        let expected = project == "p1" ? 403 : 404
        let draft = try MetadefFixture.draft(#"{"namespace": "mine"}"#)
        let object = try MetadefObjectDraft(json: ["name": "mine"])
        let property = try MetadefProperty(json: ["name": "mine", "title": "a", "type": "string"])
        let type = try MetadefAssociationDraft(json: ["name": "mine"])
        #expect(await ServiceError.status { try await metadefs.createNamespace(draft, as: member) } == 403)
        let writes: [@Sendable () async throws -> Void] = [
            { _ = try await metadefs.replaceNamespace(name, with: draft, as: member) },
            { try await metadefs.deleteNamespace(name, as: member) },
            { try await metadefs.addProperty(property, to: name, as: member) },
            { try await metadefs.replaceProperty("cores", with: property, in: name, as: member) },
            { try await metadefs.removeProperty("cores", from: name, as: member) },
            { try await metadefs.removeProperties(from: name, as: member) },
            { _ = try await metadefs.addObject(object, to: name, as: member) },
            { _ = try await metadefs.replaceObject("zeta", with: object, in: name, as: member) },
            { try await metadefs.deleteObject("zeta", from: name, as: member) },
            { try await metadefs.deleteObjects(from: name, as: member) },
            { _ = try await metadefs.addTag("mine", to: name, as: member) },
            { try await metadefs.addTags(["mine"], to: name, isAppending: true, as: member) },
            { _ = try await metadefs.renameTag("one", to: "mine", in: name, as: member) },
            { try await metadefs.deleteTag("one", from: name, as: member) },
            { try await metadefs.deleteTags(from: name, as: member) },
            { _ = try await metadefs.associate(type, with: name, as: member) },
            { try await metadefs.dissociate("OS::Nova::Flavor", from: name, as: member) },
        ]
        let before = try await metadefs.namespace(name, as: fixture.admin)
        for (index, write) in writes.enumerated() {
            #expect(await ServiceError.status(of: write) == expected, "write \(index)")
        }
        #expect(try await metadefs.namespace(name, as: fixture.admin) == before)
    }

    // MARK: lists

    @Test func pagesOfNamespacesMeetWithoutGapOrOverlap() async throws {
        let fixture = try await MetadefFixture()
        // Several at one moment, so that names have to tell them apart.
        for index in 0..<11 {
            try await fixture.create(#"{"namespace": "n\#(index * 7 % 11)", "visibility": "public"}"#)
            if index.isMultiple(of: 3) { fixture.clock.advance(seconds: 1) }
        }
        for key in MetadefNamespaceQuery.SortKey.allCases {
            for isAscending in [true, false] {
                var query = MetadefNamespaceQuery(limit: 100)
                query.sortKey = key
                query.isAscending = isAscending
                let whole = try await fixture.metadefs.namespaces(query, as: fixture.caller()).namespaces.map(
                    \.namespace.name)
                #expect(whole.count == 11)
                query.limit = 3
                var pieced: [String] = []
                while true {
                    let page = try await fixture.metadefs.namespaces(query, as: fixture.caller())
                    pieced += page.namespaces.map(\.namespace.name)
                    guard page.isFull else { break }
                    query.marker = pieced.last
                }
                #expect(pieced == whole, "\(key) \(isAscending)")
            }
        }
    }

    @Test func listsOfNamespacesAreFiltered() async throws {
        let fixture = try await MetadefFixture()
        try await fixture.create(MetadefFixture.whole)
        try await fixture.create(#"{"namespace": "other", "resource_type_associations": [{"name": "OS::Other"}]}"#)
        try await fixture.create(#"{"namespace": "none"}"#)
        func list(_ change: (inout MetadefNamespaceQuery) -> Void) async throws -> Set<String> {
            var query = MetadefNamespaceQuery(limit: 10)
            change(&query)
            return Set(
                try await fixture.metadefs.namespaces(query, as: fixture.admin).namespaces.map(\.namespace.name))
        }
        #expect(try await list { $0.visibility = .public } == ["OS::Test::Whole"])
        #expect(try await list { $0.visibility = .private } == ["other", "none"])
        #expect(
            try await list { $0.resourceTypes = ["OS::Other", "OS::Glance::Image", "OS::Nova::Flavor"] }
                == ["other", "OS::Test::Whole"])
        #expect(try await list { $0.resourceTypes = ["nothing"] } == [])
        #expect(try await list { $0.limit = 0 } == [])
        #expect(await ServiceError.status { try await list { $0.marker = "absent" } } == 404)
    }

    @Test func tagsAreListedNewestFirstAndPaged() async throws {
        let fixture = try await MetadefFixture()
        try await fixture.create(#"{"namespace": "n"}"#)
        try await fixture.metadefs.addTags(["c", "a", "b"], to: "n", isAppending: false, as: fixture.admin)
        fixture.clock.advance(seconds: 1)
        try await fixture.metadefs.addTags(["d"], to: "n", isAppending: true, as: fixture.admin)
        func list(_ query: MetadefContentQuery) async throws -> [String] {
            try await fixture.metadefs.tags(in: "n", query, as: fixture.admin).map(\.name)
        }
        var query = MetadefContentQuery(sortKey: .createdAt, isAscending: false)
        #expect(try await list(query) == ["d", "b", "a", "c"])
        query.limit = 2
        query.marker = "b"
        #expect(try await list(query) == ["a", "c"])
        query = MetadefContentQuery(sortKey: .name, isAscending: true)
        query.marker = "b"
        #expect(try await list(query) == ["c", "d"])
        query.marker = "absent"
        #expect(await ServiceError.status { try await list(query) } == 404)
    }
}
