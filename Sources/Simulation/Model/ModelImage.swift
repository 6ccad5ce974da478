import Core

/// What an image is to those who use it: the oracle's state. Small on purpose; the code under test is
/// compared with it, so it shares none of that code's ideas of rows, blobs or leases.
package struct ModelImage: Hashable, Sendable {
    package enum Status: Hashable, Sendable {
        /// Never created.
        case absent
        case queued
        /// Being uploaded by the operation of this number; nobody but that upload depends on it.
        case saving(Int)
        case active
        case deactivated
        case deleted
        /// Deleted, and can be had back as it was.
        indirect case recycled(Status)
    }

    package var status = Status.absent
    package var name = "image"
    package var property: String?
    package var isProtected = false
    package var tags: Set<String> = []
    /// Whether each member accepted.
    package var members: [String: Bool] = [:]
    /// Which of the simulated contents the image has.
    package var content: Int?
    /// What `cinder_encryption_key_id` and its policy say: whether the key goes with the image.
    package var key: String?
    package var destroysKey: Bool?
    /// What `SimulatedClient.certificateProperty` says.
    package var certificate: String?

    package init() {}

    package static var absent: ModelImage { ModelImage() }
    package static var created: ModelImage {
        var image = ModelImage()
        image.status = .queued
        return image
    }

    package var exists: Bool {
        switch status {
        case .absent, .deleted, .recycled: false
        case .queued, .saving, .active, .deactivated: true
        }
    }

    /// What is left of it when the recycle bin was emptied.
    package var outOfRecycleBin: ModelImage {
        if case .recycled = status { Self.tombstone } else { self }
    }

    /// What a crash leaves of it: no upload survives one.
    package var recovered: ModelImage {
        var image = self
        if case .saving = status { image.status = .queued }
        return image
    }
}

extension ModelImage: CustomStringConvertible {
    package var description: String {
        var parts = ["\(status)", "name=\(name)"]
        if let property { parts.append("property=\(property)") }
        if isProtected { parts.append("protected") }
        if !tags.isEmpty { parts.append("tags=\(tags.sorted().joined(separator: ","))") }
        for (member, accepted) in members.sorted(by: { $0.key < $1.key }) {
            parts.append("\(member)=\(accepted ? "accepted" : "pending")")
        }
        if let content { parts.append("content=\(content)") }
        if let key { parts.append("key=\(key)") }
        if let destroysKey { parts.append(destroysKey ? "destroys its key" : "keeps its key") }
        if let certificate { parts.append("certificate=\(certificate)") }
        return parts.joined(separator: " ")
    }
}

/// What a client asks for.
package enum Operation: Hashable, Sendable {
    case create
    case upload(content: Int, isDeclared: Bool)
    /// The body ends before it is whole.
    case brokenUpload(content: Int)
    case delete
    case rename(String)
    case setProperty(String)
    case protect(Bool)
    case addTag(String)
    case removeTag(String)
    case addMember(String)
    case acceptMembership(String)
    case removeMember(String)
    case deactivate
    case reactivate
    /// By the operator, from the recycle bin.
    case undelete
    case discard
    case createNaming(key: String, destroys: Bool?)
    /// The policy stays as it is where `destroys` is nil.
    case nameKey(String, destroys: Bool?)
    case forgetKey
    case setKeyPolicy(destroys: Bool)
    case signWith(String)
    case show
    case download

    /// What a property is to name as a key.
    package var naming: String? {
        switch self {
        case .createNaming(let key, _), .nameKey(let key, _), .signWith(let key): key
        default: nil
        }
    }

    package var isMutating: Bool {
        switch self {
        case .show, .download: false
        default: true
        }
    }
}

/// What a client is told.
package enum Reply: Hashable, Sendable {
    case done
    /// `show`: what the image looked like.
    case seen(ModelImage)
    /// `download`: the content, or nil when there is none yet.
    case bytes(Int?)
    /// The bytes of a download that ended early: some beginning of a content.
    case refused(Int)
    /// A fault got in the way (503, 413, a broken connection): nothing happened.
    case failed(String)
    /// No answer came: it may have happened or not.
    case unknown

    package var isFault: Bool {
        switch self {
        case .failed, .unknown: true
        default: false
        }
    }
}

extension ModelImage {
    /// What must come of an operation that nothing disturbs, on an image that nobody else uses meanwhile.
    package func applying(_ operation: Operation, hasRecycleBin: Bool) -> (outcome: Reply, after: ModelImage) {
        var after = self
        switch operation {
        case .create:
            guard status == .absent else { return (.refused(409), self) }
            after = .created
            return (.done, after)
        case .createNaming(let key, let destroys):
            guard status == .absent else { return (.refused(409), self) }
            after = .created
            after.key = key
            after.destroysKey = destroys
            return (.done, after)
        case .undelete:
            guard case .recycled(let before) = status else { return (.refused(404), self) }
            after.status = before
            return (.done, after)
        case .discard:
            guard case .recycled = status else { return (.refused(404), self) }
            return (.done, Self.tombstone)
        default: break
        }
        guard exists else { return (.refused(404), self) }
        switch operation {
        case .upload(let content, _):
            guard status == .queued else { return (.refused(409), self) }
            after.status = .active
            after.content = content
        case .brokenUpload:
            guard status == .queued else { return (.refused(409), self) }
            return (.failed("the body broke"), self)
        case .delete:
            guard !isProtected else { return (.refused(403), self) }
            after = hasRecycleBin ? recycled : Self.tombstone
        case .deactivate: return moving(from: .active, to: .deactivated)
        case .reactivate: return moving(from: .deactivated, to: .active)
        case .show: return (.seen(self), self)
        case .download:
            guard status != .deactivated else { return (.refused(403), self) }
            return (.bytes(content), self)
        default: return changing(operation)
        }
        return (.done, after)
    }

    private static var tombstone: ModelImage {
        var image = ModelImage()
        image.status = .deleted
        return image
    }

    private var recycled: ModelImage {
        var image = recovered
        image.status = .recycled(image.status)
        return image
    }

    private func moving(from: Status, to: Status) -> (Reply, ModelImage) {
        if status == to { return (.done, self) }
        guard status == from else { return (.refused(403), self) }
        var after = self
        after.status = to
        return (.done, after)
    }

    /// Operations that change the record of an image that exists.
    private func changing(_ operation: Operation) -> (Reply, ModelImage) {
        var after = self
        switch operation {
        case .rename(let name): after.name = name
        case .setProperty(let value): after.property = value
        case .nameKey(let key, let destroys):
            after.key = key
            if let destroys { after.destroysKey = destroys }
        case .forgetKey:
            guard key != nil else { return (.refused(409), self) }
            after.key = nil
        case .setKeyPolicy(let destroys): after.destroysKey = destroys
        case .signWith(let certificate): after.certificate = certificate
        case .protect(let flag): after.isProtected = flag
        case .addTag(let tag): after.tags.insert(tag)
        case .removeTag(let tag):
            guard after.tags.remove(tag) != nil else { return (.refused(404), self) }
        case .addMember(let member):
            guard members[member] == nil else { return (.refused(409), self) }
            after.members[member] = false
        case .acceptMembership(let member):
            // To a project it is not shared with, the image is not there.
            guard members[member] != nil else { return (.refused(404), self) }
            after.members[member] = true
        case .removeMember(let member):
            guard after.members.removeValue(forKey: member) != nil else { return (.refused(404), self) }
        default: preconditionFailure("not a change of the record: \(operation)")
        }
        return (.done, after)
    }
}
