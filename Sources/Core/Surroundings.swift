/// Where time comes from. The simulation passes its own.
package protocol WallClock: Sendable {
    var now: Timestamp { get }
    /// Returns after `seconds`, or throws `CancellationError` when the task is cancelled.
    func sleep(seconds: Double) async throws
}

/// Where randomness comes from. In production: the operating system's generator, fit for secrets.
package protocol Randomness: Sendable {
    func bytes(_ count: Int) -> [UInt8]
}

/// Where work that would block its thread (hashing, file I/O) is done. The simulation runs it in place.
package protocol WorkPool: Sendable {
    func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T

    /// As `run`, but a caller that is cancelled waits no longer: what was handed over ends without it. For
    /// work that changes nothing and may hang.
    /// - Throws: `CancellationError`, and what `body` throws.
    func runAbandonably<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T
}

extension WorkPool {
    package func runAbandonably<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        try await run(body)
    }
}

/// Everything that varies and is not a store or a database: passed in, never ambient.
package struct Surroundings: Sendable {
    package let clock: any WallClock
    package let randomness: any Randomness
    package let work: any WorkPool

    package init(clock: any WallClock, randomness: any Randomness, work: any WorkPool) {
        self.clock = clock
        self.randomness = randomness
        self.work = work
    }

    /// A version 4 UUID (RFC 9562), lower case with hyphens.
    package func uuid() -> String {
        var bytes = randomness.bytes(16)
        bytes[6] = bytes[6] & 0x0f | 0x40
        bytes[8] = bytes[8] & 0x3f | 0x80
        let digits: StaticString = "0123456789abcdef"
        return String(unsafeUninitializedCapacity: 36) { out in
            var place = 0
            for (index, byte) in bytes.enumerated() {
                if index == 4 || index == 6 || index == 8 || index == 10 {
                    out[place] = UInt8(ascii: "-")
                    place += 1
                }
                out[place] = digits.utf8Start[Int(byte >> 4)]
                out[place + 1] = digits.utf8Start[Int(byte & 15)]
                place += 2
            }
            return place
        }
    }

    /// A version 4 UUID without hyphens, the form of Identity's ids.
    package func hexUUID() -> String { uuid().filter { $0 != "-" } }
}
