import Glibc
import Synchronization

/// Ends a program from outside, from before it starts until after it ended, and never another that got its number.
final class StopSwitch: Sendable {
    private enum State {
        case waiting
        case running(pid_t)
        case over
        case stopped
    }
    private let state = Mutex(State.waiting)

    /// Kills the program and all that it started, or keeps it from starting.
    func stop() {
        state.withLock { state in
            switch state {
            case .waiting: state = .stopped
            case .running(let group):
                kill(-group, SIGKILL)
                state = .stopped
            case .over, .stopped: break
            }
        }
    }

    /// - Parameter start: starts the program as the leader of its group.
    /// - Returns: nil when it is not to start.
    func run(_ start: () throws -> pid_t) throws -> pid_t? {
        try state.withLock { state in
            guard case .waiting = state else { return nil }
            let child = try start()
            state = .running(child)
            return child
        }
    }

    /// The program has ended and is about to be reaped: its number may soon be another's. What it left of its group is
    /// killed.
    /// - Returns: whether it was stopped.
    func finish(_ group: pid_t) -> Bool {
        state.withLock { state in
            kill(-group, SIGKILL)
            if case .stopped = state { return true }
            state = .over
            return false
        }
    }
}
