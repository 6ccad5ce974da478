import Logging
import Persistence

extension Images {
    /// `POST …/actions/deactivate`: data stays, downloads end. Again is fine.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden` (policy; any status but active and deactivated).
    package func deactivate(_ id: ImageID, as caller: Caller) async throws {
        try await move(id, .deactivate, from: .active, to: .deactivated, as: caller)
    }

    /// `POST …/actions/reactivate`. Again is fine.
    /// - Throws: as `deactivate`.
    package func reactivate(_ id: ImageID, as caller: Caller) async throws {
        try await move(id, .reactivate, from: .deactivated, to: .active, as: caller)
    }

    private func move(
        _ id: ImageID, _ action: ImageAction, from: Image.Status, to: Image.Status, as caller: Caller
    ) async throws {
        let now = now
        try await database.write { db in
            let image = try visibleImage(id, action, caller, in: db)
            if image.status == to { return }
            guard image.status == from else {
                throw ServiceError.forbidden(
                    "Not allowed to \(action.rawValue) image in status '\(image.status.rawValue)'")
            }
            try db.execute(
                "UPDATE images SET status = $1, updated_at = $2 WHERE id = $3 AND status = $4",
                to.rawValue, now, id, from.rawValue)
        }
        caller.logger.info("image \(action.rawValue)d", metadata: ["image": "\(id)"])
    }
}
