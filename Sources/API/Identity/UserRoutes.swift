import Core
import HTTPTypes
import HummingbirdCore

struct UserRoutes: Sendable {
    let identity: IdentityService

    func add(to routes: inout RouteTable) {
        routes.read("/v3/users") { exchange, caller in
            let query = try exchange.query()
            let filter = UserFilter(
                name: query["name"], domainID: query["domain_id"].map { DomainID($0) },
                isEnabled: try query.flag("enabled"))
            let users = try await identity.users(filter, as: caller)
            return .identity { $0.list("users", users, exchange) { $0.user($1, exchange) } }
        }
        routes.on(.post, "/v3/users") { exchange, caller in
            one(.created, try await identity.createUser(try await exchange.json(), as: caller), exchange)
        }
        routes.read("/v3/users/{user_id}") { exchange, caller in
            one(.ok, try await identity.user(exchange.userID, as: caller), exchange)
        }
        routes.on(.patch, "/v3/users/{user_id}") { exchange, caller in
            let user = try await identity.updateUser(exchange.userID, try await exchange.json(), as: caller)
            return one(.ok, user, exchange)
        }
        routes.on(.delete, "/v3/users/{user_id}", body: .refused) { exchange, caller in
            try await identity.deleteUser(exchange.userID, as: caller)
            return .done
        }
        routes.open(.post, "/v3/users/{user_id}/password") { exchange in
            try await identity.changePassword(of: exchange.userID, try await exchange.json())
            return .done
        }
        routes.read("/v3/users/{user_id}/projects") { exchange, caller in
            let projects = try await identity.projects(of: exchange.userID, as: caller)
            return .identity { $0.list("projects", projects, exchange) { $0.project($1, exchange) } }
        }
        routes.read("/v3/users/{user_id}/groups") { exchange, caller in
            try await identity.checkGroupsVisible(of: exchange.userID, as: caller)
            return .identity { $0.list("groups", [] as [Never], exchange) { _, _ in } }
        }
    }

    private func one(_ status: HTTPResponse.Status, _ user: User, _ exchange: Exchange) -> Response {
        .identity(status) {
            $0.key("user")
            $0.user(user, exchange)
        }
    }
}

extension Exchange {
    var userID: UserID { UserID(parameter("user_id")) }
}

extension JSONWriter {
    private static let userMembers: Set<String> = [
        "name", "domain_id", "enabled", "default_project_id", "password_expires_at", "options", "password",
        "original_password",
    ]

    mutating func user(_ user: User, _ exchange: Exchange) {
        object { json in
            json.extra(user.extra, except: Self.userMembers)
            json.member("id", user.id.rawValue)
            json.member("name", user.name)
            json.member("domain_id", user.domainID.rawValue)
            json.member("enabled", user.isEnabled)
            if let project = user.defaultProjectID { json.member("default_project_id", project.rawValue) }
            json.member("password_expires_at", nil as String?)
            json.nested("options") { _ in }
            json.selfLink("\(exchange.v3)/users/\(user.id)")
        }
    }
}
