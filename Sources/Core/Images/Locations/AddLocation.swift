import Logging
import Persistence
import Trust

extension Images {
    /// `POST /v2/images/{id}/locations`: the image's data stays where it is. What is promised of it is checked by a job,
    /// and the image is `importing` until then; without a promise it is active at once, and its digest comes later.
    /// - Throws: `ServiceError`: `.notFound`; `.forbidden` (policy, URLs that only services may name, signed images);
    ///   `.conflict` (not `queued`); `.badRequest` (URL, formats, nothing there); `.tooLarge` (cap).
    package func addLocation(_ draft: LocationDraft, to id: ImageID, as caller: Caller) async throws {
        let image = try await database.read { try imageForLocation(id, as: caller, in: $0) }
        let remote = remoteStore
        if !caller.isService, !LocationURL.isHTTP(draft.url) || remote == nil {
            throw ServiceError.forbidden("Only http locations may be added, where there is a store for them.")
        }
        let store = try LocationURL.store(for: draft.url, remote)
        try await requireUnsigned(image)
        let location = try await measured(draft, in: store, logger: caller.logger)
        let isHashed = settings.locations.areHashed
        let now = now
        try await database.write { db in
            let image = try imageForLocation(id, as: caller, in: db)
            try requireFormats(of: image)
            let promise = isHashed ? draft.validation : nil
            try ImageLocations.insert(location, of: id, checking: promise, now: now, in: db)
            var active = image
            active.status = promise == nil ? .active : .importing
            active.sizeBytes = location.sizeBytes
            active.updatedAt = now
            if isHashed {
                if promise == nil { active.hashAlgorithm = settings.hashAlgorithm.rawValue }
                try HashLocation.enqueue(location.id, in: location.store, for: image.owner, now: now, db)
                // The URL stays where it is: it may hold what is nobody else's business.
                try ImageTask(
                    id: TaskID(location.id.rawValue), .locationImport, image: id,
                    input: ["image_id": .string(id.rawValue)], by: caller, now: now
                ).insert(in: db)
            } else if let data = draft.validation {
                active.hashAlgorithm = data.algorithm.rawValue
                active.hashValue = data.digest
            }
            try Self.saveData(of: active, insteadOf: image, in: db)
        }
        reconcilerWake.signal()
        caller.logger.info("location added", metadata: ["image": "\(id)", "store": "\(location.store)"])
    }

    /// `GET /v2/images/{id}/locations`.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden`.
    package func locations(of id: ImageID, as caller: Caller) async throws -> [ShownLocation] {
        try await database.read { db in
            let image = try visibleImage(id, .fetchImageLocation, caller, in: db)
            return try shownLocations(of: image, to: caller, in: db)
        }
    }

    private func imageForLocation(_ id: ImageID, as caller: Caller, in db: any SQLConnection) throws -> Image {
        let image = try visibleImage(id, .addImageLocation, caller, in: db)
        guard image.status == .queued else {
            throw ServiceError.conflict(
                "A location is added to an image that is queued; this one is \(image.status.rawValue).")
        }
        return image
    }

    /// - Throws: `ServiceError.badRequest`.
    func requireFormats(of image: Image) throws {
        guard image.diskFormat != nil, image.containerFormat != nil else {
            throw ServiceError.badRequest(
                "Properties disk_format, container_format must be set prior to saving data.")
        }
    }

    /// Signatures are checked as bytes come in; these do not.
    /// - Throws: `ServiceError`: `.forbidden`, `.badRequest`.
    func requireUnsigned(_ image: Image) async throws {
        guard try await expectedSignatureProperties(of: image) == nil else {
            throw ServiceError.forbidden(
                "The data of a signed image has to be uploaded: its signature is checked on the way in.")
        }
    }

    private func expectedSignatureProperties(of image: Image) async throws -> SignatureProperties? {
        let properties = try SignatureProperties(of: image)
        if properties == nil, settings.signatures.requireSigned.includes(image.owner) {
            throw ServiceError.forbidden("Only signed images are taken, and only by upload.")
        }
        return properties
    }

    /// Asks the other server for the size: a location without bytes is none.
    /// - Throws: `ServiceError`: `.badRequest`, `.tooLarge`.
    func measured(_ draft: LocationDraft, in store: RemoteStore, logger: Logger) async throws -> NewLocation {
        let size: Int64?
        do {
            size = try await store.sizeBytes(of: draft.url)
        } catch let refusal as EgressRefusal {
            throw ServiceError.badRequest(refusal.message)
        } catch let error as RemoteContentError {
            logger.info("a location could not be looked at", metadata: ["error": "\(error)"])
            throw ServiceError.badRequest("The location cannot be read: \(error.message)")
        }
        guard let size, size > 0 else {
            throw ServiceError.badRequest("The location has no bytes, or its server does not say how many.")
        }
        guard size <= settings.sizeCapBytes else {
            throw ServiceError.tooLarge("The maximum image size of \(settings.sizeCapBytes) bytes is exceeded.")
        }
        return NewLocation(
            id: LocationID(surroundings.uuid()), store: store.id, url: draft.url, metadata: draft.metadata,
            sizeBytes: size)
    }

    /// Writes what an image says of its data. The state it comes from is named, so a lost race shows.
    /// - Throws: `ServiceError.conflict`.
    static func saveData(of image: Image, insteadOf before: Image, in db: any SQLConnection) throws {
        let changed = try db.execute(
            """
            UPDATE images SET status = $1, size = $2, checksum = $3, os_hash_algo = $4, os_hash_value = $5,
                updated_at = $6
            WHERE id = $7 AND status = $8 AND deleted_at IS NULL
            """,
            image.status.rawValue, image.sizeBytes, image.checksum, image.hashAlgorithm, image.hashValue,
            image.updatedAt, image.id, before.status.rawValue)
        guard changed == 1 else {
            throw ServiceError.conflict("The image is not \(before.status.rawValue) any more.")
        }
    }
}
