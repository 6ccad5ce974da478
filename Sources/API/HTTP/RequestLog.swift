import Logging

/// What is logged of a request that was answered.
package struct AnsweredRequest: Sendable {
    package let requestID: String
    package let method: String
    /// Without the query: it may hold a signature or a key of another service.
    package let path: String
    package let status: Int
    package let bytesIn: Int
    /// -1 where it was not known beforehand.
    package let bytesOut: Int
    package let elapsed: Duration
    package let user: String?
    package let project: String?
    /// Why the client did not get all of the answer.
    package let failure: String?

    package static let message = "request"

    package init(
        requestID: String, method: String, path: String, status: Int, bytesIn: Int, bytesOut: Int, elapsed: Duration,
        user: String? = nil, project: String? = nil, failure: String? = nil
    ) {
        self.requestID = requestID
        self.method = method
        self.path = path
        self.status = status
        self.bytesIn = bytesIn
        self.bytesOut = bytesOut
        self.elapsed = elapsed
        self.user = user
        self.project = project
        self.failure = failure
    }

    /// The entry's metadata, in the order of the keys.
    package var fields: [(key: String, value: Logger.Metadata.Value)] {
        var fields: [(key: String, value: Logger.Metadata.Value)] = []
        fields.reserveCapacity(10)
        if let failure { fields.append(("broken", .string(failure))) }
        fields.append(("bytes_in", .string(String(bytesIn))))
        fields.append(("bytes_out", .string(String(bytesOut))))
        fields.append(("method", .string(method)))
        fields.append(("ms", .string(elapsed.milliseconds)))
        fields.append(("path", .string(path)))
        if let project { fields.append(("project", .string(project))) }
        fields.append(("request_id", .string(requestID)))
        fields.append(("status", .string(String(status))))
        if let user { fields.append(("user", .string(user))) }
        return fields
    }
}

/// A log handler that takes requests as they are: no dictionary is made of each, and none is sorted.
package protocol RequestLogHandler: LogHandler {
    func log(_ request: AnsweredRequest, level: Logger.Level)
}

extension Logger {
    func log(_ request: AnsweredRequest, level: Level = .info) {
        guard logLevel <= level else { return }
        if let own = handler as? any RequestLogHandler {
            own.log(request, level: level)
        } else {
            log(
                level: level, "\(AnsweredRequest.message)",
                metadata: Metadata(uniqueKeysWithValues: request.fields.map { ($0.key, $0.value) }))
        }
    }
}

extension Duration {
    /// Whole milliseconds and three digits, for logs.
    fileprivate var milliseconds: String {
        let micros = components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000
        let fraction = String(micros % 1000)
        return "\(micros / 1000)." + String(repeating: "0", count: 3 - fraction.count) + fraction
    }
}
