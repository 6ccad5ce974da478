/// Named rules that refer to each other, proven when they are loaded: every reference leads somewhere, none in a
/// circle, and no decision takes more than `sizeMax` steps or goes deeper than `depthMax`.
package struct PolicyRules: Sendable {
    package static let countMax = 1000
    /// Checks and operators of a rule once its references are written out.
    package static let sizeMax = 10_000
    package static let depthMax = 200

    private let rules: [String: PolicyRule]

    /// - Parameter texts: the rules in their language, by name.
    /// - Throws: `PolicyError`, naming the rule; of several faults the one of the first name.
    package init(parsing texts: [String: String]) throws(PolicyError) {
        var rules: [String: PolicyRule] = [:]
        for (name, text) in texts.sorted(by: { $0.key < $1.key }) {
            do {
                rules[name] = try PolicyRule(parsing: text)
            } catch {
                throw error.inRule(name)
            }
        }
        try self.init(rules)
    }

    /// - Throws: as above.
    package init(_ rules: [String: PolicyRule]) throws(PolicyError) {
        guard rules.count <= Self.countMax else { throw PolicyError("There are more than \(Self.countMax) rules.") }
        var survey = Survey(rules: rules)
        for name in rules.keys.sorted() { _ = try survey.extent(of: name) }
        self.rules = rules
    }

    package subscript(_ name: String) -> PolicyRule? { rules[name] }
    package var names: [String] { rules.keys.sorted() }

    /// The names that rules refer to.
    package var referredNames: Set<String> { Set(rules.values.flatMap(\.references)) }

    /// A rule that stands outside the set but may refer to it.
    /// - Throws: `PolicyError`.
    package func check(_ rule: PolicyRule) throws(PolicyError) {
        var survey = Survey(rules: rules)
        _ = try survey.extent(of: rule, within: [])
    }

    /// Walks the references and remembers what it measured.
    private struct Survey {
        struct Extent {
            var size: Int
            var depth: Int
        }

        let rules: [String: PolicyRule]
        private var known: [String: Extent] = [:]

        init(rules: [String: PolicyRule]) { self.rules = rules }

        mutating func extent(of name: String, within path: [String] = []) throws(PolicyError) -> Extent {
            if let extent = known[name] { return extent }
            if let start = path.firstIndex(of: name) {
                let circle = (path[start...] + [name]).map { "'\($0)'" }.joined(separator: " → ")
                throw PolicyError(rule: path[start], "The rule refers to itself: \(circle).")
            }
            guard let rule = rules[name] else {
                throw PolicyError(rule: path.last, "There is no rule '\(name)' to refer to.")
            }
            guard path.count < PolicyRules.depthMax else { throw tooDeep(path.first) }
            let extent = try extent(of: rule, within: path + [name])
            known[name] = extent
            return extent
        }

        mutating func extent(of rule: PolicyRule, within path: [String]) throws(PolicyError) -> Extent {
            let parts: [PolicyRule]
            switch rule {
            case .always, .never, .role, .match: return Extent(size: 1, depth: 1)
            case .reference(let name): return try grown(by: try extent(of: name, within: path), path)
            case .not(let rule): parts = [rule]
            case .all(let rules), .any(let rules): parts = rules
            }
            var sum = Extent(size: 0, depth: 0)
            for part in parts {
                let extent = try extent(of: part, within: path)
                sum.size = min(sum.size + extent.size, PolicyRules.sizeMax)
                sum.depth = max(sum.depth, extent.depth)
            }
            return try grown(by: sum, path)
        }

        private func grown(by inner: Extent, _ path: [String]) throws(PolicyError) -> Extent {
            guard inner.depth < PolicyRules.depthMax else { throw tooDeep(path.last) }
            guard inner.size < PolicyRules.sizeMax else {
                throw PolicyError(
                    rule: path.last,
                    "The rule is larger than \(PolicyRules.sizeMax) checks when its references are written out.")
            }
            return Extent(size: inner.size + 1, depth: inner.depth + 1)
        }

        private func tooDeep(_ name: String?) -> PolicyError {
            PolicyError(rule: name, "The rule and those it refers to are nested deeper than \(PolicyRules.depthMax).")
        }
    }
}
