import Persistence

/// A store: the room it has, if it answers, and what the catalogue knows to be in it.
package struct StoreState: Sendable {
    package let id: StoreID
    package let isDefault: Bool
    package let space: StoreSpace?
    /// Why the room is not known.
    package let problem: String?
    package let live: BlobTotal
    package let recycled: BlobTotal
    package let doomed: BlobTotal
    /// Its bytes are those reserved.
    package let writing: BlobTotal
}

package struct BlobTotal: Sendable, Equatable {
    package let count: Int64
    package let bytes: Int64

    package init(count: Int64 = 0, bytes: Int64 = 0) {
        self.count = count
        self.bytes = bytes
    }
}

extension OperatorView {
    /// How long a store may think about its room: one that hangs must not hide the others.
    private static let patienceSeconds = 3.0

    /// All stores that are configured or hold something, default first. Counts every blob there is.
    /// - Throws: `ServiceError.forbidden`.
    package func storeStates(as caller: Caller) async throws -> [StoreState] {
        try requireOperator(caller)
        let totals = try await blobTotals()
        let lost = Set(totals.keys.map(\.store)).subtracting(stores.all)
        let ids = stores.all + lost.sorted()
        let answers = await withTaskGroup(of: (StoreID, Result<StoreSpace, BlobError>).self) { group in
            // What other servers keep has no room of ours.
            for id in ids where id != stores.remote { group.addTask { (id, await space(of: id)) } }
            return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
        return ids.map { id in
            func total(_ state: String) -> BlobTotal { totals[StoreAndState(store: id, state: state)] ?? BlobTotal() }
            var space: StoreSpace?
            var problem: String?
            switch answers[id] {
            case .success(let answer): space = answer
            case .failure(let error): problem = "\(error)"
            case nil: break
            }
            return StoreState(
                id: id, isDefault: id == stores.default, space: space, problem: problem, live: total("live"),
                recycled: total("recycled"), doomed: total("doomed"), writing: total("writing"))
        }
    }

    private func space(of id: StoreID) async -> Result<StoreSpace, BlobError> {
        guard let store = stores[id] else {
            return .failure(BlobError(code: .unavailable, operation: "measure store", cause: "it is not configured"))
        }
        let clock = clock
        return await withTaskGroup(of: Result<StoreSpace, BlobError>.self) { group in
            group.addTask {
                do {
                    return .success(try await store.space())
                } catch let error as BlobError {
                    return .failure(error)
                } catch {
                    return .failure(
                        BlobError(code: .unavailable, operation: "measure store", cause: "\(error)"))
                }
            }
            group.addTask {
                try? await clock.sleep(seconds: Self.patienceSeconds)
                let cause = "no answer within \(Int(Self.patienceSeconds)) s"
                return .failure(BlobError(code: .unavailable, operation: "measure store", cause: cause))
            }
            defer { group.cancelAll() }
            return await group.next()
                ?? .failure(
                    BlobError(code: .unavailable, operation: "measure store", cause: "it was not asked"))
        }
    }

    private struct StoreAndState: Hashable {
        let store: StoreID
        let state: String
    }

    private func blobTotals() async throws -> [StoreAndState: BlobTotal] {
        let rows = try await database.read { db in
            try db.query(
                """
                SELECT store, state, COUNT(*), COALESCE(SUM(COALESCE(size_bytes, charged_bytes)), 0)
                FROM blobs GROUP BY store, state
                UNION ALL
                SELECT store, state, COUNT(*), COALESCE(SUM(size_bytes), 0) FROM (
                    SELECT l.store, l.size_bytes,
                        CASE WHEN i.recycled_until IS NOT NULL THEN 'recycled' ELSE 'live' END AS state
                    FROM image_locations l JOIN images i ON i.id = l.image_id WHERE l.state <> 'rejected') s
                GROUP BY store, state
                """
            ) {
                (
                    StoreAndState(store: try $0.get(0), state: try $0.get(1)),
                    BlobTotal(count: try $0.get(2), bytes: try $0.get(3))
                )
            }
        }
        return Dictionary(uniqueKeysWithValues: rows)
    }
}
