import NIOCore

/// Where bytes live. A store knows blobs by id alone: whose they are and whether they still matter
/// is the catalogue's business. Every implementation passes `BlobStoreContract` (Tests/ContractTests).
///
/// Contract:
/// - A blob that was never committed cannot be opened, whatever crashed. After `commit` returns, its
///   bytes are durable (data and directory synced) and never change.
/// - A blob is written at most once: committing an id that exists is `.alreadyExists`, and the
///   bytes there stay.
/// - `erase` takes back the committed and the uncommitted alike, is durable when it returns, and may
///   be repeated: a blob that is not there is erased.
/// - Cancelling a task in the middle of a call leaves the blob as it was before or after the call.
/// - Only `BlobError` is thrown.
package protocol BlobStore: Sendable {
    var id: StoreID { get }

    /// Starts a new blob.
    /// - Parameter expectedBytes: its size, if known: space for it is claimed at once.
    /// - Throws: `.full` when the space is not there, `.alreadyExists`, `.readOnly`, `.unavailable`.
    func begin(_ blob: BlobID, expectedBytes: Int64?) async throws -> any BlobWriter

    /// Opens a committed blob for reading. It stays readable to the end even if it is erased meanwhile.
    /// - Throws: `.notFound`, `.unavailable`.
    func open(_ blob: BlobID) async throws -> any BlobReader

    /// - Throws: `.unavailable`, `.readOnly`; the caller tries again later.
    func erase(_ blob: BlobID) async throws

    /// Visits all that the store holds, in batches: blobs, committed or not, and what is no blob. What comes
    /// or goes meanwhile may be missed. For `fsck`: nothing else needs a listing.
    /// - Throws: `.unavailable`, and what `visit` throws.
    func inventory(_ visit: @Sendable ([StoredItem]) async throws -> Void) async throws

    /// The room there is now. Fails when the store is not usable, so it serves as health check. A caller that
    /// is cancelled waits no longer, even for a store that hangs.
    /// - Throws: `.unavailable`.
    func space() async throws -> StoreSpace

    /// Where an operator who restores a backup finds a committed blob: a path, a key, …. For texts alone.
    func place(of blob: BlobID) -> String

    /// The blob's URL, where images show their locations.
    func url(of blob: BlobID) -> String
}

extension BlobStore {
    package func place(of blob: BlobID) -> String { "blob \(blob) in store \(id)" }
    package func url(of blob: BlobID) -> String { "\(id)://\(blob)" }
}

/// A blob being written by one task. Dropped without `commit` or `abandon`, it is as after a crash:
/// invisible, and `erase` takes it back.
package protocol BlobWriter: Sendable {
    /// Appends; the buffers must not be changed until it returns. Calls are made one at a time.
    /// - Throws: `.full`, `.unavailable`; the blob can then only be abandoned.
    func write(_ buffers: [ByteBuffer]) async throws

    /// Makes the blob durable and visible, whole.
    /// - Throws: `.alreadyExists`, `.full`, `.unavailable`.
    func commit() async throws

    /// Takes the bytes back. Does nothing after `commit`; failures are left to `erase`.
    func abandon() async
}

package protocol BlobReader: Sendable {
    var sizeBytes: Int64 { get }

    /// Reads `count` bytes at `offset`, fewer only at the end of the blob. May be called by several
    /// tasks at once.
    /// - Throws: `.unavailable` when the bytes cannot be had, `.corrupt` when they are fewer than promised.
    func read(offset: Int64, count: Int) async throws -> ByteBuffer

    /// The file of this machine that holds the bytes, if they may be sent from it unseen. A reader that has to see
    /// what goes out (to check it, to change it) has none.
    var file: (any BlobFile)? { get }

    /// Gives the reader's resources back. No call may follow.
    func close() async
}

extension BlobReader {
    package var file: (any BlobFile)? { nil }
}

/// A blob that is a file, to be sent from an event loop in parts: `count` bytes, at least one, at `offset`, within the
/// blob's size. An event loop that sends what is not in memory waits for a disk, hence two ways to get a part. Need for
/// memory may push it out again before it is sent; loading it once more brings it back. The kernel sends a part
/// (sendfile(2)), or its bytes are read where they have to be seen.
///
/// The parts of one reader go out on one connection, and none is left to send when the reader is closed.
package protocol BlobFile: Sendable {
    /// A part that is in memory, as far as that can be told at once; otherwise nil. Does not block.
    func regionInMemory(offset: Int64, count: Int) -> FileRegion?

    /// A part that has been brought into memory if it was not there. What follows it is on its way.
    /// - Throws: `BlobError`, as `BlobReader.read`.
    func load(offset: Int64, count: Int) async throws -> FileRegion

    /// Reads bytes of a part that was found in memory, in place of what the buffer held. Blocks if they have left it.
    /// - Throws: `BlobError`, as `BlobReader.read`.
    func readInMemory(offset: Int64, count: Int, into buffer: inout ByteBuffer) throws
}

/// One thing a store holds.
package struct StoredItem: Sendable, Equatable {
    package enum Kind: Sendable, Hashable {
        case committed(BlobID)
        /// Begun and not committed: being written, or left by a crash.
        case uncommitted(BlobID)
        /// Nothing that this program makes; by its path.
        case foreign(String)
    }
    package let kind: Kind
    package let sizeBytes: Int64

    package init(_ kind: Kind, sizeBytes: Int64) {
        self.kind = kind
        self.sizeBytes = sizeBytes
    }
}

package struct StoreSpace: Sendable, Equatable {
    package let totalBytes: Int64
    package let freeBytes: Int64

    package init(totalBytes: Int64, freeBytes: Int64) {
        self.totalBytes = totalBytes
        self.freeBytes = freeBytes
    }
}

package struct BlobError: Error, Sendable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        case notFound, alreadyExists, full, readOnly, unavailable, corrupt
    }
    package let code: Code
    package let operation: String
    /// For the log; may name paths.
    package let cause: String

    package init(code: Code, operation: String, cause: String) {
        self.code = code
        self.operation = operation
        self.cause = cause
    }

    /// Whether the same call may succeed later.
    package var isRetryable: Bool { code == .unavailable || code == .full || code == .readOnly }
    package var description: String { "\(code) in \(operation): \(cause)" }
}
