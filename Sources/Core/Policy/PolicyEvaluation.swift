/// One decision: rules, who asks, and what it is about. Deterministic, without any effect.
///
/// An attribute that is not there, on either side, makes a check false, as in oslo.policy. One thing differs: to
/// Python a caller without a project "equals" a target without a project, both being `None`; here null equals
/// nothing but the literal `None`.
package struct PolicyEvaluation: Sendable {
    private let rules: PolicyRules
    /// Lower-cased.
    private let roles: Set<String>
    private let caller: [String: PolicyValue]
    private let target: @Sendable (String) -> PolicyValue?

    /// - Parameters:
    ///   - roles: lower-cased.
    ///   - caller: the attributes that a check can name before its colon.
    ///   - target: the attributes that `%(name)s` can name.
    package init(
        rules: PolicyRules, roles: Set<String>, caller: [String: PolicyValue],
        target: @escaping @Sendable (String) -> PolicyValue?
    ) {
        self.rules = rules
        self.roles = roles
        self.caller = caller
        self.target = target
    }

    package func allows(_ rule: PolicyRule) -> Bool {
        switch rule {
        case .always: true
        case .never: false
        case .role, .match: outcome(of: rule).holds
        case .reference(let name): rules[name].map(allows) ?? false
        case .not(let rule): !allows(rule)
        case .all(let rules): rules.allSatisfy(allows)
        case .any(let rules): rules.contains(where: allows)
        }
    }

    /// The whole tree, every branch evaluated, with what decided.
    package func explain(_ rule: PolicyRule) -> PolicyExplanation {
        switch rule {
        case .always: return PolicyExplanation(rule, true, "always")
        case .never: return PolicyExplanation(rule, false, "never")
        case .role, .match:
            let (holds, reason) = outcome(of: rule)
            return PolicyExplanation(rule, holds, reason)
        case .reference(let name):
            guard let referred = rules[name] else { return PolicyExplanation(rule, false, "there is no such rule") }
            let part = explain(referred)
            return PolicyExplanation(rule, part.holds, "", [part.deciding()])
        case .not(let inner):
            let part = explain(inner)
            return PolicyExplanation(text: "not", holds: !part.holds, parts: [part.deciding()])
        case .all(let rules):
            let parts = rules.map(explain)
            return combined("and", parts, holds: parts.allSatisfy(\.holds), decisiveAlone: false)
        case .any(let rules):
            let parts = rules.map(explain)
            return combined("or", parts, holds: parts.contains(where: \.holds), decisiveAlone: true)
        }
    }

    /// One true part decides an `or`, one false part an `and`: the first of them. Otherwise all do together.
    private func combined(
        _ name: String, _ parts: [PolicyExplanation], holds: Bool, decisiveAlone: Bool
    ) -> PolicyExplanation {
        guard holds == decisiveAlone else {
            return PolicyExplanation(text: name, holds: holds, parts: parts.map { $0.deciding() })
        }
        var parts = parts
        if let first = parts.firstIndex(where: { $0.holds == decisiveAlone }) { parts[first] = parts[first].deciding() }
        return PolicyExplanation(text: name, holds: holds, parts: parts)
    }

    private func outcome(of check: PolicyRule) -> (holds: Bool, reason: String) {
        switch check {
        case .role(let name):
            switch name.filled(target) {
            case .text(let wanted):
                let holds = roles.contains { Self.isSame($0, wanted.lowercased()) }
                return (holds, holds ? "the caller has the role" : "the caller has not the role")
            case .null(let name), .missing(let name): return (false, "the target has no \(name)")
            }
        case .match(let left, let right): return outcome(left, right.filled(target))
        case .always, .never, .reference, .not, .all, .any: preconditionFailure("not a check: \(check)")
        }
    }

    private func outcome(_ left: PolicyRule.Left, _ right: PolicyTemplate.Filled) -> (holds: Bool, reason: String) {
        switch (left, right) {
        case (_, .missing(let name)): return (false, "the target has no attribute '\(name)'")
        case (.null, .null(let name)): return (true, "the target's \(name) is null")
        case (_, .null(let name)): return (false, "the target's \(name) is null")
        case (.null, .text(let text)): return (Self.isSame(text, "None"), "the target says '\(text)'")
        case (.literal(let literal), .text(let text)): return (Self.isSame(literal, text), "the target says '\(text)'")
        case (.caller(let name), .text(let text)):
            guard let value = caller[name] else { return (false, "the caller has no attribute '\(name)'") }
            if case .list(let values) = value {
                let holds = values.contains { Self.isSame($0, text) }
                return (holds, "the caller's \(name) \(holds ? "include" : "do not include") '\(text)'")
            }
            guard let own = value.text else { return (false, "the caller has no \(name)") }
            let holds = Self.isSame(own, text)
            return (holds, holds ? "both are '\(text)'" : "the caller's is '\(own)', not '\(text)'")
        }
    }

    /// Byte for byte: to Swift two spellings of one character are equal.
    private static func isSame(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }
}

/// Why a rule holds or not.
package struct PolicyExplanation: Sendable, Equatable {
    /// The check, or the operator of its parts.
    package let text: String
    package let holds: Bool
    /// What a check found; empty for an operator.
    package let reason: String
    package let parts: [PolicyExplanation]
    /// Whether the outcome of the operator above followed from it.
    package private(set) var decides = false

    init(text: String, holds: Bool, reason: String = "", parts: [PolicyExplanation] = []) {
        self.text = text
        self.holds = holds
        self.reason = reason
        self.parts = parts
    }

    init(_ rule: PolicyRule, _ holds: Bool, _ reason: String, _ parts: [PolicyExplanation] = []) {
        self.init(text: "\(rule)", holds: holds, reason: reason, parts: parts)
    }

    func deciding() -> PolicyExplanation {
        var explanation = self
        explanation.decides = true
        return explanation
    }

    /// One line a part, indented by depth; `*` marks what decided.
    ///
    /// ```
    /// * yes  or
    ///     no   role:admin  (the caller has not the role)
    ///   * yes  and
    /// ```
    package var lines: [String] { deciding().lines(depth: 0, decided: true) }

    private func lines(depth: Int, decided: Bool) -> [String] {
        let decisive = decided && decides
        let indent = String(repeating: "  ", count: depth)
        let remark = reason.isEmpty ? "" : "  (\(reason))"
        let own = "\(indent)\(decisive ? "*" : " ") \(holds ? "yes" : "no ")  \(text)\(remark)"
        return [own] + parts.flatMap { $0.lines(depth: depth + 1, decided: decisive) }
    }
}
