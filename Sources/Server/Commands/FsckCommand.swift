import ArgumentParser
import Blobs
import Core
import Glibc

struct FsckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fsck", abstract: "Check the database and the stores against each other.",
        discussion: """
            Looks for what is missing, damaged, stuck or left over, and tells it a line each. Without --repair \
            nothing is changed. The server may be running meanwhile.

            --repair never takes what an image refers to. It asks for jobs that are missing, gives up uploads \
            that are gone, erases bytes that have no row, and removes what is left of deleted images. Missing or \
            damaged image data it cannot bring back: the report says what to restore from a backup.

            Exit status: 0 all is well; 1 there were problems, and all are repaired; 2 problems remain; 3 the \
            check is incomplete, because the database or a store is out of reach; 64 for a wrong option, 78 for \
            a wrong setting.
            """)

    @Option(
        name: .customLong("read-data"), defaultAsFlag: ReadShare.all, parsing: .next,
        help: ArgumentHelp(
            "Read the data and compare its digests: all of it, or with --read-data=10% that share of the images.",
            valueName: "percent%"))
    var readData: ReadShare?

    @Option(help: "Draw the sample of --read-data=PERCENT% that an earlier check with this seed read.")
    var seed: UInt32?

    @Flag(help: "Put right what can be put right without taking anything from an image.")
    var repair = false

    @Option(
        name: .customLong("erase-unowned"),
        help: ArgumentHelp(
            "With --repair: in this store also erase finished blobs that have no row.",
            discussion: """
                No crash leaves such blobs. But a database that was restored from a backup, or that of another \
                server, does not know the newer ones: make sure of it first.
                """, valueName: "store"))
    var eraseUnowned: [String] = []

    @Flag(help: "List all that the stores hold and no image needs, and say why each thing is still there.")
    var garbage = false

    @Flag(help: "One JSON object a line: findings, garbage, then the summary.")
    var json = false

    @OptionGroup var options: SettingOptions

    func validate() throws {
        guard let readData else {
            if seed != nil { throw ValidationError("--seed is that of a sample: it needs --read-data=PERCENT%.") }
            return
        }
        guard readData.percent != nil else {
            throw ValidationError(
                "--read-data: '\(readData)' is no share of the data; allowed: more than 0% and at most 100%.")
        }
    }

    func run() async throws {
        umask(0o077)
        DescriptorLimit.raise()
        try await Failure.reported {
            let settings = try ServerSettings(try options.resolve())
            let status = try await Self.orIncomplete { try await check(settings) }
            if status != 0 { throw ExitCode(status) }
        }
    }

    /// 1 means "repaired" here, so what goes wrong with the check itself ends it otherwise.
    private static func orIncomplete(_ check: () async throws -> Int32) async throws -> Int32 {
        do {
            return try await check()
        } catch {
            StandardError.say("ambrotype: \(OperatorText.of(error))")
            return 3
        }
    }

    private func check(_ settings: ServerSettings) async throws -> Int32 {
        let surroundings = Surroundings(
            clock: SystemClock(), randomness: SystemRandomness(), work: ThreadWorkPool())
        var fsckOptions = Fsck.Options()
        fsckOptions.repairs = repair
        fsckOptions.reading = reading(surroundings)
        fsckOptions.erasesUnowned = Set(eraseUnowned.map { StoreID($0) })
        // A server renews its leases three times in their length, and takes over those that ran out.
        fsckOptions.leaseGraceSeconds = max(
            fsckOptions.leaseGraceSeconds, 10 * (settings.image?.settings.leaseSeconds ?? 0))
        let (stores, unopened) = Self.open(settings.image?.stores ?? [], surroundings)
        let fsck = Fsck(
            database: try await OpenCatalogue(settings).database, stores: stores, unopened: unopened,
            remote: settings.image?.stores.first { $0.place == .http }?.id, surroundings: surroundings,
            options: fsckOptions)
        let report = FsckReport(form: json ? .json : .text, hasGarbage: garbage)
        let bar = ProgressBar.onTerminal()
        defer { bar?.clear() }
        let summary = try await fsck.run { event in
            if case .progress(let progress) = event { bar?.show(progress) }
            guard let line = report.line(event) else { return }
            if let bar { bar.clear { StandardOutput.say(line) } } else { StandardOutput.say(line) }
        }
        bar?.clear()
        StandardOutput.say(report.summary(summary, fsckOptions.reading))
        return summary.exitStatus
    }

    private func reading(_ surroundings: Surroundings) -> Fsck.Reading {
        guard let percent = readData?.percent else { return .nothing }
        if percent >= 100 { return .everything }
        let drawn = surroundings.randomness.bytes(4).reduce(0) { $0 << 8 | UInt32($1) }
        return .sample(percent: percent, seed: seed ?? drawn)
    }

    private static func open(
        _ choices: [ServerSettings.StoreChoice], _ surroundings: Surroundings
    ) -> ([any BlobStore], [Fsck.UnopenedStore]) {
        var stores: [any BlobStore] = []
        var unopened: [Fsck.UnopenedStore] = []
        for choice in choices {
            // What other servers keep is not looked at, only what the database says of it.
            guard case .directory(let path) = choice.place else { continue }
            do {
                stores.append(
                    try FileBlobStore(
                        id: choice.id, directory: path, work: surroundings.work, mayInitialize: false))
            } catch let error as BlobError {
                unopened.append(Fsck.UnopenedStore(id: choice.id, cause: error.cause))
            } catch {
                unopened.append(Fsck.UnopenedStore(id: choice.id, cause: "\(error)"))
            }
        }
        return (stores, unopened)
    }
}

/// How much of the data to read: `10%`, `10`, `0.5%`.
///
/// Any text is taken, and refused by the command's `validate`: a value that an option with a default as flag
/// cannot take counts as no value, and a mistyped share would read everything.
struct ReadShare: ExpressibleByArgument, CustomStringConvertible, Sendable {
    static let all = ReadShare(argument: "100%")

    let description: String
    /// Nil when it is no share.
    let percent: Double?

    init(argument: String) {
        description = argument
        let number = argument.hasSuffix("%") ? argument.dropLast() : argument[...]
        percent = Double(number).flatMap { $0 > 0 && $0 <= 100 ? $0 : nil }
    }
}
