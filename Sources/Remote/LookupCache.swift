import Core
import Synchronization
import Trust

/// What a token is filed under: its SHA-256, so that the cache's memory holds no token.
package struct TokenKey: Sendable, Hashable {
    private let digest: [UInt8]
    private let variant: String

    /// - Parameter variant: keeps apart what one token means under different conditions.
    package init(token: String, variant: String = "") {
        digest = Digest.of(Array(token.utf8), .sha256)
        self.variant = variant
    }
}

/// Remembers for a short while what tokens were found to mean.
///
/// A value is served for at most `maxAgeSeconds` after its lookup began: that is how long a
/// revocation may go unseen. Lookups of one key that overlap are one lookup. Failures are told to
/// everybody who waited and are not remembered. The value's own expiry is the user's to check, on
/// every use.
package final class LookupCache<Value: Sendable>: Sendable {
    private let clock: any WallClock
    private let maxAgeMicroseconds: Int64
    private let limit: Int
    private let state = Mutex(State())

    private struct State {
        var entries: [TokenKey: Entry] = [:]
        /// Keys in the order they were stored; the oldest gives way when the cache is full. May name
        /// entries that were replaced or forgotten since: the serial tells.
        var order: [(key: TokenKey, serial: UInt64)] = []
        /// Where `order` begins.
        var head = 0
        var flights: [TokenKey: Flight] = [:]
        var serial: UInt64 = 0

        mutating func forgetOldest() {
            let oldest = order[head]
            head += 1
            if entries[oldest.key]?.serial == oldest.serial { entries[oldest.key] = nil }
        }

        /// Keeps `order` within a constant factor of what is stored.
        mutating func compact() {
            guard order.count > 2 * entries.count + 64 else { return }
            order = order[head...].filter { entries[$0.key]?.serial == $0.serial }
            head = 0
        }
    }

    private struct Entry {
        let value: Value
        let lookedUp: Timestamp
        let serial: UInt64
    }

    /// - Parameters:
    ///   - maxAgeSeconds: 0 remembers nothing, but lookups still share.
    ///   - limit: how many values are kept.
    package init(clock: any WallClock, maxAgeSeconds: Int64, limit: Int = 10_000) {
        precondition(maxAgeSeconds >= 0 && limit > 0)
        self.clock = clock
        maxAgeMicroseconds = maxAgeSeconds * 1_000_000
        self.limit = limit
    }

    /// How many values are kept.
    package var count: Int { state.withLock { $0.entries.count } }

    /// How many wait for a lookup of `key` that is under way.
    package func waitingCount(for key: TokenKey) -> Int {
        state.withLock { $0.flights[key] }?.waitingCount ?? 0
    }

    /// The value for `key`: remembered, or from a lookup that is under way, or from `load`.
    /// - Throws: what the lookup throws; `CancellationError` when the calling task is cancelled
    ///   while it waits for another's lookup.
    package func value(for key: TokenKey, load: () async throws -> Value) async throws -> Value {
        while true {
            let now = clock.now
            switch state.withLock({ claim(key, at: now, in: &$0) }) {
            case .known(let value):
                return value
            case .lead(let flight):
                return try await lead(flight, key: key, began: now, load: load)
            case .follow(let flight):
                // A leader whose own request was cancelled has learnt nothing: look again.
                if let outcome = try await flight.outcome() { return try outcome.get() }
            }
        }
    }

    /// Forgets everything. Lookups under way end for those who wait, but are not remembered.
    package func invalidateAll() {
        state.withLock { state in
            state.entries = [:]
            state.order = []
            state.head = 0
            state.flights = [:]
        }
    }

    /// Forgets one value if it is still the one that `isMeant` recognises: another task may have
    /// replaced it meanwhile.
    package func invalidate(_ key: TokenKey, where isMeant: (Value) -> Bool) {
        state.withLock { state in
            if let entry = state.entries[key], isMeant(entry.value) { state.entries[key] = nil }
        }
    }

    private enum Claim {
        case known(Value)
        case lead(Flight)
        case follow(Flight)
    }

    private func claim(_ key: TokenKey, at now: Timestamp, in state: inout State) -> Claim {
        if let entry = state.entries[key] {
            let age = now.microseconds - entry.lookedUp.microseconds
            // A clock set back must not prolong a value's life.
            if age >= 0, age < maxAgeMicroseconds { return .known(entry.value) }
            state.entries[key] = nil
        }
        if let flight = state.flights[key] { return .follow(flight) }
        let flight = Flight()
        state.flights[key] = flight
        return .lead(flight)
    }

    private func lead(
        _ flight: Flight, key: TokenKey, began: Timestamp, load: () async throws -> Value
    ) async throws -> Value {
        do {
            let value = try await load()
            land(flight, key: key, remembering: value, lookedUp: began)
            flight.finish(.success(value))
            return value
        } catch {
            land(flight, key: key, remembering: nil, lookedUp: began)
            flight.finish(Task.isCancelled ? nil : .failure(error))
            throw error
        }
    }

    private func land(_ flight: Flight, key: TokenKey, remembering value: Value?, lookedUp: Timestamp) {
        state.withLock { state in
            // Another flight or none: everything was invalidated meanwhile.
            guard state.flights[key] === flight else { return }
            state.flights[key] = nil
            guard let value, maxAgeMicroseconds > 0 else { return }
            while state.entries.count >= limit { state.forgetOldest() }
            state.serial += 1
            state.entries[key] = Entry(value: value, lookedUp: lookedUp, serial: state.serial)
            state.order.append((key, state.serial))
            state.compact()
        }
    }
}

extension LookupCache {
    /// One lookup, and those who wait for it.
    fileprivate final class Flight: Sendable {
        /// Nil when the leader gave up.
        typealias Outcome = Result<Value, any Error>?

        private struct Progress {
            var waiting: [Int: CheckedContinuation<Outcome, any Error>] = [:]
            var nextTicket = 0
            var hasLanded = false
            var outcome: Outcome = nil
        }
        private let progress = Mutex(Progress())

        var waitingCount: Int { progress.withLock { $0.waiting.count } }

        func finish(_ outcome: Outcome) {
            let waiting = progress.withLock { progress in
                precondition(!progress.hasLanded, "a flight lands once")
                progress.hasLanded = true
                progress.outcome = outcome
                defer { progress.waiting = [:] }
                return progress.waiting
            }
            for (_, continuation) in waiting.sorted(by: { $0.key < $1.key }) {
                continuation.resume(returning: outcome)
            }
        }

        func outcome() async throws -> Outcome {
            let ticket = progress.withLock { progress in
                defer { progress.nextTicket += 1 }
                return progress.nextTicket
            }
            return try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { wait($0, ticket: ticket) }
            } onCancel: {
                let continuation = progress.withLock { $0.waiting.removeValue(forKey: ticket) }
                continuation?.resume(throwing: CancellationError())
            }
        }

        private func wait(_ continuation: CheckedContinuation<Outcome, any Error>, ticket: Int) {
            progress.withLock { progress in
                if progress.hasLanded {
                    continuation.resume(returning: progress.outcome)
                } else if Task.isCancelled {
                    // Looked at under the lock: the handler either comes later and finds the
                    // continuation, or has come and found none.
                    continuation.resume(throwing: CancellationError())
                } else {
                    progress.waiting[ticket] = continuation
                }
            }
        }
    }
}
