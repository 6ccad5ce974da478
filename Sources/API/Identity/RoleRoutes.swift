import Core
import HTTPTypes
import HummingbirdCore

struct RoleRoutes: Sendable {
    let identity: IdentityService

    func add(to routes: inout RouteTable) {
        routes.read("/v3/roles") { exchange, caller in
            let query = try exchange.query()
            // Roles of a domain do not exist here.
            let isForDomain = query["domain_id"].map { !$0.isEmpty } ?? false
            let roles = try await identity.roles(name: query["name"], as: caller)
            return .identity {
                $0.list("roles", isForDomain ? [] : roles, exchange) { $0.role($1, exchange) }
            }
        }
        routes.on(.post, "/v3/roles") { exchange, caller in
            one(.created, try await identity.createRole(try await exchange.json(), as: caller), exchange)
        }
        routes.read("/v3/roles/{role_id}") { exchange, caller in
            one(.ok, try await identity.role(exchange.roleID, as: caller), exchange)
        }
        routes.on(.patch, "/v3/roles/{role_id}") { exchange, caller in
            one(.ok, try await identity.updateRole(exchange.roleID, try await exchange.json(), as: caller), exchange)
        }
        routes.on(.delete, "/v3/roles/{role_id}", body: .refused) { exchange, caller in
            try await identity.deleteRole(exchange.roleID, as: caller)
            return .done
        }
        addInferences(to: &routes)
    }

    private func addInferences(to routes: inout RouteTable) {
        routes.read("/v3/role_inferences") { exchange, caller in
            let inferences = try await identity.inferences(as: caller)
            return .identity { json in
                json.member(
                    "role_inferences",
                    array: { for inference in inferences { $0.inference(inference, exchange) } })
                json.selfLink(exchange.selfLink)
            }
        }
        routes.read("/v3/roles/{role_id}/implies") { exchange, caller in
            let inference = try await identity.inference(of: exchange.roleID, as: caller)
            return .identity { json in
                json.key("role_inference")
                json.inference(inference, exchange)
                json.selfLink(exchange.selfLink)
            }
        }
        let single = "/v3/roles/{role_id}/implies/{implied_role_id}"
        routes.get(single) { exchange, caller in
            implication(
                .ok, try await identity.inference(of: exchange.roleID, to: exchange.impliedID, as: caller), exchange)
        }
        routes.on(.head, single, body: .refused) { exchange, caller in
            _ = try await identity.inference(of: exchange.roleID, to: exchange.impliedID, as: caller)
            return .done
        }
        routes.on(.put, single) { exchange, caller in
            let inference = try await identity.changeInference(
                of: exchange.roleID, to: exchange.impliedID, isWanted: true, as: caller)
            return implication(.created, inference, exchange)
        }
        routes.on(.delete, single, body: .refused) { exchange, caller in
            _ = try await identity.changeInference(
                of: exchange.roleID, to: exchange.impliedID, isWanted: false, as: caller)
            return .done
        }
    }

    private func one(_ status: HTTPResponse.Status, _ role: Role, _ exchange: Exchange) -> Response {
        .identity(status) {
            $0.key("role")
            $0.role(role, exchange)
        }
    }

    /// One prior role and one implied: here `implies` is an object.
    private func implication(
        _ status: HTTPResponse.Status, _ inference: RoleInference, _ exchange: Exchange
    ) -> Response {
        .identity(status) { json in
            json.nested("role_inference") { json in
                json.key("prior_role")
                json.linkedRole(inference.prior, exchange)
                for implied in inference.implied where implied.id == exchange.impliedID {
                    json.key("implies")
                    json.linkedRole(implied, exchange)
                }
            }
            json.selfLink(exchange.selfLink)
        }
    }
}

extension Exchange {
    var roleID: RoleID { RoleID(parameter("role_id")) }
    fileprivate var impliedID: RoleID { RoleID(parameter("implied_role_id")) }
}

extension JSONWriter {
    private static let roleMembers: Set<String> = ["name", "domain_id", "description", "options"]

    mutating func role(_ role: Role, _ exchange: Exchange) {
        object { json in
            json.roleMembers(role)
            json.selfLink("\(exchange.v3)/roles/\(role.id)")
        }
    }

    mutating func roleMembers(_ role: Role) {
        extra(role.extra, except: Self.roleMembers)
        member("id", role.id.rawValue)
        member("name", role.name)
        member("domain_id", nil as String?)
        member("description", role.description)
        nested("options") { if role.isFixed { $0.member("immutable", true) } }
    }

    mutating func linkedRole(_ role: RoleName, _ exchange: Exchange) {
        object { json in
            json.roleName(role)
            json.selfLink("\(exchange.v3)/roles/\(role.id)")
        }
    }

    mutating func inference(_ inference: RoleInference, _ exchange: Exchange) {
        object { json in
            json.key("prior_role")
            json.linkedRole(inference.prior, exchange)
            json.member(
                "implies", array: { for implied in inference.implied { $0.linkedRole(implied, exchange) } })
        }
    }
}
