import CSQLite
import Glibc

/// A file that SQLite holds open on a simulated disk: its I/O methods, each one call through the disk's
/// gate, with the result codes that the unix VFS gives.
final class SQLiteFile: OpenNode, @unchecked Sendable {
    private let flags: Int32
    /// The directory whose names the first sync of a new journal makes durable, as in the unix VFS.
    private var directoryToSync: String?

    // Written by `DatabaseLocks` only.
    var lockLevel: Int32 = SQLITE_LOCK_NONE
    var sharedSlots: UInt32 = 0
    var exclusiveSlots: UInt32 = 0
    var isInMemory = false
    private let locks: DatabaseLocks
    /// Kept after death too: the connection has pointers into it.
    private var memory: SharedMemory?

    init(_ path: String, node: Int, flags: Int32, directoryToSync: String?, mount: Mount) {
        self.flags = flags
        self.directoryToSync = directoryToSync
        locks = mount.disk.databases[node] ?? DatabaseLocks()
        super.init(path, node: node, mount: mount)
        mount.disk.databases[node] = locks
        locks.openCount += 1
    }

    deinit { close() }

    override func releaseLocks() {
        locks.releaseAll(self)
        locks.openCount -= 1
        if locks.openCount == 0 { mount.disk.databases[node] = nil }
    }

    @inline(__always)
    private func request(
        _ kind: DiskCall.Kind, _ method: DiskCall.StaticMethod, isEffect: Bool = false, sizeBytes: Int = 0
    ) -> DiskRequest {
        DiskRequest(
            mount: mount, kind: kind, path: path, place: .sqlite(method), isEffect: isEffect, sizeBytes: sizeBytes)
    }

    /// xClose. What is to be deleted on close is, unless the process died before.
    func finish() {
        if !mount.isDead {
            _ = try? mount.disk.admit(request(.close, .xClose))
            if !mount.isDead, flags & SQLITE_OPEN_DELETEONCLOSE != 0 { try? mount.disk.state.unlink(path) }
        }
        close()
        memory = nil
    }

    func read(into space: UnsafeMutableRawBufferPointer, offset: Int) -> Int32 {
        do throws(Errno) {
            _ = try mount.disk.admit(request(.read, .xRead, sizeBytes: space.count))
        } catch {
            return SQLiteCode.read
        }
        let count = mount.disk.state.read(node, into: space, offset: offset)
        if count == space.count { return SQLITE_OK }
        if let base = space.baseAddress { memset(base + count, 0, space.count - count) }
        return SQLiteCode.shortRead
    }

    func write(_ bytes: UnsafeRawBufferPointer, offset: Int) -> Int32 {
        let request = request(.write, .xWrite, isEffect: true, sizeBytes: bytes.count)
        do throws(Errno) {
            let isShort = try mount.disk.admit(request)
            let part = isShort ? UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count / 2)]) : bytes
            let written = try mount.disk.state.write(node, part, offset: offset)
            mount.disk.report(request)
            return written == bytes.count ? SQLITE_OK : SQLITE_FULL
        } catch {
            return error.code == ENOSPC ? SQLITE_FULL : SQLiteCode.write
        }
    }

    func truncate(_ sizeBytes: Int) -> Int32 {
        let request = request(.truncate, .xTruncate, isEffect: true, sizeBytes: sizeBytes)
        do throws(Errno) {
            _ = try mount.disk.admit(request)
        } catch {
            return SQLiteCode.truncate
        }
        mount.disk.state.truncate(node, sizeBytes: sizeBytes)
        mount.disk.report(request)
        return SQLITE_OK
    }

    func sync() -> Int32 {
        let request = request(.sync, .xSync, isEffect: true)
        do throws(Errno) {
            _ = try mount.disk.admit(request)
        } catch {
            return SQLiteCode.sync
        }
        if mount.disk.ignoresDatabaseSync { return SQLITE_OK }
        mount.disk.state.sync(node)
        mount.disk.report(request)
        guard let directory = directoryToSync else { return SQLITE_OK }
        do throws(Errno) {
            try mount.syncDirectory(directory, .xSync)
        } catch {
            return SQLiteCode.directorySync
        }
        directoryToSync = nil
        return SQLITE_OK
    }

    func size(_ result: inout Int64) -> Int32 {
        do throws(Errno) {
            _ = try mount.disk.admit(request(.status, .xFileSize))
        } catch {
            return SQLiteCode.status
        }
        result = Int64(mount.disk.state.node(node).file.current.sizeBytes)
        return SQLITE_OK
    }

    // MARK: Locks

    func lock(_ level: Int32) -> Int32 {
        SimulatedVFS.enter(mount.disk)
        do throws(Errno) {
            _ = try mount.disk.admit(request(.lock, .xLock))
        } catch {
            return level == SQLITE_LOCK_SHARED ? SQLiteCode.readLock : SQLiteCode.lock
        }
        return locks.lock(self, level) ? SQLITE_OK : SQLITE_BUSY
    }

    func unlock(_ level: Int32) -> Int32 {
        if mount.isDead { return SQLiteCode.unlock }
        _ = try? mount.disk.admit(request(.unlock, .xUnlock))
        if mount.isDead { return SQLiteCode.unlock }
        locks.unlock(self, level)
        return SQLITE_OK
    }

    func checkReserved(_ result: inout Int32) -> Int32 {
        do throws(Errno) {
            _ = try mount.disk.admit(request(.lock, .xCheckReservedLock))
        } catch {
            return SQLiteCode.checkReserved
        }
        result = locks.isReserved ? 1 : 0
        return SQLITE_OK
    }

    // MARK: Shared memory

    /// On a real disk the memory is a file: a new region needs space there.
    func map(
        region: Int, regionBytes: Int, mayExtend: Bool, _ result: inout UnsafeMutableRawPointer?
    ) -> Int32 {
        result = nil
        do throws(Errno) {
            _ = try mount.disk.admit(request(.map, .xShmMap))
        } catch {
            return error.code == ENOSPC ? SQLiteCode.memorySize : SQLiteCode.memoryMap
        }
        let memory = locks.joinMemory(self)
        self.memory = memory
        if region >= memory.regions.count {
            guard mayExtend else { return SQLITE_OK }
            guard mount.disk.state.freeBytes >= regionBytes else { return SQLiteCode.memorySize }
            memory.grow(to: region + 1, regionBytes: regionBytes)
        }
        result = memory.regions[region]
        return SQLITE_OK
    }

    func lockSlots(first: Int, count: Int, flags: Int32) -> Int32 {
        let isExclusive = flags & SQLITE_SHM_EXCLUSIVE != 0
        if flags & SQLITE_SHM_UNLOCK != 0 {
            if mount.isDead { return SQLiteCode.memoryLock }
            _ = try? mount.disk.admit(request(.unlock, .xShmLock))
            if mount.isDead { return SQLiteCode.memoryLock }
            locks.unlockSlots(self, first: first, count: count)
            return SQLITE_OK
        }
        // A transaction that writes begins with such a lock, and may draw a salt next.
        if isExclusive { SimulatedVFS.enter(mount.disk) }
        do throws(Errno) {
            _ = try mount.disk.admit(request(.lock, .xShmLock))
        } catch {
            return SQLiteCode.memoryLock
        }
        return locks.lockSlots(self, first: first, count: count, isExclusive: isExclusive) ? SQLITE_OK : SQLITE_BUSY
    }

    func unmap() {
        if !mount.isDead {
            locks.unlockSlots(self, first: 0, count: 8)
            locks.leaveMemory(self)
        }
        memory = nil
    }
}

extension Mount {
    func syncDirectory(_ path: String, _ method: DiskCall.StaticMethod) throws(Errno) {
        // As in the unix VFS: a directory that cannot be opened is not synced.
        guard let place = try? disk.state.place(of: path), let number = place.node else { return }
        let request = DiskRequest(mount: self, kind: .sync, path: path, place: .sqlite(method), isEffect: true)
        _ = try disk.admit(request)
        disk.state.sync(number)
        disk.report(request)
    }
}

/// SQLite's extended codes, which are macros that Swift does not import.
enum SQLiteCode {
    static let read = SQLITE_IOERR | 1 << 8
    static let shortRead = SQLITE_IOERR | 2 << 8
    static let write = SQLITE_IOERR | 3 << 8
    static let sync = SQLITE_IOERR | 4 << 8
    static let directorySync = SQLITE_IOERR | 5 << 8
    static let truncate = SQLITE_IOERR | 6 << 8
    static let status = SQLITE_IOERR | 7 << 8
    static let unlock = SQLITE_IOERR | 8 << 8
    static let readLock = SQLITE_IOERR | 9 << 8
    static let delete = SQLITE_IOERR | 10 << 8
    static let access = SQLITE_IOERR | 13 << 8
    static let checkReserved = SQLITE_IOERR | 14 << 8
    static let lock = SQLITE_IOERR | 15 << 8
    static let memorySize = SQLITE_IOERR | 19 << 8
    static let memoryLock = SQLITE_IOERR | 20 << 8
    static let memoryMap = SQLITE_IOERR | 21 << 8
    static let nothingToDelete = SQLITE_IOERR | 23 << 8
}
