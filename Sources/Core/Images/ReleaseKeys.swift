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
        let edges = try await database.write { db in try Self.decide(image, in: db) }
        var failure: (any Error)?
        var isWaiting = false
        for edge in edges {
            do {
                if edge.state == .destroying, try await isStillToldOfOthers(edge) {
                    isWaiting = true
                } else {
                    try await end(edge)
                }
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                // One key that cannot be let go keeps no other.
                failure = failure ?? error
            }
        }
        switch failure {
        case let error as KeyManagerError where error.code == .refused: throw JobIsHopeless("\(error)")
        case let error?: throw error
        case nil where isWaiting:
            return .notYet("the key manager is still told that others let go of the key", seconds: Self.retrySeconds)
        case nil: return .done { _ in }
        }
    }

    /// Whether a key manager of its own may still count others among those that need the key, which do not any
    /// more: it would keep the key, and nobody would ask again.
    private func isStillToldOfOthers(_ edge: KeyEdge) async throws -> Bool {
        guard let keys, keys.keepsOwnConsumers else { return false }
        return try await database.read { db in
            let isLeaving = try KeyGraph.edges(of: edge.secret, in: db).contains {
                $0.state == .leaving && $0.holds && $0.consumer != edge.consumer
            }
            if isLeaving { return true }
            return try db.first(
                "SELECT 1 FROM jobs WHERE kind = $1 AND state <> 'parked' AND subject LIKE $2 LIMIT 1",
                JobKind.registerKey, "\(edge.secret) %"
            ) { _ in true } ?? false
        }
    }

    /// Which keys go, decided for each together with all others that need it, so that of two images that are
    /// deleted at once the second sees that the first is gone.
    private static func decide(_ image: ImageID, in db: any SQLConnection) throws -> [KeyEdge] {
        let consumer = KeyConsumer.image(image)
        for edge in try KeyGraph.edges(of: consumer, in: db) where edge.state == .releasing {
            let isNeeded = try KeyGraph.isHeld(edge.secret, exceptBy: consumer, in: db)
            let destroys = edge.destroys && edge.holds && !isNeeded
            try KeyGraph.move(edge, to: destroys ? .destroying : .leaving, destroys: destroys, in: db)
        }
        return try KeyGraph.edges(of: consumer, in: db).filter { $0.state == .destroying || $0.state == .leaving }
    }

    private func end(_ edge: KeyEdge) async throws {
        if let keys, let project = edge.project {
            switch edge.state {
            case .destroying:
                let fate = try await keys.destroy(edge.secret, of: edge.consumer, for: project)
                if case .kept = fate, keys.keepsOwnConsumers {
                    // It stays for somebody else, and not for this image.
                    try await keys.unregister(edge.consumer, of: edge.secret, for: project)
                }
                record(fate, of: edge)
            case .leaving where keys.keepsOwnConsumers && edge.holds:
                try await keys.unregister(edge.consumer, of: edge.secret, for: project)
            case .leaving, .held, .releasing: break
            }
        }
        try await database.write { db in
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

extension KeyFate {
    fileprivate var label: String {
        switch self {
        case .destroyed: "destroyed"
        case .notFound: "not_found"
        case .kept: "kept"
        }
    }
}
