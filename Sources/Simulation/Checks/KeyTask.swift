import Core

/// What a client of a random run does with keys and with images that name them.
extension ClientTask {
    /// An operation that concerns keys, on an image.
    func pickKeyOperation(_ image: ImageID, _ book: KeyBook) -> Operation {
        let destroys = draws.pick([true, true, false, nil] as [Bool?])
        if run.allowed[image] == [.absent] { return .createNaming(key: pickName(book), destroys: destroys) }
        switch draws.next(below: 12) {
        case 0...2: return .nameKey(pickName(book), destroys: destroys)
        case 3: return .forgetKey
        case 4: return .setKeyPolicy(destroys: draws.chance(2, in: 3))
        case 5: return .signWith(pickName(book))
        case 6: return .upload(content: draws.next(below: Payloads.count), isDeclared: true)
        case 7: return .undelete
        case 8: return .discard
        default: return .delete
        }
    }

    private func pickName(_ book: KeyBook) -> String {
        let own = recentKeys
        switch draws.next(below: 20) {
        case 0: return "not-a-key"
        case 1: return "00000000-0000-4000-a000-00000000000\(draws.next(below: 8))"
        case 2: return book.strangers.isEmpty ? "" : draws.pick(book.strangers).rawValue
        case 3: return own.isEmpty ? "-" : draws.pick(own).rawValue.uppercased()
        default: return own.isEmpty ? "none" : draws.pick(own).rawValue
        }
    }

    private var recentKeys: [SecretID] { keys.suffix(3) }

    /// An operation on a key.
    func useKey(_ book: KeyBook, _ server: SimulatedServer) async {
        run.report.keyOperations += 1
        if keys.isEmpty || draws.chance(1, in: 3) { return await store(book, server) }
        let isStrangers = draws.chance(1, in: 30) && !book.strangers.isEmpty && !book.isStrangerAtWork
        let id = isStrangers ? draws.pick(book.strangers) : draws.pick(recentKeys)
        let operation = isStrangers ? .delete(isForced: false) : pickKeyOperation()
        let isReplyLost = draws.chance(1, in: 40)
        let before = run.disturbances
        book.refresh(id)
        let client = SimulatedKeyClient(
            server, project: isStrangers ? SimulatedKeyClient.stranger : SimulatedKeyClient.owner)
        if isStrangers { book.isStrangerAtWork = true }
        var reply = await client.perform(operation, on: id)
        if isStrangers { book.isStrangerAtWork = false }
        let isDisturbed = run.disturbances != before || server.stall.isOn || life.isTroubled
        if server.mount.isDead || life.isCrashed || isReplyLost { reply = .unknown }
        count(reply)
        book.judge(operation, reply, on: id, isDisturbed: isDisturbed)
        takeViolations(book)
    }

    private func pickKeyOperation() -> KeyOperation {
        switch draws.next(below: 16) {
        case 0...3: .delete(isForced: false)
        case 4: .delete(isForced: true)
        case 5...10: .undelete
        case 11: .erase
        case 12: .register("b\(draws.next(below: 2))")
        default: .unregister("b\(draws.next(below: 2))")
        }
    }

    private func store(_ book: KeyBook, _ server: SimulatedServer) async {
        let isStrangers = draws.chance(1, in: 8) && book.strangers.count < 3
        let type = draws.pick([.symmetric, .symmetric, .symmetric, .passphrase, .certificate] as [SecretType])
        let project = isStrangers ? SimulatedKeyClient.stranger : SimulatedKeyClient.owner
        let key = StoredKey(project: project, type: type, payload: draws.bytes(1 + draws.next(below: 64)))
        let expires = !isStrangers && draws.chance(1, in: 8)
        let isReplyLost = draws.chance(1, in: 40)
        let before = run.disturbances
        let client = SimulatedKeyClient(server, project: project)
        // Later than all that clocks go wrong in a life.
        let (reply, id) = await client.store(key, lastsSeconds: expires ? 300_000 : nil)
        let isDisturbed = run.disturbances != before || server.stall.isOn || life.isTroubled
        if case .failed = reply, !isDisturbed { book.violations.append("storing a key: \(reply), undisturbed") }
        let isUnknown = server.mount.isDead || life.isCrashed || isReplyLost
        count(isUnknown ? .unknown : reply)
        book.stored(key, expires: expires, as: isUnknown ? nil : id)
        if let id, !isUnknown, !isStrangers { keys.append(id) }
        takeViolations(book)
    }

    private func takeViolations(_ book: KeyBook) {
        run.report.violations += book.violations.map { "life \(run.report.lives): \($0)" }
        book.violations = []
    }
}

extension Operation {
    /// The key that it names.
    var named: Set<SecretID> { Set([KeyName.key(naming)].compactMap(\.self)) }
}
