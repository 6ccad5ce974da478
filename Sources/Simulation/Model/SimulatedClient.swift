import Core
import NIOCore

/// Does operations on one image as its users would, and says what they were told.
package struct SimulatedClient: Sendable {
    package static let owner: ProjectID = "p1"
    package static let diskFormat = "raw"

    package let server: SimulatedServer
    package let image: ImageID
    package let owner: ProjectID
    /// How long a client takes between two parts of a body.
    package let pause: @Sendable () async throws -> Void

    package init(
        _ server: SimulatedServer, _ image: ImageID, owner: ProjectID = Self.owner,
        pause: @escaping @Sendable () async throws -> Void = {}
    ) {
        self.server = server
        self.image = image
        self.owner = owner
        self.pause = pause
    }

    private var caller: Caller { SimulatedServer.caller(owner) }
    private var images: Images { server.images }

    package func perform(_ operation: Operation) async -> Reply {
        do {
            return try await attempt(operation)
        } catch let error as ServiceError {
            switch error.status {
            case 503, 500, 413: return .failed("\(error)")
            case let status: return .refused(status)
            }
        } catch {
            return .failed("\(error)")
        }
    }

    private func attempt(_ operation: Operation) async throws -> Reply {
        switch operation {
        case .create: try await create([:])
        case .createNaming(let key, let destroys):
            try await create([Self.keyProperty: key].merging(Self.policy(destroys)) { $1 })
        case .nameKey(let key, let destroys):
            try await patch([Self.keyProperty: key].merging(Self.policy(destroys)) { $1 })
        case .forgetKey:
            let operation = ImagePatch(verb: .remove, path: [Self.keyProperty], value: .null, addRefusesExisting: false)
            _ = try await images.patch(image, [operation], as: caller)
        case .setKeyPolicy(let destroys): try await patch(Self.policy(destroys))
        case .signWith(let certificate): try await patch([Self.certificateProperty: certificate])
        case .upload(let content, let isDeclared): try await upload(content, isDeclared: isDeclared, isWhole: true)
        case .brokenUpload(let content): try await upload(content, isDeclared: true, isWhole: false)
        case .delete: try await images.delete(image, as: caller)
        case .rename(let name): try await patch("name", .string(name))
        case .setProperty(let value): try await patch("os_distro", .string(value))
        case .protect(let flag): try await patch("protected", .bool(flag))
        case .addTag(let tag): try await images.addTag(tag, to: image, as: caller)
        case .removeTag(let tag): try await images.removeTag(tag, from: image, as: caller)
        case .addMember(let member): _ = try await images.addMember(ProjectID(member), to: image, as: caller)
        case .acceptMembership(let member):
            _ = try await images.setMemberStatus(
                .accepted, of: ProjectID(member), on: image, as: SimulatedServer.caller(ProjectID(member)))
        case .removeMember(let member): try await images.removeMember(ProjectID(member), from: image, as: caller)
        case .deactivate: try await images.deactivate(image, as: caller)
        case .reactivate: try await images.reactivate(image, as: caller)
        case .undelete: try await server.bin.undelete(image)
        case .discard: try await server.bin.discard(image)
        case .show: return .seen(try await show())
        case .download: return .bytes(try await download())
        }
        return .done
    }

    static let keyProperty = "cinder_encryption_key_id"
    static let policyProperty = "cinder_encryption_key_deletion_policy"
    /// A property whose key always stays. Not that of a signature's certificate, which these stand for: an image that
    /// has no more than that of a signature takes no data.
    static let certificateProperty = "hw_ephemeral_encryption_secret_uuid"
    static let destroysText = "on_image_deletion"

    private static func policy(_ destroys: Bool?) -> [String: String] {
        destroys.map { [policyProperty: $0 ? destroysText : "do_not_delete"] } ?? [:]
    }

    private func create(_ properties: [String: String]) async throws {
        var draft = ImageDraft()
        draft.id = image
        draft.name = ModelImage.created.name
        draft.diskFormat = Self.diskFormat
        draft.containerFormat = "bare"
        draft.properties = properties.mapValues { .some($0) }
        _ = try await images.create(draft, as: caller)
    }

    private func patch(_ properties: [String: String]) async throws {
        let operations = properties.sorted { $0.key < $1.key }.map {
            ImagePatch(verb: .add, path: [$0.key], value: .string($0.value), addRefusesExisting: false)
        }
        _ = try await images.patch(image, operations, as: caller)
    }

    private func patch(_ name: String, _ value: JSONValue) async throws {
        let operation = ImagePatch(verb: .add, path: [name], value: value, addRefusesExisting: false)
        _ = try await images.patch(image, [operation], as: caller)
    }

    private func upload(_ content: Int, isDeclared: Bool, isWhole: Bool) async throws {
        let bytes = Payloads.bytes(content)
        let body = SimulatedBody(bytes: bytes, isWhole: isWhole, pause: pause)
        try await images.upload(
            body, to: image, declaredSizeBytes: isDeclared ? Int64(bytes.count) : nil, store: nil, as: caller)
    }

    /// What the owner sees; members are looked up only where they can be.
    private func show() async throws -> ModelImage {
        let record = try await images.get(image, as: caller).image
        var seen = ModelImage()
        seen.status =
            switch record.status {
            case .queued: .queued
            case .saving: .saving(0)
            case .active: .active
            case .deactivated: .deactivated
            default: .absent
            }
        seen.name = record.name ?? ""
        seen.property = (record.properties["os_distro"] ?? nil) ?? nil
        seen.key = (record.properties[Self.keyProperty] ?? nil) ?? nil
        seen.destroysKey = ((record.properties[Self.policyProperty] ?? nil) ?? nil).map { $0 == Self.destroysText }
        seen.certificate = (record.properties[Self.certificateProperty] ?? nil) ?? nil
        seen.isProtected = record.isProtected
        seen.tags = record.tags
        seen.content = record.checksum.flatMap { checksum in
            Payloads.digests.firstIndex { $0.checksum == checksum }
        }
        return seen
    }

    /// - Throws: `UnknownBytes` for bytes that nobody uploaded.
    private func download() async throws -> Int? {
        guard let data = try await images.download(image, as: caller) else { return nil }
        var bytes: [UInt8] = []
        do {
            while Int64(bytes.count) < data.sizeBytes {
                var part = try await data.reader.read(offset: Int64(bytes.count), count: 4096)
                bytes += part.readBytes(length: part.readableBytes) ?? []
                try await pause()
            }
        } catch {
            await data.reader.close()
            throw error
        }
        await data.reader.close()
        guard let content = Payloads.identify(bytes) else { return -1 }
        return content
    }
}

/// A body that comes in three parts, with pauses, and may end too soon.
struct SimulatedBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    struct BrokeOff: Error {}

    let bytes: [UInt8]
    let isWhole: Bool
    let pause: @Sendable () async throws -> Void

    struct AsyncIterator: AsyncIteratorProtocol {
        let body: SimulatedBody
        var part = 0

        mutating func next() async throws -> ByteBuffer? {
            try await body.pause()
            let count = body.bytes.count
            defer { part += 1 }
            if part == 2, !body.isWhole { throw BrokeOff() }
            guard part < 3 else { return nil }
            return ByteBuffer(bytes: body.bytes[count * part / 3..<count * (part + 1) / 3])
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(body: self) }
}
