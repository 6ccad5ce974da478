import Core

/// What the keys of a random run may be: the oracle beside `ModelImage`. Of the thread that lives the run.
///
/// Each key is used by the images of one client, and so are the images: what a client did it did in some order.
/// What the cloud does by itself afterwards (bytes are erased, keys let go) has no order, so a key may be one of
/// several things until the cloud comes to rest.
final class KeyBook: @unchecked Sendable {
    struct Record {
        let key: StoredKey
        /// Whether it expires by itself, once time was lost; nobody knows that of one that was brought back.
        let expires: Bool
        var mayLast = false
        var statuses: Set<KeyStatus>
        /// Images that may name it.
        var namers: Set<ImageID> = []
        /// Images that named it when the cloud was last at rest.
        var settledNamers: Set<ImageID> = []
        /// Which backups may need it.
        var backups: [String: Set<Bool>] = [:]

        // Since the cloud was last at rest:
        /// Something may have kept it, so that a deletion may be refused.
        var mayHaveBeenNeeded = false
        /// An image was deleted that may take it along when nothing else needs it.
        var mayGoWithImage = false
        /// Whether the images that were deleted were to take it along, all that may be.
        var policies: Set<Bool> = []
        /// Whether the last to let go of it may have been an image that stays.
        var wasForgotten = false
        /// Something was done after which nobody can say whether it must be gone.
        var isUnsure = false
    }

    let keys: SimulatedKeys
    private unowned let run: RandomRun
    private(set) var records: [SecretID: Record] = [:]
    /// How many keys may have been stored of which nobody was told.
    private var straysLimit = 0
    /// A key of another project, which images here name and never may keep nor take along.
    private(set) var strangers: [SecretID] = []
    /// Whether somebody is deleting one of them: all clients may, and one at a time is enough.
    var isStrangerAtWork = false
    var violations: [String] = []

    init(_ keys: SimulatedKeys, of run: RandomRun) {
        self.keys = keys
        self.run = run
    }

    private var gone: KeyStatus { keys.flavour == .embedded ? .hidden : .erased }
    var stored: [SecretID: StoredKey] { records.mapValues(\.key) }

    /// All that an image may be.
    private func models(_ image: ImageID) -> Set<ModelImage> {
        let models = run.expanded(run.allowed[image] ?? [.absent])
        guard let ghosts = run.ghosts[image] else { return models }
        return models.union(ghosts)
    }

    // MARK: What happens to keys by themselves

    /// Takes into account what may have happened by itself.
    func refresh(_ id: SecretID) {
        guard var record = records[id] else { return }
        let isNeeded = isCertainlyNeeded(id, record)
        if !isNeeded, record.statuses.contains(.there), record.key.mayGo(with: SimulatedKeyClient.owner) {
            if mayGoWithImage(id, record) { record.statuses.insert(gone) }
        }
        if run.hasPassedRetention, keys.flavour == .embedded {
            if record.expires, record.statuses.contains(.there) { record.statuses.insert(.hidden) }
            if !isNeeded, record.statuses.contains(.hidden) { record.statuses.insert(.erased) }
        }
        records[id] = record
    }

    private func mayGoWithImage(_ id: SecretID, _ record: Record) -> Bool {
        record.mayGoWithImage
            || run.hasLostTime
                && record.namers.contains { image in models(image).contains { $0.isRecycled && $0.destroys(id) } }
    }

    private func isCertainlyNeeded(_ id: SecretID, _ record: Record) -> Bool {
        record.backups.values.contains([true])
            || record.key.project == SimulatedKeyClient.owner
                && record.namers.contains { models($0).allSatisfy { $0.names(id) } }
    }

    /// An image was one of some things, and is one of others.
    func note(_ image: ImageID, _ before: Set<ModelImage>, _ after: Set<ModelImage>) {
        var ids: Set<SecretID> = []
        for model in before { ids.formUnion(model.keyIDs) }
        for model in after { ids.formUnion(model.keyIDs) }
        for id in ids.sorted() {
            guard var record = records[id] else { continue }
            let naming = before.filter { $0.names(id) }
            let others = after.filter { !$0.names(id) }
            if others.count < after.count {
                record.namers.insert(image)
                record.mayHaveBeenNeeded = true
                if naming.count < before.count { record.wasForgotten = false }
            } else {
                record.namers.remove(image)
            }
            if !naming.isEmpty, !others.isEmpty {
                record.mayHaveBeenNeeded = true
                let isCertain = naming.count == before.count && others.count == after.count
                let isDeletion = others.contains { $0.status == .deleted }
                let isChange = others.contains { $0.status != .deleted }
                if isDeletion {
                    let policies = Set(naming.map { $0.destroys(id) })
                    record.policies.formUnion(policies)
                    if policies.contains(true) { record.mayGoWithImage = true }
                    if !isCertain || isChange { record.policies.insert(false) }
                    if isCertain, !isChange { record.wasForgotten = false }
                }
                if isChange { record.wasForgotten = true }
            }
            records[id] = record
        }
    }

    /// Whether naming the key may be refused because it is just being destroyed.
    func mayBeGoing(_ value: String) -> Bool {
        guard let id = KeyName.key(value) else { return false }
        guard let record = records[id] else { return true }
        return mayGoWithImage(id, record) || record.key.project != SimulatedKeyClient.owner
    }

    // MARK: What clients do to keys

    func stored(_ key: StoredKey, expires: Bool, as id: SecretID?) {
        guard let id else {
            straysLimit += 1
            return
        }
        records[id] = Record(key: key, expires: expires, statuses: [.there])
        if key.project != SimulatedKeyClient.owner { strangers.append(id) }
    }

    /// - Parameter isDisturbed: whether it may have failed of something else.
    func judge(_ operation: KeyOperation, _ reply: Reply, on id: SecretID, isDisturbed: Bool) {
        refresh(id)
        guard var record = records[id] else { return }
        let before = record
        let isNeeded = isCertainlyNeeded(id, record)
        let fits: Bool
        switch (operation, reply) {
        case (_, .failed) where !isDisturbed: fits = false
        case (_, .failed), (_, .unknown):
            fits = true
            mayHaveDone(operation, &record, isNeeded: isNeeded)
        case (.delete(let isForced), .done):
            // Outside, an image's need is known only once it was told.
            let mayBeDone =
                isForced || (keys.flavour == .embedded ? !isNeeded : !isNeededOutside(id, record))
            fits = mayBeDone && record.statuses.contains(.there)
            record.statuses = [gone]
            if keys.flavour == .remote { record.backups = [:] }
        case (.delete(isForced: false), .refused(400)):
            fits = record.mayHaveBeenNeeded && record.statuses.contains(.there)
            record.statuses = [.there]
        case (.delete, .refused(404)), (.register, .refused(404)): fits = learn(not: .there, &record)
        case (.undelete, .done):
            fits = record.statuses.contains(.hidden)
            record.statuses = [.there]
            record.isUnsure = true
            record.mayLast = true
        case (.undelete, .refused(404)): fits = learn(not: .hidden, &record)
        case (.erase, .done):
            fits = record.statuses.contains(.hidden) && !isNeeded
            record.statuses = [.erased]
            record.backups = [:]
        case (.erase, .refused(409)):
            fits = record.statuses.contains(.hidden) && record.mayHaveBeenNeeded
            record.statuses = [.hidden]
        case (.erase, .refused(404)): fits = learn(not: .hidden, &record)
        case (.register(let name), .done):
            fits = record.statuses.contains(.there)
            record.statuses = [.there]
            record.backups[name] = [true]
            record.mayHaveBeenNeeded = true
            record.isUnsure = true
        case (.register, .refused(409)): fits = mayGoWithImage(id, record)
        case (.unregister(let name), .done):
            fits = record.backups[name]?.contains(true) ?? false
            record.backups[name] = [false]
            record.isUnsure = true
        case (.unregister(let name), .refused(404)):
            fits = record.backups[name]?.contains(false) ?? true || record.statuses != [.there]
            if record.statuses == [.there] { record.backups[name] = [false] }
        default: fits = false
        }
        if fits {
            records[id] = record
        } else {
            violations.append(
                "\(operation) on key \(id), \(before.statuses.map(\.rawValue).sorted()), "
                    + "\(isNeeded ? "needed" : "not needed for sure"): \(reply)\(isDisturbed ? "" : ", undisturbed")")
        }
    }

    private func learn(not status: KeyStatus, _ record: inout Record) -> Bool {
        // To one server it is expired, to another with another clock it is not.
        if record.expires, run.hasPassedRetention { return true }
        record.statuses.remove(status)
        return !record.statuses.isEmpty
    }

    private func mayHaveDone(_ operation: KeyOperation, _ record: inout Record, isNeeded: Bool) {
        record.isUnsure = true
        switch operation {
        case .delete(let isForced):
            if record.statuses.contains(.there), isForced || !isNeeded || keys.flavour == .remote {
                record.statuses.insert(gone)
            }
        case .undelete:
            if record.statuses.contains(.hidden) { record.statuses.insert(.there) }
            record.mayLast = true
        case .erase: if record.statuses.contains(.hidden), !isNeeded { record.statuses.insert(.erased) }
        case .register(let name):
            record.backups[name, default: [false]].insert(true)
            record.mayHaveBeenNeeded = true
        case .unregister(let name): record.backups[name]?.insert(false)
        }
    }

    private func isNeededOutside(_ id: SecretID, _ record: Record) -> Bool {
        record.backups.values.contains([true])
            || record.key.project == SimulatedKeyClient.owner
                && record.namers.contains {
                    record.settledNamers.contains($0) && models($0).allSatisfy { $0.names(id) }
                }
    }

    // MARK: At rest

    /// Compares what was found at rest, and starts anew from that.
    /// - Parameters:
    ///   - before: what the images might have been; `run.allowed` has what they are.
    ///   - hasPassedRetention: whether more than the retention went by since the cloud was last at rest.
    func settle(_ found: KeyAudit.Result, _ before: [ImageID: Set<ModelImage>], hasPassedRetention: Bool) {
        violations += found.violations
        if found.strays > straysLimit { violations.append("(b) \(found.strays) secrets, \(straysLimit) may be there") }
        for (image, models) in before.sorted(by: { $0.key < $1.key }) {
            note(image, models, run.allowed[image] ?? [.absent])
        }
        for id in records.keys.sorted() {
            refresh(id)
            guard var record = records[id] else { continue }
            let backups = found.backups[id] ?? []
            let isNeeded = !record.namers.isEmpty && record.key.project == SimulatedKeyClient.owner || !backups.isEmpty
            var expected = record.statuses
            if !isNeeded, mustBeGone(record) { expected.remove(.there) }
            if hasPassedRetention, keys.flavour == .embedded {
                // What was hidden before has had its time, what expires is hidden now.
                if record.statuses.isSuperset(of: [.hidden, .erased]), !record.statuses.contains(.there), !isNeeded,
                    !record.mayGoWithImage
                {
                    expected = [.erased]
                }
                if record.expires, !record.mayLast { expected.remove(.there) }
            }
            let status = found.statuses[id] ?? .erased
            if !expected.contains(status) {
                violations.append(
                    "(e) key \(id) of \(record.key.project), \(record.key.type), is \(status), expected "
                        + "\(expected.map(\.rawValue).sorted()); named by \(record.namers.sorted()), backups \(backups), "
                        + "deleted images were to take it along: \(record.policies)")
            }
            for (name, values) in record.backups where status != .erased && !values.contains(backups.contains(name)) {
                violations.append("(e) backup \(name) of key \(id) is \(backups.contains(name)), expected \(values)")
            }
            record.statuses = [status]
            record.settledNamers = record.namers
            record.backups = Dictionary(uniqueKeysWithValues: backups.map { ($0, [true]) })
            record.mayHaveBeenNeeded = isNeeded
            (record.mayGoWithImage, record.policies, record.wasForgotten, record.isUnsure) = (false, [], false, false)
            records[id] = record
        }
        violations += keys.troubles.takeViolations()
    }

    /// All images that may have been the last to need it were to take it along.
    private func mustBeGone(_ record: Record) -> Bool {
        record.policies == [true] && !record.wasForgotten && !record.isUnsure
            && record.key.mayGo(with: SimulatedKeyClient.owner)
    }
}

extension ModelImage {
    var isRecycled: Bool {
        if case .recycled = status { true } else { false }
    }
}
