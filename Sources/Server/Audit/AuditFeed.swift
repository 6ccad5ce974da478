import Core
import Glibc
import Logging
import NIOCore
import Remote
import ServiceLifecycle
import Synchronization
import Trust

/// Sends the lines of the audit log to a webhook, in order and each at least once. The file is the buffer: what was
/// sent last stands beside it, and no more than a batch is in memory.
///
/// The lines of a file that was moved away are sent to their end as long as this process lives. After a start only
/// the file that has the name is read; when it begins later than what was sent, that is logged.
package final class AuditFeed: Sendable {
    private static let batchLines = 500
    private static let batchBytes = 512 << 10
    private static let firstPauseSeconds = 1.0
    private static let longestPauseSeconds = 60.0
    private static let idleSeconds = 5.0

    private let path: String
    private let trail: AuditTrail
    private let clock: any WallClock
    private let logger: Logger
    private let send: @Sendable (ByteBuffer) async throws -> Void

    /// - Parameter send: returns when the receiver has taken the document over.
    package init(
        trail: AuditTrail, clock: any WallClock, logger: Logger,
        send: @escaping @Sendable (ByteBuffer) async throws -> Void
    ) {
        path = trail.path
        self.trail = trail
        self.clock = clock
        self.logger = logger
        self.send = send
    }

    private struct Batch {
        var lines: [Substring] = []
        var lastNumber: Int64 = 0
        var bytes = 0
    }

    /// Runs until cancelled.
    package func run() async {
        var pause = Self.firstPauseSeconds
        var reader: AuditReader?
        var sent = sentNumber
        while !Task.isCancelled {
            do {
                if reader == nil { reader = try open(after: sent) }
                guard let source = reader else { continue }
                let batch = try next(source, after: sent)
                if batch.lines.isEmpty {
                    guard try source.wasMovedAway() else {
                        await trail.news.wait(seconds: Self.idleSeconds, clock: clock)
                        continue
                    }
                    // The writer had gone on by the time this one was found to be at its end.
                    if try next(source, after: sent).lines.isEmpty { reader = nil } else { source.goBack() }
                    continue
                }
                try await send(Self.document(batch.lines))
                sent = batch.lastNumber
                try SmallFile.replace(path + ".sent", with: Array("\(sent)\n".utf8))
                source.advance()
                pause = Self.firstPauseSeconds
            } catch {
                if Task.isCancelled { return }
                reader?.goBack()
                logger.warning(
                    "audit lines could not be sent; they will be",
                    metadata: ["error": "\(error)", "after": "\(sent)", "pause_seconds": "\(pause)"])
                try? await clock.sleep(seconds: pause)
                pause = min(2 * pause, Self.longestPauseSeconds)
            }
        }
    }

    private var sentNumber: Int64 {
        SmallFile.text(path + ".sent").flatMap { Int64($0.prefix { $0.isNumber }) } ?? 0
    }

    private func open(after sent: Int64) throws -> AuditReader {
        let reader = try AuditReader(path)
        if let first = try reader.firstNumber(), first > sent + 1, sent > 0 {
            logger.error(
                "audit lines were moved away before they were sent",
                metadata: ["first": "\(sent + 1)", "last": "\(first - 1)"])
        }
        return reader
    }

    /// What follows, as far as it is whole. What was sent before is passed over.
    private func next(_ reader: AuditReader, after sent: Int64) throws -> Batch {
        var batch = Batch()
        while batch.lines.count < Self.batchLines, batch.bytes < Self.batchBytes, let line = try reader.line() {
            guard let number = AuditReader.number(of: line) else {
                throw Refusal("\(path) holds a line that is none of an audit log")
            }
            guard number > sent else {
                reader.advance()
                continue
            }
            // Written, but it does not last yet: it may be taken back.
            guard number <= trail.lastingNumber else {
                reader.unread(line)
                return batch
            }
            batch.lines.append(line)
            batch.bytes += line.utf8.count
            batch.lastNumber = number
        }
        return batch
    }

    /// The lines as they stand in the file, hashes included: whoever keeps them can compare.
    static func document(_ lines: [Substring]) -> ByteBuffer {
        var document = ByteBuffer(string: "{\"lines\":[")
        for (index, line) in lines.enumerated() {
            if index > 0 { document.writeString(",") }
            document.writeSubstring(line)
        }
        document.writeString("]}\n")
        return document
    }
}

/// Reads an audit log line by line while it grows. Not for two tasks at once.
final class AuditReader: Sendable {
    private static let chunkBytes = 64 << 10

    private let path: String
    private let descriptor: Int32
    private let state = Mutex(State())

    private struct State {
        /// What was read and not handed out.
        var rest: [UInt8] = []
        /// Where `rest` ends in the file.
        var offset: Int64 = 0
        /// Where to begin again when what was handed out must be handed out again.
        var mark: Int64 = 0
    }

    /// - Throws: `FileProblem`.
    init(_ path: String) throws {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileProblem("opened", path) }
    }

    deinit { close(descriptor) }

    /// The next whole line, without its line feed; nil when there is none yet.
    /// - Throws: `FileProblem`.
    func line() throws -> Substring? {
        try state.withLock { state in
            while true {
                if let feed = state.rest.firstIndex(of: UInt8(ascii: "\n")) {
                    let line = String(decoding: state.rest[..<feed], as: UTF8.self)
                    state.rest.removeSubrange(...feed)
                    return line[...]
                }
                guard state.rest.count <= AuditLine.limitBytes else { throw FileProblem("read", path, code: EFBIG) }
                var chunk = [UInt8](repeating: 0, count: Self.chunkBytes)
                let count = pread(descriptor, &chunk, chunk.count, off_t(state.offset))
                if count < 0, errno == EINTR { continue }
                guard count >= 0 else { throw FileProblem("read", path) }
                if count == 0 { return nil }
                state.rest += chunk[..<count]
                state.offset += Int64(count)
            }
        }
    }

    /// The line is handed out next.
    func unread(_ line: Substring) {
        state.withLock { $0.rest.insert(contentsOf: Array(line.utf8) + [UInt8(ascii: "\n")], at: 0) }
    }

    /// Whether the file ends in a part of a line.
    var hasRest: Bool { state.withLock { !$0.rest.isEmpty } }

    /// What was handed out is done with.
    func advance() { state.withLock { $0.mark = $0.offset - Int64($0.rest.count) } }

    /// What was handed out is handed out again.
    func goBack() {
        state.withLock { state in
            state.rest = []
            state.offset = state.mark
        }
    }

    /// Whether another file, or none, has the name now.
    func wasMovedAway() throws -> Bool {
        var held = stat()
        guard fstat(descriptor, &held) == 0 else { throw FileProblem("measured", path) }
        var named = stat()
        guard stat(path, &named) == 0 else { return false }
        return named.st_ino != held.st_ino || named.st_dev != held.st_dev
    }

    /// Of the first line, without reading on.
    func firstNumber() throws -> Int64? {
        defer { goBack() }
        return try line().flatMap { Self.number(of: $0) }
    }

    /// `{"seq":7,…`: lines are written by this program, number first.
    static func number(of line: some StringProtocol) -> Int64? {
        let prefix = "{\"seq\":"
        guard line.hasPrefix(prefix) else { return nil }
        return Int64(line.dropFirst(prefix.count).prefix { $0.isNumber })
    }
}

/// Lets go of the audit log's file when everything else has ended.
struct AuditEnd: ServiceLifecycle.Service {
    let trail: AuditTrail

    func run() async throws {
        try? await gracefulShutdown()
        trail.close()
    }
}

/// The feed and its connections as a part of the running server.
struct AuditFeedService: ServiceLifecycle.Service {
    let feed: AuditFeed
    let webhook: Webhook

    func run() async throws {
        await cancelWhenGracefulShutdown { await feed.run() }
        try await webhook.shutdown()
    }
}
