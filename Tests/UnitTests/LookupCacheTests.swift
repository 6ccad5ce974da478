import Core
import Remote
import Synchronization
import Testing

@Suite struct LookupCacheTests {
    private struct LookupFailed: Error, Equatable {}
    private let clock = HastyClock()

    private func key(_ name: String) -> TokenKey { TokenKey(token: name) }

    /// A lookup that begins, says so, and ends when it is told to.
    private final class Lookup: Sendable {
        let hasBegun: AsyncStream<Void>
        private let begun: AsyncStream<Void>.Continuation
        private let mayEnd: AsyncStream<Void>
        private let end: AsyncStream<Void>.Continuation

        init() {
            (hasBegun, begun) = AsyncStream.makeStream(of: Void.self)
            (mayEnd, end) = AsyncStream.makeStream(of: Void.self)
        }

        func finish() { end.finish() }

        func callAsFunction(_ value: Int) async throws -> Int {
            begun.finish()
            for await _ in mayEnd {}
            try Task.checkCancellation()
            return value
        }
    }

    @Test func valueIsLookedUpOnceInItsLifetime() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 10)
        #expect(try await cache.value(for: key("a")) { 1 } == 1)
        clock.advance(seconds: 9)
        #expect(try await cache.value(for: key("a")) { 2 } == 1)
        #expect(try await cache.value(for: key("b")) { 3 } == 3)
        clock.advance(seconds: 1)
        #expect(try await cache.value(for: key("a")) { 4 } == 4)
    }

    @Test func variantsAreKeptApart() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 10)
        #expect(try await cache.value(for: TokenKey(token: "a")) { 1 } == 1)
        #expect(try await cache.value(for: TokenKey(token: "a", variant: "x")) { 2 } == 2)
    }

    @Test func ageCountsFromTheBeginningOfTheLookup() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 10)
        _ = try await cache.value(for: key("a")) {
            clock.advance(seconds: 8)
            return 1
        }
        clock.advance(seconds: 2)
        #expect(try await cache.value(for: key("a")) { 2 } == 2)
    }

    @Test func clockSetBackProlongsNothing() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 10)
        _ = try await cache.value(for: key("a")) { 1 }
        clock.advance(seconds: -1)
        #expect(try await cache.value(for: key("a")) { 2 } == 2)
    }

    @Test func failureIsNotRemembered() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 10)
        await #expect(throws: LookupFailed()) { try await cache.value(for: key("a")) { throw LookupFailed() } }
        #expect(try await cache.value(for: key("a")) { 1 } == 1)
    }

    @Test func zeroAgeRemembersNothing() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 0)
        _ = try await cache.value(for: key("a")) { 1 }
        #expect(try await cache.value(for: key("a")) { 2 } == 2)
        #expect(cache.count == 0)
    }

    @Test func oldestGivesWayWhenFull() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 10, limit: 3)
        for number in 0..<1000 {
            _ = try await cache.value(for: key("\(number)")) { number }
            #expect(cache.count <= 3)
        }
        for number in 997..<1000 {
            #expect(try await cache.value(for: key("\(number)")) { -1 } == number)
        }
        #expect(try await cache.value(for: key("996")) { -1 } == -1)
    }

    @Test func renewedValueKeepsItsPlace() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 10, limit: 2)
        for round in 0..<500 {
            clock.advance(seconds: 10)
            for name in ["a", "b"] { _ = try await cache.value(for: key(name)) { round } }
        }
        for name in ["a", "b"] { #expect(try await cache.value(for: key(name)) { -1 } == 499) }
    }

    @Test func lookupsOfOneKeyThatOverlapAreOne() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 0)
        let lookup = Lookup()
        try await withThrowingTaskGroup(of: Int.self) { group in
            group.addTask { try await cache.value(for: key("a")) { try await lookup(1) } }
            for await _ in lookup.hasBegun {}
            for number in 2...20 { group.addTask { try await cache.value(for: key("a")) { number } } }
            // Another key does not wait.
            #expect(try await cache.value(for: key("b")) { 100 } == 100)
            // With an age of 0, whoever did not share the lookup shows by its own number.
            while cache.waitingCount(for: key("a")) < 19 { await Task.yield() }
            lookup.finish()
            for try await value in group { #expect(value == 1) }
        }
    }

    @Test func failureIsToldToAllWhoWait() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 10)
        let lookup = Lookup()
        await withTaskGroup(of: Bool.self) { group in
            for isLeader in [true, false, false] {
                group.addTask {
                    do {
                        _ = try await cache.value(for: key("a")) {
                            _ = try await lookup(1)
                            throw LookupFailed()
                        }
                        return false
                    } catch {
                        return error is LookupFailed
                    }
                }
                if isLeader { for await _ in lookup.hasBegun {} }
            }
            while cache.waitingCount(for: key("a")) < 2 { await Task.yield() }
            lookup.finish()
            for await sawFailure in group { #expect(sawFailure) }
        }
    }

    /// The leader's client may hang up; those who waited for its lookup did not.
    @Test func cancelledLeaderIsReplaced() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 10)
        let lookup = Lookup()
        try await withThrowingTaskGroup(of: Int.self) { followers in
            await withThrowingTaskGroup(of: Int.self) { leader in
                leader.addTask { try await cache.value(for: key("a")) { try await lookup(1) } }
                for await _ in lookup.hasBegun {}
                followers.addTask { try await cache.value(for: key("a")) { 2 } }
                while cache.waitingCount(for: key("a")) < 1 { await Task.yield() }
                leader.cancelAll()
                await #expect(throws: CancellationError.self) { _ = try await leader.next() }
            }
            for try await value in followers { #expect(value == 2) }
        }
    }

    @Test func cancelledFollowerStopsWaiting() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 10)
        let lookup = Lookup()
        try await withThrowingTaskGroup(of: Int.self) { leader in
            leader.addTask { try await cache.value(for: key("a")) { try await lookup(1) } }
            for await _ in lookup.hasBegun {}
            await withThrowingTaskGroup(of: Int.self) { follower in
                follower.addTask { try await cache.value(for: key("a")) { 2 } }
                while cache.waitingCount(for: key("a")) < 1 { await Task.yield() }
                follower.cancelAll()
                await #expect(throws: CancellationError.self) { _ = try await follower.next() }
            }
            lookup.finish()
            for try await value in leader { #expect(value == 1) }
        }
    }

    @Test func invalidationForgetsAndKeepsOutWhatWasUnderWay() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 10)
        let lookup = Lookup()
        _ = try await cache.value(for: key("b")) { 1 }
        try await withThrowingTaskGroup(of: Int.self) { group in
            group.addTask { try await cache.value(for: key("a")) { try await lookup(1) } }
            for await _ in lookup.hasBegun {}
            cache.invalidateAll()
            #expect(cache.count == 0)
            // Does not join a lookup that began before the change.
            #expect(try await cache.value(for: key("a")) { 2 } == 2)
            lookup.finish()
            for try await value in group { #expect(value == 1) }
        }
        #expect(try await cache.value(for: key("a")) { 3 } == 2)
    }

    @Test func oneValueIsForgottenOnlyIfItIsStillTheOneMeant() async throws {
        let cache = LookupCache<Int>(clock: clock, maxAgeSeconds: 10)
        _ = try await cache.value(for: key("a")) { 1 }
        cache.invalidate(key("a")) { $0 == 7 }
        #expect(try await cache.value(for: key("a")) { 2 } == 1)
        cache.invalidate(key("a")) { $0 == 1 }
        #expect(try await cache.value(for: key("a")) { 2 } == 2)
    }
}
