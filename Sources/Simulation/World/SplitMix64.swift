import Core

/// The simulation's randomness: everything that happens in a run follows from one seed.
///
/// Written out here because a seed kept for a bug must give the same run with any toolchain.
package struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        return Hash64.mix(state)
    }

    /// A number from 0 up to `bound`, without it.
    package mutating func next(below bound: Int) -> Int {
        precondition(bound > 0)
        return Int(next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// True `numerator` times in `denominator`.
    package mutating func chance(_ numerator: Int, in denominator: Int) -> Bool {
        next(below: denominator) < numerator
    }

    /// - Precondition: there is something to pick.
    package mutating func pick<T>(_ items: [T]) -> T { items[next(below: items.count)] }

    package mutating func bytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 7)
        while bytes.count < count {
            withUnsafeBytes(of: next().littleEndian) { bytes.append(contentsOf: $0) }
        }
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    /// A generator of its own for a part of the world, so that one part's draws do not shift another's.
    package mutating func split() -> SplitMix64 { SplitMix64(seed: next()) }
}

/// The randomness a simulated server is given. Used by the thread that runs its world, and no other.
package final class SimulatedRandomness: Randomness, @unchecked Sendable {
    private var generator: SplitMix64

    package init(seed: UInt64) { generator = SplitMix64(seed: seed) }

    package func bytes(_ count: Int) -> [UInt8] { generator.bytes(count) }
}

/// A 64-bit hash without a random seed (unlike `Hasher`): equal in every run. Not for anything secret.
enum Hash64 {
    /// Spreads a word over all its bits.
    static func mix(_ word: UInt64) -> UInt64 {
        var z = word
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }

    /// Order matters: `combine(a, b)` is not `combine(b, a)`.
    static func combine(_ hash: UInt64, _ word: UInt64) -> UInt64 {
        mix(hash &* 0x0000_0100_0000_01b3 ^ word &+ 0x9e37_79b9_7f4a_7c15)
    }

    static func of(_ text: String) -> UInt64 {
        var text = text
        return text.withUTF8 { of(UnsafeRawBufferPointer($0)) }
    }

    /// Four lanes of multiplications, because one lane waits for each before the next.
    static func of(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        let prime: UInt64 = 0x9fb2_1c65_1e98_df25
        var (a, b, c, d) = (UInt64(1), UInt64(2), UInt64(3), UInt64(4))
        var position = 0
        while position &+ 32 <= bytes.count {
            a = (a ^ bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self)) &* prime
            b = (b ^ bytes.loadUnaligned(fromByteOffset: position &+ 8, as: UInt64.self)) &* prime
            c = (c ^ bytes.loadUnaligned(fromByteOffset: position &+ 16, as: UInt64.self)) &* prime
            d = (d ^ bytes.loadUnaligned(fromByteOffset: position &+ 24, as: UInt64.self)) &* prime
            (a, b, c, d) = (a ^ a >> 29, b ^ b >> 29, c ^ c >> 29, d ^ d >> 29)
            position &+= 32
        }
        var hash = combine(combine(combine(combine(UInt64(bytes.count), a), b), c), d)
        while position < bytes.count {
            hash = (hash ^ UInt64(bytes[position])) &* 0x0000_0100_0000_01b3
            position &+= 1
        }
        return mix(hash)
    }
}
