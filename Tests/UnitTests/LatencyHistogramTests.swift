import Server
import Testing

@Suite struct LatencyHistogramTests {
    private func histogram(_ values: some Sequence<UInt64>) -> LatencyHistogram {
        var histogram = LatencyHistogram()
        for value in values { histogram.record(value) }
        return histogram
    }

    @Test func smallValuesAreExact() {
        let histogram = histogram(1...200)
        #expect(histogram.count == 200)
        for (share, value) in [(0.0, 1), (0.005, 1), (0.5, 100), (0.99, 198), (1.0, 200)] as [(Double, UInt64)] {
            #expect(histogram.percentile(share) == value, "\(share)")
        }
    }

    /// Against the percentile of the sorted values: never shorter, and longer by 1/128 at most.
    @Test func percentilesAreAsGoodAsSaid() {
        var state: UInt64 = 42
        let values = (0..<20_000).map { _ -> UInt64 in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            // From nanoseconds to minutes.
            return ((state >> 33) >> (state % 24)) << 6
        }
        let sorted = values.sorted()
        let histogram = histogram(values)
        for share in [0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1] {
            let exact = sorted[max(0, Int((share * Double(sorted.count)).rounded(.up)) - 1)]
            let found = histogram.percentile(share)
            #expect(found >= exact, "\(share)")
            #expect(Double(found) <= Double(exact) * (1 + 1.0 / 128), "\(share)")
        }
        #expect(histogram.longest == sorted.last)
    }

    @Test func edgesOfPowersOfTwoKeepTheirOrder() {
        for power in 7..<42 {
            let edge = UInt64(1) << UInt64(power)
            for value in [edge - 1, edge, edge + 1] {
                let found = histogram([value, .max]).percentile(0.5)
                #expect(found >= value && found - value <= value / 128, "\(value): \(found)")
            }
        }
    }

    /// What is longer than the largest bucket is still counted, and its length kept.
    @Test func theLongestIsKeptWhateverItIs() {
        let histogram = histogram([5, .max])
        #expect(histogram.count == 2)
        #expect(histogram.longest == .max)
        #expect(histogram.percentile(0.5) == 5)
    }

    @Test func mergedIsAsIfCountedTogether() {
        var first = histogram(1...100)
        first.merge(histogram(101...200))
        #expect(first.count == 200)
        #expect(first.percentile(0.5) == 100)
        #expect(first.longest == 200)
    }

    @Test func nothingIsZero() { #expect(histogram([]).percentile(0.99) == 0) }
}
