import Logging
import Persistence

extension Images {
    /// `POST /v2/images`.
    /// - Throws: `ServiceError`: `.forbidden` (another owner, `public`, a protected property), `.conflict` (the id was used
    ///   before, even by a deleted image), `.tooLarge` (quotas).
    package func create(_ draft: ImageDraft, as caller: Caller) async throws -> Image {
        let (image, properties) = try newImage(draft, as: caller)
        do {
            let asksForWork = try await database.write { db in
                try insert(image, as: caller, in: db)
            }
            if asksForWork { reconcilerWake.signal() }
        } catch let error as SQLError where error.code == .unique {
            throw ServiceError.conflict("Image ID \(image.id) already exists!")
        }
        caller.logger.info("image created", metadata: ["image": "\(image.id)"])
        return properties.readable(image)
    }

    /// The image that a draft asks for, and what its creator may do with its properties.
    /// - Throws: `ServiceError`: `.forbidden`, `.tooLarge`.
    func newImage(_ draft: ImageDraft, as caller: Caller) throws -> (Image, PropertyAccess) {
        let owner = draft.owner ?? caller.projectID
        if !caller.isAdmin, owner != caller.projectID {
            throw ServiceError.forbidden(
                "You are not permitted to create images owned by '\(owner.map(\.rawValue) ?? "")'.")
        }
        let target = ImageTarget(draft, owner: owner)
        try settings.policy.require(.addImage, caller, target)
        if draft.visibility == .public { try settings.policy.require(.publicizeImage, caller, target) }
        if draft.visibility == .community { try settings.policy.require(.communitizeImage, caller, target) }
        try requireTagRoom(draft.tags.count)
        try settings.requirePropertyRoom(draft.properties)
        let now = now
        let image = Image(
            id: draft.id ?? ImageID(surroundings.uuid()), name: draft.name, status: .queued,
            visibility: draft.visibility, isHidden: draft.isHidden, isProtected: draft.isProtected, owner: owner,
            containerFormat: draft.containerFormat, diskFormat: draft.diskFormat, minDiskGB: draft.minDiskGB,
            minRAMMB: draft.minRAMMB, createdAt: now, updatedAt: now, properties: draft.properties, tags: draft.tags)
        let properties = settings.policy.properties(
            of: image, ImageStanding(image, isMember: false, of: caller), for: caller)
        for name in draft.properties.keys.sorted() { try properties.require(.create, name) }
        return (image, properties)
    }

    /// A step of the transaction that makes an image.
    /// - Returns: whether there are jobs to be done.
    /// - Throws: `ServiceError.tooLarge`; `SQLError` with the code `.unique` when the id was used before.
    func insert(_ image: Image, as caller: Caller, in db: any SQLConnection) throws -> Bool {
        try ImageQuota.requireRoomForImage(of: image.owner, settings, in: db)
        try Self.insertRows(of: image, in: db)
        return try followKeys(image, insteadOf: nil, as: caller, now: image.createdAt, in: db)
    }

    private static func insertRows(of image: Image, in db: any SQLConnection) throws {
        try db.execute(
            """
            INSERT INTO images (id, name, status, visibility, os_hidden, protected, owner, container_format,
                disk_format, min_disk, min_ram, created_at, updated_at)
            VALUES ($1, $2, 'queued', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
            """,
            image.id, image.name, image.visibility.rawValue, image.isHidden, image.isProtected, image.owner,
            image.containerFormat, image.diskFormat, image.minDiskGB, image.minRAMMB, image.createdAt, image.updatedAt)
        for (name, value) in image.properties.sorted(by: { $0.key < $1.key }) {
            try insertProperty(name, value, of: image.id, in: db)
        }
        for tag in image.tags.sorted() { try insertTag(tag, of: image.id, in: db) }
    }

    /// The edges of the keys that the image names, in the transaction that names them (rule K4).
    /// - Returns: whether there are jobs to be done.
    func followKeys(
        _ image: Image, insteadOf before: Image?, as caller: Caller, now: Timestamp, in db: any SQLConnection
    ) throws -> Bool {
        let changed = try ImageKeys.follow(image, insteadOf: before, as: caller, now: now, in: db)
        guard let keys, keys.keepsOwnConsumers, !changed.isEmpty else { return false }
        try RegisterKeys.enqueue(changed, of: image, now: now, in: db)
        return true
    }

    static func insertProperty(
        _ name: String, _ value: String?, of image: ImageID, in db: any SQLConnection
    ) throws {
        try db.execute("INSERT INTO image_properties (image_id, name, value) VALUES ($1, $2, $3)", image, name, value)
    }

    static func insertTag(_ tag: String, of image: ImageID, in db: any SQLConnection) throws {
        try db.execute("INSERT INTO image_tags (image_id, tag) VALUES ($1, $2)", image, tag)
    }

    func requireTagRoom(_ count: Int) throws {
        guard settings.tagQuota < 0 || count <= settings.tagQuota else {
            throw ServiceError.tooLarge(
                "The limit on tags of an image is \(settings.tagQuota), \(count) were asked for.")
        }
    }
}

extension ImageSettings {
    /// An image's properties are read with it and listed with it, a thousand images a page.
    private static let propertyBytesLimit = 256 << 10

    /// The server's own properties (`os_glance…`) do not count.
    func requirePropertyRoom(_ properties: [String: String?]) throws {
        let count = properties.keys.count { !ImageFields.isReserved($0) }
        guard propertyQuota < 0 || count <= propertyQuota else {
            throw ServiceError.tooLarge(
                "The limit on properties of an image is \(propertyQuota), \(count) were asked for.")
        }
        let bytes = properties.reduce(0) { $0 + $1.key.utf8.count + ($1.value?.utf8.count ?? 0) }
        guard bytes <= Self.propertyBytesLimit else {
            throw ServiceError.tooLarge(
                "The properties of an image may have \(Self.propertyBytesLimit) bytes together.")
        }
    }
}
