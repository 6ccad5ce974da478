import Core
import Testing

@Suite("Patterns of names")
struct NamePatternTests {
    /// What Python's `re.search` says.
    @Test(arguments: [
        ("", "anything", true), ("a", "bab", true), ("^a", "ba", false), ("a$", "ab", false), ("^a$", "a", true),
        ("^$", "", true), ("^$", "a", false), (".", "", false), (".", "é", true), (".", "\n", false),
        ("^x_owner_.*", "x_owner_foo", true), ("^x_owner_.*", "my_x_owner_foo", false), (".*", "", true),
        ("^x.*y$", "xanyy", true), ("^x.+y$", "xy", false), ("^ab?c$", "ac", true), ("^ab?c$", "abbc", false),
        ("^(ab|cd)+$", "abcdab", true), ("^(ab|cd)+$", "abc", false), ("^(?:a|b|)$", "", true), ("a|^b", "cb", false),
        ("^[a-c]+$", "abcab", true), ("^[a-c]+$", "abd", false), ("^[^a-c]$", "d", true), ("^[]x]+$", "]x", true),
        ("^[a-]$", "-", true), ("^[-a]$", "-", true), ("^[\\d_]+$", "1_2", true), ("^[\\]]$", "]", true),
        ("^\\d{2,3}$", "1", false), ("^\\d{2,3}$", "123", true), ("^\\d{2,3}$", "1234", false),
        ("^a{2}$", "aa", true), ("^a{2,}$", "aaaa", true), ("^a{,2}$", "aaa", false), ("^a{0}$", "", true),
        ("^\\w+$", "aé_9", true), ("^\\W$", "-", true), ("\\s", "a b", true), ("^\\S+$", "a b", false),
        ("os\\.type", "os.type", true), ("os\\.type", "os-type", false), ("\\Aa\\Z", "a", true),
        ("^a*?b$", "aab", true),
        ("^a.b$", "a\u{1F600}b", true), ("}]", "a}]", true), ("^(a*)*$", "aaa", true), ("^(a*)+b$", "aaa", false),
        ("(^a|b$)", "cb", true), ("^(|a)+$", "aa", true), ("^\u{e9}$", "e\u{301}", false),
    ])
    func findsWhatPythonFinds(_ pattern: String, _ name: String, _ isFound: Bool) throws {
        #expect(try NamePattern(pattern).isFound(in: name) == isFound)
    }

    @Test(arguments: [
        ("a(b", 2, "not closed"), ("a)b", 2, "closes nothing"), ("[a", 1, "not closed"), ("*a", 1, "nothing to repeat"),
        ("a**", 3, "repetition of a repetition"), ("a{2", 2, "write \\{"), ("a{3,2}", 2, "ends before it begins"),
        ("a{256}", 2, "up to 255"), ("a{+1}", 2, "up to 255"), ("a{}", 2, "one or two numbers"),
        ("a{,}", 2, "one or two"),
        ("[b-a]", 2, "ends before it begins"), ("[a-\\d]", 2, "ends before it begins"), ("a\\", 2, "at the end"),
        ("(a)\\1", 4, "not supported"), ("a\\b", 2, "not supported"), ("(?=a)", 1, "not supported"),
        ("(?P<n>a)", 1, "not supported"), ("(?i)a", 1, "not supported"), ("\\p{L}", 1, "not supported"),
        ("a++", 3, "repetition"),
    ])
    func refusesWithThePlace(_ pattern: String, _ position: Int, _ fragment: String) {
        let error = #expect(throws: PolicyError.self) { try NamePattern(pattern) }
        #expect(error?.position == position)
        #expect(error?.problem.contains(fragment) == true, "\(error?.problem ?? "")")
    }

    /// Each of these is a matter of hours for a matcher that backtracks. Counted in steps, they are bounded; here they
    /// only have to end.
    @Test(arguments: ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(.*a){20}", "^(a?){200}a{200}$", "(x+x+)+y"])
    func hasNoBadCase(_ pattern: String) throws {
        let pattern = try NamePattern(pattern)
        _ = pattern.isFound(in: String(repeating: "a", count: 254) + "!")
        _ = pattern.isFound(in: String(repeating: "x", count: 255))
    }

    @Test func boundsWhatAPatternGrowsTo() {
        for pattern in ["(a{255}){255}", "((((){255}){255}){255}){255}", String(repeating: "a", count: 3000)] {
            #expect(throws: PolicyError.self) { try NamePattern(pattern) }
        }
        let deep = String(repeating: "(", count: 100) + String(repeating: ")", count: 100)
        #expect(throws: PolicyError.self) { try NamePattern(deep) }
    }

    /// Pieces of patterns in any order: compiled or refused, and always an answer.
    @Test func anyTextIsCompiledOrRefused() {
        let pieces = [
            "a", "(", ")", "[", "]", "^", "$", "|", "*", "+", "?", "{2}", "{", "}", "\\", "d", "-", ".", "é", "(?:",
        ]
        var state: UInt64 = 11
        func next(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((state >> 33) % UInt64(bound))
        }
        var compiled = 0
        for _ in 0..<20_000 {
            let text = (0..<next(10)).map { _ in pieces[next(pieces.count)] }.joined()
            if let pattern = try? NamePattern(text) {
                _ = pattern.isFound(in: "ad-é]")
                compiled += 1
            }
        }
        #expect(compiled > 1000)
    }
}
