import Persistence
import Trust

/// The properties of an image that name a key, and the edges that follow from them (rules K4 to K7). The
/// functions are steps of the transactions that change the properties, or the image.
enum ImageKeys {
    /// What is done with the key when its image is deleted.
    static let deletes = "on_image_deletion"

    struct KeyProperty: Sendable {
        let name: String
        /// The property that says what becomes of the key; nil when the key always stays.
        let policy: String?
    }

    /// The names are of Cinder, of Glance's encrypted images, of Nova's local disks, and of signed images (Key
    /// Manager digest, sections 5 and 6).
    static let properties = [
        KeyProperty(name: "cinder_encryption_key_id", policy: "cinder_encryption_key_deletion_policy"),
        KeyProperty(name: "os_encrypt_key_id", policy: "os_encrypt_key_deletion_policy"),
        KeyProperty(name: "hw_ephemeral_encryption_secret_uuid", policy: nil),
        KeyProperty(name: SignatureProperty.certificate, policy: nil),
    ]

    /// What a property's value names; nil for what cannot be a key's id, which no key manager would find.
    static func key(_ value: String??) -> SecretID? {
        guard let text = value ?? nil, ImageText.isUUID(text) else { return nil }
        return SecretID(text.lowercased())
    }

    /// Brings an image's edges in line with its properties.
    /// - Returns: the keys whose edges changed.
    /// - Throws: `ServiceError.conflict` for a key that is being destroyed; `SQLError`.
    static func follow(
        _ image: Image, insteadOf before: Image?, as caller: Caller, now: Timestamp, in db: any SQLConnection
    ) throws -> Set<SecretID> {
        let consumer = KeyConsumer.image(image.id)
        var changed: Set<SecretID> = []
        for property in properties {
            let old = key(before?.properties[property.name])
            let new = key(image.properties[property.name])
            if old == new { continue }
            if let old {
                try KeyGraph.drop(old, by: consumer, via: property.name, in: db)
                changed.insert(old)
            }
            if let new {
                try KeyGraph.requireNotDestroying(new, in: db)
                try KeyGraph.hold(
                    new, by: consumer, via: property.name, of: image.owner,
                    holds: try mayHold(new, for: image.owner, caller, in: db), now: now, in: db)
                changed.insert(new)
            }
        }
        if let before, before.owner != image.owner {
            try db.execute(
                "UPDATE key_edges SET project = $1 WHERE service = $2 AND resource_type = $3 AND resource_id = $4",
                image.owner, consumer.service, consumer.resourceType, consumer.resourceID)
        }
        return changed
    }

    /// Nobody may keep others from deleting their key, nor have it deleted, by naming it: an edge holds when the
    /// key is the owner's or who names it may use it. A key that is not kept here is its key manager's business.
    private static func mayHold(
        _ key: SecretID, for owner: ProjectID?, _ caller: Caller, in db: any SQLConnection
    ) throws -> Bool {
        let found = try db.first("SELECT \(SecretRow.columns) FROM secrets s WHERE s.id = $1", key, row: SecretRow.read)
        guard let secret = found else { return true }
        let acl = try db.acl(of: key.rawValue)
        if secret.project == owner, acl.projectAccess { return true }
        let standing = SecretStanding(project: secret.project, creator: secret.creator, acl: acl)
        return SecretPolicy.allows(.decrypt, caller, standing)
    }

    /// The image is deleted for good: its edges wait for its bytes to be erased, and know what becomes of the
    /// keys then. To be called while the properties are still there.
    static func letGo(of image: ImageID, in db: any SQLConnection) throws {
        let edges = try KeyGraph.edges(of: .image(image), in: db).filter {
            $0.state == .held && $0.via != KeyGraph.registered
        }
        if edges.isEmpty { return }
        var values: [String: String?] = [:]
        try db.forEachRow("SELECT name, value FROM image_properties WHERE image_id = $1", [image]) {
            values[try $0.get(0)] = .some(try $0.get(1, as: String?.self))
        }
        for edge in edges {
            let policy = properties.first { $0.name == edge.via }?.policy.flatMap { values[$0] ?? nil }
            try KeyGraph.move(edge, to: .releasing, destroys: policy == deletes, in: db)
        }
    }

    /// Asks for the job that lets go of the keys, once no byte of the image is left (rule K6). To be called
    /// where the last of them may have gone.
    /// - Returns: whether there is such a job now.
    @discardableResult
    static func releaseIfErased(_ image: ImageID, now: Timestamp, in db: any SQLConnection) throws -> Bool {
        let edge = try KeyGraph.edges(of: .image(image), in: db).first { $0.state == .releasing }
        guard let edge else { return false }
        let isThere = try db.first("SELECT 1 FROM blobs WHERE image_id = $1 LIMIT 1", image) { _ in true }
        if isThere ?? false { return false }
        try Jobs.enqueue(JobName(.releaseKeys, image.rawValue), in: .keys, for: edge.project, now: now, db)
        return true
    }
}
