import Glibc

/// Lets the processes that write to one database take turns. SQLite waits for another's lock by looking again after
/// longer and longer pauses, so a process that writes all the time would leave the others hardly a gap.
///
/// Whoever wants to write goes through a door and waits behind it for its turn; the door stays closed meanwhile. So who
/// has just written stands behind everybody who waits already.
///
/// It orders and does not protect, SQLite's own locks do that: a turn that does not come within ten seconds is done
/// without. Whoever has it may have been stopped for long, so the next ones are waited for shortly until one comes.
package final class WriteTurn: @unchecked Sendable {
    private static let pauseNanoseconds = 200_000
    private static let short = Duration.milliseconds(50)

    private let patience: Duration
    private let door: FileLock
    private let turn: FileLock
    /// Whether the last turn did not come in time. Used on the writer's thread alone.
    package private(set) var hasRunOut = false

    /// - Parameters:
    ///   - database: the main file of the database; two files are kept beside it.
    ///   - patienceSeconds: how long a turn is waited for.
    /// - Throws: `SQLError`.
    package init(database: String, patienceSeconds: Double = 10) throws {
        patience = .seconds(patienceSeconds)
        do {
            door = try FileLock(path: database + "-door")
            turn = try FileLock(path: database + "-turn")
        } catch {
            throw SQLError(code: .unavailable, operation: "open database", message: "\(error)")
        }
    }

    /// Blocks the thread, which is the writer's own, until it is this process's turn.
    package func take() {
        let end = ContinuousClock.now + (hasRunOut ? min(patience, Self.short) : patience)
        let isThrough = wait(for: door, until: end)
        let hasTurn = wait(for: turn, until: end)
        if isThrough { door.letGo() }
        hasRunOut = !(isThrough && hasTurn)
    }

    package func giveBack() { turn.letGo() }

    private func wait(for lock: FileLock, until end: ContinuousClock.Instant) -> Bool {
        while true {
            if (try? lock.take(.exclusive)) == true { return true }
            guard ContinuousClock.now < end else { return false }
            var pause = timespec(tv_sec: 0, tv_nsec: Self.pauseNanoseconds)
            nanosleep(&pause, nil)
        }
    }
}
