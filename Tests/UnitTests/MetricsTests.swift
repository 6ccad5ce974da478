import Metrics
import NIOCore
import Server
import Testing

@Suite struct MetricsTests {
    private let registry = PrometheusRegistry()

    private var page: String { String(buffer: registry.render()) }

    /// Whether the page has this line.
    private func has(_ line: String) -> Bool { page.split(separator: "\n").contains { $0 == line } }

    @Test func countersAddUpOverInstances() {
        for _ in 0..<3 {
            Counter(label: "tries_total", dimensions: [("kind", "a")], factory: registry).increment(by: 2)
        }
        Counter(label: "tries_total", dimensions: [("kind", "b")], factory: registry).increment()
        #expect(has("# TYPE tries_total counter"))
        #expect(has("tries_total{kind=\"a\"} 6"))
        #expect(has("tries_total{kind=\"b\"} 1"))
    }

    @Test func dimensionsInAnotherOrderAreTheSameSeries() {
        Counter(label: "c", dimensions: [("x", "1"), ("y", "2")], factory: registry).increment()
        Counter(label: "c", dimensions: [("y", "2"), ("x", "1")], factory: registry).increment()
        #expect(has("c{x=\"1\",y=\"2\"} 2"))
    }

    @Test func gaugesKeepTheLastValueAndMetersGoBothWays() {
        let gauge = Gauge(label: "depth", factory: registry)
        gauge.record(7)
        gauge.record(2.5)
        let meter = Meter(label: "running", factory: registry)
        meter.increment()
        meter.increment()
        Meter(label: "running", factory: registry).decrement()
        #expect(has("# TYPE depth gauge"))
        #expect(has("depth 2.5"))
        #expect(has("running 1"))
    }

    @Test func timersAreHistogramsInSeconds() {
        let timer = Timer(label: "took_seconds", dimensions: [("route", "/v2")], factory: registry)
        timer.recordNanoseconds(2_000_000)
        timer.recordNanoseconds(20_000_000_000)
        timer.recordNanoseconds(1_000_000_000_000)
        #expect(has("# TYPE took_seconds histogram"))
        #expect(has("took_seconds_bucket{route=\"/v2\",le=\"0.001\"} 0"))
        #expect(has("took_seconds_bucket{route=\"/v2\",le=\"0.0025\"} 1"))
        #expect(has("took_seconds_bucket{route=\"/v2\",le=\"30\"} 2"))
        #expect(has("took_seconds_bucket{route=\"/v2\",le=\"+Inf\"} 3"))
        #expect(has("took_seconds_sum{route=\"/v2\"} 1020.002"))
        #expect(has("took_seconds_count{route=\"/v2\"} 3"))
    }

    @Test func recordersAreHistogramsOfSizes() {
        let recorder = Recorder(label: "writes", factory: registry)
        for size in [1, 3, 5000] { recorder.record(size) }
        #expect(has("writes_bucket{le=\"1\"} 1"))
        #expect(has("writes_bucket{le=\"4\"} 2"))
        #expect(has("writes_bucket{le=\"+Inf\"} 3"))
        #expect(has("writes_sum 5004"))
    }

    @Test func namesAndValuesAreEscaped() {
        Counter(label: "1 odd-name", dimensions: [("a-b", "back\\slash \"quote\" line\nfeed")], factory: registry)
            .increment()
        #expect(has("_1_odd_name{a_b=\"back\\\\slash \\\"quote\\\" line\\nfeed\"} 1"))
    }

    @Test func theNumberOfSeriesIsBounded() {
        let small = PrometheusRegistry(seriesLimit: 10)
        for index in 0..<100 {
            Counter(label: "many", dimensions: [("id", "\(index)")], factory: small).increment()
        }
        let page = String(buffer: small.render())
        #expect(page.split(separator: "\n").filter { $0.hasPrefix("many{") }.count == 10)
        #expect(page.contains("\nambrotype_metrics_refused_total 90\n"))
    }

    @Test func aNameKeepsItsKind() {
        Counter(label: "thing", factory: registry).increment()
        Gauge(label: "thing", factory: registry).record(5)
        #expect(page.split(separator: "\n").filter { $0.hasPrefix("# TYPE thing ") } == ["# TYPE thing counter"])
        #expect(has("thing 1"))
    }

    @Test func concurrentIncrementsAreNotLost() async {
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<1000 {
                        Counter(label: "raced", dimensions: [("a", "b")], factory: registry).increment()
                        Meter(label: "level", factory: registry).increment(by: 1)
                        Timer(label: "timed", factory: registry).recordNanoseconds(1)
                    }
                }
            }
        }
        #expect(has("raced{a=\"b\"} 8000"))
        #expect(has("level 8000"))
        #expect(has("timed_count 8000"))
    }
}
