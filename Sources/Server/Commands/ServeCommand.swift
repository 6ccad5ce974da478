import ArgumentParser
import Blobs
import Core
import Dispatch
import Glibc
import Logging
import Metrics
import NIOCore
import NIOPosix
import ServiceLifecycle
import Trust
import UnixSignals

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Run the server in the foreground.",
        discussion: """
            Prints `ready URL` on standard output once it answers; everything else it says is the log, on standard \
            error. On first start it makes the users admin and demo and writes DIR/clouds.yaml for the OpenStack \
            clients.

            SIGTERM or SIGINT stops it: it accepts no more, lets running requests finish (at most \
            shutdown_deadline_seconds) and exits with 0. A second signal ends it at once. SIGHUP reopens the audit log, \
            if there is one, after its file was moved away.

            Exit status: 78 for a wrong setting, 1 when it cannot start or run for another reason.
            """)

    @OptionGroup var options: SettingOptions

    @Option(
        help: ArgumentHelp(
            "Listen here, such as 127.0.0.1:9292; port 0 lets the system choose (listen).", valueName: "addr:port"))
    var listen: String?

    @Option(
        help: ArgumentHelp(
            "The name of this server among several that share the data directory; the first one needs none.",
            discussion:
                "Lower-case letters, digits and hyphens. Each listens and logs by itself; see docs/operating.md.",
            valueName: "name"))
    var node: String?

    func run() async throws {
        // The database holds password hashes: nothing made from here on is for others to read.
        umask(0o077)
        // Writing to a connection that went away is an error to handle, not a signal to die of.
        signal(SIGPIPE, SIG_IGN)
        DescriptorLimit.raise()
        // Keys are in this process's memory.
        CoreDumps.forbid()
        try await Failure.reported {
            let settings = try ServerSettings(try options.resolve(listen: listen))
            let node = try nodeName()
            // Without an audit log there is nothing to reopen, and SIGHUP is the terminal's.
            let signals = await UnixSignalsSequence(
                trapping: [.sigterm, .sigint] + (settings.audit == nil ? [] : [.sighup]))
            let application = try await Application(settings, in: Self.process(settings, node))
            let group = application.serviceGroup { urls in StandardOutput.say("ready " + urls.main) }
            try await Self.run(
                group, until: signals, deadlineSeconds: settings.shutdownDeadlineSeconds, Logger(label: "ambrotype"),
                onHangup: { application.reopenLogs() })
        }
    }

    private func nodeName() throws -> NodeName {
        guard let node else { return .first }
        guard let name = NodeName(node) else {
            throw StartProblem("--node '\(node)': lower-case letters, digits and hyphens are expected, at most 32")
        }
        return name
    }

    /// Sets up what there is once in a process.
    private static func process(_ settings: ServerSettings, _ node: NodeName) -> Application.Process {
        let format = settings.logFormat ?? .automatic
        let level = settings.logLevel
        LoggingSystem.bootstrap { label in LineLogHandler(label: label, level: level, format: format) }
        let metrics = settings.hasMetrics ? PrometheusRegistry() : nil
        if let metrics { MetricsSystem.bootstrap(metrics) }
        return Application.Process(
            surroundings: Surroundings(
                clock: SystemClock(), randomness: SystemRandomness(), work: ThreadWorkPool()),
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "ambrotype"),
            metrics: metrics, node: node)
    }

    /// How long after the deadline requests that were cut off have to end.
    private static let graceSeconds = 10

    /// Runs the server to its end: the first signal asks it to stop, the second ends the process. So
    /// does a request that does not even end when it is cut off: nothing is lost by that, for whatever
    /// was under way is undone by the next start.
    private static func run(
        _ group: ServiceGroup, until signals: UnixSignalsSequence, deadlineSeconds: Int, _ logger: Logger,
        onHangup: @escaping @Sendable () -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                var isStopping = false
                for await signal in signals {
                    if signal == .sighup {
                        onHangup()
                        continue
                    }
                    if isStopping {
                        logger.warning("second signal: ending at once", metadata: ["signal": "\(signal)"])
                        _exit(128 + signal.rawValue)
                    }
                    isStopping = true
                    logger.notice("stopping: running requests may finish", metadata: ["signal": "\(signal)"])
                    DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(deadlineSeconds + graceSeconds)) {
                        logger.critical("the server does not stop; ending at once")
                        _exit(1)
                    }
                    await group.triggerGracefulShutdown()
                }
            }
            defer { tasks.cancelAll() }
            try await group.run()
            logger.notice("stopped")
        }
    }
}
