import Synchronization

/// The blobs that tasks of this process write. One is held from before its row is there until the task
/// has done with the store: a row of ours that nobody holds is what a task could not clean up.
final class HeldBlobs: Sendable {
    private let blobs = Mutex<Set<BlobID>>([])

    func hold(_ blob: BlobID) { blobs.withLock { _ = $0.insert(blob) } }
    func letGo(_ blob: BlobID) { blobs.withLock { _ = $0.remove(blob) } }
    func contains(_ blob: BlobID) -> Bool { blobs.withLock { $0.contains(blob) } }
}
