import Logging
import Persistence
import Trust

/// Changes of `/locations` by `PATCH`, as far as they need no database: what was asked for, and what the other servers
/// say of it. Gathered before the transaction, which must not wait for anybody.
struct LocationChanges: Sendable {
    /// By the position of the operation in the patch.
    fileprivate var added: [Int: NewLocation] = [:]
    fileprivate var validation: [Int: ValidationData] = [:]
    /// Of `replace`, all that were named.
    fileprivate var replacements: [Int: [LocationDraft]] = [:]
    fileprivate var measuredReplacements: [Int: [NewLocation]] = [:]

    static func concerns(_ operation: ImagePatch) -> Bool { operation.path.first == "locations" }
}

extension Images {
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden` (policy; locations are hidden; all of them taken away),
    ///   `.badRequest`, `.conflict` (status), `.tooLarge`.
    func gatherLocationChanges(
        _ operations: [ImagePatch], of id: ImageID, as caller: Caller
    ) async throws -> LocationChanges {
        var changes = LocationChanges()
        guard operations.contains(where: LocationChanges.concerns) else { return changes }
        let (image, live) = try await database.read { db in
            (try visibleImage(id, .modifyImage, caller, in: db), try ImageLocations.live(of: id, stores, in: db))
        }
        for (index, operation) in operations.enumerated() where LocationChanges.concerns(operation) {
            try requireLocationRights(operation, image, isMember: false, caller)
            switch operation.verb {
            case .add:
                try await requireUnsigned(image)
                let draft = try LocationDraft(patch: operation.value, settings.hashAlgorithm)
                let store = try LocationURL.store(for: draft.url, remoteStore)
                changes.validation[index] = draft.validation
                changes.added[index] = try await measured(draft, in: store, logger: caller.logger)
            case .replace:
                guard let values = operation.value.arrayValue else {
                    throw ServiceError.badRequest(
                        "The locations of an image are an array, not \(operation.value.kind).")
                }
                guard !values.isEmpty else {
                    throw ServiceError.forbidden("The locations of an image cannot be emptied.")
                }
                let drafts = try values.map { try LocationDraft(patch: $0, settings.hashAlgorithm) }
                changes.replacements[index] = drafts
                if live.isEmpty {
                    try await requireUnsigned(image)
                    var measured: [NewLocation] = []
                    for draft in drafts.prefix(max(0, locationRoom(0))) {
                        let store = try LocationURL.store(for: draft.url, remoteStore)
                        measured.append(try await self.measured(draft, in: store, logger: caller.logger))
                    }
                    changes.measuredReplacements[index] = measured
                }
            case .remove: break
            }
        }
        return changes
    }

    /// Applies one operation within the transaction of the patch.
    /// - Parameter image: what it is by now; it is saved when all operations are done.
    func applyToLocations(
        _ operation: ImagePatch, at index: Int, _ changes: LocationChanges, _ image: inout Image, as caller: Caller,
        now: Timestamp, in db: any SQLConnection
    ) throws {
        try requireLocationRights(operation, image, isMember: try isMember(caller, of: image, in: db), caller)
        let live = try ImageLocations.live(of: image.id, stores, in: db)
        switch operation.verb {
        case .add:
            guard let location = changes.added[index] else { throw Self.changedMeanwhile }
            if operation.path[1] != "-" { try requirePosition(operation.path[1], in: 0...live.count) }
            try add(location, changes.validation[index], to: &image, live, now: now, in: db)
        case .replace:
            guard let drafts = changes.replacements[index] else { throw Self.changedMeanwhile }
            if live.isEmpty {
                guard let measured = changes.measuredReplacements[index] else { throw Self.changedMeanwhile }
                guard measured.count == drafts.count else { throw Self.tooManyLocations(settings.locations.quota) }
                for (location, draft) in zip(measured, drafts) {
                    let there = try ImageLocations.live(of: image.id, stores, in: db)
                    try add(location, draft.validation, to: &image, there, now: now, in: db)
                }
            } else {
                try replaceMetadata(drafts, of: image, live, in: db)
            }
        case .remove:
            guard image.status == .active else {
                throw ServiceError.conflict(
                    "A location is removed from an image that is active; this one is \(image.status.rawValue).")
            }
            let position = try requirePosition(operation.path[1], in: 0...(max(live.count, 1) - 1))
            guard live.count > 1 else {
                throw ServiceError.forbidden("The last location of an image cannot be removed.")
            }
            try Self.drop(live[position], of: image.id, now: now, in: db)
        }
    }

    /// Whether the operation makes sense, and is the caller's to do.
    private func requireLocationRights(
        _ operation: ImagePatch, _ image: Image, isMember: Bool, _ caller: Caller
    ) throws {
        guard settings.locations.areShown else {
            throw ServiceError.forbidden(
                "It's not allowed to add, replace or remove locations if locations are invisible.")
        }
        guard operation.path.count == (operation.verb == .replace ? 1 : 2) else {
            throw ServiceError.badRequest(
                "Locations are added at /locations/- or /locations/N, removed at /locations/N, and replaced at "
                    + "/locations.")
        }
        let action: ImageAction = operation.verb == .remove ? .deleteImageLocation : .setImageLocation
        try settings.policy.require(action, caller, image, isMember: isMember)
        guard image.status == .queued || image.status == .active else {
            throw ServiceError.conflict(
                "Locations are changed of an image that is queued or active; this one is \(image.status.rawValue).")
        }
    }

    private func add(
        _ location: NewLocation, _ validation: ValidationData?, to image: inout Image, _ live: [ImageLocation],
        now: Timestamp, in db: any SQLConnection
    ) throws {
        guard locationRoom(live.count) > 0 else { throw Self.tooManyLocations(settings.locations.quota) }
        guard !live.contains(where: { url(of: $0) == location.url }) else {
            throw ServiceError.badRequest("The image has that location already.")
        }
        if image.status == .queued {
            try requireFormats(of: image)
            image.status = .active
            image.sizeBytes = location.sizeBytes
        } else {
            // Downloads would refuse it: what it holds is something else.
            guard location.sizeBytes == image.sizeBytes else {
                throw ServiceError.badRequest("The location has another size than the image.")
            }
        }
        try Self.validate(validation, &image, mayBeNew: live.isEmpty)
        try ImageLocations.insert(
            location.storing(metadata: try stored(location.metadata, in: location.store)), of: image.id, now: now,
            in: db)
    }

    /// What the client says the data has, against what the image says; what is new is only for an image without data.
    private static func validate(_ data: ValidationData?, _ image: inout Image, mayBeNew: Bool) throws {
        guard let data else { return }
        func settle(_ name: String, _ current: String?, _ given: String) throws -> String {
            if let current {
                guard current.lowercased() == given else {
                    throw ServiceError.conflict("\(name) is already set, to another value.")
                }
                return current
            }
            guard mayBeNew else {
                throw ServiceError.conflict("A new value for \(name) may only be given when the image is queued.")
            }
            return given
        }
        let algorithm = try settle("os_hash_algo", image.hashAlgorithm, data.algorithm.rawValue)
        let digest = try settle("os_hash_value", image.hashValue, data.digest)
        let checksum = try data.checksum.map { try settle("checksum", image.checksum, $0) }
        image.hashAlgorithm = algorithm
        image.hashValue = digest
        image.checksum = checksum ?? image.checksum
    }

    /// All locations named, none other, in whatever order: only their metadata differ.
    private func replaceMetadata(
        _ drafts: [LocationDraft], of image: Image, _ live: [ImageLocation], in db: any SQLConnection
    ) throws {
        let byURL = Dictionary(live.map { (url(of: $0), $0) }, uniquingKeysWith: { first, _ in first })
        guard drafts.count == live.count, Set(drafts.map(\.url)) == Set(byURL.keys) else {
            throw ServiceError.badRequest(
                "The locations of an image that has data cannot be exchanged; only their metadata can be changed.")
        }
        var same = image
        for draft in drafts {
            guard let location = byURL[draft.url] else { continue }
            try Self.validate(draft.validation, &same, mayBeNew: false)
            try ImageLocations.setMetadata(
                try stored(draft.metadata, in: location.store), of: location.key, image.id, in: db)
        }
    }

    /// The name of the store stands in the metadata that clients see; it is no metadata of theirs.
    private func stored(_ metadata: [String: String], in store: StoreID) throws -> [String: String] {
        var metadata = metadata
        if stores.areSeveral, let named = metadata.removeValue(forKey: "store"), named != store.rawValue {
            throw ServiceError.badRequest("The location is in store '\(store)'.")
        }
        return metadata
    }

    @discardableResult
    private func requirePosition(_ text: String, in positions: ClosedRange<Int>) throws -> Int {
        guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }), let position = Int(text),
            positions.contains(position)
        else { throw ServiceError.badRequest("Invalid position '\(text)' of a location.") }
        return position
    }

    /// How many more there may be.
    private func locationRoom(_ count: Int) -> Int {
        settings.locations.quota < 0 ? .max : settings.locations.quota - count
    }

    private static func tooManyLocations(_ quota: Int) -> ServiceError {
        .tooLarge("The limit on locations of an image is \(quota).")
    }

    private static var changedMeanwhile: ServiceError {
        .conflict("The image was changed meanwhile; try again.")
    }
}

extension NewLocation {
    fileprivate func storing(metadata: [String: String]) -> NewLocation {
        NewLocation(id: id, store: store, url: url, metadata: metadata, sizeBytes: sizeBytes)
    }
}
