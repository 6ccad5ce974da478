import API
import ArgumentParser
import Core
import Glibc
import NIOCore
import Trust

struct KeyStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Print which keys there are, and what somebody should do about them.")

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let settings = try ServerSettings(try options.resolve())
            let path = try settings.masterKeyPath()
            let catalogue = try await OpenCatalogue(settings)
            var problem: String?
            var file: MasterKeys?
            do {
                file = try MasterKeys.load(path: path)
            } catch {
                problem = "\(error)"
            }
            let status = try await KeyStatus.read(catalogue.database, file: file, now: catalogue.clock.now)
            let report = KeyStatusReport(status: status, fileProblem: problem)
            StandardOutput.say(json ? report.json : report.text)
        }
    }
}

/// What `keys status` prints.
package struct KeyStatusReport: Sendable {
    package let status: KeyStatus
    /// Why the master key file cannot be read.
    package let fileProblem: String?

    package init(status: KeyStatus, fileProblem: String?) {
        self.status = status
        self.fileProblem = fileProblem
    }

    /// What somebody should do, a line each.
    package var warnings: [String] {
        var lines: [String] = []
        if let fileProblem { lines.append(fileProblem) }
        for key in status.masterKeys where key.state != nil && !key.isInFile && fileProblem == nil {
            lines.append(
                "the master key \(key.id) is not in the master key file; put the line that begins with it back")
        }
        if status.isRotating {
            lines.append(
                "a rotation of the master key is under way or was cut off: ambrotype keys rotate-master goes on")
        }
        for key in status.noteworthy where key.state == "retiring" {
            lines.append(
                "a rotation of project \(key.project) is under way or was cut off: "
                    + "ambrotype keys rotate-project \(key.project) goes on")
        }
        for key in status.noteworthy where key.isWorn && key.state == "active" {
            lines.append(
                "the key of project \(key.project) wrapped \(key.wraps) times: "
                    + "ambrotype keys rotate-project \(key.project), well before 4,294,967,296")
        }
        if status.counts.heldPastTime > 0 {
            lines.append(
                "\(status.counts.heldPastTime) deleted keys are kept past their time, because something needs them: "
                    + "ambrotype keys deleted")
        }
        return lines.map(TextTable.printable)
    }

    package var text: String {
        var table = TextTable("MASTER KEY", "STATE", ">PROJECT KEYS", "IN FILE", "SINCE")
        for key in status.masterKeys {
            table.add(
                key.id, key.state ?? "not used", String(key.projectKeys),
                fileProblem == nil ? (key.isInFile ? "yes" : "NO") : "unknown", key.createdAt?.iso8601 ?? "")
        }
        var lines = [
            status.masterKeys.isEmpty ? "There is no master key yet: no server with keys has run." : table.text
        ]
        lines.append("project keys: \(status.projectKeyCount), none with more than \(status.mostWraps) wraps")
        lines.append("secrets: \(status.counts.secrets)")
        lines.append(
            "deleted secrets: \(status.counts.deleted), \(status.counts.heldPastTime) of them needed past their time")
        return (lines + warnings.map { "warning: \($0)" }).joined(separator: "\n")
    }

    package var json: String {
        var json = JSONWriter()
        json.object { json in
            json.member(
                "master_keys",
                array: { json in
                    for key in status.masterKeys {
                        json.object { json in
                            json.member("id", key.id)
                            json.member("state", key.state)
                            json.member("project_keys", key.projectKeys)
                            json.member("in_file", fileProblem == nil ? .bool(key.isInFile) : .null)
                            json.member("created_at", key.createdAt?.iso8601)
                        }
                    }
                })
            json.member(
                "project_keys",
                object: { json in
                    json.member("count", status.projectKeyCount)
                    json.member("most_wraps", status.mostWraps)
                })
            json.member("secrets", status.counts.secrets)
            json.member("deleted", status.counts.deleted)
            json.member("held_past_time", status.counts.heldPastTime)
            json.member("warnings", array: { json in for line in warnings { json.string(line) } })
        }
        return String(buffer: json.finish())
    }
}
