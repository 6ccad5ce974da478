import Core

/// What goes wrong between a cloud and its key manager, and what was seen there. One for all servers of a run; of
/// its world's thread.
package final class KeyTroubles: @unchecked Sendable {
    /// It cannot be reached.
    package var isAway = false
    /// It refuses everything, as when an operator took a role away.
    package var refuses = false
    /// One call in so many is lost, loses its answer, comes twice, or is slow; 0 is none.
    package var oneIn = 0
    package private(set) var count = 0
    package private(set) var destructions = 0
    package private(set) var violations: [String] = []
    private var draws: SplitMix64

    package init(seed: UInt64) { draws = SplitMix64(seed: seed) }

    package func takeViolations() -> [String] {
        defer { violations = [] }
        return violations
    }

    fileprivate enum Trouble { case lostRequest, lostAnswer, twice, slow }

    fileprivate func trouble() -> Trouble? {
        guard oneIn > 0, draws.chance(1, in: oneIn) else { return nil }
        count += 1
        return draws.pick([.lostRequest, .lostAnswer, .twice, .slow])
    }

    fileprivate func slowMicroseconds() -> Int64 { Int64(draws.next(below: 40_000_000)) }
    fileprivate func destroyed() { destructions += 1 }
    fileprivate func violated(_ violations: [String]) { self.violations += violations }
}

/// A key manager behind a bad line. It looks, before it lets a key be destroyed, whether the image that needed it
/// is gone with all its bytes (rule R4).
struct TroubledKeyManager: KeyManager {
    let keys: any KeyManager
    let troubles: KeyTroubles
    let executor: SeededExecutor
    /// What is still there of an image.
    let remains: @Sendable (ImageID) async -> [String]

    var keepsOwnConsumers: Bool { keys.keepsOwnConsumers }

    func register(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) async throws {
        try await call("register") { try await keys.register(consumer, of: key, for: project) }
    }

    func unregister(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) async throws {
        try await call("unregister") { try await keys.unregister(consumer, of: key, for: project) }
    }

    func destroy(_ key: SecretID, of consumer: KeyConsumer, for project: ProjectID) async throws -> KeyFate {
        try await call("destroy") {
            let remains = await remains(ImageID(consumer.resourceID))
            troubles.violated(remains.map { "(R4) key \(key) is destroyed while there is \($0)" })
            let fate = try await keys.destroy(key, of: consumer, for: project)
            if fate == .destroyed { troubles.destroyed() }
            return fate
        }
    }

    private func call<T>(_ operation: String, _ body: () async throws -> T) async throws -> T {
        func unavailable(_ cause: String) -> KeyManagerError {
            KeyManagerError(code: .unavailable, operation: operation, cause: cause)
        }
        if troubles.isAway { throw unavailable("it is away") }
        if troubles.refuses { throw KeyManagerError(code: .refused, operation: operation, cause: "a role is missing") }
        switch troubles.trouble() {
        case .lostRequest: throw unavailable("the request was lost")
        case .lostAnswer:
            _ = try await body()
            throw unavailable("the answer was lost")
        case .twice: _ = try await body()
        case .slow: try await executor.sleep(microseconds: troubles.slowMicroseconds())
        case nil: break
        }
        return try await body()
    }
}
