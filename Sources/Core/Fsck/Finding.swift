/// Something that is not as it has to be, in the database, in a store, or between the two.
///
/// The list is closed: what `fsck` looks for is what stands here. What the cases mean for an operator is in
/// `FindingText.swift`, what is done about them in `FsckRepairs.swift`.
package enum Finding: Sendable, Hashable {
    // The database by itself.
    case databaseDamaged(String)
    /// Its data is promised (`active`, or waiting in the recycle bin), and no row says where it is.
    case imageWithoutBytes(ImageID, status: String)
    case bytesOfMissingImage(BlobID, ImageID, StoreID)
    case sizesDiffer(ImageID, BlobID, imageBytes: Int64?, blobBytes: Int64)
    /// Of bytes that another server keeps.
    case locationSizeDiffers(ImageID, LocationID, imageBytes: Int64?, locationBytes: Int64)
    /// The image is not as it must be for that location to be there.
    case locationUnexpected(ImageID, LocationID, state: String, status: String)
    /// It waits for an upload that does not exist.
    case imageStuck(ImageID, status: String)
    /// It is being written for an image that does not wait for it, so that it can never be committed.
    case uploadUnexpected(BlobID, ImageID, status: String)
    case uploadAbandoned(BlobID, ImageID, by: InstanceID, leaseUntil: Timestamp)
    /// No job does it, so that it would not end.
    case importLost(TaskID, ImageID?)
    /// The image says that it is being imported, and it is not.
    case importLockStray(ImageID, task: String?)
    /// It is staged, and nothing will import it.
    case stagedStray(BlobID, ImageID, status: String)
    case bytesOfDeletedImage(BlobID, ImageID, state: String)
    /// The image is in the recycle bin, and its bytes are not.
    case bytesOutsideBin(BlobID, ImageID)
    /// The bytes are in the recycle bin, and their image is not.
    case bytesInsideBin(BlobID, ImageID)
    case bytesOfUnfinishedImage(BlobID, ImageID, status: String)
    case eraseJobMissing(BlobID)
    case eraseJobStray(subject: String)
    case jobParked(JobName, lastError: String?)
    case storeNotConfigured(StoreID, blobs: Int64, sizeBytes: Int64)
    case chargedToOther(BlobID, ImageID, charged: ProjectID?, owner: ProjectID?)
    case remainsOfDeletedImage(ImageID, rows: Int64)
    /// The record of what came in says something else than the image.
    case recordDiffers(ImageID)

    // Keys: the edges that say what needs which, and what wraps what.
    case keyEdgeMissing(SecretID, ImageID, via: String)
    /// The image needs its key, and is letting go of it.
    case keyEdgeLetGo(SecretID, ImageID, via: String, state: String)
    case keyEdgeOfOther(SecretID, ImageID, via: String, recorded: ProjectID?, owner: ProjectID?)
    case keyEdgeStray(SecretID, ImageID, via: String)
    case keyEdgeOfDeletedImage(SecretID, ImageID, via: String)
    case keyEdgeOfMissingImage(SecretID, ImageID, via: String)
    case releaseJobMissing(ImageID)
    /// It is deleted, its time is long over, and nothing needs it.
    case secretOverdue(SecretID, until: Timestamp)
    case secretWithoutProjectKey(SecretID, ProjectKeyID)
    case projectKeyWithoutMaster(ProjectKeyID, String)

    // The database against the stores.
    case storeOutOfReach(StoreID, cause: String)
    case bytesMissing(KeptBlob, place: String)
    case bytesWrongSize(KeptBlob, place: String, found: Int64)
    case bytesUnreadable(KeptBlob, place: String, cause: String)
    case digestWrong(KeptBlob, place: String, algorithm: String, expected: String, found: String)
    /// Nothing to compare the bytes with.
    case digestUnknown(KeptBlob)

    // The stores against the database.
    /// - Parameter isDoubted: what is there may be another database's, or a newer one's.
    case bytesUnowned(StoreID, BlobID, isCommitted: Bool, sizeBytes: Int64, isDoubted: Bool)
    case bytesInOtherStore(BlobID, found: StoreID, recorded: StoreID)
    /// A committed blob that still has the name it was written under.
    case nameLeftOver(StoreID, BlobID)
    case fileForeign(StoreID, path: String, sizeBytes: Int64)
}

/// The row of a blob that must be in its store, with what its image says of it.
package struct KeptBlob: Sendable, Hashable {
    package let id: BlobID
    package let store: StoreID
    package let image: ImageID
    package let imageStatus: String?
    package let sizeBytes: Int64
    package let checksum: String?
    package let hashAlgorithm: String?
    package let hashValue: String?

    package init(
        id: BlobID, store: StoreID, image: ImageID, imageStatus: String?, sizeBytes: Int64, checksum: String?,
        hashAlgorithm: String?, hashValue: String?
    ) {
        self.id = id
        self.store = store
        self.image = image
        self.imageStatus = imageStatus
        self.sizeBytes = sizeBytes
        self.checksum = checksum
        self.hashAlgorithm = hashAlgorithm
        self.hashValue = hashValue
    }

    /// What a copy of the bytes is recognized by.
    package var digest: String {
        if let hashAlgorithm, let hashValue { return "\(hashAlgorithm) \(hashValue)" }
        return checksum.map { "md5 \($0)" } ?? "unknown"
    }
}

/// What can be done about a finding.
package enum Remedy: Sendable, Hashable {
    /// `--repair` does this.
    case repair(String)
    /// The operator has to do this.
    case advice(String)
}

package enum Severity: String, Sendable {
    /// Data is lost or in danger, or something does not work.
    case error
    /// Space is wasted, or something is untidy.
    case warning
}

/// What became of a finding.
package enum FindingOutcome: Sendable, Hashable {
    case open
    case repaired
    /// When it was to be repaired it was no longer so.
    case settled
    case repairFailed(String)
}
