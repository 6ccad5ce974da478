import Core
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// As much of a Keystone and a Barbican as whoever keeps keys for others sees, on one port: `/identity/v3` and
/// `/key-manager/v1`. It holds callers to roles, consumers and microversions as the real ones do (seen of Barbican
/// 23.0.0 and Keystone 30.0.0).
final class BarbicanFake: Sendable {
    struct Request: Sendable {
        let method: HTTPMethod
        let uri: String
        let headers: HTTPHeaders
        let body: String

        /// Without the query.
        var path: String { String(uri.prefix { $0 != "?" }) }
        var isLogin: Bool { path == "/identity/v3/auth/tokens" }
        var isDiscovery: Bool { path == "/key-manager/" }
        var isOfSecret: Bool { path.hasPrefix("/key-manager/v1/secrets/") }
        var isDeletion: Bool { method == .DELETE && isOfSecret && !path.hasSuffix("/consumers") }
    }

    struct Answer: Sendable {
        var status: Int
        var headers: HTTPHeaders = [:]
        var body = ""
    }

    /// What becomes of a request that a test is interested in.
    enum Fate: Sendable {
        case served
        case answered(Answer)
        /// Served, and the connection cut instead of an answer.
        case servedAndCut
        case never
        /// A byte of the body now and then, without an end.
        case dripping
    }

    struct Consumer: Sendable, Hashable {
        let service: String
        let resourceType: String
        let resourceID: String
    }

    private struct Secret {
        let project: String
        let type: String
        var consumers: [Consumer] = []
        /// For members other than its creator it is not there.
        var isPrivate = false
    }

    private struct Token {
        let user: String
        let project: String
        let roles: [String]
        let expiresAt: Timestamp
    }

    private struct State {
        var roles: [String: [String: [String]]] = [
            "glance": ["p-service": ["service"], "p-demo": ["member", "reader"], "p-alt": ["member", "reader"]],
            "demo": ["p-demo": ["member", "reader"]], "alt_demo": ["p-alt": ["member", "reader"]],
        ]
        var secrets: [String: Secret] = [:]
        var tokens: [String: Token] = [:]
        var issued = 0
        var lifetimeSeconds: Int64 = 3600
        var newestMinor: Int? = 2
        var requests: [Request] = []
        var decide: (@Sendable (Request) -> Fate)?
        var catalogue: String?
        var projectOfTokens: String?
    }

    private static let password = "s\"ecret"
    private static let projectsByName = ["service": "p-service", "demo": "p-demo", "alt_demo": "p-alt"]

    private let state = Mutex(State())
    private let channel = Mutex<(any Channel)?>(nil)
    private let clock: any WallClock
    private let bound = Mutex(0)

    init(clock: any WallClock) { self.clock = clock }

    func start() async throws {
        let server = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.pipeline.configureHTTPServerPipeline().flatMapThrowing {
                    try channel.pipeline.syncOperations.addHandler(Handler(fake: self))
                }
            }
            .bind(host: "127.0.0.1", port: bound.withLock { $0 }).get()
        bound.withLock { $0 = server.localAddress?.port ?? 0 }
        channel.withLock { $0 = server }
    }

    /// Takes no new connections. May be repeated, and `start` gives it the same port again.
    func stop() async throws {
        let server = channel.withLock { channel in
            defer { channel = nil }
            return channel
        }
        try await server?.close()
    }

    // MARK: What the test decides and sees

    var identityURL: String { "http://127.0.0.1:\(bound.withLock { $0 })/identity/v3" }
    var url: String { "http://127.0.0.1:\(bound.withLock { $0 })/key-manager" }
    var requests: [Request] { state.withLock { $0.requests } }
    var loginCount: Int { requests.count(where: \.isLogin) }

    func decide(_ body: (@Sendable (Request) -> Fate)?) { state.withLock { $0.decide = body } }
    func setRoles(_ roles: [String], of user: String = "glance", in project: String) {
        state.withLock { $0.roles[user, default: [:]][project] = roles }
    }
    func setNewestMinor(_ minor: Int?) { state.withLock { $0.newestMinor = minor } }
    func setCatalogue(_ json: String) { state.withLock { $0.catalogue = json } }
    func setTokenLifetime(seconds: Int64) { state.withLock { $0.lifetimeSeconds = seconds } }
    func setProjectOfTokens(_ project: String) { state.withLock { $0.projectOfTokens = project } }
    func makePrivate(_ key: SecretID) { state.withLock { $0.secrets[key.rawValue]?.isPrivate = true } }
    func revokeTokens() { state.withLock { $0.tokens = [:] } }

    func add(_ key: SecretID, type: String = "symmetric", in project: String = "p-demo") {
        state.withLock { $0.secrets[key.rawValue] = Secret(project: project, type: type) }
    }
    func add(_ consumer: Consumer, to key: SecretID) {
        state.withLock { $0.secrets[key.rawValue]?.consumers.append(consumer) }
    }
    func has(_ key: SecretID) -> Bool { state.withLock { $0.secrets[key.rawValue] != nil } }
    func consumers(of key: SecretID) -> [Consumer] { state.withLock { $0.secrets[key.rawValue]?.consumers ?? [] } }

    // MARK: Being both

    private func receive(_ request: Request) -> (fate: Fate, answer: Answer) {
        let decide = state.withLock { state in
            state.requests.append(request)
            return state.decide
        }
        let fate = decide?(request) ?? .served
        switch fate {
        case .served, .servedAndCut: return (fate, answer(request))
        case .answered(let answer): return (fate, answer)
        case .never, .dripping: return (fate, Answer(status: 200))
        }
    }

    private func answer(_ request: Request) -> Answer {
        state.withLock { state in
            if request.isLogin { return logIn(request, &state) }
            guard request.path.hasPrefix("/key-manager/") else { return Self.error(404) }
            let wanted = request.headers.first(name: "OpenStack-API-Version") ?? ""
            var minor = 0
            if let newest = state.newestMinor, wanted.hasPrefix("key-manager ") {
                let version = wanted.dropFirst("key-manager ".count)
                guard version == "latest" || version.hasPrefix("1."),
                    let asked = version == "latest" ? newest : Int(version.dropFirst(2)),
                    asked <= newest
                else { return Self.error(406) }
                minor = asked
            }
            if request.isDiscovery { return discover(minor: minor, newest: state.newestMinor) }
            guard let token = state.tokens[request.headers.first(name: "X-Auth-Token") ?? ""],
                token.expiresAt > clock.now
            else { return Answer(status: 401, body: "{\"error\": {\"code\": 401, \"title\": \"Unauthorized\"}}") }
            return keyManager(request, token, minor: minor, &state)
        }
    }

    private static func error(_ status: Int, _ description: String = "") -> Answer {
        Answer(
            status: status, headers: ["Content-Type": "application/json"],
            body: "{\"code\": \(status), \"title\": \"\(status)\", \"description\": \"\(description)\"}")
    }

    private func discover(minor: Int, newest: Int?) -> Answer {
        guard minor > 0, let newest else {
            return Answer(status: 300, body: "{\"versions\": {\"values\": [{\"id\": \"v1\", \"status\": \"stable\"}]}}")
        }
        return Answer(
            status: 300,
            body: """
                {"versions": [{"id": "v1", "status": "CURRENT", "min_version": "1.0", "max_version": "1.\(newest)"}]}
                """)
    }

    private func logIn(_ request: Request, _ state: inout State) -> Answer {
        let refusal = Answer(status: 401, body: "{\"error\": {\"code\": 401}}")
        guard let document = try? JSONValue(parsing: ByteBuffer(string: request.body)),
            let user = document["auth"]?["identity"]?["password"]?["user"],
            user["password"]?.stringValue == Self.password,
            let name = user["name"]?.stringValue, let scope = document["auth"]?["scope"]?["project"],
            let project = scope["id"]?.stringValue ?? scope["name"]?.stringValue.flatMap({ Self.projectsByName[$0] }),
            let roles = state.roles[name]?[project], !roles.isEmpty
        else { return refusal }
        state.issued += 1
        let token = "token-\(state.issued)"
        let expiry = clock.now.adding(seconds: state.lifetimeSeconds)
        state.tokens[token] = Token(user: name, project: project, roles: roles, expiresAt: expiry)
        let names = roles.map { "{\"id\": \"\($0)\", \"name\": \"\($0)\"}" }.joined(separator: ", ")
        let catalogue =
            state.catalogue ?? """
                [{"type": "key-manager", "name": "barbican", "endpoints": [\
                {"interface": "internal", "region": "one", "url": "http://127.0.0.1:1/"}, \
                {"interface": "public", "region": "one", "url": "\(url)"}]}]
                """
        return Answer(
            status: 201, headers: ["X-Subject-Token": token],
            body: """
                {"token": {"user": {"id": "\(name)-id"}, "project": {"id": "\(state.projectOfTokens ?? project)"}, \
                "roles": [\(names)], "expires_at": "\(expiry.iso8601Microseconds)"\
                \(request.uri.contains("nocatalog") ? "" : ", \"catalog\": \(catalogue)")}}
                """)
    }

    private func keyManager(_ request: Request, _ token: Token, minor: Int, _ state: inout State) -> Answer {
        let isAdmin = token.roles.contains("admin")
        let parts = request.path.dropFirst("/key-manager/v1/".count).split(separator: "/").map(String.init)
        if parts == ["secrets"], request.method == .POST {
            guard isAdmin || token.roles.contains("member") else { return Self.error(403) }
            let document = try? JSONValue(parsing: ByteBuffer(string: request.body))
            let id =
                "5ec4e700-0000-4000-8000-\(String(1_000_000_000_000 + state.secrets.count + state.issued * 1000).suffix(12))"
            state.secrets[id] = Secret(
                project: token.project, type: document?["secret_type"]?.stringValue ?? "opaque")
            return Answer(status: 201, body: "{\"secret_ref\": \"http://elsewhere/v1/secrets/\(id)\"}")
        }
        guard parts.count >= 2, parts[0] == "secrets" else { return Self.error(404) }
        guard let secret = state.secrets[parts[1]] else { return Self.error(404, "Secret not found.") }
        let isMember =
            token.project == secret.project && (isAdmin || token.roles.contains("member") && !secret.isPrivate)
        if parts.count == 3, parts[2] == "consumers" {
            guard isMember else { return Self.error(403) }
            return consumers(request, of: parts[1], secret, &state)
        }
        // The policy has it so: an admin of any project may look at all secrets, and delete them.
        guard parts.count == 2, isMember || isAdmin else { return Self.error(parts.count == 2 ? 403 : 404) }
        switch request.method {
        case .GET:
            return Answer(
                status: 200,
                body:
                    "{\"secret_type\": \"\(secret.type)\", \"status\": \"ACTIVE\", \"name\": null, \"secret_ref\": \"x\"}"
            )
        case .DELETE:
            if minor >= 2, !secret.consumers.isEmpty, !request.uri.hasSuffix("force=true") {
                return Self.error(
                    400, "Secret deletion issue seen - Secret cannot be deleted as it has consumers..")
            }
            state.secrets[parts[1]] = nil
            return Answer(status: 204)
        default: return Self.error(405)
        }
    }

    private func consumers(_ request: Request, of id: String, _ secret: Secret, _ state: inout State) -> Answer {
        let whole = Answer(status: 200, body: "{\"secret_type\": \"\(secret.type)\"}")
        if request.method == .GET {
            var numbers: [String: Int] = [:]
            for pair in request.uri.drop(while: { $0 != "?" }).dropFirst().split(separator: "&") {
                let parts = pair.split(separator: "=")
                numbers[String(parts[0])] = Int(parts[1])
            }
            let page = secret.consumers.dropFirst(numbers["offset"] ?? 0).prefix(min(100, numbers["limit"] ?? 10))
            let rows = page.map {
                """
                {"service": "\($0.service)", "resource_type": "\($0.resourceType)", "resource_id": "\($0.resourceID)", \
                "status": "ACTIVE"}
                """
            }
            return Answer(
                status: 200,
                body: "{\"consumers\": [\(rows.joined(separator: ", "))], \"total\": \(secret.consumers.count)}")
        }
        guard request.headers.first(name: "Content-Type") == "application/json" else { return Self.error(415) }
        guard let document = try? JSONValue(parsing: ByteBuffer(string: request.body)),
            let service = document["service"]?.stringValue, let type = document["resource_type"]?.stringValue,
            let resource = document["resource_id"]?.stringValue
        else { return Self.error(400) }
        let consumer = Consumer(service: service, resourceType: type, resourceID: resource)
        let index = secret.consumers.firstIndex(of: consumer)
        switch (request.method, index) {
        case (.POST, nil): state.secrets[id]?.consumers.append(consumer)
        case (.DELETE, let index?): state.secrets[id]?.consumers.remove(at: index)
        case (.DELETE, nil): return Self.error(404, "Consumer not found.")
        default: break
        }
        return whole
    }

    // MARK: The wire

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart
        private let fake: BarbicanFake
        private var head: HTTPRequestHead?
        private var body = ""

        init(fake: BarbicanFake) { self.fake = fake }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head):
                self.head = head
                body = ""
            case .body(let part):
                body += String(buffer: part)
            case .end:
                guard let head else { return }
                let request = Request(method: head.method, uri: head.uri, headers: head.headers, body: body)
                let (fate, answer) = fake.receive(request)
                switch fate {
                case .served, .answered: send(answer, on: context.channel)
                case .servedAndCut: context.close(promise: nil)
                case .never: break
                case .dripping: drip(on: context.channel)
                }
            }
        }

        private func send(_ answer: Answer, on channel: any Channel) {
            var headers = answer.headers
            headers.replaceOrAdd(name: "Content-Length", value: "\(answer.body.utf8.count)")
            let head = HTTPResponseHead(
                version: .http1_1, status: HTTPResponseStatus(statusCode: answer.status), headers: headers)
            channel.write(HTTPServerResponsePart.head(head), promise: nil)
            channel.write(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: answer.body))), promise: nil)
            channel.writeAndFlush(HTTPServerResponsePart.end(nil), promise: nil)
        }

        private func drip(on channel: any Channel) {
            channel.writeAndFlush(
                HTTPServerResponsePart.head(HTTPResponseHead(version: .http1_1, status: .ok, headers: [:])),
                promise: nil)
            channel.eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: .milliseconds(100)) { task in
                guard channel.isActive else { return task.cancel() }
                channel.writeAndFlush(
                    HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: " "))), promise: nil)
            }
        }
    }
}
