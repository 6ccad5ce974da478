import Core
import HTTPTypes
import HummingbirdCore

/// How much of the Key Manager projects may have.
struct KeyQuotaRoutes: Sendable {
    let secrets: Secrets

    func add(to routes: inout RouteTable) {
        routes.get("/v1/quotas") { exchange, caller in
            try exchange.requireAcceptsJSON()
            let quotas = try await secrets.quotas(as: caller)
            return .json(.ok) { json in
                json.object { $0.member("quotas", object: { write(quotas, standard: KeyQuota.unlimited, to: &$0) }) }
            }
        }
        routes.get("/v1/project-quotas", list)
        let one = "/v1/project-quotas/{project}"
        routes.get(one) { exchange, caller in
            try exchange.requireAcceptsJSON()
            let quotas = try await secrets.projectQuotas(of: exchange.project, as: caller)
            return .json(.ok) { json in
                json.object { $0.member("project_quotas", object: { write(quotas, standard: nil, to: &$0) }) }
            }
        }
        routes.on(.put, one) { exchange, caller in
            let change = try KeyQuotaChange(try await exchange.keyManagerJSON())
            try await secrets.setProjectQuotas(change, of: exchange.project, as: caller)
            return .done
        }
        routes.on(.delete, one, body: .refused) { exchange, caller in
            try await secrets.deleteProjectQuotas(of: exchange.project, as: caller)
            return .done
        }
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try exchange.requireAcceptsJSON()
        let list = try KeyManagerList(exchange, exchange.v1 + "/project-quotas")
        let page = try await secrets.projectQuotas(list.request, as: caller)
        return list.response("project_quotas", page) { entry, json in
            json.object { json in
                json.member("project_id", entry.project.rawValue)
                json.member("project_quotas", object: { write(entry.limits, standard: nil, to: &$0) })
            }
        }
    }

    /// - Parameter standard: what is shown of a resource without a limit of its own.
    private func write(_ limits: [KeyQuota.Resource: Int64], standard: Int64?, to json: inout JSONWriter) {
        for resource in KeyQuota.Resource.allCases { json.member(resource.rawValue, limits[resource] ?? standard) }
        // Certificate authorities: there are none, and the clients still ask.
        json.member("cas", standard)
    }
}

extension Exchange {
    fileprivate var project: ProjectID { ProjectID(parameter("project")) }
}
