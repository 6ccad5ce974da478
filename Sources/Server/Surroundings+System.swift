import Core
import Glibc

/// The machine's clock.
package struct SystemClock: WallClock {
    package init() {}

    package var now: Timestamp {
        var time = timespec()
        let result = clock_gettime(CLOCK_REALTIME, &time)
        precondition(result == 0, "this system has no clock")
        return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }

    package func sleep(seconds: Double) async throws {
        try await Task.sleep(for: .seconds(seconds))
    }
}

/// The kernel's generator (getrandom(2)), fit for keys and tokens.
package struct SystemRandomness: Randomness {
    package init() {}

    package func bytes(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { space, filled in
            while filled < count {
                // The most that one call gives (getentropy(3)).
                let part = min(256, count - filled)
                let result = getentropy(space.baseAddress! + filled, part)
                precondition(result == 0, "this system has no random bytes")
                filled += part
            }
        }
    }
}
