import API
import ArgumentParser
import Core
import Glibc
import NIOCore

struct ImagesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "images", abstract: "Look after deleted images that can still be had back.",
        discussion: """
            With image.recycle_bin_seconds set, a deleted image keeps its bytes, properties, tags and members for \
            that long. Works on the database under DIR, while the server runs or not.
            """,
        subcommands: [DeletedImagesCommand.self, UndeleteImageCommand.self, DiscardImageCommand.self])
}

struct DeletedImagesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "deleted", abstract: "Print the images in the recycle bin, the next to go first.")

    @Flag(help: "Print JSON, as GET /image/ambrotype/v1/deleted-images answers.")
    var json = false

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let bin = try await OpenCatalogue(try ServerSettings(try options.resolve())).recycleBin()
            let found = try await WholeList.collect { try await bin.entries($0) }
            StandardOutput.say(json ? Self.json(found) : Self.text(found))
        }
    }

    private static func total(_ entries: [RecycleBin.Entry]) -> Int64 { entries.reduce(0) { $0 + $1.sizeBytes } }

    private static func json(_ entries: [RecycleBin.Entry]) -> String {
        var json = JSONWriter()
        json.object { json in
            json.member(
                "deleted_images", array: { json in for entry in entries { OperatorJSON.write(entry, to: &json) } })
            json.member(
                "total",
                object: { json in
                    json.member("count", entries.count)
                    json.member("size_bytes", total(entries))
                })
        }
        return String(buffer: json.finish())
    }

    private static func text(_ entries: [RecycleBin.Entry]) -> String {
        guard !entries.isEmpty else { return "The recycle bin is empty." }
        var table = TextTable("ID", ">SIZE", "STATUS", "DELETED", "KEPT UNTIL", "PROJECT", "NAME")
        for entry in entries {
            table.add(
                entry.id.rawValue, HumanSize.text(entry.sizeBytes), entry.status.rawValue, entry.deletedAt.iso8601,
                entry.recycledUntil.iso8601, entry.owner?.rawValue ?? "", entry.name ?? "")
        }
        return table.text
            + "\n\(HumanSize.count(entries.count, "image")), \(HumanSize.text(total(entries))); "
            + "ambrotype images undelete ID brings one back"
    }
}

struct UndeleteImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "undelete", abstract: "Bring a deleted image back as it was.",
        discussion: "It counts in its project's quotas again; when they have no room for it, it stays in the bin.")

    @Argument(help: "The image's id.")
    var image: String

    @Flag(help: "Bring it back even if its project then has more than its quotas.")
    var overQuota = false

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let bin = try await OpenCatalogue(try ServerSettings(try options.resolve())).recycleBin()
            do {
                try await bin.undelete(ImageID(image), mayExceedQuota: overQuota)
            } catch ServiceError.tooLarge(let reason) {
                throw Refusal("\(reason) --over-quota brings it back all the same.")
            }
            StandardOutput.say("Image \(image) is back.")
        }
    }
}

struct DiscardImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "discard", abstract: "Erase a deleted image for good, before its time in the recycle bin is over.")

    @Argument(help: "The image's id.")
    var image: String

    @Flag(help: "Yes, erase it: nothing brings it back.")
    var yes = false

    @OptionGroup var options: SettingOptions

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            guard yes else {
                throw Refusal("discarding image \(image) erases it for good; if that is meant, add --yes")
            }
            let bin = try await OpenCatalogue(try ServerSettings(try options.resolve())).recycleBin()
            try await bin.discard(ImageID(image))
            StandardOutput.say("Image \(image) is gone; its bytes are erased as soon as a server runs.")
        }
    }
}
