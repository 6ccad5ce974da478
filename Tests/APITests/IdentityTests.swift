import Core
import NIOCore
import NIOHTTP1
import Testing

/// The Identity API as clients see it: discovery, envelopes, headers, statuses.
@Suite(.server) struct IdentityTests {
    private var server: TestServer { TestServer.current }

    private func login(_ identity: String, scope: String = "") async throws -> Answer {
        try await server.call(
            .POST, "/identity/v3/auth/tokens", json: #"{"auth": {"identity": \#(identity)\#(scope)}}"#)
    }

    private func byToken(_ token: String) -> String { #"{"methods": ["token"], "token": {"id": "\#(token)"}}"# }

    @Test(arguments: ["/identity", "/identity/"])
    func theRootOffersTheVersion(_ path: String) async throws {
        let answer = try await server.call(.GET, path)
        #expect(answer.status == 300)
        #expect(answer.header("Location") == server.url + "/identity/v3/")
        #expect(answer.header("Vary") == "X-Auth-Token")
        let versions = answer.json["versions"]?["values"]?.arrayValue
        #expect(versions?.first?["id"]?.stringValue?.hasPrefix("v3.") == true)
    }

    @Test(arguments: ["/identity/v3", "/identity/v3/"])
    func theVersionDescribesItself(_ path: String) async throws {
        let answer = try await server.call(.GET, path)
        #expect(answer.status == 200)
        let version = answer.json["version"]
        #expect(version?["status"] == "stable")
        #expect(version?["links"]?.arrayValue?.first?["href"] == .string(server.url + "/identity/v3/"))
        #expect(version?["media-types"]?.arrayValue?.first?["base"] == "application/json")
        let head = try await server.call(.HEAD, path)
        #expect(head.status == 200 && head.body.readableBytes == 0)
    }

    @Test func errorsHaveKeystonesEnvelope() async throws {
        let cases: [(String, String?, Int, String)] = [
            ("/identity/v3/users", nil, 401, "Unauthorized"), ("/identity/v3/users", server.demo, 403, "Forbidden"),
            ("/identity/v3/users/nobody", server.admin, 404, "Not Found"),
            ("/identity/v3/nothing", server.admin, 404, "Not Found"), ("/identity/v2.0/tokens", nil, 404, "Not Found"),
        ]
        for (path, token, status, title) in cases {
            let answer = try await server.call(.GET, path, as: token)
            #expect(answer.status == status, "\(path)")
            #expect(answer.json["error"]?["code"] == .integer(Int64(status)))
            #expect(answer.json["error"]?["title"] == .string(title))
            #expect(answer.json["error"]?["message"]?.stringValue?.isEmpty == false)
            #expect(answer.header("Vary") == "X-Auth-Token")
        }
        let refused = try await server.call(.GET, "/identity/v3/users")
        #expect(refused.header("WWW-Authenticate") == #"Keystone uri="\#(server.url)/identity/v3""#)
        let wrongMethod = try await server.call(.PUT, "/identity/v3/users", as: server.admin)
        #expect(wrongMethod.status == 405)
        #expect(wrongMethod.header("Allow")?.contains("POST") == true)
    }

    @Test func aTokenShowsWhoWhereAndTheCatalogue() async throws {
        let answer = try await server.call(
            .GET, "/identity/v3/auth/tokens", as: server.admin, headers: [("X-Subject-Token", server.demo)])
        #expect(answer.status == 200)
        #expect(answer.header("X-Subject-Token") == server.demo)
        let token = try #require(answer.json["token"])
        #expect(token["methods"] == ["password"])
        #expect(token["user"]?["name"] == "demo")
        #expect(token["user"]?["domain"] == ["id": "default", "name": "Default"])
        #expect(token["project"]?["name"] == "demo")
        #expect(token["is_domain"] == false)
        #expect(token["roles"]?.arrayValue?.compactMap { $0["name"]?.stringValue } == ["member", "reader"])
        #expect(token["audit_ids"]?.arrayValue?.count == 1)
        for name in ["issued_at", "expires_at"] {
            let text = token[name]?.stringValue ?? ""
            #expect(text.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z/) != nil, "\(name): \(text)")
        }
        let image = token["catalog"]?.arrayValue?.first { $0["type"] == "image" }
        #expect(image?["name"] == "glance")
        #expect(image?["endpoints"]?.arrayValue?.first?["url"] == .string(server.url + "/image"))
        #expect(image?["endpoints"]?.arrayValue?.first?["region_id"] == "RegionOne")
        let short = try await server.call(
            .GET, "/identity/v3/auth/tokens?nocatalog", as: server.demo, headers: [("X-Subject-Token", server.demo)])
        #expect(short.status == 200 && short.json["token"]?["catalog"] == nil)
        let head = try await server.call(
            .HEAD, "/identity/v3/auth/tokens", as: server.demo, headers: [("X-Subject-Token", server.demo)])
        #expect(head.status == 200 && head.body.readableBytes == 0)
    }

    @Test func tokensAreIssuedRescopedAndRevoked() async throws {
        let account = try await server.account()
        let unscoped = try await login(byToken(account.token), scope: #", "scope": "unscoped""#)
        #expect(unscoped.status == 201)
        #expect(unscoped.json["token"]?["roles"] == nil && unscoped.json["token"]?["catalog"] == nil)
        let parent = try #require(unscoped.header("X-Subject-Token"))
        let scoped = try await login(
            byToken(parent), scope: #", "scope": {"project": {"id": "\#(account.projectID)"}}"#)
        #expect(scoped.status == 201)
        #expect(scoped.json["token"]?["methods"] == ["password", "token"])
        let child = try #require(scoped.header("X-Subject-Token"))
        #expect(try await server.call(.GET, "/image/v2/images", as: child).status == 200)
        let revoked = try await server.call(
            .DELETE, "/identity/v3/auth/tokens", as: account.token, headers: [("X-Subject-Token", child)])
        #expect(revoked.status == 204 && revoked.body.readableBytes == 0)
        #expect(try await server.call(.GET, "/image/v2/images", as: child).status == 401)
        let gone = try await server.call(
            .GET, "/identity/v3/auth/tokens", as: server.admin, headers: [("X-Subject-Token", child)])
        #expect(gone.status == 404)
        #expect(try await login(byToken(child)).status == 401)
        let foreign = try await server.call(
            .DELETE, "/identity/v3/auth/tokens", as: account.token, headers: [("X-Subject-Token", server.admin)])
        #expect(foreign.status == 404)
    }

    @Test func aTamperedTokenIsRefused() async throws {
        var parts = server.demo.split(separator: ".").map(String.init)
        parts[2] = String(parts[2].reversed())
        #expect(try await server.call(.GET, "/image/v2/images", as: parts.joined(separator: ".")).status == 401)
        #expect(try await server.call(.GET, "/image/v2/images", as: parts[0] + "." + parts[1] + ".").status == 401)
        #expect(try await server.call(.GET, "/image/v2/images", as: "").status == 401)
    }

    @Test func whatACallerCanScopeTo() async throws {
        let projects = try await server.call(.GET, "/identity/v3/auth/projects", as: server.demo)
        #expect(projects.json["projects"]?.arrayValue?.compactMap { $0["name"]?.stringValue } == ["demo"])
        #expect(try await server.call(.GET, "/identity/v3/auth/domains", as: server.demo).json["domains"] == [])
        #expect(try await server.call(.GET, "/identity/v3/auth/system", as: server.demo).json["system"] == [])
        let system = try await server.call(.GET, "/identity/v3/auth/system", as: server.admin)
        #expect(system.json["system"] == [["all": true]])
        let catalog = try await server.call(.GET, "/identity/v3/auth/catalog", as: server.demo)
        #expect(catalog.json["catalog"]?.arrayValue?.contains { $0["type"] == "identity" } == true)
    }

    @Test func resourcesLinkToThemselves() async throws {
        let made = try await server.call(
            .POST, "/identity/v3/projects", as: server.admin,
            json: #"{"project": {"name": "linked", "domain_id": "default", "colour": "blue"}}"#)
        #expect(made.status == 201)
        let project = try #require(made.json["project"])
        let id = try #require(project["id"]?.stringValue)
        #expect(project["links"]?["self"] == .string("\(server.url)/identity/v3/projects/\(id)"))
        #expect(project["parent_id"] == "default" && project["is_domain"] == false && project["tags"] == [])
        #expect(project["colour"] == "blue" && project["options"] == [:])
        let list = try await server.call(.GET, "/identity/v3/projects?name=linked", as: server.admin)
        #expect(list.json["projects"] == [project])
        #expect(list.json["links"]?["self"] == .string(server.url + "/identity/v3/projects?name=linked"))
        let patched = try await server.call(
            .PATCH, "/identity/v3/projects/\(id)", as: server.admin, json: #"{"project": {"enabled": false}}"#)
        #expect(patched.json["project"]?["enabled"] == false)
        #expect(try await server.call(.DELETE, "/identity/v3/projects/\(id)", as: server.admin).status == 204)
        #expect(try await server.call(.GET, "/identity/v3/projects/\(id)", as: server.admin).status == 404)
    }

    @Test func usersNeverShowTheirPasswords() async throws {
        let made = try await server.call(
            .POST, "/identity/v3/users", as: server.admin,
            json: #"{"user": {"name": "discreet", "password": "very secret", "email": "d@example.org"}}"#)
        #expect(made.status == 201 && !made.text.contains("very secret"))
        let id = try #require(made.json["user"]?["id"]?.stringValue)
        #expect(made.json["user"]?["email"] == "d@example.org")
        let shown = try await server.call(.GET, "/identity/v3/users/\(id)", as: server.admin)
        #expect(shown.json["user"] == made.json["user"])
        #expect(shown.json["user"]?["password_expires_at"] == .null)
        let groups = try await server.call(.GET, "/identity/v3/users/\(id)/groups", as: server.admin)
        #expect(groups.json["groups"] == [])
        let change = try await server.call(
            .POST, "/identity/v3/users/\(id)/password",
            json: #"{"user": {"original_password": "very secret", "password": "more secret"}}"#)
        #expect(change.status == 204)
        let wrong = try await server.call(
            .POST, "/identity/v3/users/\(id)/password",
            json: #"{"user": {"original_password": "very secret", "password": "more secret"}}"#)
        #expect(wrong.status == 401)
        #expect(!server.log.all.contains("very secret") && !server.log.all.contains("more secret"))
    }

    @Test func grantsAreGivenCheckedAndTaken() async throws {
        let account = try await server.account()
        let roles = try await server.call(.GET, "/identity/v3/roles?name=manager", as: server.admin)
        let role = try #require(roles.json["roles"]?.arrayValue?.first?["id"]?.stringValue)
        for place in ["projects/\(account.projectID)", "domains/default", "system"] {
            let path = "/identity/v3/\(place)/users/\(account.userID)/roles"
            #expect(try await server.call(.HEAD, "\(path)/\(role)", as: server.admin).status == 404)
            #expect(try await server.call(.PUT, "\(path)/\(role)", as: account.token).status == 403)
            #expect(try await server.call(.PUT, "\(path)/\(role)", as: server.admin).status == 204)
            #expect(try await server.call(.HEAD, "\(path)/\(role)", as: server.admin).status == 204)
            let list = try await server.call(.GET, path, as: server.admin)
            #expect(list.json["roles"]?.arrayValue?.contains { $0["name"] == "manager" } == true)
            #expect(try await server.call(.DELETE, "\(path)/\(role)", as: server.admin).status == 204)
            #expect(try await server.call(.DELETE, "\(path)/\(role)", as: server.admin).status == 404)
        }
        let assignments = try await server.call(
            .GET, "/identity/v3/role_assignments?user.id=\(account.userID)&include_names&effective", as: server.admin)
        let found = assignments.json["role_assignments"]?.arrayValue ?? []
        #expect(found.compactMap { $0["role"]?["name"]?.stringValue } == ["member", "reader"])
        #expect(found.first?["scope"]?["project"]?["domain"] == ["id": "default", "name": "Default"])
        #expect(found.last?["links"]?["prior_role"] != nil)
    }

    @Test func anApplicationCredentialWorksUntilItIsDeleted() async throws {
        let account = try await server.account()
        let path = "/identity/v3/users/\(account.userID)/application_credentials"
        let rules = #"[{"service": "image", "method": "GET", "path": "/v2/images/**"}]"#
        let made = try await server.call(
            .POST, path, as: account.token,
            json: #"{"application_credential": {"name": "robot", "access_rules": \#(rules)}}"#)
        #expect(made.status == 201)
        let id = try #require(made.json["application_credential"]?["id"]?.stringValue)
        let secret = try #require(made.json["application_credential"]?["secret"]?.stringValue)
        let listed = try await server.call(.GET, path, as: account.token)
        #expect(!listed.text.contains("secret"))
        let credential = #"{"id": "\#(id)", "secret": "\#(secret)"}"#
        let issued = try await login(
            #"{"methods": ["application_credential"], "application_credential": \#(credential)}"#)
        #expect(issued.status == 201)
        #expect(issued.json["token"]?["application_credential"]?["restricted"] == true)
        let token = try #require(issued.header("X-Subject-Token"))
        #expect(try await server.call(.GET, "/image/v2/images/none", as: token).status == 404)
        #expect(try await server.call(.GET, "/image/v2/images", as: token).status == 401)
        #expect(try await server.call(.POST, path, as: token, json: "{}").status == 401)
        #expect(try await server.call(.DELETE, "\(path)/\(id)", as: account.token).status == 204)
        #expect(try await server.call(.GET, "/image/v2/images/none", as: token).status == 401)
        #expect(!server.log.all.contains(secret))
    }

    @Test func limitsAreReadByThoseTheyBind() async throws {
        let account = try await server.account()
        let model = try await server.call(.GET, "/identity/v3/limits/model", as: account.token)
        #expect(model.json["model"]?["name"] == "flat")
        let services = try await server.call(.GET, "/identity/v3/services?type=image", as: server.admin)
        let service = try #require(services.json["services"]?.arrayValue?.first?["id"]?.stringValue)
        let what = #""service_id": "\#(service)", "region_id": "RegionOne", "resource_name": "image_count_total""#
        let registered = try await server.call(
            .POST, "/identity/v3/registered_limits", as: server.admin,
            json: #"{"registered_limits": [{\#(what), "default_limit": 10}]}"#)
        #expect(registered.status == 201)
        let made = try await server.call(
            .POST, "/identity/v3/limits", as: server.admin,
            json: #"{"limits": [{\#(what), "project_id": "\#(account.projectID)", "resource_limit": 3}]}"#)
        #expect(made.status == 201)
        let id = try #require(made.json["limits"]?.arrayValue?.first?["id"]?.stringValue)
        let own = try await server.call(.GET, "/identity/v3/limits", as: account.token)
        #expect(own.json["limits"] == made.json["limits"])
        #expect(try await server.call(.GET, "/identity/v3/limits", as: server.demo).json["limits"] == [])
        let patched = try await server.call(
            .PATCH, "/identity/v3/limits/\(id)", as: server.admin, json: #"{"limit": {"resource_limit": 4}}"#)
        #expect(patched.json["limit"]?["resource_limit"] == 4)
        let unknown = try await server.call(
            .POST, "/identity/v3/limits", as: server.admin,
            json:
                #"{"limits": [{"service_id": "\#(service)", "resource_name": "none", "project_id": "\#(account.projectID)", "resource_limit": 3}]}"#
        )
        #expect(unknown.status == 403)
    }

    @Test(arguments: ["groups", "OS-TRUST/trusts", "policies", "credentials", "ec2tokens"])
    func whatIsAbsentIsNotFound(_ path: String) async throws {
        #expect(try await server.call(.GET, "/identity/v3/" + path, as: server.admin).status == 404)
    }

    @Test(arguments: [
        "", "{", "[1,", "null", "\"text\"", "{\"auth\": {\"identity\": {\"methods\": [null]}}}", "\u{FEFF}{}",
        "{\"auth\":" + String(repeating: "[", count: 500) + String(repeating: "]", count: 500) + "}",
    ])
    func malformedLoginsAreBadRequests(_ body: String) async throws {
        let answer = try await server.call(.POST, "/identity/v3/auth/tokens", json: body)
        #expect(answer.status == 400)
        #expect(answer.json["error"]?["code"] == 400)
    }
}
