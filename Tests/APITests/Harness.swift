// A whole server for tests: every part real, in this process, on a port of its own.
//
//     @Suite(.server) struct ImageTests {
//         @Test func listIsEmptyAtFirst() async throws {
//             let server = TestServer.current
//             let answer = try await server.call(.GET, "/image/v2/images", as: server.demo)
//             #expect(answer.status == 200)
//         }
//     }
//
// - `@Suite(.server)` starts one server for all tests of the suite, and stops it after the last. They
//   run at the same time, so a test that counts things makes an account of its own:
//   `let caller = try await server.account(role: "member")`.
// - `.server { $0.image?.settings.imageCountQuota = 3 }` starts it with other settings.
// - `TestServer.with { … } body: { server in … }` does the same within one test; given a directory,
//   what is in it survives, for tests of restarts.
// - `server.admin` and `server.demo` are tokens. `call` is an HTTP client; `raw` sends bytes as they are;
//   `connect` keeps the connection, for requests that stop half-way.
// - `server.log` has what the server logged.

import Blobs
import Core
import Foundation
import Logging
import Metrics
import NIOCore
import NIOPosix
import Server
import ServiceLifecycle
import Synchronization
import Testing

struct TestServer: Sendable {
    /// The server of the suite that runs.
    static var current: TestServer {
        guard let server = bound else { preconditionFailure("the suite is not marked .server") }
        return server
    }
    @TaskLocal fileprivate static var bound: TestServer?

    let urls: ServerURLs
    let directory: String
    let log: LogCapture
    /// Tells the server to stop as SIGTERM would.
    let stop: @Sendable () async -> Void
    /// Tokens: the administrator; user demo, a member of project demo.
    let admin: String
    let demo: String

    var url: String { urls.main }
    var port: Int { URL(string: url)?.port ?? 0 }
}

// MARK: life

extension TestServer {
    /// Runs a server while `body` runs, and fails if the server does.
    /// - Parameters:
    ///   - directory: the data directory; without it, a new one that is removed afterwards.
    ///   - node: its name among several that share the directory.
    ///   - remote: what other servers have for it; nil when nothing is fetched.
    ///   - change: what differs from a server with default settings and cheap password hashes.
    @discardableResult
    static func with<T: Sendable>(
        directory: String? = nil, node: NodeName = .first, remote: (any RemoteContentSource)? = nil,
        _ change: @Sendable (inout ServerSettings) -> Void = { _ in },
        body: @Sendable (TestServer) async throws -> T
    ) async throws -> T {
        let path = try directory ?? makeDirectory()
        defer { if directory == nil { remove(path) } }
        var settings = ServerSettings(dataDirectory: path, listen: ListenAddress(host: "127.0.0.1", port: 0))
        settings.identity = .embedded(.cheap)
        change(&settings)
        let log = LogCapture()
        let application = try await Application(
            settings, in: TestProcess.shared(logger: log.logger, remote: remote, node: node))
        let (readiness, report) = AsyncStream.makeStream(of: ServerURLs.self)
        let group = application.serviceGroup { urls in report.yield(urls) }
        return try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                defer { report.finish() }
                try await group.run()
            }
            guard let urls = await readiness.first(where: { _ in true }) else {
                try await tasks.waitForAll()
                throw TestFailure("the server ended before it was ready")
            }
            let outcome: Result<T, any Error>
            do {
                let server = try await TestServer(urls, directory: path, log: log) {
                    await group.triggerGracefulShutdown()
                }
                outcome = .success(try await body(server))
            } catch {
                outcome = .failure(error)
            }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
            return try outcome.get()
        }
    }

    private init(
        _ urls: ServerURLs, directory: String, log: LogCapture, stop: @escaping @Sendable () async -> Void
    ) async throws {
        self.urls = urls
        self.directory = directory
        self.log = log
        self.stop = stop
        let clouds = CloudsFile(path: directory + "/clouds.yaml")
        guard let identity = urls[.identity], urls.main.hasPrefix("http:"), clouds.isThere else {
            // Nobody to ask for tokens, nothing to ask with, or only over TLS: that is the test's business.
            admin = ""
            demo = ""
            return
        }
        func token(_ cloud: String, _ name: String) async throws -> String {
            guard let password = try clouds.password(of: cloud) else {
                throw TestFailure("clouds.yaml has no password for \(cloud)")
            }
            return try await Self.token(from: identity, user: name, password: password, project: name)
        }
        admin = try await token("ambrotype-admin", "admin")
        demo = try await token("ambrotype", "demo")
    }

    static func makeDirectory() throws -> String {
        let path = NSTemporaryDirectory() + "ambrotype-test-" + UUID().uuidString.lowercased()
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        return path
    }

    static func remove(_ path: String) {
        do {
            try FileManager.default.removeItem(atPath: path)
        } catch {
            Issue.record(error, "a test's directory could not be removed")
        }
    }
}

/// `@Suite(.server)`
struct ServerTrait: SuiteTrait, TestScoping {
    var remote: (any RemoteContentSource)?
    let change: @Sendable (inout ServerSettings) -> Void

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        try await TestServer.with(remote: remote, change) { server in
            try await TestServer.$bound.withValue(server) { try await function() }
        }
    }
}

extension Trait where Self == ServerTrait {
    static var server: ServerTrait { ServerTrait(change: { _ in }) }
    static func server(
        remote: (any RemoteContentSource)? = nil, _ change: @escaping @Sendable (inout ServerSettings) -> Void
    ) -> ServerTrait {
        ServerTrait(remote: remote, change: change)
    }
}

/// What all servers of the test process share.
enum TestProcess {
    private static let surroundings = Surroundings(
        clock: SystemClock(), randomness: SystemRandomness(), work: ThreadWorkPool())

    /// Bootstrapped once: a process can have only one.
    static let metrics: PrometheusRegistry = {
        let registry = PrometheusRegistry()
        MetricsSystem.bootstrap(registry)
        return registry
    }()

    static func shared(
        logger: Logger, remote: (any RemoteContentSource)? = nil, node: NodeName = .first
    ) -> Application.Process {
        Application.Process(
            surroundings: surroundings, eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: logger,
            metrics: metrics, remote: remote, node: node)
    }
}

extension ServerSettings.EmbeddedIdentityChoice {
    /// Password hashes that take no time.
    static var cheap: Self {
        var choice = Self()
        choice.scryptCost = 4
        return choice
    }
}

struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Keeps what is logged, as JSON lines.
final class LogCapture: LogSink {
    private let text = Mutex("")

    var logger: Logger {
        Logger(label: "ambrotype") { label in
            LineLogHandler(label: label, level: .trace, format: .json, sink: self)
        }
    }

    func write(_ line: ByteBuffer) { text.withLock { $0 += String(buffer: line) } }

    var all: String { text.withLock { $0 } }

    /// The lines with this message, parsed.
    func lines(_ message: String) throws -> [JSONValue] {
        try all.split(separator: "\n").map { try JSONValue(parsing: ByteBuffer(substring: $0)) }
            .filter { $0["message"]?.stringValue == message }
    }
}

/// Waits until `condition` gives a value, and returns it.
func eventually<T>(
    within seconds: Double = 20, _ what: String, _ condition: () async throws -> T?
) async throws -> T {
    let end = ContinuousClock.now + .seconds(seconds)
    while true {
        if let value = try await condition() { return value }
        guard ContinuousClock.now < end else { throw TestFailure("not within \(seconds) s: \(what)") }
        try await Task.sleep(for: .milliseconds(5))
    }
}
