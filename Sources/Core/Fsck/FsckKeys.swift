import Persistence

/// The edges of keys against what they follow from: the properties of images, in use and in the recycle bin.
extension FsckRun {
    /// How late an erasure of a key may be. A server erases within seconds, but none may have run for a while.
    private static let erasureGraceSeconds: Int64 = 86_400

    private static let keyPropertyNames = ImageKeys.properties.map { "'\($0.name)'" }.joined(separator: ", ")

    /// An image that is used or can be had back; nobody else's properties count.
    private static let isKept = "(i.status <> 'deleted' OR i.recycled_until IS NOT NULL)"

    /// Edges that follow from images. What clients registered is theirs.
    private static let isOfImage = "e.service = 'image' AND e.resource_type = 'image' AND e.via <> 'consumer'"

    var keyChecks: [Check] { [propertyCheck, edgeCheck, releaseCheck, overdueCheck] + wrappingChecks }

    private var propertyCheck: Check {
        Check(
            sql: """
                SELECT p.image_id, p.name, p.value, e.state, e.project, i.owner
                FROM image_properties p JOIN images i ON i.id = p.image_id LEFT JOIN key_edges e
                    ON \(Self.isOfImage) AND e.resource_id = p.image_id AND e.via = p.name
                    AND e.secret_id = LOWER(p.value)
                WHERE p.name IN (\(Self.keyPropertyNames)) AND \(Self.isKept) ORDER BY p.image_id, p.name
                """
        ) { row in
            guard let key = ImageKeys.key(try row.get(2, as: String?.self)) else { return nil }
            let image = try row.get(0, as: ImageID.self)
            let via = try row.get(1, as: String.self)
            guard let state = try row.get(3, as: String?.self) else { return .keyEdgeMissing(key, image, via: via) }
            guard state == KeyEdge.State.held.rawValue else { return .keyEdgeLetGo(key, image, via: via, state: state) }
            let (project, owner) = (try row.get(4, as: ProjectID?.self), try row.get(5, as: ProjectID?.self))
            return project == owner ? nil : .keyEdgeOfOther(key, image, via: via, recorded: project, owner: owner)
        }
    }

    private var edgeCheck: Check {
        let names = Set(ImageKeys.properties.map(\.name))
        return Check(
            sql: """
                SELECT e.secret_id, e.resource_id, e.via, e.state, i.id, CASE WHEN \(Self.isKept) THEN 1 ELSE 0 END, p.value
                FROM key_edges e LEFT JOIN images i ON i.id = e.resource_id
                    LEFT JOIN image_properties p ON p.image_id = e.resource_id AND p.name = e.via
                WHERE \(Self.isOfImage) ORDER BY e.resource_id, e.via, e.secret_id
                """
        ) { row in
            let key = try row.get(0, as: SecretID.self)
            let image = try row.get(1, as: ImageID.self)
            let via = try row.get(2, as: String.self)
            let isHeld = try (row.get(3, as: String.self)) == KeyEdge.State.held.rawValue
            if try (row.get(4, as: ImageID?.self)) == nil { return .keyEdgeOfMissingImage(key, image, via: via) }
            if try !row.get(5, as: Bool.self) { return isHeld ? .keyEdgeOfDeletedImage(key, image, via: via) : nil }
            let value = try row.get(6, as: String?.self)
            let isNamed = names.contains(via) && ImageKeys.key(value) == key
            return isNamed ? nil : .keyEdgeStray(key, image, via: via)
        }
    }

    static let isWaitingForRelease = """
        e.state <> 'held' AND EXISTS (
            SELECT 1 FROM images i WHERE i.id = e.resource_id AND i.status = 'deleted' AND i.recycled_until IS NULL)
        AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.image_id = e.resource_id)
        AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.kind = 'release-keys' AND j.subject = e.resource_id)
        """

    private var releaseCheck: Check {
        Check(
            sql: """
                SELECT DISTINCT e.resource_id FROM key_edges e WHERE \(Self.isOfImage) AND \(Self.isWaitingForRelease)
                ORDER BY e.resource_id
                """
        ) { .releaseJobMissing(try $0.get(0)) }
    }

    private var overdueCheck: Check {
        Check(
            sql: """
                SELECT s.id, s.quarantined_until FROM secrets s
                WHERE s.quarantined_until < $1 AND NOT \(KeyGraph.isHeldSQL) ORDER BY s.id
                """, arguments: [now.adding(seconds: -Self.erasureGraceSeconds)]
        ) { .secretOverdue(try $0.get(0), until: try $0.get(1)) }
    }

    /// A foreign key holds these, where other hands did not get past it.
    private var wrappingChecks: [Check] {
        [
            Check(
                sql: """
                    SELECT s.id, s.project_key FROM secrets s
                    WHERE s.project_key IS NOT NULL
                        AND NOT EXISTS (SELECT 1 FROM project_keys k WHERE k.id = s.project_key)
                    ORDER BY s.id
                    """
            ) { .secretWithoutProjectKey(try $0.get(0), try $0.get(1)) },
            Check(
                sql: """
                    SELECT k.id, k.master_key FROM project_keys k
                    WHERE NOT EXISTS (SELECT 1 FROM master_keys m WHERE m.id = k.master_key) ORDER BY k.id
                    """
            ) { .projectKeyWithoutMaster(try $0.get(0), try $0.get(1)) },
        ]
    }
}

/// Repairs. None removes an edge that could protect a key, and what is added holds.
extension FsckRun {
    /// The image's owner, if it is kept and names the key; nil otherwise.
    private static func owner(
        of image: ImageID, naming key: SecretID, via: String, in db: any SQLConnection
    ) throws -> ProjectID?? {
        let found = try db.first(
            """
            SELECT i.owner, p.value FROM images i JOIN image_properties p ON p.image_id = i.id
            WHERE i.id = $1 AND p.name = $2 AND \(isKept)
            """, image, via
        ) { (owner: try $0.get(0, as: ProjectID?.self), value: try $0.get(1, as: String?.self)) }
        guard let found, ImageKeys.properties.contains(where: { $0.name == via }), ImageKeys.key(found.value) == key
        else { return nil }
        return .some(found.owner)
    }

    /// Adds the edge of a property, or makes it hold again. Whether who named the key may use it is not known any
    /// more; that a key is kept too long can be mended.
    func holdKey(_ key: SecretID, by image: ImageID, via: String) async throws -> Bool {
        let now = now
        return try await database.write { db in
            guard let owner = try Self.owner(of: image, naming: key, via: via, in: db) else { return false }
            let consumer = KeyConsumer.image(image)
            let edge = try KeyGraph.edges(of: consumer, in: db).first { $0.secret == key && $0.via == via }
            switch edge?.state {
            case .held: return false
            case .releasing, .destroying, .leaving:
                if let edge { try KeyGraph.move(edge, to: .held, destroys: false, in: db) }
            case nil:
                try KeyGraph.hold(key, by: consumer, via: via, of: owner, holds: true, now: now, in: db)
            }
            try Self.tellKeyManager(key, image, owner, now: now, in: db)
            return true
        }
    }

    func removeStrayEdge(_ key: SecretID, of image: ImageID, via: String) async throws -> Bool {
        let now = now
        return try await database.write { db in
            if try Self.owner(of: image, naming: key, via: via, in: db) != nil { return false }
            let found = try db.first("SELECT owner FROM images i WHERE i.id = $1 AND \(Self.isKept)", image) {
                try $0.get(0, as: ProjectID?.self)
            }
            guard let owner = found, try KeyGraph.drop(key, by: .image(image), via: via, in: db) else { return false }
            try Self.tellKeyManager(key, image, owner, now: now, in: db)
            return true
        }
    }

    /// The job reads the edges; with a key manager of our own it has nothing to do.
    private static func tellKeyManager(
        _ key: SecretID, _ image: ImageID, _ owner: ProjectID?, now: Timestamp, in db: any SQLConnection
    ) throws {
        try Jobs.enqueue(RegisterKeys.name(key, image), in: .keys, for: owner, now: now, db)
    }

    func chargeEdge(_ key: SecretID, of image: ImageID, via: String) async throws -> Bool {
        try await database.write { db in
            guard let owner = try Self.owner(of: image, naming: key, via: via, in: db) else { return false }
            return try db.execute(
                """
                UPDATE key_edges SET project = $1
                WHERE secret_id = $2 AND service = 'image' AND resource_type = 'image' AND resource_id = $3 AND via = $4
                    AND COALESCE(project, '') <> COALESCE($1, '')
                """, owner, key, image, via) == 1
        }
    }

    /// The edge of a deleted image goes the way of all of them. Its policy went with the properties, so the key stays.
    func letGoOfKey(_ key: SecretID, by image: ImageID, via: String) async throws -> Bool {
        let now = now
        return try await database.write { db in
            let changed = try db.execute(
                """
                UPDATE key_edges SET state = 'releasing', destroys = 0
                WHERE secret_id = $1 AND service = 'image' AND resource_type = 'image' AND resource_id = $2 AND via = $3
                    AND state = 'held' AND EXISTS (\(Self.tombstone("key_edges.resource_id")))
                """, key, image, via)
            guard changed == 1 else { return false }
            try ImageKeys.releaseIfErased(image, now: now, in: db)
            return true
        }
    }

    func askForRelease(_ image: ImageID) async throws -> Bool {
        let now = now
        return try await database.write { db in
            let found = try db.first(
                """
                SELECT e.project FROM key_edges e
                WHERE e.resource_id = $1 AND \(Self.isOfImage) AND \(Self.isWaitingForRelease)
                ORDER BY e.secret_id, e.via
                """, image
            ) { try $0.get(0, as: ProjectID?.self) }
            guard let project = found else { return false }
            try Jobs.enqueue(JobName(.releaseKeys, image.rawValue), in: .keys, for: project, now: now, db)
            return true
        }
    }
}
