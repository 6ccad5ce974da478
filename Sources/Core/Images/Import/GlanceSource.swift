import NIOCore
import Persistence
import Trust

/// An image of another image service of the same cloud, which `glance-download` copies (Image API digest, section 3.3).
struct GlanceSource: Sendable, Equatable {
    let region: String
    /// There.
    let image: ImageID
    /// Of the endpoint in the catalogue.
    let interface: String

    /// - Parameter method: the request's `method`.
    /// - Throws: `ServiceError.badRequest`.
    init(_ method: JSONValue) throws {
        region = try Self.text("glance_region", method)
        let text = try Self.text("glance_image_id", method)
        guard ImageText.isUUID(text) else {
            throw ServiceError.badRequest("Remote image id does not look like a UUID: \(text)")
        }
        image = ImageID(text)
        interface =
            try method["glance_service_interface"].map { _ in
                try Self.text("glance_service_interface", method)
            } ?? "public"
    }

    private static func text(_ name: String, _ method: JSONValue) throws -> String {
        guard let value = method[name] else {
            throw ServiceError.badRequest("'\(name)' needs to be set for glance-download import method")
        }
        guard let text = value.stringValue, !text.isEmpty, text.utf8.count <= 255 else {
            throw ServiceError.badRequest("'\(name)' must be a string of 1 to 255 bytes.")
        }
        return text
    }
}

/// What the other service says of its image.
struct GlanceDescription: Sendable {
    let diskFormat: String
    let containerFormat: String
    let sizeBytes: Int64
    /// What its bytes have to have; nil when it names no digest that this program can make.
    let digest: (algorithm: DigestAlgorithm, value: String)?
    let properties: [String: JSONValue]

    /// - Throws: `ServiceError.conflict` for an image that has no data, or whose description cannot be read.
    init(_ json: JSONValue, of image: ImageID) throws {
        guard let members = json.objectValue, let status = members["status"]?.stringValue else {
            throw ServiceError.conflict("What the other image service says of image \(image) cannot be read.")
        }
        guard status == Image.Status.active.rawValue else {
            throw ServiceError.conflict("Source image status should be active instead of \(status.prefix(32))")
        }
        guard let size = members["size"]?.integerValue, size >= 0 else {
            throw ServiceError.conflict("Size attribute of remote image \(image) could not be determined.")
        }
        sizeBytes = size
        guard let disk = members["disk_format"]?.stringValue, let container = members["container_format"]?.stringValue
        else { throw ServiceError.conflict("The remote image \(image) has no formats.") }
        (diskFormat, containerFormat) = (disk, container)
        digest = Self.digest(members)
        properties = members
    }

    private static func digest(_ members: [String: JSONValue]) -> (algorithm: DigestAlgorithm, value: String)? {
        if let algorithm = members["os_hash_algo"]?.stringValue.flatMap(DigestAlgorithm.init(rawValue:)),
            let value = members["os_hash_value"]?.stringValue
        {
            return (algorithm, value.lowercased())
        }
        return members["checksum"]?.stringValue.map { (.md5, $0.lowercased()) }
    }

    /// - Throws: `RemoteContentError.cutShort`: it may come whole the next time.
    func requireSame(_ bytes: UploadedBytes) throws {
        guard let digest, Hex.encode(bytes[digest.algorithm]) != digest.value else { return }
        throw RemoteContentError(
            .cutShort, "the bytes that came do not have the \(digest.algorithm.rawValue) that the image has there")
    }
}

extension ImportRun {
    /// More than any image's properties.
    private static let descriptionBytes = 4 << 20

    /// Takes the image's data and what describes it from another image service, as whoever asked for the import. Its
    /// properties come with the bytes, in one transaction, or not at all.
    func fetchFromGlance(_ plan: ImportPlan) async throws -> ImportPlan {
        guard let remote = worker.remote, let catalogue = worker.catalogue else {
            throw ServiceError.conflict("The import method glance-download is not enabled any more.")
        }
        let source = try GlanceSource(plan.task.input["import_req"]?["method"] ?? .null)
        let token = try await token(of: plan)
        let url = try await url(of: source, in: catalogue, token)
        let headers = [(name: "X-Auth-Token", value: token.text)]
        let answer = try await remote.open(url, range: nil, headers: headers)
        let description = try GlanceDescription(try await document(answer.body), of: source.image)
        let content =
            description.sizeBytes == 0
            ? RemoteContent(sizeBytes: 0, body: AsyncThrowingStream { $0.finish() })
            : try await remote.open(url + "/file", range: nil, headers: headers)
        if let size = content.sizeBytes, size != description.sizeBytes {
            throw RemoteContentError(
                .cutShort, "\(size) bytes come of an image that has \(description.sizeBytes) bytes there")
        }
        return try await stageElsewhereIfReadOnly(
            content.body, declaredSizeBytes: description.sizeBytes, plan,
            algorithms: description.digest.map { [$0.algorithm] } ?? [], check: description.requireSame
        ) { image, db in
            let change = try DescribedImage(description, image, propertyAccess(to: image, plan), settings)
            try change.save(image, in: db)
            // The token has done its work.
            try db.execute(
                "UPDATE import_glance SET token = '', replaced = COALESCE(replaced, $1) WHERE task_id = $2",
                JSONColumn(change.replaced), plan.task.id)
        }
    }

    private func token(of plan: ImportPlan) async throws -> CallerToken {
        let task = plan.task.id
        let sealed = try await database.read { db in
            try db.first("SELECT token FROM import_glance WHERE task_id = $1", task) { try $0.get(0, as: String.self) }
        }
        guard let sealed = sealed.flatMap(Hex.decode), let token = worker.seal.reveal(sealed, in: [task.rawValue])
        else {
            throw ServiceError.conflict("The token that the import was asked for with cannot be read any more.")
        }
        return CallerToken(token)
    }

    /// Of the image there.
    private func url(
        of source: GlanceSource, in catalogue: any ServiceCatalogue, _ token: CallerToken
    ) async throws -> String {
        let endpoint = try await catalogue.url(
            ofService: ImageSettings.serviceType, region: source.region, interface: source.interface, for: token)
        guard var base = endpoint.map({ $0[...] }) else {
            throw ServiceError.conflict(
                "The catalogue has no image service with the interface '\(source.interface)' in the region "
                    + "'\(source.region)'.")
        }
        while base.hasSuffix("/") { base.removeLast() }
        if base.hasSuffix("/v2") { base.removeLast(3) }
        return "\(base)/v2/images/\(source.image)"
    }

    /// What whoever asked for the import may do with the image's properties.
    private func propertyAccess(to image: Image, _ plan: ImportPlan) -> PropertyAccess {
        let task = plan.task
        let caller = Caller(
            userID: task.user ?? UserID(""), projectID: task.owner, roles: plan.roles, requestID: task.requestID ?? "",
            logger: worker.logger)
        return settings.policy.properties(of: image, ImageStanding(image, isMember: false, of: caller), for: caller)
    }

    private func document<Body: AsyncSequence & Sendable>(
        _ body: Body
    ) async throws -> JSONValue where Body.Element == ByteBuffer {
        var bytes = ByteBuffer()
        for try await part in body {
            guard bytes.readableBytes + part.readableBytes <= Self.descriptionBytes else {
                throw RemoteContentError(.tooLarge, "the image's description is too long")
            }
            bytes.writeImmutableBuffer(part)
        }
        do {
            return try JSONValue(parsing: bytes)
        } catch {
            throw RemoteContentError(.malformed, "the image's description is no JSON")
        }
    }
}

/// An image's record with what another service says of it.
private struct DescribedImage {
    private let diskFormat: String?
    private let containerFormat: String?
    private let properties: [String: String?]
    /// What stood there before, for an import that fails later.
    let replaced: JSONValue

    /// Properties are copied that the operator names, and that whoever asked for the import may set themselves.
    /// - Throws: `ServiceError`: formats or values that this service does not take, too many properties.
    init(_ description: GlanceDescription, _ image: Image, _ access: PropertyAccess, _ settings: ImageSettings) throws {
        let fields = ImageFields(settings: settings)
        diskFormat = try fields.diskFormat(.string(description.diskFormat))
        containerFormat = try fields.containerFormat(.string(description.containerFormat))
        var properties: [String: String?] = [:]
        for (name, value) in description.properties where Self.isCopied(name, settings.imports) {
            let old = image.properties[name]
            guard access.allows(.read, name), access.allows(old == nil ? .create : .update, name) else { continue }
            properties[name] = .some(try fields.property(name, value))
        }
        try settings.requirePropertyRoom(image.properties.merging(properties) { $1 })
        self.properties = properties
        replaced = .object([
            "formats": [
                "was": Self.formats(image.diskFormat, image.containerFormat),
                "is": Self.formats(diskFormat, containerFormat),
            ],
            "properties": .object(
                Dictionary(
                    uniqueKeysWithValues: properties.map { name, value in
                        (name, ["was": Self.json(image.properties[name]), "is": Self.json(.some(value))])
                    })),
        ])
    }

    private static func isCopied(_ name: String, _ settings: ImportSettings) -> Bool {
        ImportPlugins.mayInject(name) && settings.copiedProperties.contains { name.hasPrefix($0) }
    }

    private static func formats(_ disk: String?, _ container: String?) -> JSONValue {
        .array([disk, container].map { $0.map(JSONValue.string) ?? .null })
    }

    /// A list of one, for a property may have no value.
    private static func json(_ value: String??) -> JSONValue {
        switch value {
        case .none: []
        case .some(.none): [.null]
        case .some(.some(let text)): [.string(text)]
        }
    }

    func save(_ image: Image, in db: any SQLConnection) throws {
        try db.execute(
            "UPDATE images SET disk_format = $1, container_format = $2 WHERE id = $3 AND status = 'importing'",
            diskFormat, containerFormat, image.id)
        for (name, value) in properties { try ImportMarks.set(name, value, of: image.id, in: db) }
    }

    /// `replaced` after a step that changes more of the image.
    static func noting(_ result: ImportStepResult, _ image: Image, _ replaced: JSONValue) -> JSONValue {
        var members = replaced.objectValue ?? [:]
        members["formats"] = [
            "was": replaced["formats"]?["was"] ?? .null,
            "is": formats(result.diskFormat ?? image.diskFormat, result.containerFormat ?? image.containerFormat),
        ]
        var properties = replaced["properties"]?.objectValue ?? [:]
        for (name, value) in result.properties where ImportPlugins.mayInject(name) {
            properties[name] = [
                "was": properties[name]?["was"] ?? json(image.properties[name]), "is": [.string(value)],
            ]
        }
        members["properties"] = .object(properties)
        return .object(members)
    }

    /// Puts back what the import replaced, except where somebody has changed it since.
    static func restore(_ image: Image, _ replaced: JSONValue, in db: any SQLConnection) throws {
        if let was = replaced["formats"]?["was"]?.arrayValue, was.count == 2,
            replaced["formats"]?["is"] == formats(image.diskFormat, image.containerFormat)
        {
            try db.execute(
                "UPDATE images SET disk_format = $1, container_format = $2 WHERE id = $3 AND status = 'importing'",
                was[0].stringValue, was[1].stringValue, image.id)
        }
        for (name, value) in replaced["properties"]?.objectValue ?? [:]
        where json(image.properties[name]) == value["is"] {
            if let old = value["was"]?.arrayValue?.first {
                try ImportMarks.set(name, old.stringValue, of: image.id, in: db)
            } else {
                try ImportMarks.remove(name, of: image.id, in: db)
            }
        }
    }
}

extension ImportPlan {
    /// The token of whoever asked for `glance-download`, closed: it is needed until the bytes are here.
    static func keep(
        _ token: CallerToken, of task: TaskID, _ seal: RecordSeal, nonce: [UInt8], in db: any SQLConnection
    ) throws {
        try db.execute(
            "INSERT INTO import_glance (task_id, token) VALUES ($1, $2)", task,
            Hex.encode(seal.conceal(token.text, nonce: nonce, in: [task.rawValue])))
    }

    /// A step has given the image formats and properties: what it set is the import's, as what the other service said is.
    static func noteStep(
        _ image: Image, _ result: ImportStepResult, of task: TaskID, in db: any SQLConnection
    ) throws {
        guard let replaced = try replacedDescription(of: task, in: db) else { return }
        try db.execute(
            "UPDATE import_glance SET replaced = $1 WHERE task_id = $2",
            JSONColumn(DescribedImage.noting(result, image, replaced)), task)
    }

    private static func replacedDescription(of task: TaskID, in db: any SQLConnection) throws -> JSONValue? {
        let column = try db.first("SELECT replaced FROM import_glance WHERE task_id = $1", task) {
            try $0.get(0, as: JSONColumn?.self)
        }
        return (column ?? nil)?.value
    }

    /// An import that fails leaves the image as it was described before.
    static func restoreDescription(_ image: Image, of task: TaskID, in db: any SQLConnection) throws {
        if let replaced = try replacedDescription(of: task, in: db) {
            try DescribedImage.restore(image, replaced, in: db)
        }
    }
}
