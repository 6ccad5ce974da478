/// Counts durations in nanoseconds, in 36 KiB however many there are. Up to 255 ns it is exact; beyond that a
/// percentile is at most 1/128 too long (the buckets of each power of two are equally wide, as HdrHistogram has them).
package struct LatencyHistogram: Sendable {
    /// 2^42 ns, 73 minutes: what takes longer is counted as so long, except in `longest`.
    private static let largestBits = 42
    private static let stepsPerPower = 128

    private var counts: [UInt64]
    package private(set) var count: UInt64 = 0
    package private(set) var longest: UInt64 = 0

    package init() {
        counts = Array(repeating: 0, count: Self.bucket(1 << Self.largestBits - 1) + 1)
    }

    package mutating func record(_ nanoseconds: UInt64) {
        counts[Self.bucket(min(nanoseconds, 1 << Self.largestBits - 1))] += 1
        count += 1
        longest = max(longest, nanoseconds)
    }

    package mutating func merge(_ other: LatencyHistogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        count += other.count
        longest = max(longest, other.longest)
    }

    /// The duration that `share` (0...1) of all took at most; 0 when there are none.
    package func percentile(_ share: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let rank = max(1, UInt64((share * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (bucket, number) in counts.enumerated() {
            seen += number
            if seen >= rank { return min(Self.upperBound(bucket), longest) }
        }
        return longest
    }

    /// Values below 256 have a bucket each; from there each power of two has 128.
    private static func bucket(_ value: UInt64) -> Int {
        let shift = max(0, 56 - value.leadingZeroBitCount)
        return shift * stepsPerPower + Int(value >> UInt64(shift))
    }

    /// The largest value of a bucket.
    private static func upperBound(_ bucket: Int) -> UInt64 {
        let shift = max(0, bucket / stepsPerPower - 1)
        let step = UInt64(bucket - shift * stepsPerPower)
        return (step + 1) << UInt64(shift) - 1
    }
}
