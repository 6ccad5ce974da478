import ArgumentParser
import Foundation
import NIOCore
import NIOPosix
import Remote
import UnixSignals

extension LoadOperation: ExpressibleByArgument {}

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure an image service: this one, or any with the Image API v2.",
        discussion: """
            OPERATION is one or more of: get (one image), list (with --query), create-delete (an image, as a pair), \
            upload and download (data of --size). Each is repeated on every connection, the next request when the last \
            one is answered, for --seconds or --count, and all that --repeats times after a warm-up. Shown are medians \
            over the repeats; rates also with their range.

              ambrotype bench get list create-delete upload --os-cloud ambrotype --server-pid $(pidof ambrotype)

            The service is the one of a cloud in clouds.yaml, or --url with the token in the environment variable \
            OS_TOKEN. Everything that is made is named ambrotype-bench-… and taken away again, after Ctrl-C too. An \
            answer that is not as it has to be is counted as an error.

            Exit status: 0; 1 when there were errors or it was interrupted.
            """)

    @Argument(help: "get, list, create-delete, upload, download.")
    var operations: [LoadOperation]

    @Option(help: ArgumentHelp("The image service, without its version; the token is in OS_TOKEN.", valueName: "url"))
    var url: String?

    @Option(
        name: .customLong("os-cacert"),
        help: ArgumentHelp("Certificates in PEM that the service of --url is checked against.", valueName: "file"),
        completion: .file())
    var certificates: String?

    @Option(help: "Connections at once.")
    var connections = 8

    @Option(help: "How long a repeat takes.")
    var seconds = 5.0

    @Option(help: "Operations a repeat, instead of --seconds; of uploads, without it, one a connection.")
    var count: Int?

    @Option(help: "Seconds of warm-up; 0 is none. Transfers are warmed up by one a connection.")
    var warmUp = 1.0

    @Option(help: "How often it is measured.")
    var repeats = 3

    @Option(help: ArgumentHelp("Of uploads and downloads.", valueName: "MiB"))
    var size = 64

    @Option(help: "Of list, as in a URL.")
    var query = "limit=25"

    @Option(help: ArgumentHelp("The image that get and download read; without it, one is made.", valueName: "id"))
    var image: String?

    @Option(
        name: .customLong("server-pid"),
        help: ArgumentHelp(
            "A process of the service, on this machine: its processor time and memory are shown, with its children's.",
            valueName: "pid"))
    var serverProcesses: [Int32] = []

    @Option(help: "Threads of the driver.")
    var threads = min(2, System.coreCount)

    @Flag(help: "A connection for every request: for servers that end connections without saying so.")
    var close = false

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup(title: "The cloud") var cloud: CloudOptions

    func validate() throws {
        func check(_ isRight: Bool, _ message: String) throws {
            if !isRight { throw ValidationError(message) }
        }
        try check((1...10_000).contains(connections), "--connections is 1 to 10000.")
        try check(seconds > 0 && seconds <= 86_400, "--seconds is more than 0, and a day at most.")
        try check(warmUp >= 0 && warmUp <= 3600, "--warm-up is 0 to 3600.")
        try check((1...1000).contains(repeats), "--repeats is 1 to 1000.")
        try check(count.map { $0 > 0 } ?? true, "--count is 1 or more.")
        try check((1...1 << 20).contains(size), "--size is 1 to 1048576.")
        try check((1...256).contains(threads), "--threads is 1 to 256.")
        try check(image.map(CloudClient.isID) ?? true, "--image: '\(image ?? "")' is no id.")
        try check(
            query.utf8.allSatisfy { (0x21...0x7e).contains($0) },
            "--query has to be written as in a URL (%20 for a space).")
    }

    private var shape: LoadShape {
        LoadShape(
            connections: connections, seconds: seconds, count: count, warmUpSeconds: warmUp, repeats: repeats,
            sizeBytes: Int64(size) << 20, query: query, image: image)
    }

    func run() async throws {
        signal(SIGPIPE, SIG_IGN)
        DescriptorLimit.raise()
        try await Failure.reported {
            if let url {
                guard let token = ProcessInfo.processInfo.environment["OS_TOKEN"] else {
                    throw Refusal("--url needs a token, in the environment variable OS_TOKEN")
                }
                try await CloudClient.with(imageURL: url, token: token, caCertificateFile: certificates) {
                    try await run($0, caCertificateFile: certificates)
                }
            } else {
                let account = try cloud.account()
                try await CloudClient.with(account) { try await run($0, caCertificateFile: account.caCertificateFile) }
            }
        }
    }

    private func run(_ client: CloudClient, caCertificateFile: String?) async throws {
        let (url, token) = try client.imageAccess()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: threads)
        let session = LoadSession(
            target: try LoadTarget(
                url: url, token: token, caCertificateFile: caCertificateFile,
                closesConnections: close), client: client,
            shape: shape, server: serverProcesses.isEmpty ? nil : ProcessUsage(serverProcesses), group: group,
            imageName: "ambrotype-bench-" + UUID().uuidString.lowercased())
        let outcome = await measured(session)
        // Outside of what an interruption cancels.
        var cleanup: (any Error)?
        do { try await session.removeAll() } catch { cleanup = error }
        try? await group.shutdownGracefully()
        switch outcome {
        case .failure(let error):
            if let cleanup { StandardError.say("ambrotype: \(cleanup)") }
            throw error is CancellationError ? Refusal("interrupted") : error
        case .success(let results):
            let report = LoadReport(url: url, results: results)
            StandardOutput.say(json ? report.json : report.text)
            if let cleanup { throw cleanup }
            if results.contains(where: { $0.errorCount > 0 }) { throw ExitCode.failure }
        }
    }

    /// Measures one after the other, until all are done or a signal comes.
    private func measured(_ session: LoadSession) async -> Result<[LoadResult], any Error> {
        let signals = await UnixSignalsSequence(trapping: [.sigterm, .sigint])
        return await withTaskGroup(of: Result<[LoadResult], any Error>.self) { tasks in
            tasks.addTask {
                var results: [LoadResult] = []
                do {
                    for operation in operations { results.append(try await session.measure(operation)) }
                    return .success(results)
                } catch {
                    return .failure(error)
                }
            }
            tasks.addTask {
                for await _ in signals { break }
                return .failure(CancellationError())
            }
            let first = await tasks.next() ?? .failure(CancellationError())
            tasks.cancelAll()
            return first
        }
    }
}
