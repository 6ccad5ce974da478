import Core
import HTTPTypes
import HummingbirdCore

struct ProjectRoutes: Sendable {
    let identity: IdentityService

    func add(to routes: inout RouteTable) {
        routes.read("/v3/projects") { exchange, caller in
            let query = try exchange.query()
            let filter = ProjectFilter(
                name: query["name"], domainID: query["domain_id"].map { DomainID($0) }, parentID: query["parent_id"],
                isEnabled: try query.flag("enabled"), isDomain: try query.flag("is_domain"))
            let projects = try await identity.projects(filter, as: caller)
            return .identity { $0.list("projects", projects, exchange) { $0.project($1, exchange) } }
        }
        routes.on(.post, "/v3/projects") { exchange, caller in
            one(.created, try await identity.createProject(try await exchange.json(), as: caller), exchange)
        }
        routes.read("/v3/projects/{project_id}") { exchange, caller in
            one(.ok, try await identity.project(exchange.projectID, as: caller), exchange)
        }
        routes.on(.patch, "/v3/projects/{project_id}") { exchange, caller in
            let project = try await identity.updateProject(exchange.projectID, try await exchange.json(), as: caller)
            return one(.ok, project, exchange)
        }
        routes.on(.delete, "/v3/projects/{project_id}", body: .refused) { exchange, caller in
            try await identity.deleteProject(exchange.projectID, as: caller)
            return .done
        }
    }

    private func one(_ status: HTTPResponse.Status, _ project: Project, _ exchange: Exchange) -> Response {
        .identity(status) {
            $0.key("project")
            $0.project(project, exchange)
        }
    }
}

extension Exchange {
    var projectID: ProjectID { ProjectID(parameter("project_id")) }
}

extension JSONWriter {
    private static let projectMembers: Set<String> = [
        "name", "domain_id", "description", "enabled", "parent_id", "is_domain", "tags", "options",
    ]

    mutating func project(_ project: Project, _ exchange: Exchange) {
        object { json in
            json.extra(project.extra, except: Self.projectMembers)
            json.member("id", project.id.rawValue)
            json.member("name", project.name)
            json.member("domain_id", project.domainID.rawValue)
            json.member("description", project.description)
            json.member("enabled", project.isEnabled)
            json.member("parent_id", project.parentID?.rawValue ?? project.domainID.rawValue)
            json.member("is_domain", false)
            json.tags(project.tags)
            json.nested("options") { _ in }
            json.selfLink("\(exchange.v3)/projects/\(project.id)")
        }
    }
}
