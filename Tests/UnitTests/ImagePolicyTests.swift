import Core
import Persistence
import Testing

@Suite("The policy of images")
struct ImagePolicyTests {
    private static let roleSets: [Set<String>] = [
        [], ["reader"], ["member"], ["member", "reader"], ["admin"], ["service"],
        ["admin", "manager", "member", "reader"],
    ]

    private func caller(_ roles: Set<String>, project: ProjectID? = "p1") -> Caller {
        Caller(userID: "u", projectID: project, roles: roles, requestID: "req-test", logger: .silent)
    }

    private func everything(_ rule: String) throws -> ImagePolicy {
        try ImagePolicy(rules: Dictionary(uniqueKeysWithValues: ImageAction.allCases.map { ($0.rawValue, rule) }))
    }

    /// The defaults are written twice: compiled, for speed, and in the language, for operators.
    @Test(arguments: ImageAction.allCases)
    func standardRulesSayWhatTheCodeDoes(_ action: ImageAction) throws {
        let written = try ImagePolicy(rules: [action.rawValue: action.standardRule])
        var allowed = 0
        for roles in Self.roleSets {
            for owner in ["p1", "p2", nil] as [ProjectID?] {
                for visibility in Image.Visibility.allCases {
                    for isMember in [false, true] {
                        for project in ["p1", nil] as [ProjectID?] {
                            let caller = caller(roles, project: project)
                            let image = ImagePolicy.imagined(owner: owner, visibility: visibility)
                            let standard = try ImagePolicy.standard.explain(action, caller, image, isMember: isMember)
                            let read = try written.explain(action, caller, image, isMember: isMember)
                            let place: Comment = "\(roles) \(owner?.rawValue ?? "-") \(visibility) \(isMember)"
                            #expect(standard.isAllowed == read.isAllowed, place)
                            #expect(standard.refusal == read.refusal, place)
                            #expect(standard.tree == read.tree, place)
                            if standard.isAllowed { allowed += 1 }
                        }
                    }
                }
            }
        }
        #expect(allowed > 0)
    }

    /// Even if everybody may do everything.
    @Test func noRuleShowsWhatIsNotTheCallers() async throws {
        let policy = try everything("@")
        let fixture = try await ImageFixture { $0.policy = policy }
        let image = try await fixture.createImage()
        try await fixture.upload([1, 2, 3], to: image.id)
        let stranger = fixture.caller("p2", roles: ["member", "reader", "whatever"])
        let images = fixture.images
        #expect(await status { _ = try await images.get(image.id, as: stranger) } == 404)
        #expect(await status { _ = try await images.download(image.id, as: stranger) } == 404)
        #expect(await status { _ = try await images.patch(image.id, [], as: stranger) } == 404)
        #expect(await status { try await images.delete(image.id, as: stranger) } == 404)
        #expect(await status { try await images.deactivate(image.id, as: stranger) } == 404)
        #expect(await status { try await images.addTag("a", to: image.id, as: stranger) } == 404)
        #expect(await status { _ = try await images.members(of: image.id, as: stranger) } == 404)
        #expect(await status { _ = try await images.addMember("p3", to: image.id, as: stranger) } == 404)
        #expect(await status { try await fixture.upload([1], to: image.id, as: stranger) } == 404)
        #expect(try await images.list(ImageListQuery(), as: stranger).images.isEmpty)
        var marker = ImageListQuery()
        marker.marker = image.id
        #expect(await status { _ = try await images.list(marker, as: stranger) } == 400)
    }

    @Test func noRuleReplacesAProject() async throws {
        let policy = try everything("@")
        let fixture = try await ImageFixture { $0.policy = policy }
        let image = try await fixture.createImage({ $0.visibility = .public }, as: fixture.admin)
        let unscoped = caller(["admin"], project: nil)
        #expect(await status { _ = try await fixture.images.get(image.id, as: unscoped) } == 404)
        #expect(await status { _ = try await fixture.images.list(ImageListQuery(), as: unscoped) } == 403)
        #expect(await status { _ = try await fixture.createImage(as: unscoped) } == 403)
    }

    /// What is refused for other reasons than permission stays refused.
    @Test func noRuleReplacesWhatIsNoPermission() async throws {
        let policy = try everything("@")
        let fixture = try await ImageFixture { $0.policy = policy }
        let images = fixture.images
        let nobody = fixture.caller(roles: [])
        let image = try await fixture.createImage({ $0.isProtected = true }, as: nobody)
        #expect(await status { try await images.delete(image.id, as: nobody) } == 403)
        let owner = ImagePatch(verb: .replace, path: ["owner"], value: "p2", addRefusesExisting: false)
        #expect(await status { _ = try await images.patch(image.id, [owner], as: nobody) } == 403)
        #expect(await status { _ = try await fixture.createImage({ $0.owner = "p2" }, as: nobody) } == 403)
        try await fixture.upload([1], to: image.id, as: nobody)
        #expect(await status { try await fixture.upload([1], to: image.id, as: nobody) } == 409)
        try await images.deactivate(image.id, as: nobody)
        #expect(await status { _ = try await images.download(image.id, as: nobody) } == 403)
        _ = try await images.addMember("p2", to: image.id, as: nobody)
        #expect(
            await status { _ = try await images.setMemberStatus(.accepted, of: "p2", on: image.id, as: nobody) } == 403)
    }

    @Test func aRuleWidensWhatMayBeDoneWithImagesThatAreSeen() async throws {
        let policy = try ImagePolicy(rules: [
            "delete_image": "rule:janitor", "janitor": "role:janitor and 'public':%(visibility)s",
            "publicize_image": "role:member and project_id:%(owner)s",
        ])
        let fixture = try await ImageFixture { $0.policy = policy }
        let image = try await fixture.createImage { $0.visibility = .public }
        let other = try await fixture.createImage { $0.visibility = .community }
        let published = ImagePatch(verb: .replace, path: ["visibility"], value: "public", addRefusesExisting: false)
        let third = try await fixture.createImage()
        #expect(try await fixture.images.patch(third.id, [published], as: fixture.caller()).image.visibility == .public)
        let janitor = fixture.caller("p2", roles: ["janitor", "reader"])
        #expect(await status { try await fixture.images.delete(other.id, as: janitor) } == 403)
        #expect(await status { try await fixture.images.delete(image.id, as: fixture.caller()) } == 403)
        #expect(await status { try await fixture.images.delete(image.id, as: fixture.admin) } == 403)
        try await fixture.images.delete(image.id, as: janitor)
    }

    /// Without `get_image` but with another action: that one's rule alone decides.
    @Test func theRuleOfTheActionAloneDecides() async throws {
        let policy = try ImagePolicy(rules: ["get_image": "!", "get_member": "!"])
        let fixture = try await ImageFixture { $0.policy = policy }
        let image = try await fixture.createImage()
        #expect(await status { _ = try await fixture.images.get(image.id, as: fixture.admin) } == 404)
        #expect(
            await status { try await fixture.images.deactivate(image.id, as: fixture.caller("p1", roles: [])) } == 404)
        try await fixture.images.addTag("a", to: image.id, as: fixture.caller())
        try await fixture.images.delete(image.id, as: fixture.caller())
    }

    @Test func aMemberIsShownByItsOwnRule() async throws {
        let policy = try ImagePolicy(rules: ["get_member": "role:auditor"])
        let fixture = try await ImageFixture { $0.policy = policy }
        let image = try await fixture.createImage()
        _ = try await fixture.images.addMember("p2", to: image.id, as: fixture.caller())
        #expect(await status { _ = try await fixture.images.member("p2", of: image.id, as: fixture.caller()) } == 403)
        let auditor = fixture.caller(roles: ["auditor", "reader"])
        #expect(try await fixture.images.member("p2", of: image.id, as: auditor).member == "p2")
    }

    /// Pages go on behind images that are not shown.
    @Test func listsShowWhatMayBeSeen() async throws {
        let policy = try ImagePolicy(rules: [
            "get_image": "role:reader and not 'True':%(confidential)s", "get_images": "@",
        ])
        let fixture = try await ImageFixture { $0.policy = policy }
        var wanted: Set<ImageID> = []
        for number in 0..<7 {
            let isSecret = number % 3 == 0
            let image = try await fixture.createImage { if isSecret { $0.properties = ["confidential": "True"] } }
            if !isSecret { wanted.insert(image.id) }
        }
        for limit in [1, 2, 3, 100] {
            var query = ImageListQuery()
            query.limit = limit
            var shown: [ImageID] = []
            while true {
                let page = try await fixture.images.list(query, as: fixture.caller())
                shown += page.images.map(\.image.id)
                guard page.isFull, let last = page.last else { break }
                query.marker = last
            }
            #expect(Set(shown) == wanted && shown.count == wanted.count)
        }
        // May list, may see nothing.
        #expect(try await fixture.images.list(ImageListQuery(), as: fixture.caller(roles: [])).images.isEmpty)
    }

    @Test func namesThatAreNoActionsAreRefusedUnlessRulesReferToThem() throws {
        let error = #expect(throws: PolicyError.self) { try ImagePolicy(rules: ["get_imgae": "@"]) }
        #expect(error?.rule == "get_imgae")
        _ = try ImagePolicy(rules: ["owner": "project_id:%(owner)s", "get_image": "rule:owner"])
        // A default can be referred to.
        _ = try ImagePolicy(rules: ["download_image": "rule:get_image"])
        #expect(throws: PolicyError.self) { try ImagePolicy(rules: ["get_image": "rule:get_image"]) }
    }

    @Test func attributesThatNoCallerHasAreTold() throws {
        let policy = try ImagePolicy(rules: ["get_image": "projct_id:%(owner)s or user_id:%(owner)s or rule:get_images"]
        )
        #expect(policy.unknownCallerAttributes == ["projct_id"])
    }
}

@Suite("Protected properties")
struct PropertyProtectionTests {
    private typealias Draft = PropertyProtections.Draft

    /// Licences are written by admins and read by all; billing belongs to its role and is hidden; owners have `my_…`.
    private static func policy() throws -> ImagePolicy {
        func all(_ rule: String) -> [PropertyProtections.Operation: String] {
            Dictionary(uniqueKeysWithValues: PropertyProtections.Operation.allCases.map { ($0, rule) })
        }
        return try ImagePolicy(
            rules: ["billing": "role:billing"],
            protections: [
                Draft(
                    pattern: "^license_",
                    rules: [.create: "role:admin", .read: "@", .update: "role:Admin", .delete: "!"]),
                Draft(pattern: "^license", rules: all("@")), Draft(pattern: "^bill_", rules: all("rule:billing")),
                Draft(
                    pattern: "^drop$", rules: [.create: "@", .read: "role:billing", .update: "@", .delete: "@"]),
                Draft(pattern: "^my_", rules: all("project_id:%(project_id)s")),
            ])
    }

    private func fixture() async throws -> ImageFixture {
        let policy = try Self.policy()
        return try await ImageFixture { $0.policy = policy }
    }

    private func set(_ verb: ImagePatch.Verb, _ name: String) -> ImagePatch {
        ImagePatch(verb: verb, path: [name], value: verb == .remove ? .null : "new", addRefusesExisting: false)
    }

    private static let billingRoles: Set<String> = ["billing", "member", "reader"]

    @Test(arguments: [
        ("license_key", 403), ("licensee", 200), ("bill_number", 403), ("my_note", 200), ("other", 403), ("drop", 200),
    ])
    func propertiesAreCreatedByThoseWhoMay(_ name: String, _ expected: Int) async throws {
        let fixture = try await fixture()
        #expect(await status { _ = try await fixture.createImage { $0.properties = [name: "v"] } } == expected)
        let image = try await fixture.createImage()
        #expect(
            await status {
                _ = try await fixture.images.patch(image.id, [set(.add, name)], as: fixture.caller())
            } == expected)
    }

    @Test func whatMayNotBeReadIsHidden() async throws {
        let fixture = try await fixture()
        let billing = fixture.caller(roles: Self.billingRoles)
        let created = try await fixture.createImage(
            { $0.properties = ["bill_number": "7", "my_note": "n", "drop": "d"] }, as: billing)
        #expect(created.properties == ["bill_number": "7", "my_note": "n", "drop": "d"])
        let images = fixture.images
        let seen = try await images.get(created.id, as: fixture.caller()).image.properties
        #expect(seen == ["my_note": "n"])
        #expect(try await images.get(created.id, as: billing).image.properties.count == 3)
        let listed = try await images.list(ImageListQuery(), as: fixture.caller()).images
        #expect(listed.map(\.image.properties) == [["my_note": "n"]])
        #expect(try await images.list(ImageListQuery(), as: billing).images.first?.image.properties.count == 3)
        // Whoever changes the image neither sees nor loses them.
        let patched = try await images.patch(created.id, [set(.replace, "my_note")], as: fixture.caller())
        #expect(patched.image.properties == ["my_note": "new"])
        #expect(
            try await images.get(created.id, as: billing).image.properties
                == ["bill_number": "7", "my_note": "new", "drop": "d"])
        // Nor can they be guessed by looking for them.
        var query = ImageListQuery()
        query.filters = [.property("bill_number", "7")]
        #expect(try await images.list(query, as: fixture.caller()).images.isEmpty)
        #expect(try await images.list(query, as: billing).images.count == 1)
        // Admins have no rights of their own.
        #expect(try await images.get(created.id, as: fixture.admin).image.properties == [:])
    }

    @Test(arguments: [
        ("license_key", ImagePatch.Verb.add, 403), ("license_key", .replace, 403), ("license_key", .remove, 403),
        ("bill_number", .add, 403), ("bill_number", .replace, 403), ("bill_number", .remove, 403),
        ("bill_none", .replace, 403), ("bill_none", .remove, 403), ("other", .replace, 403),
        // May be written and not read: whoever writes could tell whether it was there.
        ("drop", .add, 403), ("drop", .replace, 403), ("drop", .remove, 403),
        ("my_note", .add, 200), ("my_note", .replace, 200), ("my_note", .remove, 200), ("my_none", .replace, 409),
    ])
    func changesAreForThoseWhoMay(_ name: String, _ verb: ImagePatch.Verb, _ expected: Int) async throws {
        let fixture = try await fixture()
        let everyone = fixture.caller(roles: Self.billingRoles.union(["admin"]))
        let properties: [String: String?] = ["license_key": "k", "bill_number": "7", "my_note": "n", "drop": "d"]
        let image = try await fixture.createImage({ $0.properties = properties }, as: everyone)
        #expect(
            await status {
                _ = try await fixture.images.patch(image.id, [set(verb, name)], as: fixture.caller())
            } == expected)
        if expected != 200 {
            #expect(try await fixture.images.get(image.id, as: everyone).image.properties == properties)
        }
    }

    @Test func nobodyIsNobody() async throws {
        let fixture = try await fixture()
        let image = try await fixture.createImage({ $0.properties = ["license_key": "k"] }, as: fixture.admin)
        _ = try await fixture.images.patch(image.id, [set(.replace, "license_key")], as: fixture.admin)
        #expect(
            await status {
                _ = try await fixture.images.patch(image.id, [set(.remove, "license_key")], as: fixture.admin)
            } == 403)
    }

    @Test func protectionsAreProvenWhenTheyAreLoaded() {
        func problem(_ pattern: String, _ rules: [PropertyProtections.Operation: String]) -> PolicyError? {
            #expect(throws: PolicyError.self) {
                try ImagePolicy(rules: [:], protections: [Draft(pattern: pattern, rules: rules)])
            }
        }
        let all: [PropertyProtections.Operation: String] = [.create: "@", .read: "@", .update: "@", .delete: "@"]
        #expect(problem("a(", all)?.position == 2)
        #expect(
            problem("a", [.create: "@", .read: "@", .update: "@"])?.problem.contains("'delete' is missing") == true)
        #expect(problem("a", all.merging([.read: "member"]) { $1 })?.rule == "a, read")
        #expect(problem("a", all.merging([.read: "rule:none"]) { $1 })?.problem.contains("no rule 'none'") == true)
    }

    @Test func anEmptyListHidesEverything() async throws {
        let fixture = try await ImageFixture {
            $0.policy = (try? ImagePolicy(rules: [:], protections: [])) ?? .standard
        }
        #expect(await status { _ = try await fixture.createImage { $0.properties = ["a": "b"] } } == 403)
    }
}
