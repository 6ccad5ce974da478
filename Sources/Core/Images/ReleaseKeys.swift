import Logging
import Metrics
import Persistence

/// The job of a deleted image whose bytes are gone: it lets go of the keys the image named, and destroys those
/// that were to go with it and that nothing else needs (rules R4, K5, K6). Subject: the image.
struct ReleaseKeys: Sendable {
    private static let retrySeconds: Int64 = 2

    let database: any SQLDatabase
    let clock: any WallClock
    let keys: (any KeyManager)?
    let logger: Logger

    func run(_ job: Job) async throws -> JobOutcome {
        let image = ImageID(job.name.subject)
        let tells = keys?.keepsOwnConsumers ?? false
        let edges = try await database.write { db in
            try Self.decide(image, in: db)
            return try KeyGraph.edges(of: .image(image), in: db).filter {
                $0.state == .destroying || $0.state == .leaving
            }
        }
        var isEarly = false
        var refusal: KeyManagerError?
        var failure: (any Error)?
        for edge in edges {
            do {
                if edge.state == .destroying, tells, try await isBeingTold(of: edge.secret, exceptBy: edge.consumer) {
                    isEarly = true
                } else {
                    try await end(edge, tells: tells)
                }
            } catch is CancellationError {
                throw CancellationError()
            } catch let error as KeyManagerError where error.code == .refused {
                refusal = refusal ?? error
                try await giveUp(edge)
            } catch {
                // One key that cannot be let go keeps no other.
                failure = failure ?? error
            }
        }
        // What may still succeed comes first: a parked job is not tried again.
        if let failure { throw failure }
        if isEarly { return .notYet("other images are still letting go of the key", seconds: Self.retrySeconds) }
        if let refusal { throw JobIsHopeless("\(refusal)") }
        return .done { _ in }
    }

    /// Which keys go, decided for each together with all others that need it, so that of two images that are
    /// deleted at once the second sees that the first is gone.
    private static func decide(_ image: ImageID, in db: any SQLConnection) throws {
        let consumer = KeyConsumer.image(image)
        for edge in try KeyGraph.edges(of: consumer, in: db) where edge.state == .releasing || edge.wasRefused {
            let isNeeded = try KeyGraph.isHeld(edge.secret, exceptBy: consumer, in: db)
            let destroys = edge.destroys && edge.holds && !isNeeded
            try KeyGraph.move(edge, to: destroys ? .destroying : .leaving, destroys: destroys, in: db)
        }
    }

    /// Whether the key manager has yet to hear that other images do not need the key any more: until then it
    /// would be kept for them. No image can begin to need a key that is being destroyed, so this ends.
    private func isBeingTold(of key: SecretID, exceptBy consumer: KeyConsumer) async throws -> Bool {
        try await database.read { db in
            let isLeft = try KeyGraph.edges(of: key, in: db).contains {
                $0.consumer != consumer && $0.state == .leaving && $0.holds && !$0.wasRefused
            }
            if isLeft { return true }
            let job = try db.first(
                "SELECT 1 FROM jobs WHERE kind = $1 AND subject LIKE $2 AND state <> 'parked' LIMIT 1",
                JobKind.registerKey, RegisterKeys.subjects(of: key)
            ) { _ in true }
            return job ?? false
        }
    }

    /// The key stays until somebody has the job tried again, and is then decided about again. Until then it can be
    /// named: anybody may ask for a key that is not theirs to be destroyed, which shall not keep its owner from
    /// using it.
    private func giveUp(_ edge: KeyEdge) async throws {
        guard edge.state == .destroying else { return }
        try await database.write { db in try KeyGraph.move(edge, to: .leaving, destroys: true, in: db) }
    }

    private func end(_ edge: KeyEdge, tells: Bool) async throws {
        var isGone = false
        if let keys, let project = edge.project, edge.state == .destroying {
            let fate = try await keys.destroy(edge.secret, of: edge.consumer, for: project)
            record(fate, of: edge)
            isGone = fate.isGone
        }
        // A key that stays has to hear that the image is gone. The job that tells it does that in its turn, after a
        // registration that may be under way.
        let isToBeTold = tells && edge.holds && !isGone
        let now = clock.now
        try await database.write { db in
            if isToBeTold {
                try RegisterKeys.enqueue(
                    edge.secret, ImageID(edge.consumer.resourceID), for: edge.project, now: now, in: db)
            }
            _ = try db.execute(
                """
                DELETE FROM key_edges
                WHERE secret_id = $1 AND service = $2 AND resource_type = $3 AND resource_id = $4 AND via = $5
                    AND state IN ('destroying', 'leaving')
                """,
                edge.secret, edge.consumer.service, edge.consumer.resourceType, edge.consumer.resourceID, edge.via)
            // The image may have been registered by a client as well: it is gone, whoever said so.
            try KeyGraph.drop(edge.secret, by: edge.consumer, via: KeyGraph.registered, in: db)
        }
    }

    private func record(_ fate: KeyFate, of edge: KeyEdge) {
        let metadata: Logger.Metadata = ["key": "\(edge.secret)", "image": "\(edge.consumer.resourceID)"]
        switch fate {
        case .destroyed: logger.notice("key deleted with its last image", metadata: metadata)
        case .notFound: logger.warning("the key of a deleted image was gone already", metadata: metadata)
        case .kept(let reason):
            logger.warning(
                "the key of a deleted image stays", metadata: metadata.merging(["reason": "\(reason)"]) { $1 })
        }
        Counter(label: "ambrotype_image_keys_total", dimensions: [("fate", fate.label)]).increment()
    }
}

extension KeyEdge {
    /// Its key was to be destroyed, which its owner may not.
    fileprivate var wasRefused: Bool { state == .leaving && destroys }
}

extension KeyFate {
    fileprivate var isGone: Bool { self == .destroyed || self == .notFound }

    fileprivate var label: String {
        switch self {
        case .destroyed: "destroyed"
        case .notFound: "not_found"
        case .kept: "kept"
        }
    }
}
