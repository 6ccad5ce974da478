import ArgumentParser
import Core
import Glibc

struct NodesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nodes",
        abstract: "See the servers that share the data directory, and forget one that is no more.",
        discussion: "A server becomes a node of DIR by `serve --node NAME`; the one without a name is called local.",
        subcommands: [ListNodesCommand.self, ForgetNodeCommand.self])
}

struct ListNodesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "Print the nodes there have been.")

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let catalogue = try await OpenCatalogue(try ServerSettings(try options.resolve()))
            let known = NodeAdministration(database: catalogue.database)
            let caches = try await known.caches()
            var table = TextTable("NODE", "PROCESS", ">CACHED", ">BYTES")
            for node in try DataDirectory.nodes(in: catalogue.settings.dataDirectory, and: try await known.names()) {
                let cache = caches[node.name.description]
                table.add(
                    node.name.description, node.process.map { "process \($0)" } ?? "–", String(cache?.images ?? 0),
                    String(cache?.bytes ?? 0))
            }
            StandardOutput.say(table.text)
        }
    }
}

struct ForgetNodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget", abstract: "Forget a node that does not come back, and what it had cached.",
        discussion: "The files of its cache stay where they are: take them away with its disk.")

    @Argument(help: "The node, as `nodes list` prints it.")
    var node: String

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let catalogue = try await OpenCatalogue(try ServerSettings(try options.resolve()))
            let directory = catalogue.settings.dataDirectory
            let known = NodeAdministration(database: catalogue.database)
            let nodes = try DataDirectory.nodes(in: directory, and: try await known.names())
            guard let found = nodes.first(where: { $0.name.description == node }) else {
                throw Refusal("there is no node '\(node)' in \(directory)")
            }
            guard found.name != .first else { throw Refusal("the first node is the one that others need") }
            let isForgotten = try await DataDirectory.forget(found.name, in: directory) { try await known.forget(node) }
            guard isForgotten else {
                throw Refusal("node \(node) runs (process \(found.process ?? "?")); stop it first")
            }
            StandardOutput.say("Node \(node) is forgotten.")
        }
    }
}
