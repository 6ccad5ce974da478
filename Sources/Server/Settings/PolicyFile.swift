import Core
import Yams

/// The file that changes the policy of images: rules by action, and property protections. Refused as a whole when
/// anything in it is wrong, with the lines.
///
/// ```yaml
/// "publicize_image": "role:admin or role:publisher"
/// "property_protections":
///   - pattern: "^license_"
///     create: "role:admin"
///     read: "@"
///     update: ["admin", "billing"]
///     delete: "!"
/// ```
package struct PolicyFile: Sendable {
    package static let protectionsKey = "property_protections"

    package let path: String
    package let policy: ImagePolicy
    /// The protections as they stand, first match first.
    package let protections: [PropertyProtections.Draft]
    /// Where rules stand; those of protections by pattern and operation.
    private let lines: [String: Int]

    /// - Throws: `ConfigurationError`, a line for each mistake.
    package init(path: String) throws {
        let content: [UInt8]
        do {
            content = try SmallFile.read(path)
        } catch {
            throw ConfigurationError(["\(error)"])
        }
        guard let text = String(validating: content, as: UTF8.self) else {
            throw ConfigurationError(["\(path) is not UTF-8"])
        }
        var reader = PolicyFileReader(path: path)
        do {
            try reader.read(text)
        } catch let error as YamlError {
            throw ConfigurationError(["\(path): \(error.place)"])
        }
        self.path = path
        policy = try reader.policy()
        protections = reader.protections ?? []
        lines = reader.lines
    }

    package func line(of action: ImageAction) -> Int? { lines[action.rawValue] }
}

private struct PolicyFileReader {
    let path: String
    private(set) var rules: [String: String] = [:]
    private(set) var protections: [PropertyProtections.Draft]?
    private(set) var lines: [String: Int] = [:]
    private var problems: [String] = []

    init(path: String) { self.path = path }

    /// - Throws: `YamlError`.
    mutating func read(_ text: String) throws {
        guard let root = try Yams.compose(yaml: text) else { return }
        if let scalar = root.scalar, scalar.string.isEmpty { return }
        guard let mapping = root.mapping else {
            problems.append("\(path) must hold rules as ACTION: RULE")
            return
        }
        for (key, value) in mapping {
            guard let name = key.scalar?.string, !name.isEmpty else {
                note("a name is no text", at: key)
                continue
            }
            if name == PolicyFile.protectionsKey {
                readProtections(value)
            } else if let text = rule(value, called: "rule '\(name)'") {
                rules[name] = text
                lines[name] = key.mark?.line
                check(text, of: name, at: value)
            }
        }
    }

    /// - Throws: `ConfigurationError`.
    func policy() throws -> ImagePolicy {
        guard problems.isEmpty else { throw ConfigurationError(problems) }
        do {
            return try ImagePolicy(rules: rules, protections: protections)
        } catch {
            let line = error.rule.flatMap { lines[$0] }
            let hint = error.problem == ImagePolicy.unknownAction ? suggestion(for: error.rule ?? "") : ""
            throw ConfigurationError(["\(path)\(line.map { " line \($0)" } ?? ""): \(error)\(hint)"])
        }
    }

    private mutating func note(_ problem: String, at node: Node) {
        problems.append("\(path)\(node.mark.map { " line \($0.line)" } ?? ""): \(problem)")
    }

    /// All mistakes within rules are told at once; what rules do to each other comes after.
    private mutating func check(_ text: String, of name: String, at node: Node) {
        do {
            _ = try PolicyRule(parsing: text)
        } catch {
            note("rule '\(name)', \(error)", at: node)
        }
    }

    /// Nothing at all, and a bare `!`, which YAML takes for a tag of nothing, would be "everybody" to oslo.policy.
    private mutating func rule(_ node: Node, called name: String) -> String? {
        guard let scalar = node.scalar else {
            note("\(name) is no text; lists of lists are the old form of rules, write them as a text", at: node)
            return nil
        }
        let isQuoted = scalar.style == .singleQuoted || scalar.style == .doubleQuoted
        guard isQuoted || !["", "~", "null"].contains(scalar.string.lowercased()) else {
            note("\(name) is empty; write \"@\" for everybody or \"!\" for nobody, with the quotes", at: node)
            return nil
        }
        return scalar.string
    }

    private mutating func readProtections(_ node: Node) {
        guard let items = node.sequence else {
            note("\(PolicyFile.protectionsKey) is no list", at: node)
            return
        }
        protections = []
        for item in items {
            guard let draft = protection(item) else { continue }
            protections?.append(draft)
        }
    }

    private mutating func protection(_ node: Node) -> PropertyProtections.Draft? {
        guard let mapping = node.mapping, let pattern = mapping["pattern"]?.scalar?.string else {
            note("a property protection has a pattern and rules for create, read, update and delete", at: node)
            return nil
        }
        lines[pattern] = lines[pattern] ?? node.mark?.line
        var rules: [PropertyProtections.Operation: String] = [:]
        for (key, value) in mapping {
            let name = key.scalar?.string ?? ""
            if name == "pattern" { continue }
            guard let operation = PropertyProtections.Operation(rawValue: name) else {
                note("property protections have no '\(name)'; pattern, create, read, update, delete are known", at: key)
                continue
            }
            let called = "\(pattern), \(name)"
            lines[called] = lines[called] ?? key.mark?.line
            if let roles = value.sequence {
                rules[operation] = anyOf(roles, called)
            } else if let text = rule(value, called: "rule '\(called)'") {
                rules[operation] = text
                check(text, of: called, at: value)
            }
        }
        return PropertyProtections.Draft(pattern: pattern, rules: rules)
    }

    /// A list of roles, one of which is enough.
    private mutating func anyOf(_ roles: Node.Sequence, _ name: String) -> String {
        var checks: [String] = []
        for node in roles {
            let role = node.scalar?.string ?? ""
            let isName = role.unicodeScalars.allSatisfy {
                !$0.properties.isWhitespace && !"()%:'\"@!".unicodeScalars.contains($0)
            }
            guard isName, !role.isEmpty else {
                note("rule '\(name)': '\(role)' is no role; a list holds roles alone", at: node)
                continue
            }
            checks.append("role:\(role)")
        }
        return checks.isEmpty ? "!" : checks.joined(separator: " or ")
    }

    private func suggestion(for name: String) -> String {
        let known = ImageAction.allCases.map(\.rawValue).sorted()
        let near = known.map { (name: $0, distance: EditDistance.between(name, $0)) }.min { $0.distance < $1.distance }
        guard let near, near.distance <= max(2, name.count / 4) else {
            return " The actions are \(known.joined(separator: ", "))."
        }
        return " Did you mean \(near.name)?"
    }
}
