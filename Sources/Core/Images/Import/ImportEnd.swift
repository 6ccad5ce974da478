import Persistence

/// How an import ends, each in one transaction: a crash leaves it going on, or ended whole.
enum ImportEnd {
    /// Undoes what the import made of its image, and says why. What stores have of it by now stays if it is data
    /// already: of an import that need not succeed everywhere.
    /// - Parameter stores: where it failed; empty when it failed before any store was tried, hence for all of them.
    static func fail(
        _ task: ImageTask, _ message: String, at stores: [StoreID] = [], _ settings: ImageSettings, now: Timestamp,
        in db: any SQLConnection
    ) throws {
        if let image = task.image, let record = try db.image(image) {
            if record.status == .importing { try ImportPlan.restoreDescription(record, of: task.id, in: db) }
            let without = try db.query(
                """
                SELECT t.store FROM import_targets t LEFT JOIN blobs b ON b.id = t.blob AND b.role = 'data'
                WHERE t.task_id = $1 AND b.id IS NULL ORDER BY t.position
                """, task.id
            ) { try $0.get(0, as: StoreID.self) }
            try BlobLedger.doomUnfinished(of: image, .importFailed, now: now, in: db)
            try Images.returnToQueued(image, from: .importing, in: db)
            try ImportMarks.end(failed: stores.isEmpty ? without : stores, of: image, in: db)
        }
        try end(task, .failure, message, result: nil, settings, now: now, in: db)
    }

    /// A task of an image that is being deleted: the deletion sees to the image.
    static func imageDeleted(
        _ image: ImageID, _ settings: ImageSettings, now: Timestamp, in db: any SQLConnection
    ) throws {
        let message = "Image \(image) was deleted while it was being imported."
        let hours = settings.imports.taskHours
        let checks = try db.query(
            "SELECT id FROM tasks WHERE image_id = $1 AND type = $2 AND status IN ('pending', 'processing')", image,
            ImageTask.Kind.locationImport.rawValue
        ) { try $0.get(0, as: TaskID.self) }
        for task in checks { try ImageTask.end(task, .failure, message, keptHours: hours, now: now, in: db) }
        guard let task = try ImageTask.open(of: image, in: db) else { return }
        // A recycle bin may give it back.
        if let record = try db.image(image), record.status == .importing {
            try ImportPlan.restoreDescription(record, of: task.id, in: db)
        }
        try db.execute("DELETE FROM jobs WHERE kind = $1 AND subject = $2", JobKind.importImage, task.id)
        for mark in [ImportMarks.task, ImportMarks.importing, ImportMarks.failed] {
            try ImportMarks.remove(mark, of: image, in: db)
        }
        try end(
            task, .failure, message, result: nil, settings, now: now, in: db)
    }

    static func end(
        _ task: ImageTask, _ status: ImageTask.Status, _ message: String, result: JSONValue?,
        _ settings: ImageSettings, now: Timestamp, in db: any SQLConnection
    ) throws {
        try ImportPlan.remove(task.id, in: db)
        try ImageTask.end(
            task.id, status, message, result: result, keptHours: settings.imports.taskHours, now: now, in: db)
    }
}
