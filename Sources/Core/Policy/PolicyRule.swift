/// One rule of the policy language that operators know from oslo.policy, as a tree.
///
/// ```
/// rule    = or
/// or      = and *( "or" and )
/// and     = unary *( "and" unary )
/// unary   = "not" unary | "(" or ")" | check
/// check   = "@"                     always
///         | "!"                     never
///         | "role:" text            one of the caller's roles, in any case
///         | "rule:" name            another rule of the same file
///         | key ":" text            an attribute of the caller equals the text
///         | literal ":" text        the literal equals the text
/// literal = "'" … "'" | '"' … '"' | "True" | "False" | "None" | whole number
/// text    = characters, with %(name)s for an attribute of the target and %% for a percent sign
/// ```
/// Words are separated by white space; `and`, `or` and `not` in any case. The empty rule is `@`.
package indirect enum PolicyRule: Sendable, Equatable {
    case always
    case never
    case role(PolicyTemplate)
    /// `rule:name`.
    case reference(String)
    /// `left:right`.
    case match(Left, PolicyTemplate)
    case not(PolicyRule)
    /// `and`: two or more.
    case all([PolicyRule])
    /// `or`: two or more.
    case any([PolicyRule])

    /// What stands before the colon of a check.
    package enum Left: Sendable, Equatable {
        /// An attribute of the caller: `project_id`, `user_id`, `is_admin`, ….
        case caller(String)
        case literal(String)
        /// Python's `None`: the target has the attribute, and it is null.
        case null
    }

    /// The rules it names, in the order they stand, repetitions included.
    package var references: [String] {
        switch self {
        case .always, .never, .role, .match: []
        case .reference(let name): [name]
        case .not(let rule): rule.references
        case .all(let rules), .any(let rules): rules.flatMap(\.references)
        }
    }

    /// The attributes of the caller that it looks at, roles apart.
    package var callerAttributes: [String] {
        switch self {
        case .match(.caller(let name), _): [name]
        case .always, .never, .role, .match, .reference: []
        case .not(let rule): rule.callerAttributes
        case .all(let rules), .any(let rules): rules.flatMap(\.callerAttributes)
        }
    }
}

extension PolicyRule: CustomStringConvertible {
    /// The rule in its language again, with no more parentheses than it needs.
    package var description: String {
        switch self {
        case .always: "@"
        case .never: "!"
        case .role(let name): "role:\(name)"
        case .reference(let name): "rule:\(name)"
        case .match(let left, let right): "\(left):\(right)"
        case .not(let rule): "not \(rule.asOperand(within: .not))"
        case .all(let rules): rules.map { $0.asOperand(within: .and) }.joined(separator: " and ")
        case .any(let rules): rules.map { $0.asOperand(within: .or) }.joined(separator: " or ")
        }
    }

    private enum Operator: Int { case or, and, not }

    private func asOperand(within outer: Operator) -> String {
        let own: Operator
        switch self {
        case .always, .never, .role, .reference, .match: return description
        case .not: own = .not
        case .all: own = .and
        case .any: own = .or
        }
        // An `and` within an `and` was in parentheses; so it stays.
        let needs = own == .not ? false : own.rawValue <= outer.rawValue
        return needs ? "(\(description))" : description
    }
}

extension PolicyRule.Left: CustomStringConvertible {
    package var description: String {
        switch self {
        case .caller(let name): name
        case .literal(let text) where PolicyRule.Left.isBare(text): text
        case .literal(let text): text.unicodeScalars.contains("'") ? "\"\(text)\"" : "'\(text)'"
        case .null: "None"
        }
    }

    /// Literals that need no quotes.
    static func isBare(_ text: String) -> Bool {
        if text == "True" || text == "False" { return true }
        let digits = text.utf8.starts(with: "-".utf8) ? text.utf8.dropFirst() : text.utf8[...]
        return !digits.isEmpty && digits.allSatisfy { (48...57).contains($0) }
            && (digits.count == 1 || digits.first != 48)
    }
}

/// Text with places for attributes of the target.
package struct PolicyTemplate: Sendable, Equatable {
    package enum Part: Sendable, Equatable {
        case text(String)
        /// `%(name)s`.
        case target(String)
    }

    package let parts: [Part]

    package init(_ parts: [Part]) { self.parts = parts }
    package init(text: String) { self.init([.text(text)]) }

    package enum Filled: Sendable, Equatable {
        case text(String)
        /// The target has the attribute, and it is null.
        case null(String)
        /// The target has no such attribute.
        case missing(String)
    }

    /// - Parameter target: an attribute of the target, nil when there is none of the name.
    package func filled(_ target: (String) -> PolicyValue?) -> Filled {
        var result = ""
        for part in parts {
            switch part {
            case .text(let text): result += text
            case .target(let name):
                guard let value = target(name) else { return .missing(name) }
                guard let text = value.text else { return .null(name) }
                result += text
            }
        }
        return .text(result)
    }
}

extension PolicyTemplate: CustomStringConvertible {
    package var description: String {
        parts.map { part in
            switch part {
            case .text(let text): text.split(separator: "%", omittingEmptySubsequences: false).joined(separator: "%%")
            case .target(let name): "%(\(name))s"
            }
        }.joined()
    }
}

/// An attribute of a caller or a target.
package enum PolicyValue: Sendable, Equatable {
    case text(String)
    case flag(Bool)
    case null
    /// Any of these: roles. A target has none.
    case list([String])

    /// As a template holds it and a literal is written; nil for what equals no text.
    var text: String? {
        switch self {
        case .text(let text): text
        case .flag(let flag): flag ? "True" : "False"
        case .null, .list: nil
        }
    }

    /// Null for a value that is not there.
    package init(_ text: String?) { self = text.map { .text($0) } ?? .null }
}

/// What is wrong with a rule, for the operator who wrote it.
package struct PolicyError: Error, Sendable, Equatable {
    /// The rule's name; nil when a rule stood alone.
    package private(set) var rule: String?
    /// The character of the rule it is about, counted from 1; nil when it is about the whole.
    package let position: Int?
    package let problem: String

    package init(rule: String? = nil, position: Int? = nil, _ problem: String) {
        self.rule = rule
        self.position = position
        self.problem = problem
    }

    func inRule(_ name: String) -> PolicyError {
        var error = self
        error.rule = name
        return error
    }
}

extension PolicyError: CustomStringConvertible {
    package var description: String {
        let place = [rule.map { "rule '\($0)'" }, position.map { "character \($0)" }].compactMap(\.self)
        return place.isEmpty ? problem : "\(place.joined(separator: ", ")): \(problem)"
    }
}
