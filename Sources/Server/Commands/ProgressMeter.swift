import Glibc

/// How far work is, how fast it goes and how long it will take: numbers alone, from the amounts and moments
/// it is told. The rate is a mean that forgets over some seconds, and the time left runs down like a clock and
/// leans towards what the rate says, so that neither jumps with every file.
package struct ProgressMeter: Sendable {
    /// After so long, a rate seen before counts a third of what it did.
    private static let memorySeconds = 5.0
    /// Earlier than this nothing is said of a rate.
    private static let settlingSeconds = 0.5

    private var startSeconds: Double?
    private var lastSeconds = 0.0
    private var lastDone = 0.0
    private var meanRate = 0.0
    /// How much of the mean is there yet: it begins at nothing, and would otherwise be too low for long.
    private var weight = 0.0
    private var shownSecondsLeft: Double?

    package private(set) var done: Int64 = 0
    package private(set) var total: Int64?

    package init() {}

    /// - Parameter seconds: a moment, on a clock that does not go back.
    package mutating func advance(to done: Int64, of total: Int64?, at seconds: Double) {
        self.done = done
        self.total = total
        guard startSeconds != nil, Double(done) >= lastDone else {
            // The first word, or other work than before.
            self = ProgressMeter()
            self.done = done
            self.total = total
            startSeconds = seconds
            lastSeconds = seconds
            lastDone = Double(done)
            return
        }
        let elapsed = seconds - lastSeconds
        guard elapsed > 0 else { return }
        let share = 1 - exp(-elapsed / Self.memorySeconds)
        meanRate += share * ((Double(done) - lastDone) / elapsed - meanRate)
        weight += share * (1 - weight)
        lastSeconds = seconds
        lastDone = Double(done)
        leanSecondsLeft(elapsed: elapsed, share: share)
    }

    private mutating func leanSecondsLeft(elapsed: Double, share: Double) {
        guard let total, let rate = ratePerSecond, rate > 0 else {
            shownSecondsLeft = nil
            return
        }
        let estimate = Double(max(0, total - done)) / rate
        guard let shown = shownSecondsLeft else {
            shownSecondsLeft = estimate
            return
        }
        let counted = max(0, shown - elapsed)
        shownSecondsLeft = counted + share * (estimate - counted)
    }

    /// Nil until it can be told.
    package var ratePerSecond: Double? {
        guard let startSeconds, lastSeconds - startSeconds >= Self.settlingSeconds, weight > 0 else { return nil }
        return meanRate / weight
    }

    /// Nil where there is no total or no rate; a rate of nothing never ends.
    package var secondsLeft: Double? {
        if let total, done >= total { return 0 }
        return shownSecondsLeft
    }

    /// From 0 to 1; nil where there is no total.
    package var fraction: Double? {
        total.map { $0 <= 0 ? 1 : min(1, max(0, Double(done) / Double($0))) }
    }
}

/// A progress bar: one line of a terminal.
package struct ProgressLine: Sendable, Equatable {
    package enum Unit: Sendable, Equatable { case steps, blobs, bytes, files, keys, projects }

    package let label: String
    package let unit: Unit

    package init(label: String, unit: Unit) {
        self.label = label
        self.unit = unit
    }

    /// - Parameter width: how many columns there are.
    package func text(_ meter: ProgressMeter, width: Int) -> String {
        var right = amount(meter.done) + (meter.total.map { " of \(amount($0))" } ?? "") + noun
        if let rate = meter.ratePerSecond, unit != .steps { right += ", \(amount(Int64(rate)))\(noun)/s" }
        if let left = meter.secondsLeft, meter.total != nil, unit != .steps { right += ", \(Self.duration(left)) left" }
        guard let fraction = meter.fraction else { return Self.cut("\(label) \(right)", width) }
        let percent = "\(Int(fraction * 100))%"
        let left = "\(label) \(String(repeating: " ", count: max(0, 4 - percent.count)))\(percent) "
        let barWidth = min(30, width - left.count - right.count - 3)
        guard barWidth >= 5 else { return Self.cut(left + right, width) }
        let filled = Int(fraction * Double(barWidth))
        let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: barWidth - filled)
        return "\(left)[\(bar)] \(right)"
    }

    private static func cut(_ text: String, _ width: Int) -> String { String(text.prefix(max(0, width))) }

    private var noun: String {
        switch unit {
        case .steps: " checks"
        case .blobs: " blobs"
        case .files: " files"
        case .keys: " keys"
        case .projects: " projects"
        case .bytes: ""
        }
    }

    private func amount(_ value: Int64) -> String { unit == .bytes ? Self.size(value) : "\(value)" }

    /// `812 B`, `1.4 MB`, `3.0 GB`: decimal units, as disks are sold and rates are told.
    package static func size(_ bytes: Int64) -> String {
        let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
        var value = Double(bytes)
        var unit = 0
        while value >= 999.95, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        if unit == 0 { return "\(bytes) B" }
        let tenths = Int64((value * 10).rounded())
        let number = value >= 99.95 ? "\(Int64(value.rounded()))" : "\(tenths / 10).\(tenths % 10)"
        return "\(number) \(units[unit])"
    }

    /// `0:07`, `12:30`, `3:05:00`, `2 d 4 h`.
    package static func duration(_ seconds: Double) -> String {
        let whole = seconds.isFinite ? Int64(min(seconds, 1e15).rounded()) : Int64(1e15)
        func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
        if whole >= 86400 { return "\(whole / 86400) d \(whole % 86400 / 3600) h" }
        if whole >= 3600 { return "\(whole / 3600):\(two(whole % 3600 / 60)):\(two(whole % 60))" }
        return "\(whole / 60):\(two(whole % 60))"
    }
}
