import API
import ArgumentParser
import Blobs
import Core
import Glibc
import NIOCore

struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Look after keys: rotate them, check them, see what needs them.",
        discussion: """
            Works on the database under DIR and on the file of master keys, while the server runs or not, as the \
            user it runs as.
            """,
        subcommands: [
            KeyStatusCommand.self, CheckKeysCommand.self, RotateMasterKeyCommand.self, RotateProjectKeysCommand.self,
            KeyGraphCommand.self, DeletedKeysCommand.self, UndeleteKeyCommand.self, EraseKeyCommand.self,
        ])
}

extension ServerSettings {
    /// The file of master keys.
    /// - Throws: `Refusal` where no keys are kept.
    func masterKeyPath() throws -> String {
        switch keys {
        case .embedded(let choice): return choice.masterKeyFile
        case .barbican: throw Refusal("keys.mode: no keys are kept here; the Barbican looks after its own")
        case .off: throw Refusal("keys.mode: it is off, and no keys are kept here")
        }
    }
}

extension OpenCatalogue {
    var surroundings: Surroundings {
        Surroundings(clock: clock, randomness: SystemRandomness(), work: ThreadWorkPool())
    }

    /// Of what was deleted already: the retention is none of its business.
    var quarantine: Quarantine { Quarantine(database: database, clock: clock, settings: SecretSettings()) }
}

struct KeyGraphCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "graph", abstract: "Print what needs a key: what breaks if it goes.")

    @Argument(help: "The key's id.")
    var secret: String

    @Flag(help: "Print JSON, as GET /image/ambrotype/v1/keys/ID answers.")
    var json = false

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let catalogue = try await OpenCatalogue(try ServerSettings(try options.resolve()))
            let id = SecretID(secret)
            guard let graph = try await KeyGraphView.read(id, in: catalogue.database) else {
                throw KeyGraphView.nothing(id)
            }
            StandardOutput.say(json ? Self.json(graph) : KeyTree.text(graph))
        }
    }

    private static func json(_ graph: KeyGraphView) -> String {
        var json = JSONWriter()
        OperatorJSON.write(graph, to: &json)
        return String(buffer: json.finish())
    }
}

struct DeletedKeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "deleted", abstract: "Print the deleted keys that can still be had back, the next to go first.")

    @Flag(help: "Print JSON, as GET /image/ambrotype/v1/deleted-keys answers.")
    var json = false

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let quarantine = try await OpenCatalogue(try ServerSettings(try options.resolve())).quarantine
            let counts = try await quarantine.counts()
            let found = try await WholeList.collect { try await quarantine.entries($0) }
            StandardOutput.say(json ? Self.json(found, counts) : Self.text(found))
        }
    }

    private static func json(_ entries: [Quarantine.Entry], _ counts: KeyCounts) -> String {
        var json = JSONWriter()
        json.object { json in
            json.member(
                "deleted_keys", array: { json in for entry in entries { OperatorJSON.write(entry, to: &json) } })
            json.member(
                "total",
                object: { json in
                    json.member("count", entries.count)
                    json.member("held_past_time", counts.heldPastTime)
                })
        }
        return String(buffer: json.finish())
    }

    private static func text(_ entries: [Quarantine.Entry]) -> String {
        guard !entries.isEmpty else { return "No deleted key is kept." }
        var table = TextTable("ID", "TYPE", "DELETED", "WHY", "KEPT UNTIL", "NEEDED", "PROJECT", "NAME")
        for entry in entries {
            table.add(
                entry.id.rawValue, entry.type.rawValue, entry.deletedAt.iso8601, entry.reason.rawValue,
                entry.quarantinedUntil.iso8601, entry.isHeld ? "yes" : "no", entry.project.rawValue, entry.name ?? "")
        }
        let needed = entries.filter(\.isHeld).count
        return table.text + "\n\(HumanSize.count(entries.count, "key"))"
            + (needed > 0 ? ", \(needed) of them needed and therefore kept" : "")
            + "; ambrotype keys undelete ID brings one back"
    }
}

struct UndeleteKeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "undelete", abstract: "Bring a deleted key back as it was.",
        discussion: "One that had expired does not expire again.")

    @Argument(help: "The key's id.")
    var secret: String

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let catalogue = try await OpenCatalogue(try ServerSettings(try options.resolve()))
            try await catalogue.quarantine.undelete(SecretID(secret))
            StandardOutput.say("Key \(secret) is back.")
        }
    }
}

struct EraseKeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "erase", abstract: "Erase a deleted key for good, before its time is over.",
        discussion: "One that something needs is not erased. Backups of the database have it until they are gone, too.")

    @Argument(help: "The key's id.")
    var secret: String

    @Flag(help: "Yes, erase it: nothing brings it back, nor what it encrypted.")
    var yes = false

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            guard yes else {
                throw Refusal(
                    "erasing key \(secret) makes all that it encrypted unreadable for good; if that is meant, add --yes"
                )
            }
            let catalogue = try await OpenCatalogue(try ServerSettings(try options.resolve()))
            try await catalogue.quarantine.erase(SecretID(secret))
            StandardOutput.say("Key \(secret) is erased.")
        }
    }
}
