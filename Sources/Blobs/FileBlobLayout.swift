import Core
import Glibc
import NIOCore
import Synchronization

/// The names of a store's files, and what is checked before they are used.
final class FileBlobLayout: Sendable {
    private let directory: String
    private let store: StoreID
    private let disk: any Disk
    private let marker: String
    /// Fan-out directories known to be durable.
    private let syncedFanOuts = Mutex(Set<String>())

    var incomingDirectory: String { directory + "/incoming" }
    private var blobsDirectory: String { directory + "/blobs" }
    private var markerPath: String { directory + "/.ambrotype-store" }
    private var newMarkerPath: String { markerPath + ".new" }

    init(directory: String, store: StoreID, disk: any Disk) {
        self.directory = directory
        self.store = store
        self.disk = disk
        marker = store.rawValue + "\n"
    }

    func incoming(_ blob: BlobID) throws -> String { try incomingDirectory + "/" + name(blob) }
    func committed(_ blob: BlobID) throws -> String { try fanOut(blob) + "/" + blob.rawValue }
    func fanOut(_ blob: BlobID) throws -> String { try blobsDirectory + "/" + name(blob).prefix(2) }

    /// Ids are ours (UUIDs), yet no path is made of one that could lead elsewhere.
    private func name(_ blob: BlobID) throws -> String {
        guard Self.isName(blob.rawValue) else {
            throw BlobError(code: .corrupt, operation: "name blob", cause: "not a blob id: \(blob)")
        }
        return blob.rawValue
    }

    private static func isName(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        func isHex(_ byte: UInt8) -> Bool {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
        }
        return (2...64).contains(bytes.count) && bytes.prefix(2).allSatisfy(isHex)
            && bytes.allSatisfy({ isHex($0) || $0 == UInt8(ascii: "-") })
    }

    /// That the directory is this store's.
    func check() throws {
        let found: ByteBuffer
        do {
            found = try disk.open(markerPath, .read).read(offset: 0, count: 1024)
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
            try disk.checkAccess(path)
        }
    }

    /// What is free for a user who is not root.
    func space() throws -> DiskSpace { try disk.space(directory) }

    /// Makes a store of a directory that is missing or empty; leaves every other as it is.
    ///
    /// The marker comes last, so what a crash in between leaves is taken for empty. Whoever made a name, it is
    /// synced here: an earlier start may have made it and failed before it came to that, and a loss of
    /// power would then take the directory with all that was stored since.
    func initialize() throws {
        try makeDirectoryTree()
        if try disk.status(markerPath) == nil {
            guard try isUnused() else { return }
            try disk.makeDirectory(incomingDirectory)
            try disk.makeDirectory(blobsDirectory)
            try disk.syncDirectory(directory)
            try writeMarker()
        }
        try disk.syncDirectory(directory)
    }

    private func writeMarker() throws {
        let file = try disk.open(newMarkerPath, .replace)
        try file.write([ByteBuffer(string: marker)], offset: 0)
        try file.sync()
        do {
            try disk.move(newMarkerPath, to: markerPath)
        } catch let error as SystemCallError where error.code == EEXIST || error.code == ENOENT {
            // Another process was quicker; `check` says whether it made the same store.
        }
    }

    private func makeDirectoryTree() throws {
        var path = ""
        for component in directory.split(separator: "/") {
            let parent = path.isEmpty ? "/" : path
            path += "/" + component
            if try disk.status(path) == nil { try disk.makeDirectory(path) }
            do {
                try disk.syncDirectory(parent)
            } catch let error as SystemCallError where error.call == "open" && error.code == EACCES {
                // A directory that may only be passed through was made by its owner, long ago.
            }
        }
    }

    /// Whether the directory holds nothing, or only what an interrupted `initialize` leaves.
    private func isUnused() throws -> Bool {
        let allowed = ["incoming", "blobs", ".ambrotype-store.new", "lost+found"]
        let names = try disk.names(in: directory)
        guard names.allSatisfy(allowed.contains) else { return false }
        for path in [incomingDirectory, blobsDirectory] where try disk.status(path) != nil {
            guard try disk.names(in: path).isEmpty else { return false }
        }
        return true
    }

    /// The directory a blob is committed to, there and durable.
    func makeFanOut(_ blob: BlobID) throws -> String {
        let path = try fanOut(blob)
        let isKnown = syncedFanOuts.withLock { $0.contains(path) }
        if !isKnown {
            // Synced whoever made it: the other may not have come to that yet.
            try disk.makeDirectory(path)
            try disk.syncDirectory(blobsDirectory)
            _ = syncedFanOuts.withLock { $0.insert(path) }
        }
        return path
    }

    /// Makes the next commit look for the directory again.
    func forgetFanOut(_ blob: BlobID) {
        guard let path = try? fanOut(blob) else { return }
        _ = syncedFanOuts.withLock { $0.remove(path) }
    }

    /// Where blobs are: `incoming`, and every fan-out directory.
    func directoriesOfBlobs() throws -> [String] {
        [incomingDirectory, blobsDirectory] + (try disk.names(in: blobsDirectory)).map { blobsDirectory + "/" + $0 }
    }

    /// What is in one of them. A file that goes while the directory is read is left out.
    func items(in directory: String) throws -> [StoredItem] {
        let names: [String]
        do {
            names = try disk.names(in: directory)
        } catch let error as SystemCallError where error.code == ENOTDIR {
            return []  // a stray file in place of a fan-out directory; it is named by the directory above
        }
        return try names.compactMap { name in
            let path = directory + "/" + name
            guard let status = try disk.status(path) else { return nil }
            let blob = BlobID(name)
            let isBlob = Self.isName(name) && status.kind == .file
            if isBlob, directory == incomingDirectory {
                return StoredItem(.uncommitted(blob), sizeBytes: status.sizeBytes)
            }
            if isBlob, try path == committed(blob) { return StoredItem(.committed(blob), sizeBytes: status.sizeBytes) }
            if directory == blobsDirectory, status.kind == .directory { return nil }
            return StoredItem(.foreign(path), sizeBytes: status.sizeBytes)
        }
    }
}
