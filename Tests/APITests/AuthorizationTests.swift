import API
import Blobs
import Core
import Foundation
import HTTPTypes
import NIOCore
import NIOHTTP1
import Persistence
import Server
import Testing
import Trust

/// Every route of the Image API, every caller, every kind of image, against a running server.
@Suite(.server) struct AuthorizationTests {
    @Test func theTableIsLarge() {
        #expect(TableRoute.cells.count + TableListing.all.count >= 2000)
        #expect(Set(TableRoute.cells.map(\.description)).count == TableRoute.cells.count, "a cell is there twice")
        #expect(Set(TableRoute.cells.map(\.caller)) == Set(TableCaller.allCases))
    }

    /// The routes that the table has no rows for.
    private func uncovered(_ routes: RouteTable) -> [String] {
        routes.routes.map { "\($0.method.rawValue) \($0.template)" }.filter { route in
            !TableRoute.all.contains { $0.name == route && !$0.cells.isEmpty }
        }
    }

    @Test func everyRouteHasRows() async throws {
        let routes = try await Self.routes()
        #expect(uncovered(routes) == [], "a new route needs rows in AuthorizationTable.swift")
        let known = Set(routes.routes.map { "\($0.method.rawValue) \($0.template)" })
        #expect(TableRoute.all.map(\.name).filter { !known.contains($0) } == [], "rows of a route that is gone")
    }

    @Test func aRouteWithoutRowsIsNoticed() async throws {
        var routes = try await Self.routes()
        routes.on(.put, "/v2/images/{image}/frame") { _, _ in throw ServiceError.notFound("") }
        #expect(uncovered(routes) == ["PUT /v2/images/{image}/frame"])
    }

    /// The table as the server has it.
    private static func routes() async throws -> RouteTable {
        let path = try TestServer.makeDirectory()
        defer { TestServer.remove(path) }
        let process = TestProcess.shared(logger: LogCapture().logger)
        let store = try FileBlobStore(id: "local", directory: path + "/store", work: ThreadWorkPool())
        let images = Images(
            database: try SQLiteDatabase(path: path + "/db"), stores: StoreSet([store], default: "local"),
            surroundings: process.surroundings, settings: ImageSettings(), seal: .passing(), instance: "table",
            logger: process.logger)
        return ImageAPI(images: images, authenticator: Nobody()).routes
    }

    private struct Nobody: Authenticator {
        let challenge = ""
        func authenticate(
            token: String?, serviceToken: String?, for request: CredentialContext
        ) async throws -> Caller { throw ServiceError.unauthorized("") }
    }

    /// What is refused changes nothing, which is looked at afterwards; what is allowed has an image of its own.
    @Test func everyCellIsAnsweredAsTheTableSays() async throws {
        let stage = try await AuthorizationStage(TestServer.current)
        let before = try await stage.everything()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for caller in TableCaller.allCases {
                group.addTask {
                    for cell in TableRoute.cells where cell.caller == caller { try await stage.check(cell) }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await stage.everything() == before)
    }

    @Test func everyListShowsWhatTheTableSays() async throws {
        let stage = try await AuthorizationStage(TestServer.current)
        for caller in TableCaller.allCases {
            for scope in TableListing.Scope.allCases {
                let rows = TableListing.all.filter { $0.caller == caller && $0.scope == scope }
                guard !rows.isEmpty else { continue }
                let shown = try await stage.listed(scope, as: caller)
                for row in rows {
                    #expect(shown.contains(row.image) == row.isShown, "\(row)")
                }
            }
        }
    }
}

/// The projects, callers and images of the table on a server.
private final class AuthorizationStage: Sendable {
    private let server: TestServer
    private let tokens: [TableCaller: String]
    private let owner: TestAccount
    /// The member projects, by the status of their membership.
    private let members: [String: TestAccount]
    private let images: [TableImage: String]

    init(_ server: TestServer) async throws {
        self.server = server
        let owner = try await server.account()
        let outsider = try await server.account()
        var members: [String: TestAccount] = [:]
        for status in ["accepted", "pending", "rejected"] { members[status] = try await server.account() }
        self.owner = owner
        self.members = members
        tokens = try await Self.tokens(server, owner: owner, outsider: outsider, members: members)
        var images: [TableImage: String] = [:]
        for image in TableImage.all {
            images[image] = try await Self.make(image, server, owner: owner.projectID, members: members)
        }
        self.images = images
        try await Self.makeNamespaces(server)
    }

    /// The tests of the suite each have a stage, on one server: what is there is as it must be.
    private static func makeNamespaces(_ server: TestServer) async throws {
        let root = "/image/v2/metadefs/namespaces"
        func make(_ path: String, _ json: String) async throws {
            let made = try await server.call(.POST, root + path, as: server.admin, json: json)
            #expect(made.status == 201 || made.status == 409, "\(path): \(made.text)")
        }
        for (visibility, name) in TableRoute.namespaces + [("private", "table-other")] {
            try await make("", #"{"namespace": "\#(name)", "visibility": "\#(visibility)", "protected": true}"#)
            for (path, json) in TableRoute.parts { try await make("/\(name)\(path)", json) }
        }
    }

    private static func tokens(
        _ server: TestServer, owner: TestAccount, outsider: TestAccount, members: [String: TestAccount]
    ) async throws -> [TableCaller: String] {
        func token(_ role: String, _ account: TestAccount?) async throws -> String {
            try await server.account(role: role, projectID: account?.projectID).token
        }
        let revoked = try await token("member", owner)
        try await server.call(
            .DELETE, "/identity/v3/auth/tokens", as: revoked, headers: [("X-Subject-Token", revoked)]
        ).expect(204)
        let observer = "observer" + String(owner.projectID.prefix(12))
        try await server.call(
            .POST, "/identity/v3/roles", as: server.admin, json: #"{"role": {"name": "\#(observer)"}}"#
        ).expect(201)
        var tokens: [TableCaller: String] = [
            .wrongToken: "no-token-at-all", .revokedToken: revoked, .expiredToken: try await expired(server, owner),
            .ownerReader: try await token("reader", owner), .ownerMember: owner.token,
            .ownerManager: try await token("manager", owner), .ownerAdmin: try await token("admin", owner),
            .ownerService: try await token("service", owner), .ownerObserver: try await token(observer, owner),
            .outsiderReader: try await token("reader", outsider), .outsiderMember: outsider.token,
            .outsiderAdmin: server.admin, .service: try await token("service", nil),
            .unscopedMember: try await rescoped(server, owner.token, #""unscoped""#),
            .systemAdmin: try await systemAdmin(server),
        ]
        for caller in TableCaller.allCases {
            guard let account = caller.membership.flatMap({ members[$0] }) else { continue }
            tokens[caller] = caller.roles.contains("member") ? account.token : try await token("reader", account)
        }
        return tokens
    }

    private static func rescoped(_ server: TestServer, _ token: String, _ scope: String) async throws -> String {
        let identity = #"{"methods": ["token"], "token": {"id": "\#(token)"}}"#
        let answer = try await server.call(
            .POST, "/identity/v3/auth/tokens", json: #"{"auth": {"identity": \#(identity), "scope": \#(scope)}}"#)
        return try #require(answer.header("X-Subject-Token"), "\(answer.status) \(answer.text)")
    }

    private static func systemAdmin(_ server: TestServer) async throws -> String {
        try await rescoped(server, server.admin, #"{"system": {"all": true}}"#)
    }

    /// Signed by the server's own key, and over an hour ago.
    private static func expired(_ server: TestServer, _ owner: TestAccount) async throws -> String {
        let keys = try await TokenKeys.loadOrCreate(path: server.directory + "/token-keys.pem")
        var claims = try await keys.verify(owner.token)
        claims.issuedAtMicroseconds -= 7_200_000_000
        claims.expiresAtSeconds = claims.issuedAtMicroseconds / 1_000_000 + 3600
        return try await keys.sign(claims)
    }

    /// Members join while it is shared; they stay when it becomes something else.
    private static func make(
        _ image: TableImage, _ server: TestServer, owner: String, members: [String: TestAccount]
    ) async throws -> String {
        let made = try await server.call(
            .POST, "/image/v2/images", as: server.admin,
            json: """
                {"name": "\(image)", "owner": "\(owner)", "visibility": "\(members.isEmpty ? image.visibility.rawValue : "shared")", "tags": ["old"],
                "disk_format": "raw", "container_format": "bare", "os_hidden": \(image.condition == .hidden),
                "protected": \(image.condition == .protected)}
                """)
        let id = try #require(made.json["id"]?.stringValue, "\(made.status) \(made.text)")
        let path = "/image/v2/images/" + id
        for (status, account) in members.sorted(by: { $0.key < $1.key }) {
            try await server.call(
                .POST, path + "/members", as: server.admin, json: #"{"member": "\#(account.projectID)"}"#
            ).expect(200)
            guard status != "pending" else { continue }
            try await server.call(
                .PUT, path + "/members/\(account.projectID)", as: account.token, json: #"{"status": "\#(status)"}"#
            ).expect(200)
        }
        if image.condition != .queued {
            try await server.call(
                .PUT, path + "/file", as: server.admin, headers: [("Content-Type", "application/octet-stream")],
                body: Array("abc".utf8)
            ).expect(204)
        }
        var changes: [String] = []
        if !members.isEmpty { changes.append(#"{"replace": "/visibility", "value": "\#(image.visibility.rawValue)"}"#) }
        if image.isOwnerless { changes.append(#"{"replace": "/owner", "value": null}"#) }
        if !changes.isEmpty {
            try await server.call(
                .PATCH, path, as: server.admin,
                headers: [("Content-Type", "application/openstack-images-v2.0-json-patch")],
                json: "[\(changes.joined(separator: ", "))]"
            ).expect(200)
        }
        switch image.condition {
        case .deactivated:
            try await server.call(.POST, path + "/actions/deactivate", as: server.admin).expect(204)
        case .deleted: try await server.call(.DELETE, path, as: server.admin).expect(204)
        case .queued, .active, .protected, .hidden, .ownerless: break
        }
        return id
    }

    func check(_ cell: TableCell) async throws {
        var id = ""
        if let image = cell.image {
            // Members are there when somebody could be one of them, or they are what is changed.
            let needsMembers = cell.caller.membership != nil || cell.route.contains("/members")
            id =
                cell.changes
                ? try await Self.make(image, server, owner: owner.projectID, members: needsMembers ? members : [:])
                : images[image] ?? ""
        }
        let places = ["{image}": id, "{accepted}": members["accepted"]?.projectID ?? "", "{fresh}": "fresh-project"]
        func filled(_ text: String) -> String {
            places.reduce(text) { $0.replacingOccurrences(of: $1.key, with: $1.value) }
        }
        let answer = try await server.call(
            cell.method, "/image" + filled(cell.path), as: tokens[cell.caller],
            headers: cell.contentType.map { [("Content-Type", $0)] } ?? [],
            body: cell.body.map { Array(filled($0).utf8) })
        #expect(answer.status == cell.status, "\(cell): \(answer.text.prefix(200))")
    }

    func listed(_ scope: TableListing.Scope, as caller: TableCaller) async throws -> Set<TableImage> {
        var ids: Set<String> = []
        for hidden in ["false", "true"] {
            let answer = try await server.call(
                .GET, "/image/v2/images?limit=1000&os_hidden=\(hidden)\(scope.query)", as: tokens[caller])
            try answer.expect(200)
            ids.formUnion((answer.json["images"]?.arrayValue ?? []).compactMap { $0["id"]?.stringValue })
        }
        return Set(images.filter { ids.contains($0.value) }.keys)
    }

    /// Everything that can be seen of the images, as an admin sees it.
    func everything() async throws -> [String] {
        var all: [String] = []
        for image in TableImage.all {
            let path = "/image/v2/images/" + (images[image] ?? "")
            for part in ["", "/members", "/file"] {
                let answer = try await server.call(.GET, path + part, as: server.admin)
                all.append("\(image)\(part): \(answer.status) \(answer.text)")
            }
        }
        return all
    }
}
