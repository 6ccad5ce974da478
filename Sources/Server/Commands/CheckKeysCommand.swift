import API
import ArgumentParser
import Core
import Glibc
import NIOCore

struct CheckKeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Open every key and every secret, and tell what does not open.",
        discussion: """
            Deleted secrets that can still be had back are opened too. Nothing is changed and nothing is shown but \
            ids. The server may be running meanwhile.

            Exit status, as of fsck: 0 all is well; 2 there are problems; 3 the check is incomplete, because the \
            database, the master key file or a key in it is missing; 64 for a wrong option, 78 for a wrong setting.
            """)

    @Flag(help: "One JSON object a line: findings, then the summary.")
    var json = false

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let settings = try ServerSettings(try options.resolve())
            let status: Int32
            do {
                status = try await check(settings)
            } catch {
                StandardError.say("ambrotype: \(OperatorText.of(error))")
                status = 3
            }
            if status != 0 { throw ExitCode(status) }
        }
    }

    private func check(_ settings: ServerSettings) async throws -> Int32 {
        let path = try settings.masterKeyPath()
        let catalogue = try await OpenCatalogue(settings)
        let check = try CheckKeys(database: catalogue.database, surroundings: catalogue.surroundings, path: path)
        let report = KeyCheckReport(isJSON: json)
        let bar = ProgressBar.onTerminal()
        defer { bar?.clear() }
        let summary = try await check.run { event in
            switch event {
            case .progress(let progress):
                bar?.show(ProgressLine(label: "opening", unit: .keys), progress.done, of: progress.total)
            case .finding(let finding):
                let line = report.line(finding)
                if let bar { bar.clear { StandardOutput.say(line) } } else { StandardOutput.say(line) }
            }
        }
        bar?.clear()
        StandardOutput.say(report.summary(summary))
        return summary.exitStatus
    }
}

extension KeyCheckSummary {
    /// What scripts go by. Incomplete comes first: what was not looked at may hold any problem.
    package var exitStatus: Int32 { isIncomplete ? 3 : problems > 0 ? 2 : 0 }
}

/// What `keys check` prints.
package struct KeyCheckReport: Sendable {
    package let isJSON: Bool

    package init(isJSON: Bool) { self.isJSON = isJSON }

    package func line(_ finding: KeyFinding) -> String {
        guard isJSON else {
            return "error: \(finding.subject): \(finding.text) [\(finding.kind)]: \(finding.advice)"
        }
        return Self.object { json in
            json.member("type", "finding")
            json.member("kind", finding.kind)
            json.member("subject", finding.subject)
            json.member("text", finding.text)
            json.member("advice", finding.advice)
        }
    }

    package func summary(_ summary: KeyCheckSummary) -> String {
        guard isJSON else {
            let text =
                "opened: \(summary.masterKeys) master keys, \(summary.projectKeys) project keys, "
                + "\(summary.secrets) secrets\nproblems: \(summary.problems)"
            return text + (summary.isIncomplete ? "\nincomplete: not everything could be looked at" : "")
        }
        return Self.object { json in
            json.member("type", "summary")
            json.member("master_keys", summary.masterKeys)
            json.member("project_keys", summary.projectKeys)
            json.member("secrets", summary.secrets)
            json.member("problems", summary.problems)
            json.member("incomplete", summary.isIncomplete)
            json.member("exit", Int(summary.exitStatus))
        }
    }

    private static func object(_ members: (inout JSONWriter) -> Void) -> String {
        var json = JSONWriter()
        json.object(members)
        return String(buffer: json.finish())
    }
}
