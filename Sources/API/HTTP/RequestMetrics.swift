import HTTPTypes
import Metrics
import Synchronization

/// Counts per route template: the label set is bounded by the routes, never by what clients send. What is counted is
/// looked up once for each route and status.
final class RequestMetrics: Sendable {
    private struct Key: Hashable {
        let service: String
        let method: String
        let template: String
        let status: Int
    }

    private struct Counted {
        let requests: Counter
        let seconds: Timer
        let receivedBytes: Counter
        let sentBytes: Counter
    }

    private let known = Mutex<[Key: Counted]>([:])

    func count(
        service: String, method: HTTPRequest.Method, template: String, status: Int, elapsed: Duration, bytesIn: Int,
        bytesOut: Int
    ) {
        let method = KnownMethods.all.contains(method) ? method.rawValue : "other"
        let counted = counted(Key(service: service, method: method, template: template, status: status))
        counted.requests.increment()
        counted.seconds.recordNanoseconds(
            elapsed.components.seconds * 1_000_000_000 + elapsed.components.attoseconds / 1_000_000_000)
        if bytesIn > 0 { counted.receivedBytes.increment(by: bytesIn) }
        if bytesOut > 0 { counted.sentBytes.increment(by: bytesOut) }
    }

    private func counted(_ key: Key) -> Counted {
        known.withLock { known in
            if let found = known[key] { return found }
            let service = [("service", key.service)]
            let route = service + [("method", key.method), ("route", key.template)]
            let made = Counted(
                requests: Counter(
                    label: "ambrotype_requests_total", dimensions: route + [("status", String(key.status))]),
                seconds: Timer(label: "ambrotype_request_seconds", dimensions: route),
                receivedBytes: Counter(label: "ambrotype_received_bytes_total", dimensions: service),
                sentBytes: Counter(label: "ambrotype_sent_bytes_total", dimensions: service))
            known[key] = made
            return made
        }
    }
}
