import Core
import Server
import Testing

@Suite struct ProgressMeterTests {
    private func meter(_ steps: [(Int64, Double)], of total: Int64? = 1000) -> ProgressMeter {
        var meter = ProgressMeter()
        for (done, seconds) in steps { meter.advance(to: done, of: total, at: seconds) }
        return meter
    }

    @Test func aSteadyRateIsTold() {
        let steady = meter((0...20).map { (Int64($0) * 10, Double($0) * 0.1) })
        #expect(steady.fraction == 0.2)
        #expect(abs((steady.ratePerSecond ?? 0) - 100) < 0.1)
        #expect(abs((steady.secondsLeft ?? 0) - 8) < 0.1)
    }

    @Test func nothingIsSaidOfARateTooEarly() {
        #expect(meter([(0, 5)]).ratePerSecond == nil)
        #expect(meter([(0, 5), (100, 5.1)]).ratePerSecond == nil)
        #expect(meter([(0, 5), (100, 5.1)]).secondsLeft == nil)
        #expect(meter([(0, 5), (100, 5.6)]).ratePerSecond != nil)
    }

    @Test func withoutATotalThereIsNoEnd() {
        let open = meter((0...20).map { (Int64($0) * 10, Double($0) * 0.1) }, of: nil)
        #expect(open.fraction == nil && open.secondsLeft == nil && open.ratePerSecond != nil)
    }

    @Test func theTimeLeftDoesNotJump() {
        var meter = meter((0...50).map { (Int64($0) * 10, Double($0) * 0.1) }, of: 10_000)
        var before = meter.secondsLeft ?? 0
        // Ten times slower from one update to the next.
        for step in 1...20 {
            meter.advance(to: 500 + Int64(step), of: 10_000, at: 5 + Double(step) * 0.1)
            let left = meter.secondsLeft ?? 0
            #expect(abs(left - before) < 0.15 * before, "from \(before) to \(left)")
            before = left
        }
        for step in 1...600 { meter.advance(to: 520 + Int64(step), of: 10_000, at: 7 + Double(step) * 0.1) }
        #expect(abs((meter.secondsLeft ?? 0) - 888) < 30, "in the end it is what the rate says")
    }

    @Test func theEndIsTheEnd() {
        let done = meter([(0, 0), (500, 1), (1000, 2)])
        #expect(done.fraction == 1 && done.secondsLeft == 0)
        #expect(meter([(0, 0)], of: 0).fraction == 1)
    }

    @Test func otherWorkBeginsAnew() {
        var meter = meter([(0, 0), (500, 1)])
        meter.advance(to: 3, of: 10, at: 2)
        #expect(meter.ratePerSecond == nil && meter.fraction == 0.3)
    }

    @Test func theLineFitsItsTerminal() {
        let half = meter((0...20).map { (Int64($0) * 25_000_000, Double($0) * 0.1) }, of: 1_000_000_000)
        let line = ProgressLine(label: "reading", unit: .bytes)
        let wide = line.text(half, width: 100)
        #expect(wide == "reading  50% [###############...............] 500 MB of 1.0 GB, 250 MB/s, 0:02 left")
        for width in [0, 1, 20, 40, 60, 79] { #expect(line.text(half, width: width).count <= width) }
        let files = ProgressLine(label: "listing local", unit: .files)
        #expect(files.text(meter([(7, 0)], of: nil), width: 79) == "listing local 7 files")
    }

    @Test(
        arguments: [
            (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_449_000, "1.4 MB"), (99_960_000, "100 MB"),
            (999_960_000, "1.0 GB"), (3_000_000_000_000, "3.0 TB"),
        ] as [(Int64, String)])
    func sizesAreShort(_ bytes: Int64, _ text: String) {
        #expect(ProgressLine.size(bytes) == text)
    }

    @Test(arguments: [
        (0, "0:00"), (7.4, "0:07"), (750, "12:30"), (11_100, "3:05:00"), (187_200, "2 d 4 h"),
        (Double.infinity, "11574074074 d 1 h"),
    ])
    func durationsAreReadable(_ seconds: Double, _ text: String) {
        #expect(ProgressLine.duration(seconds) == text)
    }
}
