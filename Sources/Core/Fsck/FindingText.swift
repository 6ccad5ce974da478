/// What findings mean to an operator.
extension Finding {
    /// Its name in scripts; never changed.
    package var kind: String {
        switch self {
        case .databaseDamaged: "database-damaged"
        case .imageWithoutBytes: "image-without-bytes"
        case .bytesOfMissingImage: "bytes-of-missing-image"
        case .sizesDiffer: "sizes-differ"
        case .locationSizeDiffers: "location-size-differs"
        case .locationUnexpected: "location-unexpected"
        case .imageStuck: "image-stuck"
        case .uploadUnexpected: "upload-unexpected"
        case .uploadAbandoned: "upload-abandoned"
        case .importLost: "import-lost"
        case .importLockStray: "import-lock-stray"
        case .stagedStray: "staged-stray"
        case .bytesOfDeletedImage: "bytes-of-deleted-image"
        case .bytesOutsideBin: "bytes-outside-bin"
        case .bytesInsideBin: "bytes-inside-bin"
        case .bytesOfUnfinishedImage: "bytes-of-unfinished-image"
        case .eraseJobMissing: "erase-job-missing"
        case .eraseJobStray: "erase-job-stray"
        case .jobParked: "job-parked"
        case .storeNotConfigured: "store-not-configured"
        case .chargedToOther: "charged-to-other"
        case .remainsOfDeletedImage: "remains-of-deleted-image"
        case .recordDiffers: "record-differs"
        case .keyEdgeMissing: "key-edge-missing"
        case .keyEdgeLetGo: "key-edge-let-go"
        case .keyEdgeOfOther: "key-edge-of-other"
        case .keyEdgeStray: "key-edge-stray"
        case .keyEdgeOfDeletedImage: "key-edge-of-deleted-image"
        case .keyEdgeOfMissingImage: "key-edge-of-missing-image"
        case .releaseJobMissing: "release-job-missing"
        case .secretOverdue: "secret-overdue"
        case .secretWithoutProjectKey: "secret-without-project-key"
        case .projectKeyWithoutMaster: "project-key-without-master"
        case .storeOutOfReach: "store-out-of-reach"
        case .bytesMissing: "bytes-missing"
        case .bytesWrongSize: "bytes-wrong-size"
        case .bytesUnreadable: "bytes-unreadable"
        case .digestWrong: "digest-wrong"
        case .digestUnknown: "digest-unknown"
        case .bytesUnowned: "bytes-unowned"
        case .bytesInOtherStore: "bytes-in-other-store"
        case .nameLeftOver: "name-left-over"
        case .fileForeign: "file-foreign"
        }
    }

    package var severity: Severity {
        switch self {
        case .eraseJobStray, .jobParked, .chargedToOther, .remainsOfDeletedImage, .digestUnknown, .bytesUnowned,
            .nameLeftOver, .fileForeign, .keyEdgeOfOther, .keyEdgeStray, .keyEdgeOfDeletedImage, .secretOverdue:
            .warning
        case .databaseDamaged, .imageWithoutBytes, .bytesOfMissingImage, .sizesDiffer, .recordDiffers, .imageStuck,
            .locationSizeDiffers, .locationUnexpected, .uploadUnexpected, .uploadAbandoned, .importLost,
            .importLockStray, .stagedStray, .bytesOfDeletedImage,
            .bytesOutsideBin, .bytesInsideBin,
            .bytesOfUnfinishedImage, .eraseJobMissing, .storeNotConfigured, .storeOutOfReach, .bytesMissing,
            .bytesWrongSize, .bytesUnreadable, .digestWrong, .bytesInOtherStore, .keyEdgeMissing, .keyEdgeLetGo,
            .keyEdgeOfMissingImage, .releaseJobMissing, .secretWithoutProjectKey, .projectKeyWithoutMaster:
            .error
        }
    }

    /// Whether something could not be looked at because of it.
    package var leavesGap: Bool {
        switch self {
        case .storeOutOfReach, .storeNotConfigured: true
        default: false
        }
    }

    /// What it is about: `image ID`, `blob ID`, `store NAME`, ….
    package var subject: String {
        switch self {
        case .databaseDamaged: "database"
        case .imageWithoutBytes(let image, _), .sizesDiffer(let image, _, _, _), .imageStuck(let image, _),
            .locationSizeDiffers(let image, _, _, _), .locationUnexpected(let image, _, _, _),
            .remainsOfDeletedImage(let image, _), .recordDiffers(let image), .importLockStray(let image, _):
            "image \(image)"
        case .importLost(let task, _): "task \(task)"
        case .bytesOfMissingImage(let blob, _, _), .uploadUnexpected(let blob, _, _),
            .uploadAbandoned(let blob, _, _, _), .bytesOfDeletedImage(let blob, _, _), .bytesOutsideBin(let blob, _),
            .bytesInsideBin(let blob, _), .bytesOfUnfinishedImage(let blob, _, _), .eraseJobMissing(let blob),
            .chargedToOther(let blob, _, _, _), .bytesUnowned(_, let blob, _, _, _), .bytesInOtherStore(let blob, _, _),
            .nameLeftOver(_, let blob), .stagedStray(let blob, _, _):
            "blob \(blob)"
        case .eraseJobStray(let subject): "job \(JobName(.eraseBlob, subject))"
        case .jobParked(let name, _): "job \(name)"
        case .storeNotConfigured(let store, _, _), .storeOutOfReach(let store, _): "store \(store)"
        case .bytesMissing(let blob, _), .bytesWrongSize(let blob, _, _), .bytesUnreadable(let blob, _, _),
            .digestWrong(let blob, _, _, _, _), .digestUnknown(let blob):
            "image \(blob.image)"
        case .fileForeign(_, let path, _): "file \(path)"
        case .keyEdgeMissing(_, let image, _), .keyEdgeLetGo(_, let image, _, _),
            .keyEdgeOfOther(_, let image, _, _, _),
            .keyEdgeStray(_, let image, _), .keyEdgeOfDeletedImage(_, let image, _),
            .keyEdgeOfMissingImage(_, let image, _), .releaseJobMissing(let image):
            "image \(image)"
        case .secretOverdue(let secret, _), .secretWithoutProjectKey(let secret, _): "secret \(secret)"
        case .projectKeyWithoutMaster(let key, _): "project key \(key)"
        }
    }

    /// One line, without the subject.
    package var text: String {
        switch self {
        case .databaseDamaged(let problem): problem
        case .imageWithoutBytes(_, let status): "its data is promised (\(status)), and no row says where it is"
        case .bytesOfMissingImage(_, let image, let store): "it is in store \(store), and its image \(image) has no row"
        case .sizesDiffer(_, let blob, let ours, let theirs):
            "its size is \(ours.map { "\($0)" } ?? "unset"), that of its blob \(blob) is \(theirs)"
        case .locationSizeDiffers(_, let location, let ours, let theirs):
            "its size is \(ours.map { "\($0)" } ?? "unset"), that of its location \(location) is \(theirs)"
        case .locationUnexpected(_, let location, let state, let status):
            "it is \(status), and its location \(location) is \(state)"
        case .imageStuck(_, let status): "it is \(status), and nothing is being uploaded or imported to it"
        case .uploadUnexpected(_, let image, let status):
            "it is being written for image \(image), which is \(status) and does not wait for it"
        case .uploadAbandoned(_, let image, let owner, let until):
            "its upload to image \(image) belongs to \(owner), which is gone; its lease ended at \(until.iso8601)"
        case .importLost(_, let image):
            "its import of image \(image?.rawValue ?? "none") is not ended, and there is no job that does it"
        case .importLockStray(_, let task):
            "it says that task \(task ?? "none") imports it, and that does not (os_glance_import_task)"
        case .stagedStray(_, let image, let status):
            "it is staged for image \(image), which is \(status) and not being imported"
        case .bytesOfDeletedImage(_, let image, let state): "it is \(state), and its image \(image) is deleted"
        case .bytesOutsideBin(_, let image): "its image \(image) is in the recycle bin, and it is not"
        case .bytesInsideBin(_, let image): "it is in the recycle bin, and its image \(image) is not"
        case .bytesOfUnfinishedImage(_, let image, let status):
            "it is committed, and its image \(image) is \(status), as if it had no data"
        case .eraseJobMissing: "it is to be erased, and there is no job that does it"
        case .eraseJobStray: "there is no doomed blob that it could erase"
        case .jobParked(_, let error): "it is parked, no further attempt helps: \(error ?? "no error was kept")"
        case .storeNotConfigured(_, let blobs, let sizeBytes):
            "it holds \(blobs) blobs (\(sizeBytes) bytes), and it is not configured"
        case .chargedToOther(_, let image, let charged, let owner):
            "its quota is that of project \(charged?.rawValue ?? "nobody"), its image \(image) belongs to "
                + "\(owner?.rawValue ?? "nobody")"
        case .remainsOfDeletedImage(_, let rows):
            "it is deleted, and \(rows) of its properties, tags, members or records are left"
        case .recordDiffers: "its digest is not what the record of the upload says (image_provenance)"
        case .keyEdgeMissing(let key, _, let via): "its \(via) names the key \(key), and nothing keeps that for it"
        case .keyEdgeLetGo(let key, _, let via, let state):
            "its \(via) names the key \(key), which is being let go of (\(state))"
        case .keyEdgeOfOther(let key, _, let via, let recorded, let owner):
            "the key \(key) (\(via)) is kept for project \(recorded?.rawValue ?? "nobody"), and the image belongs to "
                + "\(owner?.rawValue ?? "nobody")"
        case .keyEdgeStray(let key, _, let via): "the key \(key) is kept for its \(via), which does not name it"
        case .keyEdgeOfDeletedImage(let key, _, let via): "it is deleted, and the key \(key) (\(via)) is kept for it"
        case .keyEdgeOfMissingImage(let key, _, let via): "the key \(key) (\(via)) is kept for it, and it has no row"
        case .releaseJobMissing: "it is deleted and erased, and there is no job that lets go of its keys"
        case .secretOverdue(_, let until): "deleted, it was to be erased at \(until.iso8601), and nothing needs it"
        case .secretWithoutProjectKey(_, let key): "the project key \(key) wraps its key, and has no row"
        case .projectKeyWithoutMaster(_, let master): "the master key \(master) wraps it, and has no row"
        case .storeOutOfReach(_, let cause): "it is out of reach: \(cause)"
        case .bytesMissing(let blob, let place): "its bytes are missing: blob \(blob.id), \(place)"
        case .bytesWrongSize(let blob, let place, let found):
            "its bytes are \(found) and must be \(blob.sizeBytes): blob \(blob.id), \(place)"
        case .bytesUnreadable(let blob, let place, let cause):
            "its bytes cannot be read: blob \(blob.id), \(place): \(cause)"
        case .digestWrong(let blob, let place, let algorithm, let expected, let found):
            "its bytes are not those that were uploaded: blob \(blob.id), \(place): \(algorithm) is \(found) and must be "
                + expected
        case .digestUnknown(let blob): "no digest that its bytes (blob \(blob.id)) could be compared with"
        case .bytesUnowned(let store, _, let isCommitted, let sizeBytes, _):
            "\(isCommitted ? "committed" : "uncommitted") in store \(store), \(sizeBytes) bytes, and no row knows it"
        case .bytesInOtherStore(_, let found, let recorded):
            "it is in store \(found), and its row says store \(recorded)"
        case .nameLeftOver(let store, _): "committed in store \(store), it still has the name it was written under"
        case .fileForeign(let store, _, let sizeBytes):
            "in store \(store), \(sizeBytes) bytes: nothing that this program makes"
        }
    }

    package var remedy: Remedy {
        switch self {
        case .databaseDamaged: .advice("restore the database from a backup, then check again")
        case .imageWithoutBytes:
            .advice("restore the row of its blob from a backup of the database, or upload the image anew and delete it")
        case .bytesOfMissingImage: .advice("restore the image's row from a backup of the database")
        case .sizesDiffer: .advice("check with --read-data which of the two is right")
        case .locationSizeDiffers: .advice("ask the other server which of the two is right")
        case .locationUnexpected:
            .advice("restore the image's row from a backup, or delete the image: its locations go with it")
        case .recordDiffers:
            .advice(
                "look at its provenance: the one of the two that is sealed is right; restore the other from a backup")
        case .imageStuck: .repair("the image waits for data again (queued); what was staged for it is erased")
        case .uploadUnexpected: .repair("the upload is given up, and what came of it erased")
        case .uploadAbandoned: .repair("the upload is given up, what came of it erased, and the image queued again")
        case .importLost: .repair("the import fails, what came of it is erased, and its image waits for data again")
        case .importLockStray: .repair("the property is removed")
        case .stagedStray: .repair("the bytes are doomed, and the job that erases them is asked for")
        case .bytesOfDeletedImage: .repair("the bytes are doomed, and the job that erases them is asked for")
        case .bytesOutsideBin: .repair("the bytes go to the recycle bin with their image")
        case .bytesInsideBin: .repair("the bytes come out of the recycle bin to their image")
        case .bytesOfUnfinishedImage:
            .advice("restore the image's row from a backup, or delete the image: its bytes go with it")
        case .eraseJobMissing: .repair("the job is asked for")
        case .eraseJobStray: .repair("the job is removed")
        case .jobParked: .advice("put right what the error names, then have the job tried again")
        case .storeNotConfigured: .advice("configure it again (image.stores)")
        case .chargedToOther: .repair("the image's owner is charged")
        case .remainsOfDeletedImage: .repair("the rows are removed")
        case .keyEdgeMissing: .repair("the key is kept for it")
        case .keyEdgeLetGo: .repair("the key is kept for it again")
        case .keyEdgeOfOther: .repair("it is kept for the image's owner")
        case .keyEdgeStray: .repair("the key is not kept for it any more")
        case .keyEdgeOfDeletedImage: .repair("it lets go of the key when its bytes are erased; the key stays")
        case .keyEdgeOfMissingImage: .advice("restore the image's row from a backup of the database")
        case .releaseJobMissing: .repair("the job is asked for")
        case .secretOverdue(let secret, _): .advice("let a server run, or ambrotype keys erase \(secret)")
        case .secretWithoutProjectKey, .projectKeyWithoutMaster:
            .advice("restore the row from a backup of the database; without it the secrets below cannot be read")
        case .storeOutOfReach: .advice("bring it back (is its disk mounted?), then check again")
        case .bytesMissing(let blob, let place), .bytesWrongSize(let blob, let place, _),
            .bytesUnreadable(let blob, let place, _), .digestWrong(let blob, let place, _, _, _):
            .advice("restore \(place) from a backup of the store: \(blob.sizeBytes) bytes, \(blob.digest)")
        case .digestUnknown: .advice("compare the image with its source")
        case .bytesUnowned(_, _, _, _, let isDoubted):
            isDoubted
                ? .advice(
                    "no crash leaves this: is the database the store's own, and not older than it? if you are sure, "
                        + "--repair --erase-unowned STORE")
                : .repair("the bytes are erased")
        case .bytesInOtherStore: .advice("move the file to the store its row names, or remove it if that has it too")
        case .nameLeftOver: .advice("remove the name under incoming/; the committed bytes stay")
        case .fileForeign: .advice("move it out of the store, if nobody needs it there")
        }
    }
}
