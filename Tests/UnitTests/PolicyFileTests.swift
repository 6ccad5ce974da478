import Core
import Foundation
import Server
import Testing

@Suite("The policy file")
struct PolicyFileTests {
    private func file<T>(_ text: String, _ body: (String) throws -> T) throws -> T {
        let path = NSTemporaryDirectory() + "policy-\(UUID().uuidString).yaml"
        try text.write(toFile: path, atomically: false, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try body(path)
    }

    private func read(_ text: String) throws -> PolicyFile { try file(text) { try PolicyFile(path: $0) } }

    /// Without the path.
    private func problems(_ text: String) throws -> [String] {
        try file(text) { path in
            do {
                _ = try PolicyFile(path: path)
                return []
            } catch let error as ConfigurationError {
                return error.problems.map { $0.replacingOccurrences(of: path, with: "FILE") }
            }
        }
    }

    private static let example = """
        # Publishers may publish.
        "publicize_image": "role:admin or rule:publisher"
        publisher: role:publisher and project_id:%(owner)s
        delete_image: >-
          role:admin
          or role:janitor
        property_protections:
          - pattern: "^license_"
            create: "role:admin"
            read: "@"
            update: ["admin", "Billing"]
            delete: "!"
        """

    @Test func isReadWithItsLines() throws {
        let file = try read(Self.example)
        #expect(file.policy.rule(of: .publicizeImage) == "role:admin or rule:publisher")
        #expect(file.policy.rule(of: .deleteImage) == "role:admin or role:janitor")
        #expect(file.policy.rule(of: .getImage) == ImageAction.getImage.standardRule)
        #expect(file.line(of: .publicizeImage) == 2 && file.line(of: .deleteImage) == 4)
        #expect(file.protections.first?.rules[.update] == "role:admin or role:Billing")
    }

    @Test(arguments: ["", "# nothing\n", "{}"]) func mayBeEmpty(_ text: String) throws {
        let file = try read(text)
        #expect(ImageAction.allCases.allSatisfy { !file.policy.isOverridden($0) })
    }

    @Test(arguments: [
        (
            "get_image: role:a and",
            "FILE line 1: rule 'get_image', character 11: The rule ends where a check is missing."
        ),
        ("\n\nget_imgae: '@'", "FILE line 3: rule 'get_imgae': \(ImagePolicy.unknownAction) Did you mean get_image?"),
        ("get_image: !", "FILE line 1: rule 'get_image' is empty; write \"@\" for everybody or \"!\" for nobody"),
        ("get_image:", "is empty"), ("get_image: null", "is empty"), ("get_image: [[role:a]]", "old form"),
        ("get_image: {a: b}", "old form"), ("- get_image", "FILE must hold rules as ACTION: RULE"),
        ("get_image: http://a/b", "http: is not supported"), ("a: rule:b\nb: rule:a", "refers to itself"),
        ("get_image: rule:x", "FILE line 1: rule 'get_image': There is no rule 'x'"),
        ("get_image: '@'\nget_image: '!'", "FILE: a name stands twice"), ("get_image: 'a", "FILE: line 1"),
        ("property_protections: {}", "is no list"), ("property_protections: [a]", "has a pattern"),
        (
            "property_protections:\n- {pattern: a, create: '@', read: '@', update: '@'}",
            "FILE line 2: rule 'a': 'delete'"
        ),
        (
            "property_protections:\n- pattern: a(\n  create: '@'\n  read: '@'\n  update: '@'\n  delete: '@'",
            "FILE line 2: rule 'a(', character 2: This '(' is not closed."
        ),
        (
            "property_protections:\n- {pattern: a, create: admin, read: '@', update: '@', delete: '@'}",
            "'admin' is no check"
        ),
        ("property_protections:\n- {pattern: a, create: ['@'], read: '@', update: '@', delete: '@'}", "'@' is no role"),
        ("property_protections:\n- {pattern: a, write: '@', read: '@'}", "have no 'write'"),
        ("xyzzy: '@'", "The actions are add_image, add_image_location,"),
    ])
    func mistakesAreToldWithTheirPlace(_ text: String, _ told: String) throws {
        let problems = try problems(text)
        #expect(problems.contains { $0.contains(told) }, "\(problems)")
    }

    /// A start that failed once for each mistake would be tedious.
    @Test func mistakesWithinRulesAreToldAtOnce() throws {
        #expect(try problems("get_image: 'role:'\nadd_image: 'x'\ndelete_image: '@'").count == 2)
    }

    @Test func theSettingNamesIt() throws {
        try file(Self.example) { path in
            let settings = try ServerSettings(
                try SettingSources(environment: ["AMBROTYPE_IMAGE_POLICY_FILE": path]).resolve())
            #expect(settings.image?.settings.policy.isOverridden(.deleteImage) == true)
        }
        let error = #expect(throws: ConfigurationError.self) {
            _ = try ServerSettings(
                try SettingSources(environment: ["AMBROTYPE_IMAGE_POLICY_FILE": "/does/not/exist"]).resolve())
        }
        #expect(error?.problems.first?.hasPrefix("image.policy_file: /does/not/exist cannot be opened") == true)
    }

    private func question(
        _ roles: Set<String>, owner: ProjectID = "project", visibility: Image.Visibility = .private
    ) -> PolicyReport.Question {
        PolicyReport.Question(
            caller: Caller(userID: "user", projectID: "project", roles: roles, requestID: "r", logger: .silent),
            image: ImagePolicy.imagined(owner: owner, visibility: visibility), isMember: false)
    }

    @Test func decisionsAreExplained() throws {
        let answer = try PolicyReport.answer(.deleteImage, question(["reader"]), nil)
        #expect(!answer.isAllowed)
        #expect(
            answer.text == """
                refused, with 403
                action: delete_image (delete an image)
                roles: reader
                the caller sees the image
                rule (default): role:admin or (role:member and project_id:%(project_id)s)
                  * no   or
                    * no   role:admin  (the caller has not the role)
                    * no   and
                      * no   role:member  (the caller has not the role)
                        yes  project_id:%(project_id)s  (both are 'project')
                """)
        let hidden = try PolicyReport.answer(.getImage, question(["reader"], owner: "other"), nil)
        #expect(hidden.text.hasPrefix("refused, with 404\n") && hidden.text.contains("no rule makes up for that"))
        try file(Self.example) { path in
            let policy = try PolicyFile(path: path)
            let widened = try PolicyReport.answer(
                .deleteImage, question(["janitor"], owner: "other", visibility: .public), policy)
            #expect(widened.isAllowed && widened.text.contains("rule (\(path) line 4): role:admin or role:janitor"))
            let update = PolicyReport.answer(.update, of: "license_key", question(["billing"]), policy)
            #expect(update.isAllowed && update.text.contains("pattern: ^license_"))
            #expect(!PolicyReport.answer(.delete, of: "license_key", question(["admin"]), policy).isAllowed)
            #expect(PolicyReport.answer(.read, of: "other", question(["admin"]), policy).text.contains("nobody's"))
        }
    }

    @Test func theListHasEveryActionAndWhatItReplaced() throws {
        let text = try file(Self.example) { PolicyReport.list(try PolicyFile(path: $0)) }
        let lines = text.split(separator: "\n").map { $0.split(separator: " ", omittingEmptySubsequences: true) }
        for action in ImageAction.allCases { #expect(lines.contains { $0.first == action.rawValue[...] }) }
        #expect(text.contains("line 4") && text.contains("instead of  role:admin or (role:member"))
        #expect(text.contains("^license_"))
    }
}
