/// Who may create, read, update and delete which properties (Image API digest, section 9): the first pattern that is
/// found in a property's name decides, and a name in which none is found is nobody's. Names of the server's own,
/// `os_glance…`, are left out: everybody reads them and nobody writes them.
package struct PropertyProtections: Sendable {
    package enum Operation: String, Sendable, CaseIterable { case create, read, update, delete }

    package static let countMax = 200

    /// A protection as it is written.
    package struct Draft: Sendable {
        package let pattern: String
        /// Rules in the policy language.
        package let rules: [Operation: String]

        package init(pattern: String, rules: [Operation: String]) {
            self.pattern = pattern
            self.rules = rules
        }
    }

    private struct Entry: Sendable {
        let pattern: NamePattern
        let rules: [Operation: PolicyRule]
    }

    private let entries: [Entry]

    /// - Parameter known: the rules that those of protections may refer to.
    /// - Throws: `PolicyError`; `rule` is the pattern.
    init(_ drafts: [Draft], _ known: PolicyRules) throws(PolicyError) {
        guard drafts.count <= Self.countMax else {
            throw PolicyError("There are more than \(Self.countMax) property protections.")
        }
        var entries: [Entry] = []
        for draft in drafts {
            do {
                entries.append(try Self.entry(draft, known))
            } catch {
                throw error.inRule(error.rule ?? draft.pattern)
            }
        }
        self.entries = entries
    }

    private static func entry(_ draft: Draft, _ known: PolicyRules) throws(PolicyError) -> Entry {
        let pattern = try NamePattern(draft.pattern)
        var rules: [Operation: PolicyRule] = [:]
        for operation in Operation.allCases {
            guard let text = draft.rules[operation] else {
                throw PolicyError("'\(operation.rawValue)' is missing; '!' is nobody.")
            }
            do {
                let rule = try PolicyRule(parsing: text)
                try known.check(rule)
                rules[operation] = rule
            } catch {
                throw error.inRule("\(draft.pattern), \(operation.rawValue)")
            }
        }
        return Entry(pattern: pattern, rules: rules)
    }

    var referredNames: Set<String> { Set(entries.flatMap { $0.rules.values.flatMap(\.references) }) }

    /// Nil when the property is nobody's.
    func decision(_ operation: Operation, of name: String) -> (pattern: String, rule: PolicyRule)? {
        guard let entry = entries.first(where: { $0.pattern.isFound(in: name) }), let rule = entry.rules[operation]
        else { return nil }
        return (entry.pattern.text, rule)
    }
}

/// What one caller may do with the properties of one image. What it cannot read it cannot change either: a write that
/// tells whether something was there is a way to read.
struct PropertyAccess: Sendable {
    static let everything = PropertyAccess()

    private let protections: PropertyProtections?
    private let evaluation: PolicyEvaluation?

    private init() {
        protections = nil
        evaluation = nil
    }

    init(_ protections: PropertyProtections, _ evaluation: PolicyEvaluation) {
        self.protections = protections
        self.evaluation = evaluation
    }

    func allows(_ operation: PropertyProtections.Operation, _ name: String) -> Bool {
        guard let protections, let evaluation else { return true }
        if ImageFields.isReserved(name) { return operation == .read }
        return protections.decision(operation, of: name).map { evaluation.allows($0.rule) } ?? false
    }

    /// - Throws: `ServiceError.forbidden`.
    func require(_ operation: PropertyProtections.Operation, _ name: String) throws {
        guard allows(operation, name) else { throw ServiceError.forbidden("Property '\(name)' is protected.") }
    }

    /// For a property that is there, or whose absence would be told.
    /// - Throws: `ServiceError.forbidden`.
    func requireChange(_ operation: PropertyProtections.Operation, _ name: String) throws {
        try require(.read, name)
        try require(operation, name)
    }

    /// The image without the properties that the caller cannot read.
    func readable(_ image: Image) -> Image {
        guard protections != nil else { return image }
        var image = image
        image.properties = image.properties.filter { allows(.read, $0.key) }
        return image
    }
}
