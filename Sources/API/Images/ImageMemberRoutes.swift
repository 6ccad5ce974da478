import Core
import HTTPTypes
import HummingbirdCore

struct ImageMemberRoutes: Sendable {
    let images: Images

    func add(to routes: inout RouteTable) {
        routes.get("/v2/images/{image}/members", list)
        routes.on(.post, "/v2/images/{image}/members", add)
        routes.get("/v2/images/{image}/members/{member}") { exchange, caller in
            let member = try await images.member(exchange.member, of: exchange.image, as: caller)
            return .json(.ok) { ImageJSON.write(member, to: &$0) }
        }
        routes.on(.put, "/v2/images/{image}/members/{member}", setStatus)
        routes.on(.delete, "/v2/images/{image}/members/{member}", body: .refused) { exchange, caller in
            try await images.removeMember(exchange.member, from: exchange.image, as: caller)
            return .empty(.noContent)
        }
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let members = try await images.members(of: exchange.image, as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member("members", array: { json in for member in members { ImageJSON.write(member, to: &json) } })
                json.member("schema", "/v2/schemas/members")
            }
        }
    }

    private func add(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let body = try await exchange.json()
        guard let member = body["member"]?.stringValue, !member.isEmpty else {
            throw ServiceError.badRequest("The body must be {\"member\": \"<project id>\"}.")
        }
        let added = try await images.addMember(ProjectID(member), to: exchange.image, as: caller)
        return .json(.ok) { ImageJSON.write(added, to: &$0) }
    }

    private func setStatus(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let body = try await exchange.json()
        guard let text = body["status"]?.stringValue, let status = ImageMember.Status(rawValue: text) else {
            throw ServiceError.badRequest("The body must be {\"status\": \"pending\", \"accepted\" or \"rejected\"}.")
        }
        let changed = try await images.setMemberStatus(status, of: exchange.member, on: exchange.image, as: caller)
        return .json(.ok) { ImageJSON.write(changed, to: &$0) }
    }
}

extension Exchange {
    fileprivate var member: ProjectID { ProjectID(parameter("member")) }
}
