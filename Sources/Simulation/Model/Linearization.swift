import Core

/// Whether what concurrent clients were told can have happened one after the other (Herlihy and Wing,
/// 1990): an order of the operations, none before it was asked for or after it was answered, in which
/// each has the outcome that its client saw, and which ends with the image as it was found.
///
/// An upload is two operations: it claims the image, and later commits, fails, or finds that the image
/// was deleted.
package struct Linearization: Sendable {
    package struct Entry: Sendable, CustomStringConvertible {
        package let operation: Operation
        package let outcome: Reply
        /// Moments of asking and of the answer, in one count for all clients.
        package let start: Int
        package let end: Int

        package init(_ operation: Operation, _ outcome: Reply, start: Int, end: Int) {
            self.operation = operation
            self.outcome = outcome
            self.start = start
            self.end = end
        }

        package var description: String { "[\(start)…\(end)] \(operation) → \(outcome)" }
    }

    private enum Phase: UInt8, Hashable { case toCome, claimed, done }

    private struct State: Hashable {
        var phases: [Phase]
        var image: ModelImage
    }

    private let entries: [Entry]
    private let hasRecycleBin: Bool

    package init(_ entries: [Entry], hasRecycleBin: Bool) {
        self.entries = entries
        self.hasRecycleBin = hasRecycleBin
    }

    package func explains(_ found: ModelImage, from first: ModelImage) -> Bool {
        var seen: Set<State> = []
        var waiting = [State(phases: entries.map { _ in .toCome }, image: first)]
        while let state = waiting.popLast() {
            guard seen.insert(state).inserted else { continue }
            if state.phases.allSatisfy({ $0 == .done }) {
                if state.image == found { return true }
                continue
            }
            for index in entries.indices where state.phases[index] != .done && mayStep(index, state) {
                waiting += steps(of: index, from: state)
            }
        }
        return false
    }

    /// Nothing happens after its answer: all that was answered before this one was asked for is done.
    private func mayStep(_ index: Int, _ state: State) -> Bool {
        entries.indices.allSatisfy { state.phases[$0] == .done || entries[$0].end > entries[index].start }
    }

    private func steps(of index: Int, from state: State) -> [State] {
        let entry = entries[index]
        func next(_ phase: Phase, _ image: ModelImage) -> State {
            var next = state
            next.phases[index] = phase
            next.image = image
            return next
        }
        switch entry.operation {
        case .upload(let content, _):
            return uploadSteps(index, content, state).map { next($0.0, $0.1) }
        case .brokenUpload:
            return uploadSteps(index, nil, state).map { next($0.0, $0.1) }
        case .show:
            guard isSeen(entry.outcome, state.image) else { return [] }
            return [next(.done, state.image)]
        default:
            let (outcome, after) = state.image.applying(entry.operation, hasRecycleBin: hasRecycleBin)
            return outcome == entry.outcome ? [next(.done, after)] : []
        }
    }

    private func uploadSteps(_ index: Int, _ content: Int?, _ state: State) -> [(Phase, ModelImage)] {
        let outcome = entries[index].outcome
        var image = state.image
        if state.phases[index] == .toCome {
            switch outcome {
            case .refused(404): return image.exists ? [] : [(.done, image)]
            case .refused(409): return image.exists && image.status != .queued ? [(.done, image)] : []
            default:
                guard image.status == .queued else { return [] }
                image.status = .saving(index)
                return [(.claimed, image)]
            }
        }
        let isStillOurs = image.status == .saving(index)
        switch outcome {
        case .done:
            guard isStillOurs else { return [] }
            image.status = .active
            image.content = content
            return [(.done, image)]
        case .refused(410): return image.exists ? [] : [(.done, image)]
        case .failed:
            guard isStillOurs else { return [] }
            image.status = .queued
            return [(.done, image)]
        default: return []
        }
    }

    /// What `GET` shows: not who uploads, nor with whom the image is shared.
    private func isSeen(_ outcome: Reply, _ image: ModelImage) -> Bool {
        guard case .seen(var seen) = outcome else { return outcome == .refused(404) && !image.exists }
        guard image.exists else { return false }
        var image = image
        image.members = [:]
        seen.members = [:]
        if case .saving = image.status { image.status = .saving(0) }
        return seen == image
    }
}
