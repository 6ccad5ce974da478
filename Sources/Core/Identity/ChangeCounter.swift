import Persistence
import Synchronization

/// Counts what was written to Identity, by every process that may write: what one knew before the last change, it does
/// not believe any more.
package protocol ChangeCounter: Sendable {
    var count: Int { get }
    func increment()
}

/// For a database that several processes write.
extension SharedCounter: ChangeCounter {}

/// For a database that one process alone writes.
package final class OwnChangeCounter: ChangeCounter {
    private let changes = Atomic<Int>(0)

    package init() {}

    package var count: Int { changes.load(ordering: .acquiring) }
    package func increment() { changes.add(1, ordering: .acquiringAndReleasing) }
}
