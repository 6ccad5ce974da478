import NIOCore
import Persistence
import Trust

/// Takes bytes into a blob that is announced: under its lease, within the size cap and the quota, through the digests
/// and past the format's inspector. What uploads, stages and imports have in common.
struct BlobIntake: Sendable {
    let database: any SQLDatabase
    let surroundings: Surroundings
    let settings: ImageSettings
    let instance: InstanceID
    let budget: UploadBudget
    let held: HeldBlobs

    var now: Timestamp { surroundings.clock.now }

    /// For a new blob. Whoever asks holds it (`HeldBlobs`) until it has done with the store.
    func lease(in store: StoreID, of image: ImageID) -> BlobLease {
        BlobLease(blob: BlobID(surroundings.uuid()), store: store, image: image, epoch: 1)
    }

    /// A step of the transaction that announces the bytes.
    /// - Parameter forgivenBytes: what the owner is charged already and will not be any more when these bytes count.
    /// - Returns: what the quota is charged.
    /// - Throws: `ServiceError.tooLarge`.
    func announce(
        _ lease: BlobLease, _ role: BlobRole, declaredSizeBytes declared: Int64?, owner: ProjectID?,
        forgivenBytes: Int64 = 0, in db: any SQLConnection
    ) throws -> BlobClaim {
        let now = now
        if let declared, declared > settings.sizeCapBytes { throw sizeCapExceeded }
        let resource: QuotaResource = role == .staged ? .stageTotal : .sizeTotal
        let reserved = try ImageQuota.reservation(
            resource, forDeclared: declared, receivedBytes: 0, alreadyReserved: forgivenBytes, owner: owner, settings,
            in: db)
        try BlobLedger.announce(
            lease, role, chargedTo: owner, reservedBytes: reserved, owner: instance, until: leaseEnd(now), now: now,
            in: db)
        return BlobClaim(
            lease: lease, resource: resource, declaredSizeBytes: declared, reservedBytes: reserved,
            forgivenBytes: forgivenBytes)
    }

    private func leaseEnd(_ now: Timestamp) -> Timestamp { now.adding(seconds: settings.leaseSeconds) }

    var sizeCapExceeded: ServiceError {
        .tooLarge("The maximum image size of \(settings.sizeCapBytes) bytes is exceeded.")
    }

    /// Streams a body into the blob while its lease is renewed.
    /// - Parameter finish: told what came, when all is handed to the writer and nothing of it lasts yet; judges it,
    ///   commits the writer, and then the row. What it throws takes the bytes back.
    /// - Throws: `BlobLeaseTaken` when somebody else took the lease; what `body`, the store and `finish` throw.
    func stream<Body: AsyncSequence & Sendable>(
        _ body: Body, into store: any BlobStore, _ claim: BlobClaim, _ algorithms: Set<DigestAlgorithm>,
        _ format: FormatWatch?, finish: @escaping @Sendable (UploadedBytes, any BlobWriter) async throws -> Void
    ) async throws where Body.Element == ByteBuffer {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await keep(claim.lease) }
            group.addTask {
                let writer = try await store.begin(claim.lease.blob, expectedBytes: claim.declaredSizeBytes)
                do {
                    let pipeline = UploadPipeline(
                        work: surroundings.work, budget: budget, algorithms: algorithms, format: format)
                    let admission = Admission(intake: self, claim: claim)
                    let bytes = try await pipeline.run(body, to: writer) { try await admission.admit($0) }
                    if let declared = claim.declaredSizeBytes, declared != bytes.sizeBytes {
                        throw ServiceError.badRequest(
                            "The declared size of \(declared) bytes does not match the \(bytes.sizeBytes) bytes sent.")
                    }
                    try await finish(bytes, writer)
                } catch {
                    await writer.abandon()
                    throw error
                }
            }
            // The keeper never ends by itself: the first to end is the stream, or the loss of its lease.
            try await group.next()
            group.cancelAll()
        }
    }

    /// Renews the lease three times in its length, until cancelled.
    /// - Throws: `BlobLeaseTaken` when somebody else took it.
    private func keep(_ lease: BlobLease) async throws {
        while true {
            try await surroundings.clock.sleep(seconds: Double(settings.leaseSeconds) / 3)
            let until = leaseEnd(now)
            let isOurs = try await database.write {
                try BlobLedger.renew(lease, reservedBytes: nil, until: until, in: $0)
            }
            guard isOurs else { throw BlobLeaseTaken() }
        }
    }

    /// Lets bytes in as far as the cap and the quota go, reserving ahead when the size is unknown.
    private actor Admission {
        private let intake: BlobIntake
        private let claim: BlobClaim
        private var reservedBytes: Int64

        init(intake: BlobIntake, claim: BlobClaim) {
            self.intake = intake
            self.claim = claim
            reservedBytes = claim.reservedBytes
        }

        func admit(_ receivedBytes: Int64) async throws {
            let settings = intake.settings
            guard receivedBytes <= settings.sizeCapBytes else { throw intake.sizeCapExceeded }
            if let declared = claim.declaredSizeBytes {
                guard receivedBytes <= declared else {
                    throw ServiceError.badRequest("More than the declared \(declared) bytes were sent.")
                }
                return
            }
            guard settings.mayLimitBytes, receivedBytes > reservedBytes else { return }
            let lease = claim.lease
            let until = intake.leaseEnd(intake.now)
            let resource = claim.resource
            let current = reservedBytes + claim.forgivenBytes
            reservedBytes = try await intake.database.write { db in
                // The image may have got another owner since.
                let owner = try db.first("SELECT project FROM blobs WHERE id = $1", lease.blob) {
                    try $0.get(0, as: ProjectID?.self)
                }
                let wanted = try ImageQuota.reservation(
                    resource, forDeclared: nil, receivedBytes: receivedBytes, alreadyReserved: current,
                    owner: owner ?? nil,
                    settings, in: db)
                guard try BlobLedger.renew(lease, reservedBytes: wanted, until: until, in: db) else {
                    throw BlobLeaseTaken()
                }
                return wanted
            }
        }
    }
}

/// A blob that is announced and waits for its bytes.
struct BlobClaim: Sendable {
    let lease: BlobLease
    let resource: QuotaResource
    let declaredSizeBytes: Int64?
    /// What the quota was charged when the claim was made.
    let reservedBytes: Int64
    /// What the owner is charged besides and will not be any more when these bytes count.
    let forgivenBytes: Int64
}

/// Somebody took the lease of a blob that is being written.
struct BlobLeaseTaken: Error {}
