import Dispatch

/// Runs worlds side by side, each in a thread of its own from beginning to end.
enum InThreads {
    static func run(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
        DispatchQueue.concurrentPerform(iterations: count, execute: body)
    }
}
