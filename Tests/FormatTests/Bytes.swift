import Formats

/// A stream under construction: fields are put where a specification has them.
struct Bytes: Sendable {
    var all: [UInt8]

    init(count: Int) { all = [UInt8](repeating: 0, count: count) }
    init(_ all: [UInt8]) { self.all = all }

    private mutating func put(_ bytes: some Sequence<UInt8>, at place: Int) {
        for (index, byte) in bytes.enumerated() {
            while all.count <= place + index { all.append(0) }
            all[place + index] = byte
        }
    }

    mutating func bytes(_ bytes: [UInt8], at place: Int) { put(bytes, at: place) }
    mutating func text(_ text: String, at place: Int) { put(text.utf8, at: place) }
    mutating func byte(_ value: UInt8, at place: Int) { put([value], at: place) }
    mutating func big<T: FixedWidthInteger>(_ value: T, at place: Int) {
        put((0..<(T.bitWidth / 8)).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }, at: place)
    }
    mutating func little<T: FixedWidthInteger>(_ value: T, at place: Int) {
        put((0..<(T.bitWidth / 8)).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }, at: place)
    }
    mutating func resize(_ count: Int) {
        if count < all.count { all.removeLast(all.count - count) }
        all.append(contentsOf: [UInt8](repeating: 0, count: count - all.count))
    }
    func changed(_ change: (inout Bytes) -> Void) -> Bytes {
        var copy = self
        change(&copy)
        return copy
    }
}

/// Says what an inspector makes of bytes that come in chunks of `chunkBytes`.
struct Inspected {
    let inspection: FormatInspection
    let peakBufferedBytes: Int
    let streamBytes: Int64

    init(_ bytes: [UInt8], chunkBytes: Int = 65_536) {
        var inspector = FormatInspector()
        var peak = 0
        bytes.withUnsafeBytes { all in
            var place = 0
            while place < all.count, inspector.needsMoreBytes {
                let end = min(all.count, place + chunkBytes)
                inspector.feed(UnsafeRawBufferPointer(rebasing: all[place..<end]))
                peak = max(peak, inspector.bufferedBytes)
                place = end
            }
        }
        inspection = inspector.finish()
        peakBufferedBytes = peak
        streamBytes = Int64(bytes.count)
    }

    func verdict(
        _ declared: String, mustMatch: Bool = true, _ checks: FormatInspection.PartitionTableChecks = .fatal
    ) -> FormatVerdict {
        inspection.verdict(
            declared: declared, mustMatch: mustMatch, streamBytes: streamBytes, partitionTableChecks: checks)
    }
}

extension FormatVerdict {
    var findings: [FormatFinding] {
        if case .refused(let findings) = self { findings } else { [] }
    }
}

/// SplitMix64: the same numbers from the same seed, everywhere.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(max(1, bound))) }
}
