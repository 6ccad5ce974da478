/// Something in a store that is not the bytes of an image people can use, and why it is still there.
package struct Garbage: Sendable, Equatable {
    package enum Reason: Sendable, Equatable {
        case uploading(ImageID, by: InstanceID, until: Timestamp, standing: Standing)
        /// Waits for an import, or is part of one that is not finished.
        case staged(ImageID)
        case recycled(ImageID, until: Timestamp)
        case doomed(why: String, at: Timestamp, holder: InstanceID?, erasing: Erasing?)
        /// The row itself is a finding: its image is deleted, unfinished or missing.
        case misplaced(ImageID, status: String)
        /// - Parameter isDoubted: there are so many that `--repair` leaves them.
        case unowned(isDoubted: Bool)
        case inOtherStore(StoreID)
        case leftOverName
        case foreign
    }

    /// How whoever writes a blob stands.
    package enum Standing: Sendable, Equatable { case alive, late, gone }

    /// The job that erases it.
    package struct Erasing: Sendable, Equatable {
        package let state: String
        package let attempts: Int64
        package let nextAttemptAt: Timestamp
        package let lastError: String?

        package init(state: String, attempts: Int64, nextAttemptAt: Timestamp, lastError: String?) {
            self.state = state
            self.attempts = attempts
            self.nextAttemptAt = nextAttemptAt
            self.lastError = lastError
        }
    }

    package let store: StoreID
    package let item: StoredItem
    package let reason: Reason

    package init(store: StoreID, item: StoredItem, reason: Reason) {
        self.store = store
        self.item = item
        self.reason = reason
    }

    /// `blob ID` or `file PATH`.
    package var subject: String {
        switch item.kind {
        case .committed(let blob): "blob \(blob)"
        case .uncommitted(let blob): "uncommitted blob \(blob)"
        case .foreign(let path): "file \(path)"
        }
    }
}

extension Garbage.Reason {
    /// Its name in scripts; never changed.
    package var kind: String {
        switch self {
        case .uploading: "uploading"
        case .staged: "staged"
        case .recycled: "recycled"
        case .doomed: "doomed"
        case .misplaced: "misplaced"
        case .unowned: "unowned"
        case .inOtherStore: "in-other-store"
        case .leftOverName: "name-left-over"
        case .foreign: "foreign"
        }
    }

    /// Why it is still there, one line.
    package var text: String {
        switch self {
        case .uploading(let image, let owner, let until, let standing):
            "being uploaded to image \(image) by \(owner), lease until \(until.iso8601)" + standing.text
        case .staged(let image): "staged for image \(image), which waits for an import or is being imported"
        case .recycled(let image, let until): "in the recycle bin with image \(image) until \(until.iso8601)"
        case .doomed(let why, let at, let holder, let erasing):
            "doomed at \(at.iso8601) (\(why)); " + (erasing?.text ?? "no job erases it: --repair asks for one")
                + (holder.map { "; \($0) may still write it" } ?? "")
        case .misplaced(let image, let status):
            "its row says it is kept, but its image \(image) is \(status): see above"
        case .unowned(let isDoubted):
            isDoubted
                ? "no row knows it, and the database may be older than the store: --repair leaves it"
                : "no row knows it: --repair erases it"
        case .inOtherStore(let store): "its row says it is in store \(store): nobody touches it"
        case .leftOverName: "a second name of a committed blob: takes no space"
        case .foreign: "nothing that this program makes: nobody touches it"
        }
    }
}

extension Garbage.Standing {
    fileprivate var text: String {
        switch self {
        case .alive: ""
        case .late: " (it ran out: the upload is given up soon)"
        case .gone: " (its owner is gone: the next start gives it up)"
        }
    }
}

extension Garbage.Erasing {
    fileprivate var text: String {
        let error = lastError.map { ": \($0)" } ?? ""
        return switch state {
        case "parked": "erasing is parked after \(attempts) attempts\(error)"
        case "running": "it is being erased now"
        default:
            attempts == 0 && lastError == nil
                ? "it is erased as soon as a server comes to it"
                : "erased again from \(nextAttemptAt.iso8601) on, failed \(attempts) times\(error)"
        }
    }
}

package struct GarbageTotal: Sendable, Equatable {
    package let kind: String
    package private(set) var count: Int64
    package private(set) var sizeBytes: Int64

    package init(kind: String, count: Int64, sizeBytes: Int64) {
        self.kind = kind
        self.count = count
        self.sizeBytes = sizeBytes
    }

    fileprivate mutating func add(_ garbage: Garbage) {
        count += 1
        sizeBytes += garbage.item.sizeBytes
    }
}

extension [GarbageTotal] {
    mutating func add(_ garbage: Garbage) {
        let kind = garbage.reason.kind
        if let index = firstIndex(where: { $0.kind == kind }) {
            self[index].add(garbage)
        } else {
            append(GarbageTotal(kind: kind, count: 1, sizeBytes: garbage.item.sizeBytes))
            sort { $0.kind < $1.kind }
        }
    }
}
