import Logging
import Persistence

/// Which tasks a list shows, and how (Image API digest, section 3.6).
package struct TaskListQuery: Sendable {
    package enum SortKey: String, Sendable, CaseIterable {
        case createdAt = "created_at"
        case updatedAt = "updated_at"
        case id, status, type
    }

    package var limit: Int
    package var marker: TaskID?
    package var status: ImageTask.Status?
    package var type: String?
    package var sortKey = SortKey.createdAt
    package var isAscending = false

    package init(limit: Int) { self.limit = limit }
}

extension Images {
    /// `GET /v2/images/{id}/tasks`, oldest first.
    /// - Throws: `ServiceError.notFound`.
    package func tasks(of id: ImageID, as caller: Caller) async throws -> [ImageTask] {
        try await database.read { db in
            _ = try visibleImage(id, .getImage, caller, in: db)
            return try db.query(
                "SELECT \(ImageTask.columns) FROM tasks t WHERE t.image_id = $1 ORDER BY t.created_at, t.id", id,
                row: ImageTask.read)
        }
    }

    /// `GET /v2/tasks/{id}`.
    /// - Throws: `ServiceError`: `.forbidden`, `.notFound`.
    package func task(_ id: TaskID, as caller: Caller) async throws -> ImageTask {
        try requireTasksAPI(caller)
        guard let task = try await database.read({ try ImageTask.find(id, in: $0) }) else {
            throw ServiceError.notFound("No task found with ID \(id)")
        }
        return task
    }

    /// `GET /v2/tasks`.
    /// - Returns: the page, and whether a further one may exist.
    /// - Throws: `ServiceError`: `.forbidden`, `.badRequest` (marker).
    package func tasks(_ query: TaskListQuery, as caller: Caller) async throws -> (tasks: [ImageTask], isFull: Bool) {
        try requireTasksAPI(caller)
        return try await database.read { db in
            let marker = try query.marker.map { id in
                guard let task = try ImageTask.find(id, in: db) else {
                    throw ServiceError.badRequest("Invalid marker: there is no task \(id).")
                }
                return task
            }
            guard query.limit > 0 else { return ([], false) }
            let statement = query.statement(after: marker)
            let tasks = try db.query(statement.sql, statement.arguments, row: ImageTask.read)
            return (tasks, tasks.count == query.limit)
        }
    }

    private func requireTasksAPI(_ caller: Caller) throws {
        try settings.policy.require(.tasksAPIAccess, caller, ImageTarget(listing: caller.projectID))
    }

    /// `POST /v2/tasks`: an image made from what a URL names. The image is there at once, importing, and the rest is
    /// an import like any other; when that fails, the image waits for data.
    /// - Throws: `ServiceError`: `.forbidden`; `.badRequest` (type, input, URI filtered, image properties), `.conflict`
    ///   (the image's id was used before), `.tooLarge` (quotas).
    package func createTask(_ json: JSONValue, as caller: Caller, token: CallerToken? = nil) async throws -> ImageTask {
        try requireTasksAPI(caller)
        let input = try TaskInput(json)
        guard importMethods.contains(.webDownload) else {
            throw ServiceError.badRequest("Tasks that import need web-download, which is not enabled at this site.")
        }
        try judge(input.uri)
        var draft = try ImageDraft(json: input.imageProperties, settings: settings)
        if draft.diskFormat == nil {
            draft.diskFormat = try ImageFields(settings: settings).diskFormat(.string(input.format))
        }
        guard draft.containerFormat != nil else {
            throw ServiceError.badRequest("image_properties: 'container_format' needs to be set before import.")
        }
        let (image, _) = try newImage(draft, as: caller)
        let signature = try await expectedSignature(of: image, as: caller, token: token)
        let task = ImageTask(
            id: TaskID(surroundings.uuid()), .import, image: image.id, input: input.json, by: caller, now: now)
        do {
            try await database.write { db in
                _ = try insert(image, as: caller, in: db)
                try ImportPlan.insert(
                    task, .webDownload, to: [stores.default], mustAllSucceed: true, roles: caller.roles,
                    certificate: signature?.certificate, source: nil, in: db)
                try ImportMarks.begin(task.id, to: [stores.default], of: image.id, in: db)
                try db.execute("UPDATE images SET status = 'importing' WHERE id = $1", image.id)
                try Jobs.enqueue(
                    JobName(.importImage, task.id.rawValue), in: .imports, for: image.owner, now: task.createdAt, db)
            }
        } catch let error as SQLError where error.code == .unique {
            throw ServiceError.conflict("Image ID \(image.id) already exists!")
        }
        reconcilerWake.signal()
        caller.logger.info("task created", metadata: ["task": "\(task.id)", "image": "\(image.id)"])
        return task
    }
}

/// What a task of the type `import` is made from.
private struct TaskInput {
    let uri: String
    let format: String
    let imageProperties: JSONValue
    /// As it came: the task echoes it.
    let json: JSONValue

    /// - Throws: `ServiceError.badRequest`.
    init(_ body: JSONValue) throws {
        guard let members = body.objectValue else {
            throw ServiceError.badRequest("The body must be a JSON object, not \(body.kind).")
        }
        for name in members.keys.sorted() where name != "type" && name != "input" {
            throw ServiceError.badRequest("Attribute '\(name)' of a task is none that can be set.")
        }
        guard let type = members["type"]?.stringValue, type == ImageTask.Kind.import.rawValue else {
            throw ServiceError.badRequest("A task has the type 'import'.")
        }
        guard let input = members["input"], input.objectValue != nil else {
            throw ServiceError.badRequest("A task needs an 'input', an object.")
        }
        func text(_ name: String) throws -> String {
            guard let text = input[name]?.stringValue else {
                throw ServiceError.badRequest("The input of a task of the type 'import' needs '\(name)', a string.")
            }
            return text
        }
        uri = try text("import_from")
        format = try text("import_from_format")
        guard let properties = input["image_properties"], properties.objectValue != nil else {
            throw ServiceError.badRequest(
                "The input of a task of the type 'import' needs 'image_properties', an object.")
        }
        imageProperties = properties
        json = input
    }
}

extension TaskListQuery {
    /// Ordered by the key, and by the id where that is the same.
    func statement(after marker: ImageTask?) -> ListStatement {
        var statement = ListStatement("SELECT \(ImageTask.columns) FROM tasks t")
        if let status { statement.condition("t.status = \(statement.bind(status.rawValue))") }
        if let type { statement.condition("t.type = \(statement.bind(type))") }
        let column = "t.\(sortKey.rawValue)"
        if let marker {
            let sign = isAscending ? ">" : "<"
            let value = statement.bind(sortKey.value(of: marker))
            statement.condition("(\(column), t.id) \(sign) (\(value), \(statement.bind(marker.id)))")
        }
        let direction = isAscending ? "ASC" : "DESC"
        statement.add("ORDER BY \(column) \(direction), t.id \(direction) LIMIT \(statement.bind(limit))")
        return statement
    }
}

extension TaskListQuery.SortKey {
    fileprivate func value(of task: ImageTask) -> any SQLBindable {
        switch self {
        case .createdAt: task.createdAt
        case .updatedAt: task.updatedAt
        case .id: task.id
        case .status: task.status.rawValue
        case .type: task.type
        }
    }
}

/// What of imports is kept in order without anybody asking.
extension Images {
    /// Ends imports whose job is gone: nobody will go on with them.
    /// - Returns: whether there were any.
    func endLostImports() async throws -> Bool {
        let lost = try await database.read { try ImageTask.lost(in: $0) }
        if lost.isEmpty { return false }
        let now = now
        try await database.write { db in
            for task in try ImageTask.lost(in: db) {
                try ImportEnd.fail(task, "The import was lost.", settings, now: now, in: db)
            }
        }
        return true
    }

    /// Ended tasks whose time is over.
    func forgetTasks() async throws {
        let now = now
        let isDue = try await database.read { db in
            try db.first("SELECT 1 FROM tasks WHERE expires_at <= $1 LIMIT 1", now) { _ in true } ?? false
        }
        guard isDue else { return }
        _ = try await database.write { db in try db.execute("DELETE FROM tasks WHERE expires_at <= $1", now) }
    }
}

extension ImageTask {
    /// Open tasks that no job belongs to, a number of them.
    static func lost(in db: any SQLConnection) throws -> [ImageTask] {
        try db.query(
            """
            SELECT \(columns) FROM tasks t
            WHERE t.status IN ('pending', 'processing') AND t.type IN ('import', 'api_image_import') AND NOT EXISTS (
                SELECT 1 FROM jobs j WHERE j.kind = '\(JobKind.importImage)' AND j.subject = t.id)
            ORDER BY t.created_at, t.id LIMIT 100
            """, row: read)
    }
}
