import Core
import HTTPTypes
import HummingbirdCore

/// Jobs as the operator has them: listed, shown, tried again.
struct OperatorJobRoutes: Sendable {
    let view: OperatorView

    func add(to routes: inout RouteTable) {
        let root = OperatorRoutes.root + "/jobs"
        routes.get(root, list)
        routes.get(root + "/{kind}/{subject}", show)
        routes.on(.post, root + "/{kind}/{subject}/retry", body: .refused, retry)
        routes.on(.post, root + "/retry-parked", body: .refused, retryParked)
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        let query = try OperatorQuery(exchange, allowed: ["state", "kind", "limit", "marker"])
        let (page, counts) = try await view.jobs(try query.jobFilter(), try query.page(), as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member("jobs", array: { json in for job in page.entries { OperatorJSON.write(job, to: &json) } })
                json.member(
                    "counts",
                    object: { json in
                        for state in Job.State.allCases { json.member(state.rawValue, counts[state] ?? 0) }
                    })
                if let next = page.next { json.member("next", query.link("/jobs", next)) }
            }
        }
    }

    private func show(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        _ = try OperatorQuery(exchange)
        let job = try await view.job(exchange.job, as: caller)
        return .json(.ok) { OperatorJSON.write(job, to: &$0) }
    }

    /// Accepted: whether it helped is seen when the job is gone.
    private func retry(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        _ = try OperatorQuery(exchange)
        try await view.retry(exchange.job, as: caller)
        return .empty(.accepted)
    }

    private func retryParked(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try view.requireOperator(caller)
        _ = try OperatorQuery(exchange)
        let count = try await view.retryParked(as: caller)
        return .json(.accepted) { json in json.object { $0.member("retried", count) } }
    }
}

extension Exchange {
    fileprivate var job: JobName { JobName(JobKind(parameter("kind")), parameter("subject")) }
}
