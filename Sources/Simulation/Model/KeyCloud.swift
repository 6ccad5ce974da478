import Core

/// The oracle of images and keys together, for those who use them one at a time: after each step all that follows
/// from it has happened.
package struct KeyCloud: Hashable, Sendable {
    package struct Key: Hashable, Sendable {
        package var status = KeyStatus.absent
        package var type = SecretType.symmetric
        package var backups: Set<String> = []
    }

    package var images: [ModelImage]
    package var keys: [Key]
    package let flavour: KeyFlavour
    package let hasRecycleBin: Bool

    package init(images: Int, keys: Int, _ flavour: KeyFlavour, hasRecycleBin: Bool) {
        self.images = Array(repeating: .absent, count: images)
        self.keys = Array(repeating: Key(), count: keys)
        self.flavour = flavour
        self.hasRecycleBin = hasRecycleBin
    }

    /// What a client or the operator does; images and keys are named by their numbers.
    package enum Step: Hashable, Sendable {
        case image(Int, Operation)
        case createNaming(Int, key: Int, destroys: Bool?)
        case nameKey(Int, key: Int, destroys: Bool?)
        case signWith(Int, key: Int)
        case store(Int, SecretType)
        case key(Int, KeyOperation)
    }

    /// - Parameter ids: of the keys that were stored.
    package func applying(_ step: Step, ids: [SecretID]) -> (reply: Reply, after: KeyCloud) {
        var after = self
        switch step {
        case .image, .createNaming, .nameKey, .signWith:
            guard let (index, operation) = step.onImage(ids: ids) else { preconditionFailure("not on an image") }
            let (reply, image) = images[index].applying(operation, hasRecycleBin: hasRecycleBin)
            after.images[index] = image
            if image.status == .deleted { after.lastOneOut(images[index], ids) }
            return (reply, after)
        case .store(let index, let type):
            after.keys[index] = Key(status: .there, type: type)
            return (.done, after)
        case .key(let index, let operation): return applying(operation, on: index, ids)
        }
    }

    /// The image is gone for good. Its key goes with it if that was asked for and nothing else needs it.
    private mutating func lastOneOut(_ image: ModelImage, _ ids: [SecretID]) {
        for (index, id) in ids.enumerated() where image.names(id) {
            let key = keys[index]
            guard image.destroys(id), key.type == .symmetric || key.type == .passphrase, !isNeeded(index, ids) else {
                continue
            }
            if key.status == .there { remove(index) }
        }
    }

    private func isNeeded(_ index: Int, _ ids: [SecretID]) -> Bool {
        !keys[index].backups.isEmpty || images.contains { $0.names(ids[index]) }
    }

    private mutating func remove(_ index: Int) {
        keys[index].status = flavour == .embedded ? .hidden : .erased
        if flavour == .remote { keys[index].backups = [] }
    }

    private func applying(_ operation: KeyOperation, on index: Int, _ ids: [SecretID]) -> (Reply, KeyCloud) {
        var after = self
        let status = keys[index].status
        switch operation {
        case .delete(let isForced):
            guard status == .there else { return (.refused(404), self) }
            guard isForced || !isNeeded(index, ids) else { return (.refused(400), self) }
            after.remove(index)
        case .undelete:
            guard status == .hidden else { return (.refused(404), self) }
            after.keys[index].status = .there
        case .erase:
            guard status == .hidden else { return (.refused(404), self) }
            guard !isNeeded(index, ids) else { return (.refused(409), self) }
            after.keys[index].status = .erased
        case .register(let name):
            guard status == .there else { return (.refused(404), self) }
            after.keys[index].backups.insert(name)
        case .unregister(let name):
            guard status == .there, after.keys[index].backups.remove(name) != nil else { return (.refused(404), self) }
        }
        return (.done, after)
    }
}

extension KeyCloud.Step {
    /// The step as an operation on an image, if it is one.
    func onImage(ids: [SecretID]) -> (Int, Operation)? {
        switch self {
        case .image(let index, let operation): (index, operation)
        case .createNaming(let index, let key, let destroys):
            (index, .createNaming(key: ids[key].rawValue, destroys: destroys))
        case .nameKey(let index, let key, let destroys): (index, .nameKey(ids[key].rawValue, destroys: destroys))
        case .signWith(let index, let key): (index, .signWith(ids[key].rawValue))
        case .store, .key: nil
        }
    }
}

extension KeyCloud: CustomStringConvertible {
    package var description: String {
        let images = images.map { "<\($0)>" }.joined(separator: " ")
        let keys = keys.map {
            "\($0.type.rawValue) \($0.status)\($0.backups.isEmpty ? "" : " for \($0.backups.sorted())")"
        }
        return "\(images) keys \(keys)"
    }
}
