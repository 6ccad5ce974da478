import ArgumentParser
import Foundation
import Glibc

/// `ambrotype`: the command line.
package struct AmbrotypeCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "ambrotype",
        abstract: "An OpenStack-compatible image service that never loses an image, a byte or a key.",
        discussion: """
            Start a whole cloud on one machine, then use it with the OpenStack clients:

              ambrotype serve --data-dir ./data
              OS_CLIENT_CONFIG_FILE=./data/clouds.yaml openstack --os-cloud ambrotype image list

            Settings come from the command line, the environment (AMBROTYPE_…), a YAML file and the \
            defaults, the first of these that has one. `ambrotype config` shows them all.
            """,
        version: programVersion,
        subcommands: [
            ServeCommand.self, ConfigCommand.self, ImagesCommand.self, JobsCommand.self, NodesCommand.self,
            FsckCommand.self,
            KeysCommand.self, MetadefsCommand.self, IdentityCommand.self, PolicyCommand.self, AuditCommand.self,
            SignCommand.self, VerifyCommand.self, BenchCommand.self, VersionCommand.self,
        ])

    package init() {}

    /// Runs what the process was asked for, and ends it if that failed.
    package static func start() async { await main() }
}

/// The options that every command with settings takes.
struct SettingOptions: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("Read settings from this YAML file.", valueName: "file"))
    var config: String?

    @Option(
        name: .customLong("data-dir"),
        help: ArgumentHelp("Keep everything under this directory (data_dir).", valueName: "dir"))
    var dataDirectory: String?

    /// - Throws: `ConfigurationError`.
    func resolve(listen: String? = nil) throws -> ResolvedSettings {
        var commandLine: [String: String] = [:]
        commandLine[Setting.dataDirectory.key] = dataDirectory
        commandLine[Setting.listen.key] = listen
        return try SettingSources(
            file: config, environment: ProcessInfo.processInfo.environment, commandLine: commandLine
        ).resolve()
    }
}

/// How the program ends when it cannot do what it was asked.
enum Failure {
    /// sysexits.h: something is wrong with the configuration.
    private static let configuration = ExitCode(78)

    /// Runs a command; what it throws is told on standard error, a line each, and becomes the status.
    static func reported(_ command: () async throws -> Void) async throws {
        do {
            try await command()
        } catch let error as ConfigurationError {
            StandardError.say("\(error)")
            throw configuration
        } catch let exit as ExitCode {
            throw exit
        } catch let error as CleanExit {
            throw error
        } catch {
            StandardError.say("ambrotype: \(OperatorText.of(error))")
            throw ExitCode.failure
        }
    }
}

enum StandardError {
    static func say(_ text: String) { put(text + "\n") }
    /// As it is, without an end of line.
    static func put(_ text: String) { StandardStream.write(text, to: STDERR_FILENO) }
}

enum StandardOutput {
    /// At once and whole: a program may be waiting for the line.
    static func say(_ text: String) { StandardStream.write(text + "\n", to: STDOUT_FILENO) }
}

private enum StandardStream {
    static func write(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                return
            }
        }
    }
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")

    func run() { StandardOutput.say("ambrotype \(programVersion)") }
}

struct ConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Print every setting, its value and where it came from.",
        discussion: """
            Checks the settings as `serve` does. Secrets are shown as <set>. A setting GROUP.NAME stands in the \
            file under its group, and in the environment as AMBROTYPE_GROUP_NAME. The lines of a table, such as \
            image.quota.bytes, are a mapping in the file and one variable in the environment: \
            AMBROTYPE_IMAGE_QUOTA=bytes=5,count=3.
            """)

    @OptionGroup var options: SettingOptions

    @Flag(help: "Print the table of all settings, in Markdown, with their defaults and meanings.")
    var table = false

    func run() async throws {
        if table {
            StandardOutput.say(ResolvedSettings.markdownTable())
            return
        }
        try await Failure.reported {
            let resolved = try options.resolve()
            StandardOutput.say(resolved.report())
            _ = try ServerSettings(resolved)
        }
    }
}
