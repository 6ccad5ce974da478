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
    private static let pauseMicroseconds = 200
    private static let shortMicroseconds = 50_000

    private let patienceMicroseconds: Int
    private let door: FileLock
    private let turn: FileLock
    /// Used on the writer's thread alone.
    private var hasRunOut = false

    /// - Parameters:
    ///   - database: the main file of the database; two files are kept beside it.
    ///   - patienceSeconds: how long a turn is waited for.
    /// - Throws: `SQLError`.
    package init(database: String, patienceSeconds: Double = 10) throws {
        patienceMicroseconds = Int(patienceSeconds * 1_000_000)
        do {
            door = try FileLock(path: database + "-door")
            turn = try FileLock(path: database + "-turn")
        } catch {
            throw SQLError(code: .unavailable, operation: "open database", message: "\(error)")
        }
    }

    /// Blocks the thread, which is the writer's own, until it is this process's turn.
    func take() {
        var waited = hasRunOut ? max(0, patienceMicroseconds - Self.shortMicroseconds) : 0
        let isThrough = wait(for: door, &waited)
        let hasTurn = wait(for: turn, &waited)
        if isThrough { door.letGo() }
        hasRunOut = !(isThrough && hasTurn)
    }

    func giveBack() { turn.letGo() }

    private func wait(for lock: FileLock, _ waited: inout Int) -> Bool {
        while true {
            if (try? lock.take(.exclusive)) == true { return true }
            guard waited < patienceMicroseconds else { return false }
            var pause = timespec(tv_sec: 0, tv_nsec: Self.pauseMicroseconds * 1000)
            nanosleep(&pause, nil)
            waited += Self.pauseMicroseconds
        }
    }
}
