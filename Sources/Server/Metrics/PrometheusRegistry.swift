import CoreMetrics
import NIOCore
import Synchronization

/// The metrics of the process, counted in memory and rendered for Prometheus when asked
/// (text exposition format 0.0.4).
///
/// Handlers are made once a label set and found again by dictionary, so making a `Counter` for every
/// request is cheap. The number of label sets is bounded: beyond it, measurements go nowhere, and
/// `ambrotype_metrics_refused_total` says how many label sets were turned away.
package final class PrometheusRegistry: MetricsFactory {
    private let seriesLimit: Int
    private let state = Mutex(State())

    private struct State {
        /// Under the dimensions in the order the code gave them, and in sorted order.
        var series: [SeriesKey: any Series] = [:]
        var families: [String: Family] = [:]
        var seriesCount = 0
        var refusedCount = 0
    }

    private struct Family {
        let kind: SeriesKind
        /// Each with its dimensions already written as labels.
        var members: [(labels: String, series: any Series)] = []
    }

    package init(seriesLimit: Int = 20_000) {
        self.seriesLimit = seriesLimit
    }

    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        find(label, dimensions, .counter) { CounterSeries() }
    }

    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        find(label, dimensions, .gauge) { GaugeSeries() }
    }

    package func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        if aggregate {
            find(label, dimensions, .histogram) { HistogramSeries(bounds: Buckets.sizes) }
        } else {
            find(label, dimensions, .gauge) { GaugeSeries() }
        }
    }

    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        find(label, dimensions, .histogram) { HistogramSeries(bounds: Buckets.seconds) }
    }

    /// Series live as long as the process: a counter that vanished and came back would look reset.
    package func destroyCounter(_ handler: any CounterHandler) {}
    package func destroyMeter(_ handler: any MeterHandler) {}
    package func destroyRecorder(_ handler: any RecorderHandler) {}
    package func destroyTimer(_ handler: any TimerHandler) {}

    private func find<S: Series>(
        _ label: String, _ dimensions: [(String, String)], _ kind: SeriesKind, make: () -> S
    ) -> S {
        let key = SeriesKey(label: label, dimensions: dimensions)
        return state.withLock { state in
            if let known = state.series[key] as? S { return known }
            let sorted = SeriesKey(label: label, dimensions: dimensions.sorted { $0.0 < $1.0 })
            if let known = state.series[sorted] as? S {
                state.series[key] = known
                return known
            }
            let name = PrometheusText.metricName(label)
            let family = state.families[name] ?? Family(kind: kind)
            // Two kinds under one name would make the whole page unreadable.
            guard family.kind == kind, state.seriesCount < seriesLimit else {
                state.refusedCount += 1
                return make()
            }
            let series = make()
            state.series[key] = series
            state.series[sorted] = series
            state.seriesCount += 1
            state.families[name, default: family].members.append(
                (PrometheusText.labels(sorted.dimensions), series))
            return series
        }
    }

    /// Everything counted so far.
    package func render() -> ByteBuffer {
        let (families, refusedCount) = state.withLock { ($0.families, $0.refusedCount) }
        var out = ByteBuffer()
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            PrometheusText.heading(name, family.kind, into: &out)
            for (labels, series) in family.members.sorted(by: { $0.labels < $1.labels }) {
                series.render(name, labels, into: &out)
            }
        }
        let refused = "ambrotype_metrics_refused_total"
        PrometheusText.heading(refused, .counter, into: &out)
        PrometheusText.sample(refused, "", String(refusedCount), into: &out)
        return out
    }
}

/// What a series is found by. Compares the pairs in place: no copy is made of them to look one up.
private struct SeriesKey: Hashable {
    let label: String
    let dimensions: [(String, String)]

    static func == (a: SeriesKey, b: SeriesKey) -> Bool {
        a.label == b.label && a.dimensions.elementsEqual(b.dimensions, by: ==)
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(label)
        for (name, value) in dimensions {
            hasher.combine(name)
            hasher.combine(value)
        }
    }
}

/// Upper bounds of histogram buckets, ascending; +Inf is added.
private enum Buckets {
    /// From a point read of the database to an upload of many minutes.
    static let seconds: [Double] = [
        0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
    ]
    static let sizes: [Double] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
}

enum SeriesKind: String { case counter, gauge, histogram }

private protocol Series: AnyObject, Sendable {
    func render(_ name: String, _ labels: String, into out: inout ByteBuffer)
}

private final class CounterSeries: CounterHandler, Series {
    private let value = Atomic<Int64>(0)

    func increment(by amount: Int64) { value.wrappingAdd(amount, ordering: .relaxed) }
    func reset() { value.store(0, ordering: .relaxed) }

    func render(_ name: String, _ labels: String, into out: inout ByteBuffer) {
        PrometheusText.sample(name, labels, String(value.load(ordering: .relaxed)), into: &out)
    }
}

/// A value that goes up and down; the bits of a `Double`.
private final class GaugeSeries: MeterHandler, RecorderHandler, Series {
    private let bits = Atomic<UInt64>(0)

    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
    func record(_ value: Int64) { set(Double(value)) }
    func record(_ value: Double) { set(value) }

    func increment(by amount: Double) {
        var current = bits.load(ordering: .relaxed)
        while true {
            let next = (Double(bitPattern: current) + amount).bitPattern
            let (isDone, found) = bits.weakCompareExchange(expected: current, desired: next, ordering: .relaxed)
            if isDone { return }
            current = found
        }
    }

    func decrement(by amount: Double) { increment(by: -amount) }

    func render(_ name: String, _ labels: String, into out: inout ByteBuffer) {
        PrometheusText.sample(
            name, labels, PrometheusText.number(Double(bitPattern: bits.load(ordering: .relaxed))), into: &out)
    }
}

private final class HistogramSeries: TimerHandler, RecorderHandler, Series {
    private struct Counts {
        /// Per bucket, not cumulated; the last is everything above the highest bound.
        var buckets: [UInt64]
        var sum = 0.0
    }
    private let bounds: [Double]
    private let counts: Mutex<Counts>

    init(bounds: [Double]) {
        self.bounds = bounds
        counts = Mutex(Counts(buckets: [UInt64](repeating: 0, count: bounds.count + 1)))
    }

    func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }
    func record(_ value: Int64) { record(Double(value)) }

    func record(_ value: Double) {
        let bucket = bounds.firstIndex { value <= $0 } ?? bounds.count
        counts.withLock {
            $0.buckets[bucket] += 1
            $0.sum += value
        }
    }

    func render(_ name: String, _ labels: String, into out: inout ByteBuffer) {
        let counts = counts.withLock { $0 }
        var total: UInt64 = 0
        for (index, count) in counts.buckets.enumerated() {
            total += count
            let bound = index < bounds.count ? PrometheusText.number(bounds[index]) : "+Inf"
            let le = "le=\"\(bound)\""
            PrometheusText.sample(
                name + "_bucket", labels.isEmpty ? le : labels + "," + le, String(total), into: &out)
        }
        PrometheusText.sample(name + "_sum", labels, PrometheusText.number(counts.sum), into: &out)
        PrometheusText.sample(name + "_count", labels, String(total), into: &out)
    }
}
