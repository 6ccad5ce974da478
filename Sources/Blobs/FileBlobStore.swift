import Core
import Glibc
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
    private let layout: FileBlobLayout
    private let work: any WorkPool
    private let disk: any Disk
    private let reserveBytes: Int64
    private let measurements = Measurements()

    /// Opens the store, or makes a new one of an empty directory.
    /// - Parameters:
    ///   - directory: an absolute path.
    ///   - work: where the blocking calls are made.
    ///   - disk: what answers them.
    ///   - reserveBytes: what stays free on the disk: no blob is begun or continued that would use it.
    ///   - mayInitialize: whether a missing or empty directory becomes a new store. False for a store
    ///     that is known to have held blobs.
    /// - Throws: `BlobError`: `.unavailable`, `.readOnly`, `.full`.
    package convenience init(
        id: StoreID, directory: String, work: any WorkPool, disk: any Disk = PosixDisk(),
        reserveBytes: Int64 = 64 << 20, mayInitialize: Bool = true
    ) throws {
        self.init(known: id, directory: directory, work: work, disk: disk, reserveBytes: reserveBytes)
        do {
            if mayInitialize { try layout.initialize() }
            try layout.check()
            try layout.checkWritable()
        } catch {
            throw BlobError(wrapping: error, operation: "open store \(id)")
        }
    }

    /// A store that is known to be there, also while its disk is not: every call looks for itself.
    package init(
        known id: StoreID, directory: String, work: any WorkPool, disk: any Disk = PosixDisk(),
        reserveBytes: Int64 = 64 << 20
    ) {
        precondition(directory.hasPrefix("/") && reserveBytes >= 0)
        self.id = id
        self.work = work
        self.disk = disk
        self.reserveBytes = reserveBytes
        layout = FileBlobLayout(directory: directory, store: id, disk: disk)
    }

    package func begin(_ blob: BlobID, expectedBytes: Int64?) async throws -> any BlobWriter {
        precondition(expectedBytes ?? 0 >= 0)
        return try await work.performing("begin blob") { [layout, work, disk, reserveBytes] in
            try layout.check()
            guard try disk.status(layout.committed(blob)) == nil else {
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
                blob, layout: layout, work: work, disk: disk, expectedBytes: expectedBytes ?? 0,
                reserveBytes: reserveBytes)
        }
    }

    package func open(_ blob: BlobID) async throws -> any BlobReader {
        try await work.performing("open blob") { [layout, work, disk] in
            try layout.check()
            do {
                return try FileBlobReader(path: layout.committed(blob), work: work, disk: disk)
            } catch let error as SystemCallError where error.code == ENOENT {
                // Unless the disk went between the two calls.
                try layout.check()
                throw BlobError(code: .notFound, operation: "open blob", cause: "no \(blob)")
            }
        }
    }

    package func erase(_ blob: BlobID) async throws {
        try await work.performing("erase blob") { [layout, disk] in
            try layout.check()
            let committed = try layout.committed(blob)
            try disk.removeName(layout.incoming(blob))
            try disk.removeName(committed)
            // Synced even if there was nothing: an erasure cut short by a crash may have removed the
            // names and not have synced them.
            try disk.syncDirectory(layout.incomingDirectory)
            do {
                try disk.syncDirectory(layout.fanOut(blob))
            } catch let error as SystemCallError where error.code == ENOENT {
                // No blob whose id begins alike was ever committed.
            }
        }
    }

    package func space() async throws -> StoreSpace {
        let operation = "measure store"
        guard measurements.begin() else {
            throw BlobError(code: .unavailable, operation: operation, cause: "earlier measurements have not ended yet")
        }
        do {
            return try await work.runAbandonably { [layout, reserveBytes, measurements] in
                defer { measurements.end() }
                try layout.check()
                let space = try layout.space()
                return StoreSpace(totalBytes: space.totalBytes, freeBytes: max(0, space.freeBytes - reserveBytes))
            }
        } catch {
            throw BlobError(wrapping: error, operation: operation)
        }
    }

    package func place(of blob: BlobID) -> String {
        (try? layout.committed(blob)) ?? "blob \(blob) in store \(id)"
    }

    package func url(of blob: BlobID) -> String {
        (try? layout.committed(blob)).map { "file://\($0)" } ?? "file:\(blob)"
    }

    package func inventory(_ visit: @Sendable ([StoredItem]) async throws -> Void) async throws {
        let directories = try await work.performing("list store") { [layout] in
            try layout.check()
            return try layout.directoriesOfBlobs()
        }
        for directory in directories {
            let items = try await work.performing("list store") { [layout] in try layout.items(in: directory) }
            if !items.isEmpty { try await visit(items) }
        }
    }
}

/// How many measurements run: of a disk that hangs, each that nobody waits for any more still has a thread.
private final class Measurements: Sendable {
    private static let limit = 2
    private let running = Mutex(0)

    func begin() -> Bool {
        running.withLock { running in
            guard running < Self.limit else { return false }
            running += 1
            return true
        }
    }

    func end() { running.withLock { $0 -= 1 } }
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
