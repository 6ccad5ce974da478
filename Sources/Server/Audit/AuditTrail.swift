import API
import Core
import Dispatch
import Glibc
import Logging
import Synchronization
import Trust

/// The audit log of a server: calls that may change something, in a file.
///
/// Calls that come together share one wait for the disk: one queue writes, and takes along whatever came while it
/// was writing. When a line cannot be written, the call it is about is refused with 503: what changes is on record,
/// or does not change. Calls that only read go on.
package final class AuditTrail: AuditLog {
    private let file: Mutex<AuditFile>
    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "ambrotype.audit")
    private let clock: any WallClock
    private let logger: Logger
    /// Signalled when there are new lines, or another file.
    let news = WakeSignal()

    private typealias Waiting = (
        draft: AuditLine.Draft, continuation: CheckedContinuation<Result<Int64, any Error>, Never>
    )

    private struct State {
        /// One for each call that waits, so as many as there are connections at most.
        var waiting: [Waiting] = []
        var isWriting = false
        var mustReopen = false
        var isFailing = false
    }

    /// Opens the file and continues the log.
    /// - Throws: `StartProblem`.
    package init(path: String, seal: RecordSeal, clock: any WallClock, logger: Logger) throws {
        let opened: AuditFile
        do {
            let (found, tornBytes) = try AuditFile.open(path, seal: seal)
            var file = found
            if tornBytes > 0 {
                logger.warning(
                    "the audit log ended in a part of a line; it was set aside",
                    metadata: [
                        "file": "\(path)", "aside": "\(path).torn-\(file.lastNumber)", "bytes": "\(tornBytes)",
                    ])
            }
            // A new log: of this one nothing was sent.
            if file.lastNumber == 0 { unlink(path + ".sent") }
            _ = try file.append([.opened(seal, tornBytes: tornBytes, at: clock.now)])
            opened = file
        } catch {
            throw StartProblem("audit.file: \(error)")
        }
        file = Mutex(opened)
        lasting = Atomic(opened.lastNumber)
        self.seal = seal
        self.clock = clock
        self.logger = logger
    }

    private let seal: RecordSeal

    /// Lets go of the file once what waits is written. To be called when no call is under way any more.
    package func close() {
        queue.sync { file.withLock { $0.close() } }
    }

    deinit { file.withLock { $0.close() } }

    /// The number of the last line that lasts.
    var lastingNumber: Int64 { lasting.load(ordering: .acquiring) }
    private let lasting: Atomic<Int64>

    package var path: String { file.withLock { $0.path } }
    /// How often the disk was waited for, and how many lines there are.
    package var counts: (syncs: Int, lines: Int64) { file.withLock { ($0.syncCount, $0.lastNumber) } }

    package func begin(_ call: AuditedCall) async throws -> Int64 {
        do {
            return try await append(.begun(call, at: clock.now)).get()
        } catch {
            throw ServiceError.unavailable(
                "The audit log cannot be written, so nothing may be changed; the operator has to look.", cause: error)
        }
    }

    package func end(_ call: AuditedCall, _ result: AuditedResult, number: Int64) async {
        // That it fails was logged by then; that the call was begun is on record.
        _ = await append(.ended(call, result, number: number, at: clock.now))
    }

    /// Goes on in the file that has the name now (SIGHUP).
    package func reopen() {
        let mustStart = state.withLock { state in
            state.mustReopen = true
            defer { state.isWriting = true }
            return !state.isWriting
        }
        if mustStart { queue.async { self.drain() } }
    }

    private func append(_ draft: AuditLine.Draft) async -> Result<Int64, any Error> {
        await withCheckedContinuation { continuation in
            let mustStart = state.withLock { state in
                state.waiting.append((draft, continuation))
                defer { state.isWriting = true }
                return !state.isWriting
            }
            if mustStart { queue.async { self.drain() } }
        }
    }

    /// Writes until nothing waits. On the queue, one at a time.
    private func drain() {
        while true {
            let (batch, mustReopen) = state.withLock { state in
                defer {
                    state.waiting = []
                    state.mustReopen = false
                }
                state.isWriting = state.mustReopen || !state.waiting.isEmpty
                return (state.waiting, state.mustReopen)
            }
            if mustReopen { goOn() }
            if batch.isEmpty {
                if mustReopen { continue }
                return
            }
            write(batch)
        }
    }

    private func write(_ batch: [Waiting]) {
        let outcome = Result { try append(batch.map(\.draft)) }
        note(outcome)
        for (index, waiting) in batch.enumerated() {
            waiting.continuation.resume(returning: outcome.map { $0 + Int64(index) })
        }
    }

    private func append(_ drafts: [AuditLine.Draft]) throws -> Int64 {
        let (first, last) = try file.withLock { file in (try file.append(drafts), file.lastNumber) }
        lasting.store(last, ordering: .releasing)
        return first
    }

    private func goOn() {
        let outcome = Result {
            guard try file.withLock({ try $0.reopen() }) else { return Int64(0) }
            return try append([.opened(seal, tornBytes: 0, at: clock.now)])
        }
        note(outcome)
        if case .success = outcome { logger.notice("audit log reopened", metadata: ["file": "\(path)"]) }
    }

    /// Told once, not for every call that is refused.
    private func note(_ outcome: Result<Int64, any Error>) {
        let wasFailing = state.withLock { state in
            defer { if case .failure = outcome { state.isFailing = true } else { state.isFailing = false } }
            return state.isFailing
        }
        switch outcome {
        case .success:
            if wasFailing { logger.notice("the audit log can be written again") }
            news.signal()
        case .failure(let error):
            guard !wasFailing else { return }
            logger.critical(
                "the audit log cannot be written; calls that change something are refused",
                metadata: ["error": "\(error)"])
        }
    }
}
