import Glibc

/// Lets the processes that write to one database take turns. SQLite waits for another's lock by looking again after
/// longer and longer pauses, so a process that writes all the time would leave the others hardly a gap.
///
/// Whoever wants to write goes through a door and waits behind it for its turn; the door stays closed meanwhile. So who
/// has just written stands behind everybody who waits already.
///
/// It orders and does not protect, SQLite's own locks do that: a turn that does not come within ten seconds is done
/// without.
package final class WriteTurn: Sendable {
    private static let pauseMicroseconds = 200
    private static let patienceMicroseconds = 10_000_000

    private let door: FileLock
    private let turn: FileLock

    /// - Parameter database: the main file of the database; two files are kept beside it.
    /// - Throws: `SQLError`.
    package init(database: String) throws {
        do {
            door = try FileLock(path: database + "-door")
            turn = try FileLock(path: database + "-turn")
        } catch {
            throw SQLError(
                code: .unavailable, operation: "open database",
                message: "\(database)-door, -turn: \(error)")
        }
    }

    /// Blocks the thread, which is the writer's own, until it is this process's turn.
    func take() {
        var waited = 0
        wait(for: door, &waited)
        wait(for: turn, &waited)
        door.letGo()
    }

    func giveBack() { turn.letGo() }

    private func wait(for lock: FileLock, _ waited: inout Int) {
        while (try? lock.take(.exclusive)) != true {
            guard waited < Self.patienceMicroseconds else { return }
            var pause = timespec(tv_sec: 0, tv_nsec: Self.pauseMicroseconds * 1000)
            nanosleep(&pause, nil)
            waited += Self.pauseMicroseconds
        }
    }
}
