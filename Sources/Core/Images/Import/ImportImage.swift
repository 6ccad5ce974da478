import Logging
import Persistence
import Trust

extension Images {
    /// The methods that clients are told of, and may use.
    package var importMethods: [ImportMethod] {
        settings.imports.methods.filter { method in
            switch method {
            case .glanceDirect, .copyImage: true
            case .webDownload: remote != nil
            case .glanceDownload: remote != nil && catalogue != nil
            }
        }
    }

    /// `POST /v2/images/{id}/import`: asks for the bytes that an image is to have, and answers before they are there.
    ///
    /// One transaction takes the lock (the open task; there is one an image), moves the status, and asks for the job
    /// that does the work (`ImportWorker.swift`).
    /// - Parameter token: what `caller` came with, for the key manager.
    /// - Throws: `ServiceError`: `.notFound`, `.forbidden`; `.badRequest` (URI filtered, signature, flags that do not fit
    ///   the configuration, a store that has the image already); `.conflict` (status, formats unset, unknown store,
    ///   another import runs); `.tooLarge` (quota), `.unavailable` (key manager).
    package func importImage(
        _ id: ImageID, _ request: ImportRequest, as caller: Caller, token: CallerToken? = nil
    ) async throws {
        let image = try await database.read { db in
            let image = try visibleImage(id, request.action, caller, in: db)
            // Where staged bytes count apart, they are to count with the others from now on.
            let added = request.method == .glanceDirect && settings.countsStagedApart ? image.sizeBytes ?? 0 : 0
            try ImageQuota.requireRoom(for: image.owner, adding: added, settings, in: db)
            // An import that is to break a lock finds the status that the lock stands for.
            if try ImageTask.open(of: id, in: db) == nil { try requireImportable(image, by: request.method) }
            return image
        }
        guard request.mustAllSucceed || stores.areSeveral else {
            throw ServiceError.badRequest("all_stores_must_succeed can only be set where there are several stores.")
        }
        if let uri = request.uri { try judge(uri) }
        let signature =
            request.method == .copyImage ? nil : try await expectedSignature(of: image, as: caller, token: token)
        guard request.glance == nil || token != nil else {
            throw ServiceError.unauthorized("glance-download needs the caller's token.")
        }
        let taskID = TaskID(surroundings.uuid())
        let now = now
        let isAsked = try await database.write { db in
            let isAsked = try beginImport(id, request, signature, taskID, as: caller, now: now, in: db)
            if isAsked, request.glance != nil, let token {
                try ImportPlan.keep(
                    token, of: taskID, seal, nonce: surroundings.randomness.bytes(Sealing.nonceBytes), in: db)
            }
            return isAsked
        }
        guard isAsked else { return }
        reconcilerWake.signal()
        caller.logger.info(
            "image import asked for",
            metadata: ["image": "\(id)", "task": "\(taskID)", "method": "\(request.method.rawValue)"])
    }

    /// - Returns: false when there is nothing to do.
    private func beginImport(
        _ id: ImageID, _ request: ImportRequest, _ signature: ExpectedSignature?, _ taskID: TaskID, as caller: Caller,
        now: Timestamp, in db: any SQLConnection
    ) throws -> Bool {
        var image = try visibleImage(id, request.action, caller, in: db)
        if let task = try ImageTask.open(of: id, in: db) {
            guard try ImportLock.isStale(task, now: now, in: db) else {
                throw ServiceError.conflict("Image \(id) has an import in progress: task \(task.id).")
            }
            try ImportLock.break(task, "Expired lock preempted", settings, now: now, in: db)
            image = try visibleImage(id, request.action, caller, in: db)
        }
        try requireImportable(image, by: request.method)
        if request.method != .copyImage {
            guard try SignatureProperties(of: image) == signature?.properties else {
                throw ServiceError.conflict(
                    "The properties of the signature of image \(id) changed while its certificate was fetched; import "
                        + "again.")
            }
        }
        let targets = try targets(of: request, image, in: db)
        if targets.isEmpty { return false }
        let task = ImageTask(
            id: taskID, .imageImport, image: id,
            input: [
                "image_id": .string(id.rawValue), "import_req": request.body,
                "backend": .array(targets.map { .string($0.rawValue) }),
            ], by: caller, now: now)
        try ImportPlan.insert(
            task, request.method, to: targets, mustAllSucceed: request.mustAllSucceed, roles: caller.roles,
            certificate: signature?.certificate, source: try stagedSource(of: image, request.method, in: db), in: db)
        try ImportMarks.begin(taskID, to: targets, of: id, in: db)
        if request.method != .copyImage {
            try db.execute(
                "UPDATE images SET status = 'importing' WHERE id = $1 AND status = $2", id, image.status.rawValue)
        }
        try Jobs.enqueue(JobName(.importImage, taskID.rawValue), in: .imports, for: image.owner, now: now, db)
        return true
    }

    private func stagedSource(
        of image: Image, _ method: ImportMethod, in db: any SQLConnection
    ) throws -> BlobID? {
        guard method == .glanceDirect else { return nil }
        guard let staged = try BlobLedger.live(.staged, of: image.id, in: db).first else {
            throw ServiceError.conflict("The data of image \(image.id) is still being staged.")
        }
        return staged.blob
    }

    /// - Throws: `ServiceError.badRequest` for a URL that is never fetched.
    func judge(_ uri: String) throws {
        do {
            try remote?.judge(uri)
        } catch {
            throw ServiceError.badRequest(error.message)
        }
    }

    /// - Throws: `ServiceError.conflict`.
    private func requireImportable(_ image: Image, by method: ImportMethod) throws {
        let (needed, refusal): (Image.Status, String) =
            switch method {
            case .copyImage: (.active, "Only images with status active can be targeted for copying.")
            case .glanceDirect: (.uploading, "Image needs to be staged before 'glance-direct' method can be used.")
            case .webDownload, .glanceDownload:
                (.queued, "Image needs to be in 'queued' state to use '\(method.rawValue)' method.")
            }
        guard image.status == needed else { throw ServiceError.conflict(refusal) }
        for (name, value) in [("container_format", image.containerFormat), ("disk_format", image.diskFormat)]
        where value == nil {
            throw ServiceError.conflict("'\(name)' needs to be set before import.")
        }
    }

    /// Where the image is to be, in the order that was asked for.
    /// - Throws: `ServiceError`: `.conflict` for a store there is not, `.badRequest` for one that has it already.
    private func targets(
        of request: ImportRequest, _ image: Image, in db: any SQLConnection
    ) throws -> [StoreID] {
        let wanted = request.stores ?? (request.wantsAllStores ? stores.writable : [stores.default])
        for store in wanted {
            guard stores.contains(store) else { throw ServiceError.conflict("There is no store '\(store)'.") }
            guard !stores.isReadOnly(store) else { throw ServiceError.conflict("The store '\(store)' takes no data.") }
        }
        guard request.method == .copyImage else { return wanted }
        let held = Set(try BlobLedger.live(of: image.id, in: db).map(\.store))
        if request.wantsAllStores { return wanted.filter { !held.contains($0) } }
        if let store = wanted.first(where: held.contains) {
            throw ServiceError.badRequest("Image is already present at store '\(store)'.")
        }
        return wanted
    }
}

extension ImportRequest {
    fileprivate var action: ImageAction { method == .copyImage ? .copyImage : .modifyImage }
}

/// The lock on an image's imports: its open task.
enum ImportLock {
    /// After so long a task that nobody works on is given up, whatever it waits for.
    private static func limitSeconds(_ status: ImageTask.Status) -> Int64 { status == .pending ? 120 * 60 : 60 * 60 }

    /// Whether nobody works on a task, nor will: its job is gone or parked; or it waits for longer than anybody should.
    static func isStale(_ task: ImageTask, now: Timestamp, in db: any SQLConnection) throws -> Bool {
        let job = try db.first(
            "SELECT state, lease_until FROM jobs WHERE kind = $1 AND subject = $2", JobKind.importImage, task.id
        ) { (state: try $0.get(0, as: String.self), until: try $0.get(1, as: Timestamp?.self)) }
        guard let job, job.state != Job.State.parked.rawValue else { return true }
        if job.state == Job.State.running.rawValue, let until = job.until, until > now { return false }
        return task.updatedAt.adding(seconds: limitSeconds(task.status)) < now
    }

    /// Takes a task from whoever works on it: it fails, and all that it made of its image is undone, as when it fails
    /// by itself. A worker that wakes up finds that its job is gone.
    static func `break`(
        _ task: ImageTask, _ message: String, _ settings: ImageSettings, now: Timestamp, in db: any SQLConnection
    ) throws {
        try db.execute("DELETE FROM jobs WHERE kind = $1 AND subject = $2", JobKind.importImage, task.id)
        try ImportEnd.fail(task, message, settings, now: now, in: db)
    }
}
