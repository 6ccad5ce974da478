import Synchronization
import Trust

/// The master keys in memory. A rotation beside the server puts a new one into the file: an id that is not
/// known is looked for there once more.
package final class KeyRing: Sendable {
    private let keys: Mutex<MasterKeys>
    private let reload: (@Sendable () throws -> MasterKeys)?

    /// - Parameter reload: reads the file again; nil when there is none.
    package init(_ keys: MasterKeys, reload: (@Sendable () throws -> MasterKeys)? = nil) {
        self.keys = Mutex(keys)
        self.reload = reload
    }

    package subscript(_ id: String) -> SecretBytes? {
        if let known = keys.withLock({ $0[id]?.bytes }) { return known }
        guard let again = try? reload?() else { return nil }
        return keys.withLock { keys in
            // What the file has no more may still be named by rows that somebody is reading.
            keys = MasterKeys(again.keys + keys.keys.filter { again[$0.id] == nil })
            return keys[id]?.bytes
        }
    }

    /// The key that wraps, as the file had it when it was read last.
    package var first: MasterKeys.Key { keys.withLock { $0.first } }
}
