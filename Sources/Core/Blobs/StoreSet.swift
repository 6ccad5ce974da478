/// What the operator says of a store.
package struct StoreTraits: Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
        /// Files below a directory.
        case file(directory: String)
        /// Bytes that stay with other servers: the catalogue has their URLs (`ImageLocation`).
        case http
    }
    package var kind: Kind?
    /// Of several copies of an image, the one in the heaviest store is read first.
    package var weight = 0
    package var description: String?
    /// Takes no new data; what is there can be read and erased.
    package var isReadOnly = false

    package init(kind: Kind? = nil, weight: Int = 0, description: String? = nil, isReadOnly: Bool = false) {
        self.kind = kind
        self.weight = weight
        self.description = description
        self.isReadOnly = isReadOnly
    }
}

/// The configured stores.
package struct StoreSet: Sendable {
    package let `default`: StoreID
    /// Those that keep bytes, default first.
    package let ids: [StoreID]
    /// The store of what other servers keep; nil when there is none.
    package let remote: StoreID?
    private let byID: [StoreID: any BlobStore]
    private let traits: [StoreID: StoreTraits]

    /// - Parameters:
    ///   - remote: the store of what other servers keep.
    ///   - traits: of those that have any.
    package init(
        _ stores: [any BlobStore], default: StoreID, remote: StoreID? = nil, traits: [StoreID: StoreTraits] = [:]
    ) {
        let byID = Dictionary(uniqueKeysWithValues: stores.map { ($0.id, $0) })
        self.byID = byID
        precondition(byID[`default`] != nil, "the default store is not configured")
        precondition(traits[`default`]?.isReadOnly != true, "the default store takes no data")
        precondition(remote.map { byID[$0] == nil } ?? true, "two stores of one name")
        self.default = `default`
        ids = [`default`] + stores.map(\.id).filter { $0 != `default` }.sorted()
        self.remote = remote
        self.traits = traits
    }

    /// A store that keeps bytes.
    package subscript(_ id: StoreID) -> (any BlobStore)? { byID[id] }

    /// All there are, default first.
    package var all: [StoreID] { ids + (remote.map { [$0] } ?? []) }

    /// Whether there is a choice: what clients know as multi-store.
    package var areSeveral: Bool { all.count > 1 }

    package func contains(_ id: StoreID) -> Bool { byID[id] != nil || id == remote }

    package func traits(of id: StoreID) -> StoreTraits {
        traits[id] ?? StoreTraits(kind: id == remote ? .http : nil)
    }

    package func isReadOnly(_ id: StoreID) -> Bool { id == remote || traits(of: id).isReadOnly }

    /// Those that take new data, default first.
    package var writable: [StoreID] { ids.filter { !isReadOnly($0) } }

    /// The store for new data: the one that was asked for, or the default.
    /// - Throws: `ServiceError`: `.badRequest` (there is no such store), `.gone` (it takes no data).
    func forUpload(_ wanted: StoreID?) throws -> any BlobStore {
        let id = wanted ?? `default`
        guard contains(id) else { throw ServiceError.badRequest("There is no store '\(id)' to upload to.") }
        guard !isReadOnly(id), let store = byID[id] else {
            throw ServiceError.gone("The store '\(id)' takes no data.")
        }
        return store
    }
}
