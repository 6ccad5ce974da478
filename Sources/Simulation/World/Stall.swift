/// A process that hangs: while it lasts, nothing the process asks for reaches a disk. It knows nothing of
/// it, and goes on where it stood. Of its world's thread.
package final class Stall: @unchecked Sendable {
    private let executor: SeededExecutor
    private var waiting: [@Sendable () -> Void] = []
    package private(set) var isOn = false

    init(_ executor: SeededExecutor) { self.executor = executor }

    package func begin() { isOn = true }

    package func end() {
        isOn = false
        for work in waiting { executor.schedule(work) }
        waiting = []
    }

    /// Runs the work as a step of its own, after the stall if there is one.
    func schedule(_ work: @escaping @Sendable () -> Void) {
        if isOn { waiting.append(work) } else { executor.schedule(work) }
    }

    /// Returns once there is none.
    func wait() async {
        while isOn { await withCheckedContinuation { continuation in schedule { continuation.resume() } } }
    }
}
