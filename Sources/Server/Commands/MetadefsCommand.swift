import ArgumentParser
import Core
import Glibc
import NIOCore

struct MetadefsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metadefs", abstract: "Read metadata definitions from JSON files, and write them to such.",
        discussion: """
            The files are those of glance-manage: one namespace each. Works on the database under DIR, while the \
            server runs or not.
            """,
        subcommands: [LoadMetadefsCommand.self, ExportMetadefsCommand.self])
}

struct LoadMetadefsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Read namespaces of metadata definitions from JSON files.",
        discussion: """
            A namespace that is there already stays as it is, unless one of the flags says otherwise. All files are \
            read, or none: one that is wrong changes nothing.
            """)

    @Argument(help: "Files, and directories whose *.json files are meant.")
    var paths: [String]

    @Flag(help: "Add to namespaces that are there what they lack.")
    var merge = false

    @Flag(help: "With --merge: where file and namespace differ, take the file's.")
    var preferNew = false

    @Flag(help: "Put the file's namespace in place of the one that is there, and of all that is in it.")
    var replace = false

    @OptionGroup var options: SettingOptions

    func validate() throws {
        guard !(merge && replace) else { throw ValidationError("Give either --merge or --replace.") }
        guard merge || !preferNew else { throw ValidationError("--prefer-new needs --merge.") }
    }

    private var mode: MetadefLoadMode {
        if replace { return .replace }
        if merge { return preferNew ? .mergePreferringNew : .merge }
        return .skip
    }

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let documents = try MetadefFiles.found(in: paths).map { path in
                try MetadefDocument(source: path, json: try MetadefFiles.json(path))
            }
            let catalogue = try await OpenCatalogue(try ServerSettings(try options.resolve()))
            let outcome = try await catalogue.metadefs.load(documents, mode)
            StandardOutput.say(Self.text(outcome))
        }
    }

    private static func text(_ outcome: MetadefLoadOutcome) -> String {
        var lines: [String] = []
        for (done, names) in [
            ("added", outcome.added), ("merged", outcome.merged), ("replaced", outcome.replaced),
            ("there already, left as it is", outcome.skipped),
        ] {
            lines += names.sorted().map { "\($0): \(done)" }
        }
        let counts = [
            (outcome.added, "added"), (outcome.merged, "merged"), (outcome.replaced, "replaced"),
            (outcome.skipped, "skipped"),
        ].filter { !$0.0.isEmpty }.map { "\($0.0.count) \($0.1)" }
        return (lines + ["Namespaces: \(counts.joined(separator: ", "))."]).joined(separator: "\n")
    }
}

struct ExportMetadefsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write the metadata definitions to JSON files, one for each namespace.",
        discussion: "Files of these names that are in the directory already are replaced; others stay.")

    @Option(help: "Only this namespace.")
    var namespace: String?

    @Argument(help: "The directory for the files; it is made if need be.")
    var directory: String

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let catalogue = try await OpenCatalogue(try ServerSettings(try options.resolve()))
            let found = try await catalogue.metadefs.allNamespaces(named: namespace)
            guard !found.isEmpty else { throw Refusal("there are no metadata definitions to export") }
            let names = MetadefFiles.names(for: found.map(\.namespace.name))
            try MetadefFiles.makeDirectory(directory)
            for (name, detail) in zip(names, found) {
                let path = directory + "/" + name
                try SmallFile.replace(path, with: Array((IndentedJSON.text(detail.document) + "\n").utf8))
                StandardOutput.say("\(detail.namespace.name): \(path)")
            }
        }
    }
}

extension OpenCatalogue {
    var metadefs: Metadefs { Metadefs(database: database, surroundings: surroundings) }
}
