import ArgumentParser
import Core
import Glibc
import Trust

struct AuditCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Check the audit log.", subcommands: [AuditVerifyCommand.self])
}

struct AuditVerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check that nothing of the audit log was changed, removed or put in.",
        discussion: """
              ambrotype audit verify /var/log/ambrotype/audit.log.1 /var/log/ambrotype/audit.log

            Files that follow each other are given in that order. Each line has to hold under the server's record key \
            (DATA_DIR/record-key, or --key), and to follow the one before. What was cut off at the end cannot be seen \
            from the file alone: compare the last number with what the webhook received.

            Exit status: 0 all is whole, 1 it is not, or cannot be looked at; each flaw is a line on standard output.
            """)

    @Argument(help: "The files, oldest first.")
    var files: [String]

    @Option(help: ArgumentHelp("The key that the lines were written with.", valueName: "file"))
    var key: String?

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let path = try key ?? options.resolve().requiredText(.dataDirectory) + "/record-key"
            guard SmallFile.exists(path) else { throw Refusal("\(path): there is no record key; name it with --key") }
            let seal = try RecordSeal.loadOrCreate(path: path)
            var verification = AuditVerification(seal: seal)
            for file in files { try verification.add(file) }
            StandardOutput.say(verification.report())
            if verification.hasFlaws { throw ExitCode.failure }
        }
    }
}

/// Goes through files of an audit log, line by line.
package struct AuditVerification {
    private static let flawLimit = 100

    private let seal: RecordSeal
    private var flaws: [String] = []
    private var lineCount = 0
    private var first: AuditLine?
    private var last: AuditLine?
    /// Calls begun whose end has not come yet, by their numbers; those of processes that ended are moved on.
    private var open: Set<Int64> = []
    private var unresolved: [Int64] = []

    package init(seal: RecordSeal) { self.seal = seal }

    package var hasFlaws: Bool { !flaws.isEmpty }

    /// - Throws: `FileProblem`.
    package mutating func add(_ path: String) throws {
        let reader = try AuditReader(path)
        var number = 0
        while let text = try reader.line() {
            number += 1
            do {
                follow(try AuditLine(text, seal: seal), at: "\(path):\(number)")
            } catch {
                flaw("\(path):\(number): \(error)")
                // What follows cannot be compared with a line that is not believed.
                last = nil
            }
        }
        if reader.hasRest { flaw("\(path):\(number + 1): the last line is not whole") }
    }

    private mutating func follow(_ line: AuditLine, at place: String) {
        lineCount += 1
        if first == nil { first = line }
        if let last {
            if line.number != last.number + 1 {
                flaw("\(place): line \(line.number) follows line \(last.number)")
            } else if line.previous != last.hash {
                flaw("\(place): line \(line.number) does not follow what stands before it")
            }
        } else if line.number == 1, line.previous != AuditLine.firstPrevious {
            flaw("\(place): the first line has a line before it")
        }
        last = line
        switch line.document["event"]?.stringValue {
        case "begun": open.insert(line.number)
        case "ended": if let begun = line.document["of"]?.integerValue { open.remove(begun) }
        default: break
        }
    }

    private mutating func flaw(_ text: String) {
        if flaws.count < Self.flawLimit { flaws.append(text) }
    }

    package func report() -> String {
        var lines = flaws
        if let first, let last {
            lines.append(
                "\(lineCount) lines, \(first.number) to \(last.number), from "
                    + "\(first.document["time"]?.stringValue ?? "?") to \(last.document["time"]?.stringValue ?? "?"): "
                    + (flaws.isEmpty ? "all hold, and each follows the one before" : "not whole"))
            if first.number > 1 { lines.append("What was before line \(first.number) was not looked at.") }
        } else {
            lines.append("There is no line that holds.")
        }
        if !open.isEmpty {
            let some = open.sorted().prefix(20).map(String.init).joined(separator: ", ")
            lines.append(
                "\(HumanSize.count(open.count, "call")) without a result: line \(some)"
                    + (open.count > 20 ? ", …" : "")
                    + ". They are under way, or a server ended meanwhile; the database says what became of them.")
        }
        return lines.joined(separator: "\n")
    }
}
