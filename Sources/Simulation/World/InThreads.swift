import Dispatch
import Synchronization

/// What a check counts, so that the counts of its parts can be added up.
package protocol CheckReport: Sendable {
    init()
    var violations: [String] { get }
    mutating func add(_ part: Self)
}

/// Runs worlds side by side, each in a thread of its own from beginning to end.
enum InThreads {
    /// - Parameters:
    ///   - count: how many parts there are; they are begun in their order.
    ///   - violationLimit: no further part is begun once so many things were found.
    ///   - progress: told of all that was counted, after each part.
    static func run<Report: CheckReport>(
        _ count: Int, threads: Int, violationLimit: Int, progress: (@Sendable (Int, Report) -> Void)? = nil,
        _ part: @escaping @Sendable (Int) -> Report
    ) -> Report {
        let shared = Mutex((next: 0, report: Report()))
        DispatchQueue.concurrentPerform(iterations: threads) { _ in
            while true {
                let index = shared.withLock { shared -> Int? in
                    guard shared.next < count, shared.report.violations.count < violationLimit else { return nil }
                    defer { shared.next += 1 }
                    return shared.next
                }
                guard let index else { return }
                let report = part(index)
                let all = shared.withLock { shared in
                    shared.report.add(report)
                    return shared.report
                }
                progress?(index + 1, all)
            }
        }
        return shared.withLock { $0.report }
    }
}
