import Core
import Glibc
import NIOCore
import Synchronization

/// Blobs as files of one directory.
///
///     DIR/.ambrotype-store      the store's id and a line feed; written once, when DIR is empty
///     DIR/incoming/ID           a blob being written, or what a crash left of one
///     DIR/blobs/AB/ID           a committed blob; AB are the first two characters of its id
///
/// The marker file is looked for on every call: when the disk under DIR is not mounted, the store is
/// out of reach, and not an empty one whose blobs were lost.
package final class FileBlobStore: BlobStore {
    package let id: StoreID
    private let layout: Layout
    private let work: any WorkPool
    private let reserveBytes: Int64

    /// Opens the store, or makes a new one of an empty directory.
    /// - Parameters:
    ///   - directory: an absolute path.
    ///   - work: where the blocking calls are made.
    ///   - reserveBytes: what stays free on the disk: no blob is begun or continued that would use it.
    ///   - mayInitialize: whether a missing or empty directory becomes a new store. False for a store
    ///     that is known to have held blobs.
    /// - Throws: `BlobError`: `.unavailable`, `.readOnly`, `.full`.
    package init(
        id: StoreID, directory: String, work: any WorkPool, reserveBytes: Int64 = 64 << 20, mayInitialize: Bool = true
    ) throws {
        precondition(directory.hasPrefix("/") && reserveBytes >= 0)
        self.id = id
        self.work = work
        self.reserveBytes = reserveBytes
        layout = Layout(directory: directory, store: id)
        do {
            if mayInitialize { try layout.initialize() }
            try layout.check()
            try layout.checkWritable()
        } catch {
            throw BlobError(wrapping: error, operation: "open store \(id)")
        }
    }

    package func begin(_ blob: BlobID, expectedBytes: Int64?) async throws -> any BlobWriter {
        precondition(expectedBytes ?? 0 >= 0)
        return try await work.performing("begin blob") { [layout, work, reserveBytes] in
            try layout.check()
            guard try !Directory.exists(layout.committed(blob)) else {
                throw BlobError(code: .alreadyExists, operation: "begin blob", cause: "\(blob) is committed")
            }
            let needed = (expectedBytes ?? 0).addingReportingOverflow(reserveBytes)
            let free = try layout.space().freeBytes
            guard !needed.overflow, free >= needed.partialValue else {
                throw BlobError(
                    code: .full, operation: "begin blob",
                    cause: "\(free) bytes are free, \(expectedBytes ?? 0) needed and \(reserveBytes) kept in reserve")
            }
            return try FileBlobWriter(
                blob, layout: layout, work: work, expectedBytes: expectedBytes ?? 0, reserveBytes: reserveBytes)
        }
    }

    package func open(_ blob: BlobID) async throws -> any BlobReader {
        try await work.performing("open blob") { [layout, work] in
            try layout.check()
            do {
                return try FileBlobReader(path: layout.committed(blob), work: work)
            } catch let error as SystemCallError where error.code == ENOENT {
                // Unless the disk went between the two calls.
                try layout.check()
                throw BlobError(code: .notFound, operation: "open blob", cause: "no \(blob)")
            }
        }
    }

    package func erase(_ blob: BlobID) async throws {
        try await work.performing("erase blob") { [layout] in
            try layout.check()
            let committed = try layout.committed(blob)
            try Directory.unlink(layout.incoming(blob))
            try Directory.unlink(committed)
            // Synced even if there was nothing: an erasure cut short by a crash may have removed the
            // names and not have synced them.
            try Directory.sync(layout.incomingDirectory)
            do {
                try Directory.sync(layout.fanOut(blob))
            } catch let error as SystemCallError where error.code == ENOENT {
                // No blob whose id begins alike was ever committed.
            }
        }
    }

    package func space() async throws -> StoreSpace {
        try await work.performing("measure store") { [layout, reserveBytes] in
            try layout.check()
            let space = try layout.space()
            return StoreSpace(totalBytes: space.totalBytes, freeBytes: max(0, space.freeBytes - reserveBytes))
        }
    }
}

/// The names of a store's files, and what is checked before they are used.
final class Layout: Sendable {
    private let directory: String
    private let store: StoreID
    private let marker: String
    /// Fan-out directories known to be durable.
    private let syncedFanOuts = Mutex(Set<String>())

    var incomingDirectory: String { directory + "/incoming" }
    private var blobsDirectory: String { directory + "/blobs" }
    private var markerPath: String { directory + "/.ambrotype-store" }
    private var newMarkerPath: String { markerPath + ".new" }

    init(directory: String, store: StoreID) {
        self.directory = directory
        self.store = store
        marker = store.rawValue + "\n"
    }

    func incoming(_ blob: BlobID) throws -> String { try incomingDirectory + "/" + name(blob) }
    func committed(_ blob: BlobID) throws -> String { try fanOut(blob) + "/" + blob.rawValue }
    func fanOut(_ blob: BlobID) throws -> String { try blobsDirectory + "/" + name(blob).prefix(2) }

    /// Ids are ours (UUIDs), yet no path is made of one that could lead elsewhere.
    private func name(_ blob: BlobID) throws -> String {
        let bytes = Array(blob.rawValue.utf8)
        func isHex(_ byte: UInt8) -> Bool {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
        }
        guard (2...64).contains(bytes.count), bytes.prefix(2).allSatisfy(isHex),
            bytes.allSatisfy({ isHex($0) || $0 == UInt8(ascii: "-") })
        else { throw BlobError(code: .corrupt, operation: "name blob", cause: "not a blob id: \(blob)") }
        return blob.rawValue
    }

    /// That the directory is this store's.
    func check() throws {
        let found: ByteBuffer
        do {
            found = try OpenFile(markerPath, flags: O_RDONLY | O_NOFOLLOW).read(offset: 0, count: 1024)
        } catch let error as SystemCallError where error.code == ENOENT {
            throw BlobError(
                code: .unavailable, operation: "check store",
                cause: "\(markerPath) is missing: is the store's disk mounted?")
        }
        guard found.readableBytesView.elementsEqual(marker.utf8) else {
            throw BlobError(
                code: .unavailable, operation: "check store",
                cause: "\(directory) belongs to a store other than \(store)")
        }
    }

    func checkWritable() throws {
        for path in [incomingDirectory, blobsDirectory] {
            try systemCall("access", path) { access(path, R_OK | W_OK | X_OK) }
        }
    }

    /// What is free for a user who is not root.
    func space() throws -> StoreSpace {
        var status = statvfs()
        try systemCall("statvfs", directory) { statvfs(directory, &status) }
        let unit = Int64(status.f_frsize)
        return StoreSpace(totalBytes: Int64(status.f_blocks) * unit, freeBytes: Int64(status.f_bavail) * unit)
    }

    /// Makes a store of a directory that is missing or empty; leaves every other as it is.
    ///
    /// The marker comes last, so what a crash in between leaves is taken for empty.
    func initialize() throws {
        try makeDirectoryTree()
        guard try !Directory.exists(markerPath), try isUnused() else { return }
        try Directory.make(incomingDirectory)
        try Directory.make(blobsDirectory)
        let file = try OpenFile(newMarkerPath, flags: O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: 0o600)
        try file.write([ByteBuffer(string: marker)], offset: 0)
        try file.sync()
        do {
            try Directory.renameWithoutReplacing(newMarkerPath, to: markerPath)
        } catch let error as SystemCallError where error.code == EEXIST || error.code == ENOENT {
            // Another process was quicker; `check` says whether it made the same store.
        }
        try Directory.sync(directory)
    }

    private func makeDirectoryTree() throws {
        var path = ""
        for component in directory.split(separator: "/") {
            let parent = path.isEmpty ? "/" : path
            path += "/" + component
            if try !Directory.exists(path), try Directory.make(path) { try Directory.sync(parent) }
        }
    }

    /// Whether the directory holds nothing, or only what an interrupted `initialize` leaves.
    private func isUnused() throws -> Bool {
        let allowed = ["incoming", "blobs", ".ambrotype-store.new", "lost+found"]
        let names = try Directory.names(in: directory)
        guard names.allSatisfy(allowed.contains) else { return false }
        for path in [incomingDirectory, blobsDirectory] where try Directory.exists(path) {
            guard try Directory.names(in: path).isEmpty else { return false }
        }
        return true
    }

    /// The directory a blob is committed to, there and durable.
    func makeFanOut(_ blob: BlobID) throws -> String {
        let path = try fanOut(blob)
        let isKnown = syncedFanOuts.withLock { $0.contains(path) }
        if !isKnown {
            // Synced whoever made it: the other may not have come to that yet.
            try Directory.make(path)
            try Directory.sync(blobsDirectory)
            _ = syncedFanOuts.withLock { $0.insert(path) }
        }
        return path
    }
}

extension WorkPool {
    /// Runs blocking calls of a store; every failure comes out as `BlobError`.
    func performing<T: Sendable>(
        _ operation: String, _ body: @escaping @Sendable () throws -> T
    ) async throws -> T {
        do {
            return try await run(body)
        } catch {
            throw BlobError(wrapping: error, operation: operation)
        }
    }
}

extension BlobError {
    init(wrapping error: any Error, operation: String) {
        switch error {
        case let error as BlobError:
            self = error
        case let error as SystemCallError:
            let code: Code =
                switch error.code {
                case ENOSPC, EDQUOT, EFBIG: .full
                case EROFS: .readOnly
                default: .unavailable
                }
            self.init(code: code, operation: operation, cause: error.text)
        default:
            self.init(code: .unavailable, operation: operation, cause: "\(error)")
        }
    }
}
