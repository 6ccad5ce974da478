import ArgumentParser
import Core
import Logging

struct PolicyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy", abstract: "Show and explain who may do what with images.",
        subcommands: [PolicyCheckCommand.self, PolicyListCommand.self])
}

/// Which policy is meant.
struct PolicyOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Take this policy file instead of the one of the settings.", valueName: "policy.yaml"))
    var file: String?

    @OptionGroup var options: SettingOptions

    /// - Throws: `ConfigurationError`. Other settings may be wrong: they are not looked at.
    func policyFile() throws -> PolicyFile? {
        if let file { return try PolicyFile(path: file) }
        return try options.resolve().text(.imagePolicyFile).map { try PolicyFile(path: $0) }
    }
}

struct PolicyListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Print every action with the rule that decides it.",
        discussion: """
            A rule of the policy file comes with its line, and with the default that it replaces. Property protections \
            follow, in the order in which they are tried. 78 is the exit status for a file that cannot be used.
            """)

    @OptionGroup var policy: PolicyOptions

    func run() async throws {
        try await Failure.reported {
            let file = try policy.policyFile()
            StandardOutput.say(PolicyReport.list(file))
            for name in file?.policy.unknownCallerAttributes ?? [] {
                StandardError.say("ambrotype: no caller has the attribute '\(name)': such a check is false")
            }
        }
    }
}

struct PolicyCheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Explain one decision about an imagined image.",
        discussion: """
              ambrotype policy check --role member --action delete_image
              ambrotype policy check --role reader --action get_image --owner other --visibility community
              ambrotype policy check --role member --property license_key --operation update

            Prints the decision, and the rule as a tree: * marks the parts that decided. Roles bring with them what \
            they imply in Keystone: admin is a manager, a member and a reader too.

            Exit status: 0 allowed, 1 refused, 64 for a wrong option, 78 for a file that cannot be used.
            """)

    @Option(help: ArgumentHelp("A role of the caller; may be given again.", valueName: "name"))
    var role: [String] = []

    @Option(name: .customLong("service-role"), help: "A role of the service token sent beside the caller's.")
    var serviceRole: [String] = []

    @Option(help: "What the caller does: get_image, delete_image, ….")
    var action: String?

    @Option(help: "Ask about this property instead of an action.")
    var property: String?

    @Option(help: "What is done with the property: create, read, update or delete.")
    var operation: String?

    @Option(help: "The caller's project.")
    var project = "project"

    @Option(help: "The caller's user id.")
    var user = "user"

    @Option(help: "The project that owns the image; without it, the caller's own.")
    var owner: String?

    @Option(help: "The image's visibility.")
    var visibility = Image.Visibility.private.rawValue

    @Flag(help: "The image is shared with the caller's project.")
    var member = false

    @OptionGroup var policy: PolicyOptions

    func validate() throws {
        guard (action == nil) != (property == nil) else {
            throw ValidationError("Ask about --action, or about --property.")
        }
        guard (operation == nil) == (property == nil) else {
            throw ValidationError("--property and --operation go together.")
        }
        if let action, ImageAction(rawValue: action) == nil {
            let known = ImageAction.allCases.map(\.rawValue).sorted().joined(separator: ", ")
            throw ValidationError("There is no action '\(action)'; there are \(known).")
        }
        if let operation, PropertyProtections.Operation(rawValue: operation) == nil {
            throw ValidationError("--operation is create, read, update or delete.")
        }
        guard Image.Visibility(rawValue: visibility) != nil else {
            throw ValidationError("--visibility is private, shared, community or public.")
        }
    }

    func run() async throws {
        try await Failure.reported {
            let file = try policy.policyFile()
            let question = PolicyReport.Question(
                caller: Caller(
                    userID: UserID(user), projectID: ProjectID(project), roles: Self.implied(role),
                    serviceRoles: Set(serviceRole), requestID: "policy-check",
                    logger: Logger(label: "policy") { _ in SwiftLogNoOpLogHandler() }),
                image: ImagePolicy.imagined(
                    owner: ProjectID(owner ?? project), visibility: Image.Visibility(rawValue: visibility) ?? .private),
                isMember: member)
            let answer: PolicyReport.Answer
            if let action = action.flatMap(ImageAction.init(rawValue:)) {
                answer = try PolicyReport.answer(action, question, file)
            } else {
                let operation = operation.flatMap(PropertyProtections.Operation.init(rawValue:)) ?? .read
                answer = PolicyReport.answer(operation, of: property ?? "", question, file)
            }
            StandardOutput.say(answer.text)
            if !answer.isAllowed { throw ExitCode.failure }
        }
    }

    private static func implied(_ roles: [String]) -> Set<String> {
        var all = Set(roles.map { $0.lowercased() })
        if let first = FixedRoles.chain.firstIndex(where: all.contains) { all.formUnion(FixedRoles.chain[first...]) }
        return all
    }
}

/// What the policy commands print.
package enum PolicyReport {
    package struct Question: Sendable {
        package let caller: Caller
        package let image: Image
        package let isMember: Bool

        package init(caller: Caller, image: Image, isMember: Bool) {
            self.caller = caller
            self.image = image
            self.isMember = isMember
        }
    }

    package struct Answer: Sendable {
        package let isAllowed: Bool
        package let text: String
    }

    package static func list(_ file: PolicyFile?) -> String {
        let policy = file?.policy ?? .standard
        var table = TextTable("ACTION", "MEANING", "FROM", "RULE")
        for action in ImageAction.allCases.sorted(by: { $0.rawValue < $1.rawValue }) {
            let origin = policy.isOverridden(action) ? origin(of: action, file) : "default"
            table.add(action.rawValue, action.summary, origin, policy.rule(of: action))
            if policy.isOverridden(action) { table.add(" ", " ", "instead of", action.standardRule) }
        }
        guard let file, !file.protections.isEmpty else { return table.text }
        var protections = TextTable("PROPERTIES", "CREATE", "READ", "UPDATE", "DELETE")
        for protection in file.protections {
            let rules = PropertyProtections.Operation.allCases.map { protection.rules[$0] ?? "!" }
            protections.add(protection.pattern, rules[0], rules[1], rules[2], rules[3])
        }
        return table.text + "\n\n" + protections.text
    }

    private static func origin(of action: ImageAction, _ file: PolicyFile?) -> String {
        file?.line(of: action).map { "line \($0)" } ?? "policy file"
    }

    /// - Throws: `PolicyError`.
    package static func answer(_ action: ImageAction, _ question: Question, _ file: PolicyFile?) throws -> Answer {
        let policy = file?.policy ?? .standard
        let decision = try policy.explain(action, question.caller, question.image, isMember: question.isMember)
        let origin = policy.isOverridden(action) ? "\(file?.path ?? "") \(origin(of: action, file))" : "default"
        var lines = [
            decision.isAllowed ? "allowed" : "refused, with \(decision.refusal ?? 403)",
            "action: \(action.rawValue) (\(action.summary))", "roles: \(roles(question.caller))",
        ]
        if action.needsSight {
            lines.append(
                decision.isSeen
                    ? "the caller sees the image"
                    : "the caller does not see the image: no rule makes up for that")
        }
        lines.append("rule (\(origin)): \(policy.rule(of: action))")
        return Answer(
            isAllowed: decision.isAllowed, text: (lines + decision.tree.lines.map { "  " + $0 }).joined(separator: "\n")
        )
    }

    package static func answer(
        _ operation: PropertyProtections.Operation, of property: String, _ question: Question, _ file: PolicyFile?
    ) -> Answer {
        let policy = file?.policy ?? .standard
        let (isAllowed, why) = policy.explain(
            operation, property: property, question.caller, question.image, isMember: question.isMember)
        var lines = [
            isAllowed ? "allowed" : operation == .read ? "refused: the property is hidden" : "refused, with 403",
            "property: \(TextTable.printable(property)) (\(operation.rawValue))", "roles: \(roles(question.caller))",
        ]
        switch why {
        case .unprotected: lines.append("there are no property protections")
        case .reserved: lines.append("the server's own: everybody reads it and nobody writes it")
        case .nobodys: lines.append("no pattern is found in the name: it is nobody's")
        case .hidden(let pattern):
            lines += ["pattern: \(pattern)", "it is hidden from the caller, so the caller cannot change it"]
        case .ruled(let pattern, let tree):
            lines.append("pattern: \(pattern)")
            lines += tree.lines.map { "  " + $0 }
        }
        return Answer(isAllowed: isAllowed, text: lines.joined(separator: "\n"))
    }

    private static func roles(_ caller: Caller) -> String {
        caller.roles.isEmpty ? "none" : caller.roles.sorted().joined(separator: ", ")
    }
}
