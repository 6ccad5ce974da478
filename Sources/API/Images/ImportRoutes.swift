import Core
import HTTPTypes
import HummingbirdCore

/// Stage and import, and the tasks of an image.
struct ImportRoutes: Sendable {
    let images: Images

    func add(to routes: inout RouteTable) {
        routes.on(.put, "/v2/images/{image}/stage", stage)
        routes.on(.post, "/v2/images/{image}/import", importImage)
        routes.get("/v2/images/{image}/tasks", tasks)
    }

    private func stage(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireImageData()
        try await images.stage(
            exchange.body, for: exchange.image, declaredSizeBytes: try exchange.declaredImageSize(), as: caller)
        return .empty(.noContent)
    }

    private func importImage(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let request = try ImportRequest(
            json: try await exchange.json(), header: exchange.headers[.metaStore].map(StoreID.init(rawValue:)),
            enabled: images.importMethods)
        try await images.importImage(
            exchange.image, request, as: caller, token: exchange.headers[.authToken].map(CallerToken.init))
        return .empty(.accepted)
    }

    private func tasks(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let tasks = try await images.tasks(of: exchange.image, as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member("tasks", array: { json in for task in tasks { TaskJSON.writeRow(task, to: &json) } })
            }
        }
    }
}

/// The tasks of the whole cloud, for admins.
struct TaskRoutes: Sendable {
    let images: Images

    func add(to routes: inout RouteTable) {
        routes.get("/v2/tasks", list)
        routes.on(.post, "/v2/tasks", create)
        routes.get("/v2/tasks/{task}", show)
    }

    private func create(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let task = try await images.createTask(
            try await exchange.json(), as: caller, token: exchange.headers[.authToken].map(CallerToken.init))
        return .json(.created, headers: [.location: exchange.baseURL + TaskJSON.path(task)]) {
            TaskJSON.write(task, isNew: true, to: &$0)
        }
    }

    private func show(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let task = try await images.task(TaskID(exchange.parameter("task")), as: caller)
        return .json(.ok) { TaskJSON.write(task, to: &$0) }
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let query = try exchange.query()
        let (tasks, isFull) = try await images.tasks(try listQuery(query), as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member("tasks", array: { json in for task in tasks { TaskJSON.writeStub(task, to: &json) } })
                json.member("first", ImageListParser.link(query, marker: nil, path: "/v2/tasks"))
                if isFull, let last = tasks.last {
                    json.member(
                        "next", ImageListParser.link(query, marker: ImageID(last.id.rawValue), path: "/v2/tasks"))
                }
                json.member("schema", "/v2/schemas/tasks")
            }
        }
    }

    /// - Throws: `ServiceError.badRequest` naming the parameter that is wrong.
    private func listQuery(_ query: Query) throws -> TaskListQuery {
        var result = TaskListQuery(limit: images.settings.listLimitDefault)
        for (name, value) in query.pairs {
            switch name {
            case "limit":
                guard let limit = Int(value), value.utf8.allSatisfy({ (48...57).contains($0) }) else {
                    throw ServiceError.badRequest("limit param must be an integer, zero or more.")
                }
                result.limit = min(limit, images.settings.listLimitMax)
            case "marker": result.marker = TaskID(value)
            case "type": result.type = value
            case "status":
                guard let status = ImageTask.Status(rawValue: value) else {
                    throw ServiceError.badRequest(
                        "Invalid status value: \(value), allowed: "
                            + ImageTask.Status.allCases.map(\.rawValue).joined(separator: ", ") + ".")
                }
                result.status = status
            case "sort_key":
                guard let key = TaskListQuery.SortKey(rawValue: value) else {
                    throw ServiceError.badRequest(
                        "sort_key is one of "
                            + TaskListQuery.SortKey.allCases.map(\.rawValue).joined(separator: ", ") + ".")
                }
                result.sortKey = key
            case "sort_dir":
                guard value == "asc" || value == "desc" else {
                    throw ServiceError.badRequest("sort_dir is asc or desc.")
                }
                result.isAscending = value == "asc"
            default: break
            }
        }
        return result
    }
}

/// How tasks look on the wire.
enum TaskJSON {
    static func path(_ task: ImageTask) -> String { "/v2/tasks/" + task.id.rawValue }

    /// - Parameter isNew: a task that was just created is told without the image that it will make.
    static func write(_ task: ImageTask, isNew: Bool = false, to json: inout JSONWriter) {
        json.object { json in
            members(task, &json)
            json.member("input", task.input)
            json.member("message", task.message)
            json.member("result", task.result ?? .null)
            json.member("request_id", task.requestID)
            json.member("user_id", task.user?.rawValue)
            if !isNew, let image = task.image { json.member("image_id", image.rawValue) }
        }
    }

    /// In a list.
    static func writeStub(_ task: ImageTask, to json: inout JSONWriter) { json.object { members(task, &$0) } }

    private static func members(_ task: ImageTask, _ json: inout JSONWriter) {
        json.member("id", task.id.rawValue)
        json.member("type", task.type)
        json.member("status", task.status.rawValue)
        json.member("owner", task.owner?.rawValue)
        json.member("created_at", task.createdAt.iso8601)
        json.member("updated_at", task.updatedAt.iso8601)
        if let expiry = task.expiresAt { json.member("expires_at", expiry.iso8601) }
        json.member("self", path(task))
        json.member("schema", "/v2/schemas/task")
    }

    /// Of an image: Glance gives the row of its database as it is, and clients know that form.
    static func writeRow(_ task: ImageTask, to json: inout JSONWriter) {
        json.object { json in
            json.member("id", task.id.rawValue)
            json.member("type", task.type)
            json.member("status", task.status.rawValue)
            json.member("owner", task.owner?.rawValue)
            json.member("input", task.input)
            json.member("result", task.result ?? .null)
            json.member("message", task.message)
            json.member("image_id", task.image?.rawValue)
            json.member("request_id", task.requestID)
            json.member("user_id", task.user?.rawValue)
            json.member("created_at", task.createdAt.iso8601Microseconds.withoutZone)
            json.member("updated_at", task.updatedAt.iso8601Microseconds.withoutZone)
            json.member("expires_at", task.expiresAt?.iso8601Microseconds.withoutZone)
            json.member("deleted", false)
            json.member("deleted_at", nil as String?)
        }
    }
}

extension String {
    fileprivate var withoutZone: String { hasSuffix("Z") ? String(dropLast()) : self }
}
