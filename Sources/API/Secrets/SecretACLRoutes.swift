import Core
import HTTPTypes
import HummingbirdCore

/// Who may use a secret or a container beside the members of its project.
struct SecretACLRoutes: Sendable {
    let secrets: Secrets

    func add(to routes: inout RouteTable) {
        add("/v1/secrets/{secret}/acl", to: &routes) { exchange in
            let id = try exchange.secretID()
            return (.secret(id), SecretJSON.ref(id, exchange))
        }
        add("/v1/containers/{container}/acl", to: &routes) { exchange in
            let id = try exchange.containerID()
            return (.container(id), ContainerJSON.ref(id, exchange))
        }
    }

    private func add(
        _ path: String, to routes: inout RouteTable,
        _ holder: @escaping @Sendable (Exchange) throws -> (ACLHolder, ref: String)
    ) {
        routes.get(path) { exchange, caller in
            try exchange.requireAcceptsJSON()
            let acl = try await secrets.acl(of: try holder(exchange).0, as: caller)
            return .json(.ok) { write(acl, to: &$0) }
        }
        routes.on(.put, path) { exchange, caller in
            try exchange.requireAcceptsJSON()
            let (holder, ref) = try holder(exchange)
            let change = try ACLChange.parse(try await exchange.keyManagerJSON())
            try await secrets.replaceACL(of: holder, with: change, as: caller)
            return answer(ref)
        }
        routes.on(.patch, path) { exchange, caller in
            try exchange.requireAcceptsJSON()
            let (holder, ref) = try holder(exchange)
            let change = try ACLChange.parse(try await exchange.keyManagerJSON())
            try await secrets.mergeACL(of: holder, with: change, as: caller)
            return answer(ref)
        }
        routes.on(.delete, path, body: .refused) { exchange, caller in
            try await secrets.deleteACL(of: try holder(exchange).0, as: caller)
            return .json(.ok) { $0.null() }
        }
    }

    private func answer(_ ref: String) -> Response {
        .json(.ok) { json in json.object { $0.member("acl_ref", ref + "/acl") } }
    }

    /// Without a list of its own there are no users and no times to show.
    private func write(_ acl: SecretACL, to json: inout JSONWriter) {
        json.object { json in
            json.member(
                "read",
                object: { json in
                    json.member("project-access", acl.projectAccess)
                    guard let created = acl.createdAt, let updated = acl.updatedAt else { return }
                    json.member("users", array: { json in for user in acl.users { json.string(user.rawValue) } })
                    json.member("created", SecretTime.text(created))
                    json.member("updated", SecretTime.text(updated))
                })
        }
    }
}
