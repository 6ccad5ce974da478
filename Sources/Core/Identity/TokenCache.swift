import Synchronization
import Trust

/// Tokens validated a moment ago, by the SHA-256 of the token: a request in a series costs one hash
/// and one look-up. An entry counts only while no write to Identity has happened, here or in a process that shares the
/// counter, since before it was read, and for `lifetimeSeconds`; expiry is checked by whoever takes it.
final class TokenCache: Sendable {
    struct Key: Hashable, Sendable {
        private let digest: [UInt8]
        init(_ token: String) {
            let hash = Trust.Digest(.sha256)
            var token = token
            token.withUTF8 { hash.update(UnsafeRawBufferPointer($0)) }
            digest = hash.finish()
        }
    }

    private struct Entry {
        let token: ValidatedToken
        let generation: Int
        let cachedAt: Timestamp
    }

    private let limit: Int
    private let lifetimeSeconds: Int64
    private let changes: any ChangeCounter
    private let entries = Mutex<[Key: Entry]>([:])

    init(limit: Int, lifetimeSeconds: Int64, changes: any ChangeCounter) {
        self.changes = changes
        self.limit = limit
        self.lifetimeSeconds = lifetimeSeconds
    }

    /// What a validation notes before it reads the database.
    var currentGeneration: Int { changes.count }

    /// Ends every entry, and every validation under way.
    func invalidate() { changes.increment() }

    func token(_ key: Key, at now: Timestamp) -> ValidatedToken? {
        guard let entry = entries.withLock({ $0[key] }), entry.generation == currentGeneration,
            now <= entry.cachedAt.adding(seconds: lifetimeSeconds), now >= entry.cachedAt
        else { return nil }
        return entry.token
    }

    /// - Parameter generation: the generation before the database was read.
    func insert(_ token: ValidatedToken, _ key: Key, generation: Int, at now: Timestamp) {
        entries.withLock { entries in
            if entries.count >= limit, entries[key] == nil {
                let current = currentGeneration
                let oldest = now.adding(seconds: -lifetimeSeconds)
                entries = entries.filter { $0.value.generation == current && $0.value.cachedAt >= oldest }
                if entries.count >= limit { entries.removeAll(keepingCapacity: true) }
            }
            entries[key] = Entry(token: token, generation: generation, cachedAt: now)
        }
    }
}
