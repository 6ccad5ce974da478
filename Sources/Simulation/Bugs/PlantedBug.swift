import Blobs
import Core
import Persistence

/// Mistakes that storage services make, planted into a simulated server to see that the checks find
/// them. They are put between the real parts, as another disk or another database: nothing of them is in
/// what ships.
package enum PlantedBug: String, CaseIterable, Sendable {
    /// The names in a directory are not synced after a rename.
    case forgottenDirectorySync
    /// A file is renamed into place before its contents are synced.
    case forgottenFileSync
    /// A commit of the database is answered before it is durable.
    case commitNotSynced
    /// A deletion takes the bytes away before it is committed.
    case erasedBeforeCommit
    /// The image's tombstone is one transaction, what becomes of its bytes the next.
    case deletionInTwoTransactions
    /// Whoever comes late with a lease that was taken away may still commit.
    case leaseWithoutFencing
    /// The row of doomed bytes goes with the deletion; erasing is only tried.
    case rowRemovedBeforeBytes
    /// Bytes are written before a row says so.
    case bytesBeforeRow
    /// A quota is looked at, and not charged before the bytes are there.
    case quotaNotReserved
    /// A deleted image leaves no tombstone.
    case idReused
    /// An upload's failure forgets what it had written.
    case failedUploadLeftToItself

    /// A deleted image's key is let go of while its bytes are still there.
    case keyBeforeBytes
    /// A property that names a key makes no edge.
    case propertyWithoutEdge
    /// Of several images that need a key, only the first is asked.
    case onlyFirstEdgeAsked
    /// A deleted image lets go of its key, and nobody is asked to end that.
    case releaseNotAsked
    /// A deleted key is erased at once.
    case quarantineSkipped
    /// An image that goes into the recycle bin lets go of its key.
    case recycledImageLetsGo
    /// What a property said before it was changed keeps its edge.
    case edgeKeptByChangedProperty
    /// A deleted image takes its key along whatever it was told.
    case policyIgnored
    /// A key manager outside is not told that an image needs a key.
    case consumerNotRegistered
    /// Any image keeps any project's key.
    case strangersEdgeHolds

    /// Those that need keys to show.
    package static let ofKeys: [PlantedBug] = [
        .keyBeforeBytes, .propertyWithoutEdge, .onlyFirstEdgeAsked, .releaseNotAsked, .quarantineSkipped,
        .recycledImageLetsGo, .edgeKeptByChangedProperty, .policyIgnored, .consumerNotRegistered, .strangersEdgeHolds,
    ]
}

/// The parts a server is built of, with the bug between them.
struct PlantedParts {
    private let bug: PlantedBug?
    private let mount: Mount

    init(_ bug: PlantedBug?, mount: Mount) {
        self.bug = bug
        self.mount = mount
    }

    func disk(_ disk: Mount) -> any Disk {
        switch bug {
        case .forgottenDirectorySync: ForgetfulDisk(disk: disk, forgets: .directory)
        case .forgottenFileSync: ForgetfulDisk(disk: disk, forgets: .file)
        default: disk
        }
    }

    func database(_ database: SQLiteDatabase) -> any SQLDatabase {
        switch bug {
        case nil, .forgottenDirectorySync, .forgottenFileSync: return database
        case .commitNotSynced:
            mount.disk.ignoresDatabaseSync = true
            return database
        case let bug?: return FaultyDatabase(database: database, bug: bug, mount: mount)
        }
    }
}

/// A disk that says it synced.
private struct ForgetfulDisk: Disk {
    let disk: Mount
    let forgets: FileStatus.Kind

    func open(_ path: String, _ mode: OpenMode, at site: CallSite) throws -> any DiskFile {
        let file = try disk.open(path, mode, at: site)
        return (mode == .directory) == (forgets == .directory) ? ForgetfulFile(file: file) : file
    }

    func status(_ path: String, at site: CallSite) throws -> FileStatus? { try disk.status(path, at: site) }
    func makeDirectory(_ path: String, at site: CallSite) throws { try disk.makeDirectory(path, at: site) }
    func unlink(_ path: String, at site: CallSite) throws { try disk.unlink(path, at: site) }
    func renameWithoutReplacing(_ path: String, to newPath: String, at site: CallSite) throws {
        try disk.renameWithoutReplacing(path, to: newPath, at: site)
    }
    func link(_ path: String, to newPath: String, at site: CallSite) throws {
        try disk.link(path, to: newPath, at: site)
    }
    func names(in path: String, at site: CallSite) throws -> [String] { try disk.names(in: path, at: site) }
    func checkAccess(_ path: String, at site: CallSite) throws { try disk.checkAccess(path, at: site) }
    func space(_ path: String, at site: CallSite) throws -> DiskSpace { try disk.space(path, at: site) }
}

private final class ForgetfulFile: DiskFile {
    private let file: any DiskFile

    init(file: any DiskFile) { self.file = file }

    func sync(at site: CallSite) throws {}
    func status(at site: CallSite) throws -> FileStatus { try file.status(at: site) }
    func write(_ pieces: ArraySlice<UnsafeRawBufferPointer>, offset: Int64, at site: CallSite) throws -> Int {
        try file.write(pieces, offset: offset, at: site)
    }
    func read(into space: UnsafeMutableRawBufferPointer, offset: Int64, at site: CallSite) throws -> Int {
        try file.read(into: space, offset: offset, at: site)
    }
    func truncate(sizeBytes: Int64, at site: CallSite) throws { try file.truncate(sizeBytes: sizeBytes, at: site) }
    func reserve(sizeBytes: Int64, at site: CallSite) throws { try file.reserve(sizeBytes: sizeBytes, at: site) }
    func startWriteback(offset: Int64, sizeBytes: Int64, at site: CallSite) throws {
        try file.startWriteback(offset: offset, sizeBytes: sizeBytes, at: site)
    }
}
