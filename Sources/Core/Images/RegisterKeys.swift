import Persistence

/// The job that tells a key manager of its own which images need a key, whatever they did since it was asked
/// for: it reads the edges and brings the other side in line. Subject: `KEY IMAGE`.
struct RegisterKeys: Sendable {
    let database: any SQLDatabase
    let clock: any WallClock
    let keys: (any KeyManager)?

    static func name(_ key: SecretID, _ image: ImageID) -> JobName { JobName(.registerKey, "\(key) \(image)") }
    /// What the subjects of a key's jobs are LIKE.
    static func subjects(of key: SecretID) -> String { "\(key) %" }

    /// A step of the transaction that changed the edges.
    static func enqueue(
        _ changed: Set<SecretID>, of image: Image, now: Timestamp, in db: any SQLConnection
    ) throws {
        for key in changed.sorted() { try enqueue(key, image.id, for: image.owner, now: now, in: db) }
    }

    static func enqueue(
        _ key: SecretID, _ image: ImageID, for owner: ProjectID?, now: Timestamp, in db: any SQLConnection
    ) throws {
        try Jobs.enqueue(name(key, image), in: .keys, for: owner, now: now, db)
    }

    func run(_ job: Job) async throws -> JobOutcome {
        let parts = job.name.subject.split(separator: " ").map(String.init)
        guard parts.count == 2, let keys, let project = job.project else { return .done { _ in } }
        let (key, image) = (SecretID(parts[0]), ImageID(parts[1]))
        let isNeeded = try await database.read { db in try Self.isNeeded(key, image, in: db) }
        var failure: (any Error)?
        do {
            switch isNeeded {
            case true?: try await keys.register(.image(image), of: key, for: project)
            case false?: try await keys.unregister(.image(image), of: key, for: project)
            // Its deletion is under way, and asks for this job again if the key stays.
            case nil: break
            }
        } catch {
            failure = error
        }
        try await lookAgainIfLate(job)
        switch failure {
        case nil: break
        case let error as KeyManagerError where error.code == .notFound:
            // The image names a key that is not there, or not for its owner: nothing to protect. To keep it all the
            // same would keep others from having theirs deleted, by naming it.
            let now = clock.now
            return .done { db in
                let isStillNeeded = try Self.isNeeded(key, image, in: db)
                try Self.letBe(key, image, in: db)
                guard isStillNeeded != isNeeded else { return }
                try Jobs.enqueue(job.name, in: .keys, for: job.project, now: now, db)
            }
        case let error as KeyManagerError where error.code == .refused: throw JobIsHopeless("\(error)")
        case let error?: throw error
        }
        let now = clock.now
        return .done { db in
            // It may have changed meanwhile, when asking for this job changed nothing.
            guard try Self.isNeeded(key, image, in: db) != isNeeded else { return }
            try Jobs.enqueue(job.name, in: .keys, for: job.project, now: now, db)
        }
    }

    /// A process that hung may have told the key manager what was no longer so: another had taken the job, and was
    /// done with it. Then it is done once more.
    private func lookAgainIfLate(_ job: Job) async throws {
        if try await database.read({ db in try Jobs.isHeld(job, in: db) }) { return }
        let now = clock.now
        try await database.write { db in try Jobs.redo(job, in: .keys, now: now, in: db) }
    }

    private static func letBe(_ key: SecretID, _ image: ImageID, in db: any SQLConnection) throws {
        let consumer = KeyConsumer.image(image)
        try db.execute(
            """
            UPDATE key_edges SET holds = 0
            WHERE secret_id = $1 AND service = $2 AND resource_type = $3 AND resource_id = $4 AND state = 'held'
                AND via <> 'consumer'
            """, key, consumer.service, consumer.resourceType, consumer.resourceID)
    }

    /// Nil while the image lets go of the key.
    private static func isNeeded(_ key: SecretID, _ image: ImageID, in db: any SQLConnection) throws -> Bool? {
        let edges = try KeyGraph.edges(of: .image(image), in: db).filter { $0.secret == key && $0.holds }
        if edges.contains(where: { $0.state != .held }) { return nil }
        return !edges.isEmpty
    }
}

/// Edges that were made while nobody was to be told of them.
extension RegisterKeys {
    static let batch = 500

    /// Asks for the registration of every key that an image needs, registered already or not.
    /// - Returns: how many images' keys there are.
    func enqueueHeld() async throws -> Int {
        var count = 0
        var after = (key: SecretID(""), image: ImageID(""))
        while true {
            let now = clock.now
            let from = after
            let page = try await database.read { db in try Self.held(after: from.key, from.image, in: db) }
            guard let last = page.last else { return count }
            count += page.count
            after = (last.key, last.image)
            try await database.write { db in
                for edge in page {
                    // What has changed since, the job sees.
                    try Self.enqueue(edge.key, edge.image, for: edge.owner, now: now, in: db)
                }
            }
        }
    }

    package static let heldSQL = """
        SELECT secret_id, resource_id, MIN(project) FROM key_edges
        WHERE service = 'image' AND resource_type = 'image' AND state = 'held' AND holds = 1 AND project IS NOT NULL
            AND (secret_id > $1 OR (secret_id = $1 AND resource_id > $2))
        GROUP BY secret_id, resource_id ORDER BY secret_id, resource_id LIMIT $3
        """

    private struct Held: Sendable {
        let key: SecretID
        let image: ImageID
        let owner: ProjectID
    }

    private static func held(after key: SecretID, _ image: ImageID, in db: any SQLConnection) throws -> [Held] {
        try db.query(heldSQL, key, image, batch) {
            Held(key: try $0.get(0), image: try $0.get(1), owner: try $0.get(2))
        }
    }
}

extension Images {
    /// To be called at the start: tells a key manager that keeps consumers of its own of every key that an image
    /// needs, whoever kept the keys when the image named it. What it knows already it is told again.
    /// - Returns: how many there are.
    /// - Throws: `SQLError`.
    @discardableResult
    package func registerKeys() async throws -> Int {
        guard let keys, keys.keepsOwnConsumers else { return 0 }
        return try await RegisterKeys(database: database, clock: surroundings.clock, keys: keys).enqueueHeld()
    }
}
