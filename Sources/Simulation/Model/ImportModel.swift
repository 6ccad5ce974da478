import Core

/// What an image that is staged, imported and copied is to its users: an oracle like `ModelImage`, for what imports
/// can do with one. Between two of these states there is nothing that lasts.
package enum ImportModel: Hashable, Sendable, CustomStringConvertible {
    case absent
    case queued
    case staged(Int)
    case active(Int, stores: Set<String>)
    case deleted

    package var description: String {
        switch self {
        case .absent: "absent"
        case .queued: "queued"
        case .staged(let content): "staged content=\(content)"
        case .active(let content, let stores): "active content=\(content) in \(stores.sorted())"
        case .deleted: "deleted"
        }
    }

    package enum Step: Hashable, Sendable {
        case create
        case stage(Int)
        /// The body ends before it is whole.
        case brokenStage(Int)
        case upload(Int)
        case importStaged([String], mustAllSucceed: Bool)
        case download(Int, SimulatedRemote.Manner, [String], mustAllSucceed: Bool)
        /// From another image service.
        case fetchImage(Int, SimulatedRemote.Manner, [String], mustAllSucceed: Bool)
        case copy([String], mustAllSucceed: Bool)
        case delete
    }

    /// What must come of a step that nothing disturbs, when all is at rest again.
    package func applying(_ step: Step, isSecondStoreFull: Bool) -> (reply: Reply, after: ImportModel) {
        func imported(_ content: Int, _ stores: [String], _ mustAllSucceed: Bool) -> ImportModel {
            let room = stores.filter { !isSecondStoreFull || $0 != "second" }
            if room.isEmpty || mustAllSucceed && room.count < stores.count { return .queued }
            return .active(content, stores: Set(room))
        }
        switch (step, self) {
        case (.create, .absent): return (.done, .queued)
        case (.create, _): return (.refused(409), self)
        case (_, .absent), (_, .deleted): return (.refused(404), self)
        case (.delete, _): return (.done, .deleted)
        case (.stage(let content), .queued): return (.done, .staged(content))
        case (.brokenStage, .queued): return (.failed("the body broke"), self)
        case (.upload(let content), .queued): return (.done, .active(content, stores: ["local"]))
        case (.importStaged(let stores, let all), .staged(let content)):
            return (.done, imported(content, stores, all))
        case (.download(let content, let manner, let stores, let all), .queued),
            (.fetchImage(let content, let manner, let stores, let all), .queued):
            let comes = manner != .cut && manner != .refused
            return (.done, comes ? imported(content, stores, all) : .queued)
        case (.copy(let stores, let all), .active(let content, let held)):
            guard held.isDisjoint(with: stores) else { return (.refused(400), self) }
            guard case .active(_, let new) = imported(content, stores, all) else { return (.done, self) }
            return (.done, .active(content, stores: held.union(new)))
        default: return (.refused(409), self)
        }
    }
}

/// Does these steps as users would.
struct ImportClient: Sendable {
    let server: SimulatedServer
    let image: ImageID
    var pause: @Sendable () async throws -> Void = {}

    private var caller: Caller { SimulatedServer.caller(SimulatedClient.owner) }

    func perform(_ step: ImportModel.Step) async -> Reply {
        do {
            try await attempt(step)
            return .done
        } catch let error as ServiceError {
            switch error.status {
            case 503, 500, 413: return .failed("\(error)")
            case let status: return .refused(status)
            }
        } catch {
            return .failed("\(error)")
        }
    }

    private func attempt(_ step: ImportModel.Step) async throws {
        switch step {
        case .create, .upload, .delete:
            let operation: Operation =
                switch step {
                case .upload(let content): .upload(content: content, isDeclared: true)
                case .delete: .delete
                default: .create
                }
            switch await SimulatedClient(server, image, pause: pause).perform(operation) {
            case .refused(let status): throw Refused.of(status)
            case .failed(let text): throw ServiceError.unavailable(text)
            default: break
            }
        case .stage(let content), .brokenStage(let content):
            var isWhole = true
            if case .brokenStage = step { isWhole = false }
            let body = SimulatedBody(bytes: Payloads.bytes(content), isWhole: isWhole, pause: pause)
            try await server.images.stage(body, for: image, declaredSizeBytes: nil, as: caller)
        case .importStaged(let stores, let all):
            try await ask(["name": "glance-direct"], stores, all, as: caller)
        case .download(let content, let manner, let stores, let all):
            let uri = SimulatedRemote.url(content, manner)
            try await ask(["name": "web-download", "uri": .string(uri)], stores, all, as: caller)
        case .fetchImage(let content, let manner, let stores, let all):
            let method: JSONValue = [
                "name": "glance-download", "glance_image_id": .string(SimulatedRemote.imageThere),
                "glance_region": .string(SimulatedCatalogue.region(content, manner)),
            ]
            try await ask(method, stores, all, as: caller, token: CallerToken("token"))
        case .copy(let stores, let all):
            let admin = SimulatedServer.caller(SimulatedClient.owner, roles: ["admin", "member", "reader"])
            try await ask(["name": "copy-image"], stores, all, as: admin)
        }
    }

    private func ask(
        _ method: JSONValue, _ stores: [String], _ mustAllSucceed: Bool, as caller: Caller,
        token: CallerToken? = nil
    ) async throws {
        let request = try ImportRequest(
            json: [
                "method": method, "stores": .array(stores.map { .string($0) }),
                "all_stores_must_succeed": .bool(mustAllSucceed),
            ], header: nil, enabled: server.images.importMethods)
        try await server.images.importImage(image, request, as: caller, token: token)
    }

    private enum Refused {
        static func of(_ status: Int) -> ServiceError {
            switch status {
            case 404: .notFound("")
            case 403: .forbidden("")
            case 409: .conflict("")
            case 410: .gone("")
            default: .badRequest("")
            }
        }
    }
}
