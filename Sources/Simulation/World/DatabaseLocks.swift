import CSQLite
import Glibc

/// The locks on one SQLite database file, and the memory its connections share, as SQLite's documents
/// define them ("File Locking And Concurrency", "WAL-mode File Format"). Not on the disk: gone when
/// the machine stops.
final class DatabaseLocks {
    private static let slotCount = 8

    /// How many connections have the file open.
    var openCount = 0
    private var sharedCount = 0
    /// Who has asked to write (RESERVED), who waits for readers to leave (PENDING), who writes (EXCLUSIVE).
    private unowned(unsafe) var reserved: SQLiteFile?
    private unowned(unsafe) var pending: SQLiteFile?
    private unowned(unsafe) var exclusive: SQLiteFile?

    /// Of the eight locks in shared memory: how many share each, and which are held alone.
    private var slotShares = [Int](repeating: 0, count: slotCount)
    private var exclusiveSlots: UInt32 = 0
    /// Nil until a connection maps it, and again when the last one has left.
    var memory: SharedMemory?

    var isReserved: Bool { reserved != nil || pending != nil || exclusive != nil }

    // MARK: Locks on the file

    /// - Returns: whether it was given; else the caller keeps what it had, or has PENDING.
    func lock(_ file: SQLiteFile, _ level: Int32) -> Bool {
        guard level > file.lockLevel else { return true }
        switch level {
        case SQLITE_LOCK_SHARED:
            if pending != nil || exclusive != nil { return false }
            sharedCount += 1
        case SQLITE_LOCK_RESERVED:
            if isReserved { return false }
            reserved = file
        default:
            if let other = reserved, other !== file { return false }
            if let other = pending, other !== file { return false }
            if let other = exclusive, other !== file { return false }
            pending = file
            file.lockLevel = SQLITE_LOCK_PENDING
            if level == SQLITE_LOCK_PENDING { return true }
            if sharedCount > 1 { return false }
            exclusive = file
        }
        file.lockLevel = level
        return true
    }

    func unlock(_ file: SQLiteFile, _ level: Int32) {
        guard level < file.lockLevel else { return }
        if reserved === file { reserved = nil }
        if pending === file { pending = nil }
        if exclusive === file { exclusive = nil }
        if level == SQLITE_LOCK_NONE { sharedCount -= 1 }
        file.lockLevel = level
    }

    // MARK: Locks in the shared memory

    /// - Returns: whether all slots were given; else none was.
    func lockSlots(_ file: SQLiteFile, first: Int, count: Int, isExclusive: Bool) -> Bool {
        let wanted = Self.mask(first, count)
        if isExclusive {
            if exclusiveSlots & ~file.exclusiveSlots & wanted != 0 { return false }
            for slot in first..<first + count {
                let own = file.sharedSlots >> UInt32(slot) & 1 == 1 ? 1 : 0
                if slotShares[slot] > own { return false }
            }
            exclusiveSlots |= wanted
            file.exclusiveSlots |= wanted
        } else {
            if exclusiveSlots & ~file.exclusiveSlots & wanted != 0 { return false }
            for slot in first..<first + count where file.sharedSlots >> UInt32(slot) & 1 == 0 { slotShares[slot] += 1 }
            file.sharedSlots |= wanted
        }
        return true
    }

    func unlockSlots(_ file: SQLiteFile, first: Int, count: Int) {
        let wanted = Self.mask(first, count)
        exclusiveSlots &= ~(file.exclusiveSlots & wanted)
        file.exclusiveSlots &= ~wanted
        for slot in first..<first + count where file.sharedSlots >> UInt32(slot) & 1 == 1 { slotShares[slot] -= 1 }
        file.sharedSlots &= ~wanted
    }

    private static func mask(_ first: Int, _ count: Int) -> UInt32 { (1 << UInt32(count) - 1) << UInt32(first) }

    /// Everything a connection holds is free.
    func releaseAll(_ file: SQLiteFile) {
        unlock(file, SQLITE_LOCK_NONE)
        unlockSlots(file, first: 0, count: Self.slotCount)
        leaveMemory(file)
    }

    func joinMemory(_ file: SQLiteFile) -> SharedMemory {
        let memory = memory ?? SharedMemory()
        self.memory = memory
        if !file.isInMemory {
            file.isInMemory = true
            memory.memberCount += 1
        }
        return memory
    }

    func leaveMemory(_ file: SQLiteFile) {
        guard file.isInMemory else { return }
        file.isInMemory = false
        guard let memory else { return }
        memory.memberCount -= 1
        if memory.memberCount == 0 { self.memory = nil }
    }
}

/// The regions of a database's wal-index. A connection that lost its process may still look at them, so
/// they last as long as any connection refers to them.
final class SharedMemory {
    var memberCount = 0
    private(set) var regions: [UnsafeMutableRawPointer] = []

    deinit { for region in regions { region.deallocate() } }

    func grow(to count: Int, regionBytes: Int) {
        while regions.count < count {
            let region = UnsafeMutableRawPointer.allocate(byteCount: regionBytes, alignment: 16)
            memset(region, 0, regionBytes)
            regions.append(region)
        }
    }
}
