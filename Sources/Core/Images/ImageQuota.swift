import Persistence

/// Quotas of a project, derived from rows in the transaction that uses them up: two uploads cannot
/// both have the last byte.
enum ImageQuota {
    /// How far ahead an upload of unknown length reserves: far while there is room, and less and less as
    /// it runs out, so that a few do not hold what others could use.
    private static func stepBytes(room: Int64) -> Int64 { min(longStepBytes, max(64 << 10, room / 16)) }
    private static let longStepBytes: Int64 = 64 << 20

    static func requireRoomForImage(of owner: ProjectID?, _ settings: ImageSettings, in db: any SQLConnection) throws {
        try requireOneMore(.countTotal, of: owner, settings, in: db)
    }

    /// - Parameter image: one that is being uploaded already, and asks for itself.
    static func requireRoomForUpload(
        by owner: ProjectID?, besides image: ImageID? = nil, _ settings: ImageSettings, in db: any SQLConnection
    ) throws {
        try requireOneMore(.countUploading, of: owner, besides: image, settings, in: db)
    }

    private static func requireOneMore(
        _ resource: QuotaResource, of owner: ProjectID?, besides image: ImageID? = nil, _ settings: ImageSettings,
        in db: any SQLConnection
    ) throws {
        guard let owner else { return }
        let limit = try settings.limits(of: owner, in: db)[resource]
        guard limit >= 0 else { return }
        let usage = try usage(of: resource, by: owner, besides: image, settings, in: db)
        guard usage < limit else { throw exceeded(resource, limit: limit, usage: usage, delta: 1) }
    }

    /// Whether the project has room for bytes that it has staged, or for none: for what brings no bytes by itself.
    /// - Throws: `ServiceError.tooLarge`.
    static func requireRoom(
        for owner: ProjectID?, adding bytes: Int64 = 0, _ settings: ImageSettings, in db: any SQLConnection
    ) throws {
        guard settings.mayLimitBytes, let owner else { return }
        let limit = try settings.limits(of: owner, in: db)[.sizeTotal]
        guard limit >= 0 else { return }
        let usage = try usage(of: .sizeTotal, by: owner, settings, in: db)
        guard bytes <= limit - usage else { throw exceeded(.sizeTotal, limit: limit, usage: usage, delta: bytes) }
    }

    /// What an upload is to be charged for now: its declared size, or what came plus a step ahead,
    /// never past the quota.
    /// - Parameter resource: what its bytes count as: staged bytes have a limit of their own where Identity keeps the
    ///   limits, and count with the others where the settings do.
    /// - Throws: `ServiceError.tooLarge` when the quota has no room for what is known to come.
    static func reservation(
        _ resource: QuotaResource = .sizeTotal, forDeclared declared: Int64?, receivedBytes: Int64,
        alreadyReserved: Int64, owner: ProjectID?, _ settings: ImageSettings, in db: any SQLConnection
    ) throws -> Int64 {
        guard settings.mayLimitBytes, let owner else { return declared ?? 0 }
        let resource = settings.countsStagedApart ? resource : .sizeTotal
        let limit = try settings.limits(of: owner, in: db)[resource]
        // There may be a limit by the time the upload ends: it stays on the account of what it uses.
        guard limit >= 0 else { return declared ?? receivedBytes + longStepBytes }
        let others = try usage(of: resource, by: owner, settings, in: db) - alreadyReserved
        let room = limit - others
        let needed = declared ?? receivedBytes
        guard needed <= room, room > 0 || needed == 0 && declared != nil else {
            throw exceeded(resource, limit: limit, usage: others, delta: needed)
        }
        return declared ?? min(receivedBytes + stepBytes(room: room - receivedBytes), room)
    }

    /// In bytes or in numbers of images. Stored bytes are those charged: what uploads have reserved is used.
    /// - Parameter image: one that is not counted.
    static func usage(
        of resource: QuotaResource, by owner: ProjectID, besides image: ImageID? = nil, _ settings: ImageSettings,
        in db: any SQLConnection
    ) throws -> Int64 {
        switch resource {
        case .sizeTotal:
            try BlobLedger.chargedBytes(to: owner, in: db)
                - (settings.countsStagedApart ? BlobLedger.stagedBytes(of: owner, in: db) : 0)
        case .stageTotal: try BlobLedger.stagedBytes(of: owner, in: db)
        case .countTotal: try count("deleted_at IS NULL", owner, besides: image, in: db)
        case .countUploading:
            try count(
                "status IN ('saving', 'uploading', 'importing') AND deleted_at IS NULL", owner, besides: image, in: db)
        }
    }

    private static func count(
        _ condition: String, _ owner: ProjectID, besides image: ImageID?, in db: any SQLConnection
    ) throws -> Int64 {
        try db.first(
            "SELECT COUNT(*) FROM images WHERE owner = $1 AND id <> $2 AND \(condition)", owner, image?.rawValue ?? ""
        ) { try $0.get(0) } ?? 0
    }

    /// In the words of oslo.limit, which people search for.
    private static func exceeded(
        _ resource: QuotaResource, limit: Int64, usage: Int64, delta: Int64
    ) -> ServiceError {
        .tooLarge(
            "Request exceeds quota: Resource \(resource.rawValue) is over limit of \(resource.text(limit)) due to "
                + "current usage \(resource.text(usage)) and delta \(resource.text(delta)).")
    }
}
