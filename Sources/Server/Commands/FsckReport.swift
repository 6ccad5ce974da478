import API
import Core
import Glibc
import NIOCore
import Synchronization

/// What a check tells, in words for people or in JSON for programs.
package struct FsckReport: Sendable {
    package enum Form: Sendable { case text, json }

    package let form: Form
    /// Whether to tell what is kept in the stores and why.
    package let hasGarbage: Bool

    package init(form: Form, hasGarbage: Bool) {
        self.form = form
        self.hasGarbage = hasGarbage
    }

    /// The lines of an event on standard output; progress has none.
    package func line(_ event: FsckEvent) -> String? {
        switch (event, form) {
        case (.progress, _): nil
        case (.garbage, _) where !hasGarbage: nil
        case (.finding(let finding, let outcome), .text): Self.text(finding, outcome)
        case (.finding(let finding, let outcome), .json): Self.json(finding, outcome)
        case (.garbage(let garbage), .text):
            "kept: \(garbage.subject) in store \(garbage.store), \(garbage.item.sizeBytes) bytes: \(garbage.reason.text)"
        case (.garbage(let garbage), .json): Self.json(garbage)
        }
    }

    private static func text(_ finding: Finding, _ outcome: FindingOutcome) -> String {
        let what = "\(finding.subject): \(finding.text) [\(finding.kind)]"
        return switch (outcome, finding.remedy) {
        case (.repaired, .repair(let how)), (.repaired, .advice(let how)): "repaired: \(what): \(how)"
        case (.settled, _): "settled: \(what): it is no longer so"
        case (.repairFailed(let error), _): "\(finding.severity.rawValue): \(what): repairing failed: \(error)"
        case (.open, .repair(let how)): "\(finding.severity.rawValue): \(what): with --repair, \(how)"
        case (.open, .advice(let advice)): "\(finding.severity.rawValue): \(what): \(advice)"
        }
    }

    private static func json(_ finding: Finding, _ outcome: FindingOutcome) -> String {
        object { json in
            json.member("type", "finding")
            json.member("kind", finding.kind)
            json.member("severity", finding.severity.rawValue)
            json.member("subject", finding.subject)
            json.member("text", finding.text)
            switch finding.remedy {
            case .repair(let how): json.member("repair", how)
            case .advice(let advice): json.member("advice", advice)
            }
            switch outcome {
            case .open: json.member("outcome", "open")
            case .repaired: json.member("outcome", "repaired")
            case .settled: json.member("outcome", "settled")
            case .repairFailed(let error):
                json.member("outcome", "repair-failed")
                json.member("error", error)
            }
        }
    }

    private static func json(_ garbage: Garbage) -> String {
        object { json in
            json.member("type", "garbage")
            json.member("kind", garbage.reason.kind)
            json.member("store", garbage.store.rawValue)
            json.member("subject", garbage.subject)
            json.member("bytes", garbage.item.sizeBytes)
            json.member("text", garbage.reason.text)
        }
    }

    /// The end of the report.
    package func summary(_ summary: FsckSummary, _ reading: Fsck.Reading) -> String {
        switch form {
        case .text: Self.text(summary, reading, hasGarbage: hasGarbage)
        case .json: Self.json(summary, reading)
        }
    }

    private static func text(_ summary: FsckSummary, _ reading: Fsck.Reading, hasGarbage: Bool) -> String {
        var lines: [String] = []
        if hasGarbage {
            for total in summary.garbage {
                lines.append("kept in all: \(total.kind): \(total.count) files, \(total.sizeBytes) bytes")
            }
            if summary.garbage.isEmpty { lines.append("kept in all: nothing but images") }
        }
        var checked = "checked: \(summary.blobs) blobs, \(summary.files) files"
        switch reading {
        case .nothing: break
        case .everything: checked += "; read \(summary.bytesRead) bytes"
        case .sample(let percent, let seed):
            checked +=
                "; read \(summary.bytesRead) bytes of \(summary.blobsRead) blobs, "
                + "a sample of \(percent)% with --seed \(seed)"
        }
        lines.append(checked)
        lines.append("problems: \(summary.remaining + summary.repaired), \(summary.repaired) of them repaired")
        if summary.isIncomplete { lines.append("incomplete: not everything could be looked at") }
        return lines.joined(separator: "\n")
    }

    private static func json(_ summary: FsckSummary, _ reading: Fsck.Reading) -> String {
        object { json in
            json.member("type", "summary")
            json.member("remaining", summary.remaining)
            json.member("repaired", summary.repaired)
            json.member("incomplete", summary.isIncomplete)
            json.member("blobs", summary.blobs)
            json.member("files", summary.files)
            json.member("blobs_read", summary.blobsRead)
            json.member("bytes_read", summary.bytesRead)
            if case .sample(let percent, let seed) = reading {
                json.member("sample_percent", .number(percent))
                json.member("seed", Int64(seed))
            }
            json.member(
                "garbage",
                array: { json in
                    for total in summary.garbage {
                        json.object { json in
                            json.member("kind", total.kind)
                            json.member("files", total.count)
                            json.member("bytes", total.sizeBytes)
                        }
                    }
                })
            json.member("exit", Int(summary.exitStatus))
        }
    }

    private static func object(_ members: (inout JSONWriter) -> Void) -> String {
        var json = JSONWriter()
        json.object(members)
        return String(buffer: json.finish())
    }
}

extension FsckSummary {
    /// What scripts go by. Incomplete comes first: what was not looked at may hold any problem.
    package var exitStatus: Int32 { isIncomplete ? 3 : remaining > 0 ? 2 : repaired > 0 ? 1 : 0 }
}

/// The progress bar on a terminal. Findings go between its updates, on lines of their own.
final class ProgressBar: Sendable {
    private static let updateSeconds = 0.1
    private static let erase = "\r\u{1b}[K"

    private struct State {
        var line: ProgressLine?
        var meter = ProgressMeter()
        var shownAt = -1.0
        var isShown = false
    }
    private let state = Mutex(State())

    /// Nil where nobody sees it.
    static func onTerminal() -> ProgressBar? { isatty(STDERR_FILENO) == 1 ? ProgressBar() : nil }

    func show(_ progress: FsckProgress) { show(Self.line(progress.phase), progress.done, of: progress.total) }

    func show(_ line: ProgressLine, _ done: Int64, of total: Int64?) {
        state.withLock { state in
            let now = Self.monotonicSeconds()
            if state.line != line {
                state.line = line
                state.meter = ProgressMeter()
            }
            guard now - state.shownAt >= Self.updateSeconds else { return }
            state.meter.advance(to: done, of: total, at: now)
            state.shownAt = now
            state.isShown = true
            StandardError.put(Self.erase + line.text(state.meter, width: Self.columns() - 1))
        }
    }

    /// Takes the bar away, runs `write`, and leaves the line to whoever comes next.
    func clear(_ write: () -> Void = {}) {
        state.withLock { state in
            if state.isShown { StandardError.put(Self.erase) }
            state.isShown = false
            write()
        }
    }

    private static func line(_ phase: FsckProgress.Phase) -> ProgressLine {
        switch phase {
        case .database: ProgressLine(label: "database", unit: .steps)
        case .blobs: ProgressLine(label: "blobs", unit: .blobs)
        case .data: ProgressLine(label: "reading", unit: .bytes)
        case .listing(let store): ProgressLine(label: "listing \(store)", unit: .files)
        }
    }

    private static func monotonicSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static func columns() -> Int {
        var size = winsize()
        let isKnown = ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
        return isKnown ? Int(size.ws_col) : 80
    }
}
