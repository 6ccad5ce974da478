import Persistence

/// The job that tells a key manager of its own which images need a key, whatever they did since it was asked
/// for: it reads the edges and brings the other side in line. Subject: `KEY IMAGE`.
struct RegisterKeys: Sendable {
    let database: any SQLDatabase
    let clock: any WallClock
    let keys: (any KeyManager)?

    static func name(_ key: SecretID, _ image: ImageID) -> JobName { JobName(.registerKey, "\(key) \(image)") }

    /// A step of the transaction that changed the edges.
    static func enqueue(
        _ changed: Set<SecretID>, of image: Image, now: Timestamp, in db: any SQLConnection
    ) throws {
        for key in changed.sorted() {
            try Jobs.enqueue(name(key, image.id), in: .keys, for: image.owner, now: now, db)
        }
    }

    func run(_ job: Job) async throws -> JobOutcome {
        let parts = job.name.subject.split(separator: " ").map(String.init)
        guard parts.count == 2, let keys, let project = job.project else { return .done { _ in } }
        let (key, image) = (SecretID(parts[0]), ImageID(parts[1]))
        let isNeeded = try await database.read { db in try Self.isNeeded(key, image, in: db) }
        do {
            switch isNeeded {
            case true?: try await keys.register(.image(image), of: key, for: project)
            case false?: try await keys.unregister(.image(image), of: key, for: project)
            // Its deletion is under way, and unregisters it.
            case nil: return .done { _ in }
            }
        } catch let error as KeyManagerError where error.code == .notFound {
            // The image names a key that is not there, or not for its owner: nothing to protect. To keep it all the
            // same would keep others from having theirs deleted, by naming it.
            return .done { db in try Self.letBe(key, image, in: db) }
        } catch let error as KeyManagerError where error.code == .refused {
            throw JobIsHopeless("\(error)")
        }
        let now = clock.now
        return .done { db in
            // It may have changed meanwhile, when asking for this job changed nothing.
            guard try Self.isNeeded(key, image, in: db) != isNeeded else { return }
            try Jobs.enqueue(job.name, in: .keys, for: job.project, now: now, db)
        }
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
