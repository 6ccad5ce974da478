import CSQLite
import Glibc
import Synchronization

/// SQLite's way to simulated disks: a VFS for the whole process, by the path of a file.
///
/// `/simulation/<world>/<mount>/<path>` is `<path>` on the disk of that world, seen by that process of
/// it; every other path goes to the VFS that was the default before. It is the default itself, because
/// `SQLiteDatabase` opens databases by path alone.
enum SimulatedVFS {
    static let pathPrefix = "/simulation/"
    static let name = "ambrotype-simulation"

    private struct WeakDisk { weak var disk: SimulatedDisk? }
    private struct Worlds {
        var count = 0
        var disks: [Int: WeakDisk] = [:]
    }
    private static let worlds = Mutex(Worlds())

    static func nextWorldNumber() -> Int {
        worlds.withLock { worlds in
            worlds.count += 1
            return worlds.count
        }
    }

    static func add(_ disk: SimulatedDisk) {
        precondition(registration == SQLITE_OK, "SQLite did not take the simulation's VFS")
        worlds.withLock { $0.disks[disk.worldNumber] = WeakDisk(disk: disk) }
    }

    static func remove(_ number: Int) {
        worlds.withLock { $0.disks[number] = nil }
    }

    static func disk(_ number: Int) -> SimulatedDisk? { worlds.withLock { $0.disks[number]?.disk } }

    /// The VFS that was the default before; ordinary files are its.
    static var original: UnsafeMutablePointer<sqlite3_vfs> { installed.original }

    private static var registration: Int32 { installed.result }

    /// Pointers that stay as they are once they are made; SQLite reads them in any thread.
    private struct Installed: @unchecked Sendable {
        let original: UnsafeMutablePointer<sqlite3_vfs>
        let result: Int32
    }

    private static let installed: Installed = {
        // As everywhere else; it must come before all other use.
        _ = ambrotype_sqlite_counts_no_memory()
        guard let original = sqlite3_vfs_find(nil) else { preconditionFailure("SQLite has no default VFS") }
        let vfs = UnsafeMutablePointer<sqlite3_vfs>.allocate(capacity: 1)
        vfs.initialize(to: VFSMethods.table(over: original, name: UnsafePointer(strdup(name))))
        return Installed(original: original, result: sqlite3_vfs_register(vfs, 1))
    }()

    // MARK: Which world a thread is in

    /// SQLite asks for randomness without saying for which database, and hands out what follows from
    /// one seed for the whole process. So each world that may need some names itself here for its
    /// thread and makes SQLite forget its seed: the next draw asks for a new one, and gets this world's.
    /// With several worlds in several threads at once a draw can still come between; then the salts of
    /// a log differ from another run's, and nothing that the program can see.
    @inline(__always)
    static func enter(_ disk: SimulatedDisk) {
        pthread_setspecific(threadWorld, UnsafeRawPointer(bitPattern: disk.worldNumber))
        sqlite3_randomness(0, nil)
    }

    /// The thread goes on with an ordinary file.
    static func leave() { pthread_setspecific(threadWorld, nil) }

    static var current: SimulatedDisk? {
        let number = Int(bitPattern: pthread_getspecific(threadWorld))
        return number == 0 ? nil : disk(number)
    }

    private static let threadWorld: pthread_key_t = {
        var key = pthread_key_t()
        let result = pthread_key_create(&key, nil)
        precondition(result == 0, "no thread-local storage")
        return key
    }()

    // MARK: Paths

    struct Location {
        let mount: Mount
        let path: String
    }

    static func isSimulated(_ name: UnsafePointer<CChar>?) -> Bool {
        guard let name else { return false }
        return strncmp(name, pathPrefix, pathPrefix.utf8.count) == 0
    }

    /// Nil if the world, or the process in it, is gone.
    static func location(_ name: UnsafePointer<CChar>) -> Location? {
        let parts = String(cString: name).dropFirst(pathPrefix.count)
            .split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, let world = Int(parts[0]), let number = Int(parts[1]),
            let mount = disk(world)?.mount(number: number)
        else { return nil }
        return Location(mount: mount, path: "/" + parts[2])
    }
}
