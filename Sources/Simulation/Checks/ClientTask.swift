import Core

/// A client of a random run: it uses images that no other client uses, so that what each may be is known.
final class ClientTask: @unchecked Sendable {
    let life: Life
    var draws: SplitMix64
    private var images: [ImageID] = []
    var keys: [SecretID] = []

    init(_ life: Life, _ draws: SplitMix64) {
        self.life = life
        self.draws = draws
    }

    var run: RandomRun { life.world }

    func work() async {
        while life.takeOperation() {
            await life.pause(&draws)
            guard let server = life.server(&draws) else {
                // All are down: the client tries again later.
                await life.step()
                continue
            }
            if let book = run.keyBook, draws.chance(1, in: 2) {
                if draws.chance(1, in: 3) {
                    await useKey(book, server)
                } else {
                    let image = pickImage()
                    await perform(pickKeyOperation(image, book), on: image, server)
                }
                continue
            }
            let image = pickImage()
            await perform(pickOperation(image), on: image, server)
        }
    }

    private func pickImage() -> ImageID {
        if images.count < 2 || draws.chance(1, in: 12) { return newImage() }
        // The last few; older ones are left as they are, and must stay so.
        let image = images[images.count - 1 - draws.next(below: min(3, images.count))]
        let isGone = run.allowed[image]?.allSatisfy { $0.status == .deleted } ?? false
        return isGone && draws.chance(3, in: 4) ? newImage() : image
    }

    private func newImage() -> ImageID {
        let image = run.nextImage()
        run.allowed[image] = [.absent]
        images.append(image)
        return image
    }

    private func pickOperation(_ image: ImageID) -> Operation {
        let content = draws.next(below: Payloads.count)
        if run.allowed[image] == [.absent] { return draws.chance(9, in: 10) ? .create : .show }
        switch draws.next(below: 24) {
        case 0...5: return .upload(content: content, isDeclared: draws.chance(1, in: 2))
        case 6: return .brokenUpload(content: content)
        case 7, 8: return .delete
        case 9: return .rename("name-\(draws.next(below: 4))")
        case 10: return .setProperty("value-\(draws.next(below: 4))")
        case 11: return .protect(draws.chance(1, in: 4))
        case 12: return .addTag("tag-\(draws.next(below: 3))")
        case 13: return .removeTag("tag-\(draws.next(below: 3))")
        case 14: return .addMember("m\(draws.next(below: 2))")
        case 15: return .acceptMembership("m\(draws.next(below: 2))")
        case 16: return .removeMember("m\(draws.next(below: 2))")
        case 17: return .deactivate
        case 18: return .reactivate
        case 19: return draws.chance(1, in: 2) ? .undelete : .discard
        case 20: return .create
        case 21: return .show
        default: return .download
        }
    }

    private func perform(_ operation: Operation, on image: ImageID, _ server: SimulatedServer) async {
        let isTwice = draws.chance(1, in: 25)
        let isReplyLost = draws.chance(1, in: 40)
        let before = run.disturbances
        let client = SimulatedClient(server, image) { await self.life.step() }
        var replies: [Reply] = []
        if isTwice {
            // The request is sent again before the first was answered.
            run.report.duplicates += 1
            async let first = client.perform(operation)
            async let second = client.perform(operation)
            replies = [await first, await second]
        } else {
            replies = [await client.perform(operation)]
        }
        let isDisturbed = run.disturbances != before || server.stall.isOn || life.isTroubled
        if server.mount.isDead || life.isCrashed || isReplyLost { replies = replies.map { _ in .unknown } }
        for reply in replies { count(reply) }
        judge(operation, replies, on: image, isDisturbed: isDisturbed)
    }

    func count(_ reply: Reply) {
        switch reply {
        case .done, .seen, .bytes: run.report.acknowledged += 1
        case .refused: run.report.refused += 1
        case .failed: run.report.failed += 1
        case .unknown: run.report.unanswered += 1
        }
    }

    /// Of what the image may have been, what fits the replies; and what it may be now.
    private func judge(_ operation: Operation, _ replies: [Reply], on image: ImageID, isDisturbed: Bool) {
        var now = run.expanded(run.allowed[image] ?? [.absent])
        let before = now
        let book = run.keyBook
        let named = Set(before.flatMap(\.keyIDs)).union(operation.named)
        for key in named { book?.refresh(key) }
        let beforeGhosts = before.union(run.ghosts[image] ?? [])
        var ghosts: Set<ModelImage> = []
        // Of two copies of a request either may have been first.
        let orders = replies.count == 2 ? [replies, replies.reversed()] : [replies]
        var after: Set<ModelImage> = []
        for order in orders {
            now = before
            for reply in order {
                var next: Set<ModelImage> = []
                for model in now {
                    // The other copy was at it.
                    if order.count == 2, reply == .refused(409), isUpload(operation) {
                        next.insert(model)
                    }
                    next.formUnion(self.after(operation, reply, on: model, isDisturbed: isDisturbed, &ghosts))
                }
                now = next
            }
            after.formUnion(now)
        }
        if after.isEmpty {
            let models = before.map(\.description).sorted().joined(separator: "; or ")
            run.report.violations.append(
                "life \(run.report.lives): \(operation) on \(image) <\(models)>: \(replies)"
                    + (isDisturbed ? "" : ", undisturbed"))
            after = before
        }
        run.allowed[image] = after
        if operation.isMutating, !ghosts.isEmpty {
            run.ghosts[image, default: []].formUnion(ghosts)
        } else if operation.isMutating, replies.contains(.done) {
            run.ghosts[image] = nil
        }
        if let book {
            book.note(image, beforeGhosts, after.union(run.ghosts[image] ?? []))
            for key in named { book.refresh(key) }
        }
    }

    private func after(
        _ operation: Operation, _ reply: Reply, on model: ModelImage, isDisturbed: Bool, _ ghosts: inout Set<ModelImage>
    ) -> Set<ModelImage> {
        let (expected, after) = model.applying(operation, hasRecycleBin: run.serverOptions.hasRecycleBin)
        switch reply {
        case .unknown: return Set([model, after]).union(leftBehind(operation, model))
        case .failed:
            if expected.isFault { return isDisturbed ? leftBehind(operation, model).union([model]) : [model] }
            guard isDisturbed else { return [] }
            // The database said no, and forgets it: unless a crash comes before it writes there again.
            ghosts.insert(after)
            return leftBehind(operation, model).union([model])
        case .seen(let seen): return fits(seen, model) ? [model] : []
        case .refused(410) where isUpload(operation) && !model.exists: return [model]
        case .refused(404) where operation == .download: return model.exists ? [] : [model]
        case .refused(409)
        where expected == .done && operation.naming.map { run.keyBook?.mayBeGoing($0) ?? false } ?? false:
            return [model]
        default: return reply == expected ? [after] : []
        }
    }

    private func isUpload(_ operation: Operation) -> Bool {
        switch operation {
        case .upload, .brokenUpload: true
        default: false
        }
    }

    /// `GET` shows no members.
    private func fits(_ seen: ModelImage, _ model: ModelImage) -> Bool {
        guard model.exists else { return false }
        var model = model
        model.members = [:]
        return seen == model
    }

    /// What a fault may leave of an upload that could not even be undone, until the reconciler does that.
    private func leftBehind(_ operation: Operation, _ model: ModelImage) -> Set<ModelImage> {
        guard isUpload(operation), model.status == .queued else { return [] }
        var left = model
        left.status = .saving(0)
        return [left]
    }
}
