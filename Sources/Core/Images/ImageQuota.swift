import Persistence

/// Quotas of a project, derived from rows in the transaction that uses them up: two uploads cannot
/// both have the last byte.
enum ImageQuota {
    /// How far ahead an upload of unknown length reserves: far while there is room, and less and less as
    /// it runs out, so that a few do not hold what others could use.
    private static func stepBytes(room: Int64) -> Int64 { min(64 << 20, max(64 << 10, room / 16)) }

    static func requireRoomForImage(of owner: ProjectID?, _ settings: ImageSettings, in db: any SQLConnection) throws {
        guard settings.imageCountQuota >= 0, let owner else { return }
        let count = try count("owner = $1 AND deleted_at IS NULL", owner, in: db)
        guard count < settings.imageCountQuota else {
            throw exceeded("image_count_total", limit: settings.imageCountQuota, usage: count, wanted: 1)
        }
    }

    static func requireRoomForUpload(by owner: ProjectID?, _ settings: ImageSettings, in db: any SQLConnection) throws {
        guard settings.uploadingCountQuota >= 0, let owner else { return }
        let count = try count(
            "owner = $1 AND status IN ('saving', 'uploading', 'importing') AND deleted_at IS NULL", owner, in: db)
        guard count < settings.uploadingCountQuota else {
            throw exceeded("image_count_uploading", limit: settings.uploadingCountQuota, usage: count, wanted: 1)
        }
    }

    /// What an upload is to be charged for now: its declared size, or what came plus a step ahead,
    /// never past the quota.
    /// - Throws: `ServiceError.tooLarge` when the quota has no room for what is known to come.
    static func reservation(
        forDeclared declared: Int64?, receivedBytes: Int64, alreadyReserved: Int64, owner: ProjectID?,
        _ settings: ImageSettings, in db: any SQLConnection
    ) throws -> Int64 {
        guard settings.imageBytesQuota >= 0, let owner else { return declared ?? 0 }
        let others = try BlobLedger.chargedBytes(to: owner, in: db) - alreadyReserved
        let room = settings.imageBytesQuota - others
        let needed = declared ?? receivedBytes
        guard needed <= room, room > 0 || needed == 0 && declared != nil else {
            throw exceeded("image_size_total", limit: settings.imageBytesQuota, usage: others, wanted: needed)
        }
        return declared ?? min(receivedBytes + stepBytes(room: room - receivedBytes), room)
    }

    private static func count(_ condition: String, _ owner: ProjectID, in db: any SQLConnection) throws -> Int64 {
        try db.first("SELECT COUNT(*) FROM images WHERE \(condition)", owner) { try $0.get(0) } ?? 0
    }

    private static func exceeded(_ resource: String, limit: Int64, usage: Int64, wanted: Int64) -> ServiceError {
        .tooLarge(
            "Request exceeds quota: \(resource) is limited to \(limit), usage is \(usage), \(wanted) more are needed.")
    }
}
