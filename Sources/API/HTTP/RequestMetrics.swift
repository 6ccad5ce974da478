import HTTPTypes
import Metrics

/// Counts per route template: the label set is bounded by the routes, never by what clients send.
enum RequestMetrics {
    static func count(
        service: String, method: HTTPRequest.Method, template: String, status: Int, elapsed: Duration, bytesIn: Int,
        bytesOut: Int
    ) {
        let knownMethod = KnownMethods.all.contains(method) ? method.rawValue : "other"
        let route = [("service", service), ("method", knownMethod), ("route", template)]
        Counter(label: "ambrotype_requests_total", dimensions: route + [("status", String(status))]).increment()
        Timer(label: "ambrotype_request_seconds", dimensions: route)
            .recordNanoseconds(
                elapsed.components.seconds * 1_000_000_000 + elapsed.components.attoseconds / 1_000_000_000)
        if bytesIn > 0 {
            Counter(label: "ambrotype_received_bytes_total", dimensions: [("service", service)]).increment(by: bytesIn)
        }
        if bytesOut > 0 {
            Counter(label: "ambrotype_sent_bytes_total", dimensions: [("service", service)]).increment(by: bytesOut)
        }
    }
}
