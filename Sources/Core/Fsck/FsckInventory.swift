import Persistence
import Synchronization

/// The stores against the database: everything a store holds must have a row, and a reason to be there.
extension FsckRun {
    /// How many ids one statement asks for.
    private static let chunk = 100

    func checkInventory(of store: any BlobStore) async throws {
        let suspects = Suspects()
        try await listing(store) { items in
            report(.progress(FsckProgress(phase: .listing(store.id), done: countFiles(items.count), total: nil)))
            for (item, row) in try await withRows(items) {
                try Task.checkCancellation()
                switch judge(item, row, in: store.id) {
                case .inUse: break
                case .kept(let reason): tell(Garbage(store: store.id, item: item, reason: reason))
                case .suspect: suspects.add(item)
                }
            }
        }
        if !suspects.isEmpty { try await confirm(suspects, in: store) }
    }

    private func countFiles(_ count: Int) -> Int64 {
        tally.withLock { tally in
            tally.countFiles(count)
            return tally.summary.files
        }
    }

    private func listing(
        _ store: any BlobStore, _ visit: @Sendable ([StoredItem]) async throws -> Void
    ) async throws {
        do {
            try await store.inventory(visit)
        } catch let error as BlobError {
            throw StoreLost(cause: error.cause)
        }
    }

    private enum Verdict {
        /// The bytes of an image.
        case inUse
        case kept(Garbage.Reason)
        /// Not as it has to be, unless it changed between the listing and the look at its row.
        case suspect
    }

    private func judge(_ item: StoredItem, _ row: StoredRow?, in store: StoreID) -> Verdict {
        guard let row, row.store == store else { return .suspect }
        switch (item.kind, row.state) {
        case (.foreign, _): return .suspect
        case (_, .doomed(let why, let at)):
            return .kept(.doomed(why: why, at: at, holder: row.holder, erasing: row.erasing))
        // A committed blob is announced as such a moment later.
        case (_, .writing(let until)):
            return .kept(
                .uploading(row.image, by: row.holder ?? "nobody", until: until, standing: standing(row, until)))
        case (.uncommitted, .live), (.uncommitted, .recycled): return .suspect
        case (.committed, .live), (.committed, .recycled):
            if let until = row.recycledUntil { return .kept(.recycled(row.image, until: until)) }
            if row.isStaged { return .kept(.staged(row.image)) }
            if row.isImageUsable { return .inUse }
            return .kept(.misplaced(row.image, status: row.imageStatus ?? "missing"))
        }
    }

    private func standing(_ row: StoredRow, _ until: Timestamp) -> Garbage.Standing {
        if !row.isHolderKnown { return .gone }
        return until < now ? .late : .alive
    }

    /// A second look: what is there again, and whose row is again not as it has to be, is a finding. A row
    /// comes before its bytes and goes after them, so it can no more appear; and what is committed has lost its
    /// other name before its row says so.
    private func confirm(_ suspects: Suspects, in store: any BlobStore) async throws {
        let confirmed = Suspects()
        try await listing(store) { items in
            for item in items where suspects.contains(item) { confirmed.add(item) }
        }
        var found: [(StoredItem, StoredRow?)] = []
        for (item, row) in try await withRows(confirmed.items) {
            if case .suspect = judge(item, row, in: store.id) { found.append((item, row)) }
        }
        let isDoubted = isDoubted(found, store.id)
        for (item, row) in found { try await accuse(item, row, in: store.id, isDoubted: isDoubted) }
    }

    private func accuse(_ item: StoredItem, _ row: StoredRow?, in store: StoreID, isDoubted: Bool) async throws {
        let reason: Garbage.Reason
        let finding: Finding
        switch item.kind {
        case .foreign(let path):
            (reason, finding) = (.foreign, .fileForeign(store, path: path, sizeBytes: item.sizeBytes))
        case .committed(let blob), .uncommitted(let blob):
            switch row {
            case nil:
                let isCommitted = item.kind == .committed(blob)
                reason = .unowned(isDoubted: isDoubted)
                finding = .bytesUnowned(
                    store, blob, isCommitted: isCommitted, sizeBytes: item.sizeBytes, isDoubted: isDoubted)
            case let row? where row.store != store:
                reason = .inOtherStore(row.store)
                finding = .bytesInOtherStore(blob, found: store, recorded: row.store)
            case _?:
                (reason, finding) = (.leftOverName, .nameLeftOver(store, blob))
            }
        }
        tell(Garbage(store: store, item: item, reason: reason))
        try await settle(finding)
    }

    /// No crash leaves a committed blob without a row: the row comes before the bytes and goes after them. So
    /// where there is one, this may be the wrong database for the store: one restored from a backup, or
    /// another server's. Then nothing in it is erased unless the operator names the store.
    private func isDoubted(_ found: [(StoredItem, StoredRow?)], _ store: StoreID) -> Bool {
        guard !options.erasesUnowned.contains(store) else { return false }
        return found.contains { item, row in
            if case .committed = item.kind { return row == nil }
            return false
        }
    }

    /// Each item with its row, as the rows are now.
    private func withRows(_ items: [StoredItem]) async throws -> [(StoredItem, StoredRow?)] {
        var result: [(StoredItem, StoredRow?)] = []
        for start in stride(from: 0, to: items.count, by: Self.chunk) {
            let part = items[start..<min(start + Self.chunk, items.count)]
            let rows = try await rows(of: part.compactMap(\.blob))
            result += part.map { item in (item, item.blob.flatMap { rows[$0] }) }
        }
        return result
    }

    private func rows(of blobs: [BlobID]) async throws -> [BlobID: StoredRow] {
        guard let last = blobs.last else { return [:] }
        // Always as many parameters, so that it is always the same statement.
        let ids = blobs + Array(repeating: last, count: Self.chunk - blobs.count)
        let list = (1...Self.chunk).map { "$\($0)" }.joined(separator: ", ")
        let rows = try await database.read { db in
            try db.query("\(StoredRow.select) WHERE b.id IN (\(list))", ids, row: StoredRow.init)
        }
        return Dictionary(rows.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    }
}

/// What the database says of something a store holds.
private struct StoredRow: Sendable {
    enum State: Sendable {
        case writing(until: Timestamp)
        case live, recycled
        case doomed(why: String, at: Timestamp)
    }
    let id: BlobID
    let store: StoreID
    let image: ImageID
    let state: State
    let holder: InstanceID?
    let isHolderKnown: Bool
    let imageStatus: String?
    let recycledUntil: Timestamp?
    let erasing: Garbage.Erasing?
    let isStaged: Bool

    var isImageUsable: Bool { imageStatus == "active" || imageStatus == "deactivated" }

    static let select = """
        SELECT b.id, b.store, b.image_id, b.state, b.lease_owner, b.lease_until, b.doom_reason, b.doomed_at,
            CASE WHEN n.id IS NULL THEN 0 ELSE 1 END, i.status, i.recycled_until, j.state, j.attempts,
            j.next_attempt_at, j.last_error, b.role
        FROM blobs b LEFT JOIN images i ON i.id = b.image_id LEFT JOIN instances n ON n.id = b.lease_owner
            LEFT JOIN jobs j ON j.kind = 'erase-blob' AND j.subject = b.id
        """

    init(_ row: any SQLRow) throws {
        id = try row.get(0)
        store = try row.get(1)
        image = try row.get(2)
        holder = try row.get(4)
        isHolderKnown = try row.get(8)
        imageStatus = try row.get(9)
        recycledUntil = try row.get(10)
        switch try row.get(3, as: String.self) {
        case "writing": state = .writing(until: try row.get(5))
        case "live": state = .live
        case "recycled": state = .recycled
        case "doomed": state = .doomed(why: try row.get(6), at: try row.get(7))
        case let other: throw SQLError(code: .corrupt, operation: "read blob", message: "unknown state '\(other)'")
        }
        erasing = try row.get(11, as: String?.self).map {
            Garbage.Erasing(
                state: $0, attempts: try row.get(12), nextAttemptAt: try row.get(13), lastError: try row.get(14))
        }
        isStaged = try row.get(15, as: String.self) == BlobRole.staged.rawValue
    }
}

/// What has to be looked at once more; as many as there are.
private final class Suspects: Sendable {
    private let known = Mutex<[StoredItem.Kind: StoredItem]>([:])

    func add(_ item: StoredItem) { known.withLock { $0[item.kind] = item } }
    func contains(_ item: StoredItem) -> Bool { known.withLock { $0[item.kind] != nil } }
    var isEmpty: Bool { known.withLock { $0.isEmpty } }

    /// In an order of their own: by name.
    var items: [StoredItem] {
        known.withLock { Array($0.values) }.sorted { $0.kind.order < $1.kind.order }
    }
}

extension StoredItem {
    fileprivate var blob: BlobID? {
        switch kind {
        case .committed(let blob), .uncommitted(let blob): blob
        case .foreign: nil
        }
    }
}

extension StoredItem.Kind {
    fileprivate var order: String {
        switch self {
        case .committed(let blob): "blob \(blob) 1"
        case .uncommitted(let blob): "blob \(blob) 2"
        case .foreign(let path): "file \(path)"
        }
    }
}
