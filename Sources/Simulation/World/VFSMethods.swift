import CSQLite
import Glibc

/// The C side of the VFS: what SQLite calls, taken apart and handed to `SQLiteFile`.
enum VFSMethods {
    /// What SQLite keeps for each open file.
    private struct OpenFile {
        var base: sqlite3_file
        var file: Unmanaged<SQLiteFile>?
    }

    private typealias Handle = UnsafeMutablePointer<sqlite3_file>

    @inline(__always)
    private static func file(_ handle: Handle?) -> SQLiteFile {
        let open = UnsafeRawPointer(handle.unsafelyUnwrapped).assumingMemoryBound(to: OpenFile.self)
        return open.pointee.file.unsafelyUnwrapped._withUnsafeGuaranteedRef { $0 }
    }

    static func table(over original: UnsafeMutablePointer<sqlite3_vfs>, name: UnsafePointer<CChar>?) -> sqlite3_vfs {
        var vfs = sqlite3_vfs()
        vfs.iVersion = 2
        vfs.szOsFile = max(Int32(MemoryLayout<OpenFile>.size), original.pointee.szOsFile)
        vfs.mxPathname = original.pointee.mxPathname
        vfs.zName = name
        vfs.xOpen = { _, name, handle, flags, outFlags in VFSMethods.open(name, handle, flags, outFlags) }
        vfs.xDelete = { _, name, syncsDirectory in VFSMethods.delete(name, syncsDirectory) }
        vfs.xAccess = { _, name, flags, result in VFSMethods.access(name, flags, result) }
        vfs.xFullPathname = { _, name, size, result in VFSMethods.fullPath(name, size, result) }
        vfs.xRandomness = { _, count, bytes in
            guard let disk = SimulatedVFS.current, let bytes else {
                return SimulatedVFS.original.pointee.xRandomness(SimulatedVFS.original, count, bytes)
            }
            for (index, byte) in disk.generator.bytes(Int(count)).enumerated() {
                bytes[index] = CChar(bitPattern: byte)
            }
            return count
        }
        // In a simulation nobody else runs while a call waits, so waiting changes nothing.
        vfs.xSleep = { _, microseconds in microseconds }
        vfs.xCurrentTimeInt64 = { _, result in
            guard let disk = SimulatedVFS.current, let result else {
                return SimulatedVFS.original.pointee.xCurrentTimeInt64(SimulatedVFS.original, result)
            }
            result.pointee = VFSMethods.julianMilliseconds(disk.currentMicroseconds())
            return SQLITE_OK
        }
        vfs.xCurrentTime = { _, result in
            guard let disk = SimulatedVFS.current, let result else {
                return SimulatedVFS.original.pointee.xCurrentTime(SimulatedVFS.original, result)
            }
            result.pointee = Double(VFSMethods.julianMilliseconds(disk.currentMicroseconds())) / 86_400_000
            return SQLITE_OK
        }
        vfs.xGetLastError = { _, _, _ in 0 }
        vfs.xDlOpen = { _, name in SimulatedVFS.original.pointee.xDlOpen(SimulatedVFS.original, name) }
        vfs.xDlError = { _, size, text in
            SimulatedVFS.original.pointee.xDlError(SimulatedVFS.original, size, text)
        }
        vfs.xDlSym = { _, library, symbol in
            SimulatedVFS.original.pointee.xDlSym(SimulatedVFS.original, library, symbol)
        }
        vfs.xDlClose = { _, library in SimulatedVFS.original.pointee.xDlClose(SimulatedVFS.original, library) }
        return vfs
    }

    /// Julian days begin at noon, 2,440,587.5 days before 1970.
    private static func julianMilliseconds(_ microseconds: Int64) -> Int64 {
        microseconds / 1000 + 210_866_760_000_000
    }

    // MARK: Files by name

    private static func open(
        _ name: UnsafePointer<CChar>?, _ handle: Handle?, _ flags: Int32, _ outFlags: UnsafeMutablePointer<Int32>?
    ) -> Int32 {
        guard let handle else { return SQLITE_MISUSE }
        guard let name, SimulatedVFS.isSimulated(name) else {
            // A file without a name is temporary: it is nothing a crash could lose.
            if name != nil { SimulatedVFS.leave() }
            return SimulatedVFS.original.pointee.xOpen(SimulatedVFS.original, name, handle, flags, outFlags)
        }
        handle.pointee.pMethods = nil
        guard let location = SimulatedVFS.location(name) else { return SQLITE_CANTOPEN }
        SimulatedVFS.enter(location.mount.disk)
        do throws(Errno) {
            let file = try location.mount.openForSQLite(location.path, flags)
            UnsafeMutableRawPointer(handle).bindMemory(to: OpenFile.self, capacity: 1)
                .initialize(to: OpenFile(base: sqlite3_file(pMethods: methods.pointer), file: .passRetained(file)))
            outFlags?.pointee = flags
            return SQLITE_OK
        } catch {
            return SQLITE_CANTOPEN
        }
    }

    private static func delete(_ name: UnsafePointer<CChar>?, _ syncsDirectory: Int32) -> Int32 {
        guard let name, SimulatedVFS.isSimulated(name) else {
            return SimulatedVFS.original.pointee.xDelete(SimulatedVFS.original, name, syncsDirectory)
        }
        guard let location = SimulatedVFS.location(name) else { return SQLiteCode.delete }
        let mount = location.mount
        let request = DiskRequest(
            mount: mount, kind: .unlink, path: location.path, place: .sqlite(.xDelete), isEffect: true)
        do throws(Errno) {
            _ = try mount.disk.admit(request)
            try mount.disk.state.unlink(location.path)
            mount.disk.report(request)
        } catch {
            return error.code == ENOENT ? SQLiteCode.nothingToDelete : SQLiteCode.delete
        }
        if syncsDirectory == 0 { return SQLITE_OK }
        do throws(Errno) {
            try mount.syncDirectory(parent(of: location.path), .xDelete)
        } catch {
            return SQLiteCode.directorySync
        }
        return SQLITE_OK
    }

    /// As in the unix VFS, an empty file is taken for one that is not there.
    private static func access(
        _ name: UnsafePointer<CChar>?, _ flags: Int32, _ result: UnsafeMutablePointer<Int32>?
    ) -> Int32 {
        guard let name, SimulatedVFS.isSimulated(name) else {
            return SimulatedVFS.original.pointee.xAccess(SimulatedVFS.original, name, flags, result)
        }
        result?.pointee = 0
        guard let location = SimulatedVFS.location(name) else { return SQLiteCode.access }
        let disk = location.mount.disk
        do throws(Errno) {
            _ = try disk.admit(
                DiskRequest(mount: location.mount, kind: .access, path: location.path, place: .sqlite(.xAccess)))
        } catch {
            return SQLiteCode.access
        }
        guard let place = try? disk.state.place(of: location.path), let number = place.node else { return SQLITE_OK }
        let node = disk.state.node(number)
        let isThere = node.isDirectory || node.file.current.sizeBytes > 0 || flags != SQLITE_ACCESS_EXISTS
        result?.pointee = isThere ? 1 : 0
        return SQLITE_OK
    }

    private static func fullPath(
        _ name: UnsafePointer<CChar>?, _ size: Int32, _ result: UnsafeMutablePointer<CChar>?
    ) -> Int32 {
        guard let name, let result, SimulatedVFS.isSimulated(name) else {
            return SimulatedVFS.original.pointee.xFullPathname(SimulatedVFS.original, name, size, result)
        }
        let length = strlen(name)
        guard length < Int(size) else { return SQLITE_CANTOPEN }
        memcpy(result, name, length + 1)
        return SQLITE_OK
    }

    fileprivate static func parent(of path: String) -> String {
        let end = path.lastIndex(of: "/") ?? path.startIndex
        return end == path.startIndex ? "/" : String(path[..<end])
    }

    // MARK: Open files

    /// Made once and never changed.
    private struct Methods: @unchecked Sendable {
        let pointer: UnsafePointer<sqlite3_io_methods>
    }

    private static let methods: Methods = {
        var methods = sqlite3_io_methods()
        // 2: with shared memory, without memory-mapped files.
        methods.iVersion = 2
        methods.xClose = { handle in
            VFSMethods.file(handle).finish()
            let open = UnsafeMutableRawPointer(handle.unsafelyUnwrapped).assumingMemoryBound(to: OpenFile.self)
            open.pointee.base.pMethods = nil
            let owner = open.pointee.file
            open.pointee.file = nil
            owner?.release()
            return SQLITE_OK
        }
        methods.xRead = { handle, space, count, offset in
            let space = UnsafeMutableRawBufferPointer(start: space, count: Int(count))
            return VFSMethods.file(handle).read(into: space, offset: Int(offset))
        }
        methods.xWrite = { handle, bytes, count, offset in
            let bytes = UnsafeRawBufferPointer(start: bytes, count: Int(count))
            return VFSMethods.file(handle).write(bytes, offset: Int(offset))
        }
        methods.xTruncate = { handle, size in VFSMethods.file(handle).truncate(Int(size)) }
        methods.xSync = { handle, _ in VFSMethods.file(handle).sync() }
        methods.xFileSize = { handle, size in VFSMethods.file(handle).size(&size.unsafelyUnwrapped.pointee) }
        methods.xLock = { handle, level in VFSMethods.file(handle).lock(level) }
        methods.xUnlock = { handle, level in VFSMethods.file(handle).unlock(level) }
        methods.xCheckReservedLock = { handle, result in
            VFSMethods.file(handle).checkReserved(&result.unsafelyUnwrapped.pointee)
        }
        methods.xFileControl = { _, _, _ in SQLITE_NOTFOUND }
        // What the unix VFS says. A sector here is 512 bytes; the larger unit only makes journals safer.
        methods.xSectorSize = { _ in 4096 }
        // The unix VFS claims powersafe overwrite unless told otherwise, so production runs with it, and
        // without it SQLite would pad each commit in the log up to a sector and sync more. The claim is
        // true here: a loss of power never changes bytes outside the range that was written. No other
        // promise is made: no write is atomic, appends can grow a file before they fill it.
        methods.xDeviceCharacteristics = { _ in SQLITE_IOCAP_POWERSAFE_OVERWRITE }
        methods.xShmMap = { handle, region, size, extend, result in
            var address: UnsafeMutableRawPointer?
            let code = VFSMethods.file(handle).map(
                region: Int(region), regionBytes: Int(size), mayExtend: extend != 0, &address)
            result?.pointee = address
            return code
        }
        methods.xShmLock = { handle, first, count, flags in
            VFSMethods.file(handle).lockSlots(first: Int(first), count: Int(count), flags: flags)
        }
        // One thread at a time uses a world.
        methods.xShmBarrier = { _ in }
        methods.xShmUnmap = { handle, _ in
            VFSMethods.file(handle).unmap()
            return SQLITE_OK
        }
        let pointer = UnsafeMutablePointer<sqlite3_io_methods>.allocate(capacity: 1)
        pointer.initialize(to: methods)
        return Methods(pointer: UnsafePointer(pointer))
    }()
}

extension Mount {
    fileprivate func openForSQLite(_ path: String, _ flags: Int32) throws(Errno) -> SQLiteFile {
        let place = try disk.state.place(of: path)
        let creates = flags & SQLITE_OPEN_CREATE != 0
        let isNew = place.node == nil && creates
        let request = DiskRequest(
            mount: self, kind: isNew ? .create : .open, path: path, place: .sqlite(.xOpen), isEffect: isNew)
        _ = try disk.admit(request)
        let number: Int
        if let found = place.node {
            if creates, flags & SQLITE_OPEN_EXCLUSIVE != 0 { throw Errno(EEXIST) }
            if disk.state.node(found).isDirectory { throw Errno(EISDIR) }
            number = found
        } else {
            guard creates, let parent = place.parent else { throw Errno(ENOENT) }
            number = disk.state.makeFile(place.name, in: parent)
        }
        let journals = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL
        let syncsDirectory = creates && flags & journals != 0
        let file = SQLiteFile(
            path, node: number, flags: flags, directoryToSync: syncsDirectory ? VFSMethods.parent(of: path) : nil,
            mount: self)
        if isNew { disk.report(request) }
        return file
    }
}
