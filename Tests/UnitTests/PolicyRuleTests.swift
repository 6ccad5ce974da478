import Core
import Testing

@Suite("The policy language")
struct PolicyRuleTests {
    /// What is written, and the same rule as it is written back: grouping shows in the parentheses.
    @Test(arguments: [
        ("", "@"), ("  ", "@"), ("@", "@"), ("!", "!"),
        ("role:admin", "role:admin"),
        ("rule:admin_or_owner", "rule:admin_or_owner"),
        ("rule:a:b", "rule:a:b"),
        ("project_id:%(project_id)s", "project_id:%(project_id)s"),
        ("project_id:%(target.project.id)s", "project_id:%(target.project.id)s"),
        ("is_admin:True", "is_admin:True"),
        ("True:%(os_hidden)s", "True:%(os_hidden)s"),
        ("None:%(owner)s", "None:%(owner)s"),
        ("20:%(min_disk)s", "20:%(min_disk)s"),
        ("'public':%(visibility)s", "'public':%(visibility)s"),
        ("\"public\":%(visibility)s", "'public':%(visibility)s"),
        ("\"it's\":%(name)s", "\"it's\":%(name)s"),
        ("'True':%(protected)s", "True:%(protected)s"),
        ("'a:b':%(name)s", "'a:b':%(name)s"),
        ("user_id:a%%b%(x)sc", "user_id:a%%b%(x)sc"),
        ("role:a or role:b and role:c", "role:a or role:b and role:c"),
        ("role:a and role:b or role:c and role:d", "role:a and role:b or role:c and role:d"),
        ("(role:a or role:b) and role:c", "(role:a or role:b) and role:c"),
        ("not role:a and role:b", "not role:a and role:b"),
        ("not (role:a and role:b)", "not (role:a and role:b)"),
        ("not not role:a", "not not role:a"),
        ("NOT role:a AnD role:b oR @", "not role:a and role:b or @"),
        ("((role:a))", "role:a"),
        ("( role:a )", "role:a"),
        ("(role:a and (role:b and role:c))", "role:a and (role:b and role:c)"),
        ("(project_id:%(project_id)s)", "project_id:%(project_id)s"),
        ("role:a\n  or\trole:b", "role:a or role:b"),
    ])
    func isReadAsOsloReadsIt(_ text: String, _ canonical: String) throws {
        let rule = try PolicyRule(parsing: text)
        #expect(rule.description == canonical)
        #expect(try PolicyRule(parsing: canonical) == rule)
    }

    @Test(arguments: [
        ("role", 1, "no check"), ("role:a or x", 11, "no check"), (":x", 1, "no check"),
        ("role:a and", 11, "ends where a check is missing"), ("or role:a", 1, "A check is missing"),
        ("role:a role:b", 8, "'and' or 'or' is missing"), ("role:a and or role:b", 12, "A check is missing"),
        ("(role:a", 1, "not closed"), ("role:a)", 7, "closes nothing"), ("()", 2, "A check is missing"),
        ("not", 4, "ends where"), ("role:a not role:b", 8, "'and' or 'or' is missing"),
        ("http://policy.example/check", 1, "not supported"), ("@ and https://policy.example/", 7, "not supported"),
        ("role:", 1, "Nothing stands behind"), ("'public'", 1, "compared"), ("'a b':%(x)s", 1, "not closed"),
        ("'a\\'b':%(x)s", 1, "backslash"), ("user_id:'abc'", 9, "without quotes"),
        ("user_id:%(x)", 9, "percent"), ("user_id:100%", 12, "percent"), ("user_id:%(x)d", 9, "percent"),
        ("user_id:%()s", 9, "percent"), ("07:%(x)s", 1, "neither"), ("1.5:%(x)s", 1, "neither"),
        ("a b:c", 1, "no check"),
    ])
    func namesThePlaceOfAMistake(_ text: String, _ position: Int, _ fragment: String) {
        let error = #expect(throws: PolicyError.self) { try PolicyRule(parsing: text) }
        #expect(error?.position == position)
        #expect(error?.problem.contains(fragment) == true, "\(error?.problem ?? "")")
    }

    @Test func boundsNestingAndLength() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "(", count: depth) + "@" + String(repeating: ")", count: depth)
        }
        #expect(try PolicyRule(parsing: nested(PolicyRule.nestingMax - 1)) == .always)
        #expect(throws: PolicyError.self) { try PolicyRule(parsing: nested(PolicyRule.nestingMax)) }
        #expect(throws: PolicyError.self) { try PolicyRule(parsing: String(repeating: "not ", count: 4000) + "@") }
        #expect(throws: PolicyError.self) { try PolicyRule(parsing: String(repeating: " ", count: 20_000)) }
    }

    /// Random trees, written and read again.
    @Test func everyTreeSurvivesBeingWritten() throws {
        var random = SmallRandom(seed: 20_261_125)
        for _ in 0..<3000 {
            let rule = random.rule(depth: 5)
            #expect(try PolicyRule(parsing: rule.description) == rule)
        }
    }

    /// Pieces of the language in any order: read or refused, and what is read is read the same again.
    @Test func anyTextIsReadOrRefused() throws {
        var random = SmallRandom(seed: 7)
        let pieces = [
            "(", ")", " ", "and", "or", "not", "role:", "rule:x", "%(", ")s", "%", "'", "\"", ":", "@", "!", "é", "\n",
            "None", "True", "0", "project_id",
        ]
        var read = 0
        for _ in 0..<20_000 {
            let text = (0..<random.next(12)).map { _ in pieces[random.next(pieces.count)] }.joined()
            do {
                let rule = try PolicyRule(parsing: text)
                #expect(try PolicyRule(parsing: rule.description) == rule, "\(text)")
                read += 1
            } catch {
                #expect(error.position.map { (1...text.unicodeScalars.count + 1).contains($0) } == true, "\(text)")
            }
        }
        #expect(read > 100)
    }
}

@Suite("Sets of policy rules")
struct PolicyRulesTests {
    @Test func refusesCircles() {
        let error = #expect(throws: PolicyError.self) {
            try PolicyRules(parsing: ["a": "rule:b", "b": "role:x or rule:c", "c": "not rule:b", "d": "@"])
        }
        #expect(error?.rule == "b")
        #expect(error?.problem == "The rule refers to itself: 'b' → 'c' → 'b'.")
        #expect(throws: PolicyError.self) { try PolicyRules(parsing: ["a": "role:x or rule:a"]) }
    }

    @Test func refusesReferencesToNothing() {
        let error = #expect(throws: PolicyError.self) { try PolicyRules(parsing: ["get_image": "rule:ownr"]) }
        #expect(error == PolicyError(rule: "get_image", "There is no rule 'ownr' to refer to."))
    }

    @Test func namesTheRuleOfAMistake() {
        let error = #expect(throws: PolicyError.self) { try PolicyRules(parsing: ["a": "@", "b": "role:x and"]) }
        #expect(error?.description == "rule 'b', character 11: The rule ends where a check is missing.")
    }

    /// Thirty rules of two references each would be a billion checks.
    @Test func refusesRulesThatGrowWithoutBound() throws {
        var texts = ["r0": "role:x"]
        for index in 1...30 { texts["r\(index)"] = "rule:r\(index - 1) or rule:r\(index - 1)" }
        let error = #expect(throws: PolicyError.self) { try PolicyRules(parsing: texts) }
        #expect(error?.problem.contains("larger than") == true)
    }

    @Test func refusesChainsThatAreTooDeep() throws {
        var texts = ["r0000": "role:x"]
        for index in 1..<PolicyRules.depthMax { texts["r\(1000 + index)"] = "rule:r\(index == 1 ? 0 : 999 + index)" }
        texts["r0"] = texts.removeValue(forKey: "r0000")
        #expect(try PolicyRules(parsing: texts).names.count == PolicyRules.depthMax)
        texts["more"] = "rule:r\(999 + PolicyRules.depthMax)"
        #expect(throws: PolicyError.self) { try PolicyRules(parsing: texts) }
    }

    @Test func checksARuleOutsideTheSet() throws {
        let rules = try PolicyRules(parsing: ["a": "@"])
        try rules.check(try PolicyRule(parsing: "rule:a and role:x"))
        #expect(throws: PolicyError.self) { try rules.check(try PolicyRule(parsing: "rule:b")) }
    }
}

@Suite("Decisions of policy rules")
struct PolicyEvaluationTests {
    private static let caller: [String: PolicyValue] = [
        "project_id": .text("p1"), "user_id": .text("u1"), "is_admin": .flag(false), "domain_id": .null,
        "roles": .list(["member", "reader"]),
    ]
    private static let target: [String: PolicyValue] = [
        "project_id": .text("p1"), "visibility": .text("public"), "owner": .null, "protected": .flag(true),
        "min_disk": .text("20"), "wanted": .text("MEMBER"),
    ]

    private func evaluation(_ rules: [String: String] = [:]) throws -> PolicyEvaluation {
        PolicyEvaluation(
            rules: try PolicyRules(parsing: rules), roles: ["member", "reader"], caller: Self.caller,
            target: { Self.target[$0] })
    }

    @Test(arguments: [
        ("", true), ("@", true), ("!", false), ("not !", true),
        ("role:member", true), ("role:MEMBER", true), ("role:admin", false), ("role:%(wanted)s", true),
        ("role:%(nothing)s", false), ("roles:member", true), ("roles:admin", false),
        ("project_id:%(project_id)s", true), ("user_id:%(project_id)s", false), ("user_id:u1", true),
        ("user_id:U1", false), ("user_id:u%(nothing)s", false), ("nothing:%(project_id)s", false),
        ("not nothing:%(project_id)s", true), ("project_id:%(nothing)s", false),
        // Absent on both sides is not the same.
        ("domain_id:%(owner)s", false), ("None:%(owner)s", true), ("None:%(project_id)s", false),
        ("None:%(nothing)s", false), ("domain_id:None", false),
        ("is_admin:False", true), ("is_admin:True", false), ("True:%(protected)s", true),
        ("False:%(protected)s", false),
        ("'True':%(protected)s", true), ("20:%(min_disk)s", true), ("20:20", true), ("21:%(min_disk)s", false),
        ("'public':%(visibility)s", true), ("'public':%(visibility)s%%", false), ("'e\u{301}':\u{e9}", false),
        ("role:admin or role:member", true), ("role:admin and role:member", false),
        ("role:admin or role:member and role:reader", true), ("(role:admin or role:member) and role:admin", false),
        ("not role:admin and not role:service", true), ("not (role:admin or role:member)", false),
    ])
    func decides(_ text: String, _ holds: Bool) throws {
        let evaluation = try evaluation()
        let rule = try PolicyRule(parsing: text)
        #expect(evaluation.allows(rule) == holds)
        #expect(evaluation.explain(rule).holds == holds)
    }

    @Test func followsReferences() throws {
        let evaluation = try evaluation(["owner": "project_id:%(project_id)s", "both": "rule:owner and role:member"])
        #expect(evaluation.allows(try PolicyRule(parsing: "rule:both")))
        #expect(!evaluation.allows(try PolicyRule(parsing: "not rule:both")))
        #expect(!evaluation.allows(try PolicyRule(parsing: "rule:neither")))
    }

    @Test func explainsWhatDecided() throws {
        let evaluation = try evaluation(["owner": "project_id:%(project_id)s"])
        let rule = try PolicyRule(parsing: "role:admin or (role:member and rule:owner) or @")
        #expect(
            evaluation.explain(rule).lines == [
                "* yes  or",
                "    no   role:admin  (the caller has not the role)",
                "  * yes  and",
                "    * yes  role:member  (the caller has the role)",
                "    * yes  rule:owner",
                "      * yes  project_id:%(project_id)s  (both are 'p1')",
                "    yes  @  (always)",
            ])
        let denied = try PolicyRule(parsing: "role:member and not role:reader and user_id:u2")
        #expect(
            evaluation.explain(denied).lines == [
                "* no   and",
                "    yes  role:member  (the caller has the role)",
                "  * no   not",
                "    * yes  role:reader  (the caller has the role)",
                "    no   user_id:u2  (the caller's is 'u1', not 'u2')",
            ])
    }

    /// With and without the short way, on random trees.
    @Test func explanationsAgreeWithDecisions() throws {
        let evaluation = try evaluation()
        var random = SmallRandom(seed: 1)
        var yes = 0
        for _ in 0..<3000 {
            let rule = random.rule(depth: 5)
            let holds = evaluation.allows(rule)
            #expect(evaluation.explain(rule).holds == holds)
            if holds { yes += 1 }
        }
        #expect((500...2500).contains(yes))
    }
}

/// Numbers that follow from the seed.
private struct SmallRandom {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next(_ bound: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int((state >> 33) % UInt64(bound))
    }

    mutating func rule(depth: Int) -> PolicyRule {
        switch next(depth > 0 ? 10 : 6) {
        case 0: .always
        case 1: .never
        case 2: .role(PolicyTemplate(text: ["admin", "Member", "reader"][next(3)]))
        case 3: .match(.caller("project_id"), PolicyTemplate([.target(["project_id", "nothing"][next(2)])]))
        case 4:
            .match(.literal(["public", "True", "-1", "it's"][next(4)]), PolicyTemplate([.text("a%"), .target("x")]))
        case 5: .match(.null, PolicyTemplate([.target("owner")]))
        case 6: .not(rule(depth: depth - 1))
        case 7: .all((0..<2 + next(2)).map { _ in rule(depth: depth - 1) })
        default: .any((0..<2 + next(2)).map { _ in rule(depth: depth - 1) })
        }
    }
}
