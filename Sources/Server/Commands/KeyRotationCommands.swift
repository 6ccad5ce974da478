import ArgumentParser
import Core
import Glibc
import Trust

struct RotateMasterKeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate-master", abstract: "Put a new master key in place of the old one, while servers run.",
        discussion: """
            Makes a new key at the head of the master key file, wraps every project's key with it, and takes the old \
            one out of database and file. Back up the file before and after. Cut off or failed, nothing is lost, and \
            running it again goes on.
            """)

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let settings = try ServerSettings(try options.resolve())
            let path = try settings.masterKeyPath()
            let catalogue = try await OpenCatalogue(settings)
            let rotation = try RotateMasterKey(
                database: catalogue.database, surroundings: catalogue.surroundings, path: path)
            let bar = ProgressBar.onTerminal()
            defer { bar?.clear() }
            let outcome = try await rotation.run {
                bar?.show(ProgressLine(label: "rewrapping", unit: .keys), $0.done, of: $0.total)
            }
            bar?.clear()
            StandardOutput.say(Self.text(outcome, path))
        }
    }

    private static func text(_ outcome: RotateMasterKey.Outcome, _ path: String) -> String {
        var lines = ["Master key \(outcome.active) wraps from now on; back up \(path)."]
        if outcome.wasUnderWay { lines[0] = "A rotation that was under way is complete. " + lines[0] }
        lines.append("\(HumanSize.count(Int(outcome.rewrapped), "project key")) rewrapped.")
        for id in outcome.dropped { lines.append("Master key \(id) is gone; backups of the database still need it.") }
        return lines.joined(separator: "\n")
    }
}

struct RotateProjectKeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate-project", abstract: "Give a project, or all of them, a new key, while servers run.",
        discussion: """
            Wraps the key of each of its secrets anew and removes the old project key. Payloads are not touched. Cut \
            off or failed, nothing is lost, and running it again goes on.
            """)

    @Argument(help: "The project's id.")
    var project: String?

    @Flag(help: "All projects that have a key.")
    var all = false

    @OptionGroup var options: SettingOptions

    func validate() throws {
        guard (project == nil) == all else { throw ValidationError("Give either a project's id, or --all.") }
    }

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let settings = try ServerSettings(try options.resolve())
            let path = try settings.masterKeyPath()
            let catalogue = try await OpenCatalogue(settings)
            let ring = KeyRing(try MasterKeys.load(path: path)) { try MasterKeys.load(path: path) }
            let rotation = RotateProjectKeys(
                database: catalogue.database, surroundings: catalogue.surroundings, ring: ring)
            let bar = ProgressBar.onTerminal()
            defer { bar?.clear() }
            let outcome = try await rotation.run(project.map { .only(ProjectID($0)) } ?? .all) {
                bar?.show(ProgressLine(label: "rotating", unit: .projects), $0.done, of: $0.total)
            }
            bar?.clear()
            StandardOutput.say(
                "\(HumanSize.count(Int(outcome.projects), "project")) rotated: "
                    + "\(HumanSize.count(Int(outcome.rewrapped), "secret")) rewrapped, "
                    + "\(HumanSize.count(Int(outcome.dropped), "old key")) removed.")
        }
    }
}
