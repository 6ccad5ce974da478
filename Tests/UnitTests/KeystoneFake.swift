import Core
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// As much of a Keystone as a service that validates tokens sees, on a port of its own.
final class KeystoneFake: Sendable {
    struct Request: Sendable {
        let method: HTTPMethod
        let uri: String
        let headers: HTTPHeaders
        let body: String

        var isLogin: Bool { method == .POST && uri.hasPrefix("/v3/auth/tokens") }
        var isValidation: Bool { method == .GET && uri.hasPrefix("/v3/auth/tokens") }
    }

    struct Answer: Sendable {
        var status: Int
        var headers: HTTPHeaders = [:]
        var body = ""
    }

    private struct State {
        /// The documents of the tokens given out.
        var tokens: [String: String] = [:]
        /// Expired, but not so long ago.
        var expired: [String: String] = [:]
        /// What our service may validate with; the newest was given out last.
        var ownTokens: Set<String> = []
        var requests: [Request] = []
        var logins = 0
        var ownLifetimeSeconds: Int64 = 3600
        /// Nil from it means: answer as usual.
        var interception: (@Sendable (Request) -> Answer?)?
        var isHolding = false
        var held: [@Sendable () -> Void] = []
    }

    private let state = Mutex(State())
    private let clock: any WallClock
    private let channel = Mutex<(any Channel)?>(nil)
    /// Yields for every validation that arrives.
    let validationsSeen: AsyncStream<Void>
    private let seen: AsyncStream<Void>.Continuation

    init(clock: any WallClock) {
        self.clock = clock
        (validationsSeen, seen) = AsyncStream.makeStream(of: Void.self)
    }

    /// - Parameter port: 0 for any.
    /// - Returns: the port.
    @discardableResult
    func start(port: Int = 0) async throws -> Int {
        let server = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.pipeline.configureHTTPServerPipeline().flatMapThrowing {
                    try channel.pipeline.syncOperations.addHandler(Handler(keystone: self))
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        channel.withLock { $0 = server }
        return server.localAddress?.port ?? 0
    }

    /// Takes no new connections; those there are stay. May be repeated.
    func stop() async throws {
        let server = channel.withLock { channel in
            defer { channel = nil }
            return channel
        }
        try await server?.close()
    }

    // MARK: What the test decides

    /// - Returns: the token's document.
    @discardableResult
    func issue(
        _ token: String, roles: [String] = ["member"], expiresIn seconds: Int64 = 3600, isExpired: Bool = false,
        extra: String = ""
    ) -> String {
        let names = roles.map { "{\"id\": \"\($0)-id\", \"name\": \"\($0)\"}" }.joined(separator: ", ")
        let expiry = clock.now.adding(seconds: isExpired ? -60 : seconds).iso8601Microseconds
        let document = """
            {"token": {"methods": ["password"], "expires_at": "\(expiry)", "issued_at": "2026-01-01T00:00:00.000000Z",
              "audit_ids": ["audit-\(token)"], "roles": [\(names)],
              "user": {"id": "user-1", "name": "demo", "domain": {"id": "default", "name": "Default"}},
              "project": {"id": "project-1", "name": "demo", "domain": {"id": "default", "name": "Default"}}\(extra)}}
            """
        state.withLock { state in
            if isExpired { state.expired[token] = document } else { state.tokens[token] = document }
        }
        return document
    }

    func issue(_ token: String, document: String) { state.withLock { $0.tokens[token] = document } }
    func revoke(_ token: String) { state.withLock { $0.tokens[token] = nil } }
    func revokeOwnTokens() { state.withLock { $0.ownTokens = [] } }
    func setOwnLifetime(seconds: Int64) { state.withLock { $0.ownLifetimeSeconds = seconds } }
    func intercept(_ body: (@Sendable (Request) -> Answer?)?) { state.withLock { $0.interception = body } }

    /// Keeps the answers of validations back until `release`.
    func hold() { state.withLock { $0.isHolding = true } }
    func release() {
        let held = state.withLock { state in
            state.isHolding = false
            defer { state.held = [] }
            return state.held
        }
        for answer in held { answer() }
    }

    // MARK: What the test sees

    var loginCount: Int { state.withLock { $0.logins } }
    var requests: [Request] { state.withLock { $0.requests } }
    var validations: [Request] { requests.filter(\.isValidation) }

    // MARK: Being Keystone

    private func receive(_ request: Request, answer: @escaping @Sendable (Answer) -> Void) {
        let isHeld = state.withLock { state in
            state.requests.append(request)
            let interception = state.interception
            guard state.isHolding, request.isValidation else { return false }
            state.held.append { answer(interception?(request) ?? self.answer(request)) }
            return true
        }
        if request.isValidation { seen.yield() }
        if isHeld { return }
        let interception = state.withLock { $0.interception }
        answer(interception?(request) ?? self.answer(request))
    }

    private func answer(_ request: Request) -> Answer {
        if request.isLogin { return logIn(request) }
        if request.isValidation { return validate(request) }
        if request.uri == "/v3" { return Answer(status: 200, body: "{\"version\": {\"id\": \"v3.14\"}}") }
        return Answer(status: 404, body: "{\"error\": {\"code\": 404}}")
    }

    private func logIn(_ request: Request) -> Answer {
        let credentials = ["\"name\": \"glance\"", "\"password\": \"s\\\"ecret\""]
        guard credentials.allSatisfy(request.body.contains) else {
            return Answer(status: 401, body: "{\"error\": {\"code\": 401}}")
        }
        let (token, seconds) = state.withLock { state in
            state.logins += 1
            let token = "own-\(state.logins)"
            state.ownTokens.insert(token)
            return (token, state.ownLifetimeSeconds)
        }
        return Answer(
            status: 201, headers: ["X-Subject-Token": token],
            body: """
                {"token": {"user": {"id": "glance-id"}, "expires_at": \
                "\(clock.now.adding(seconds: seconds).iso8601Microseconds)"}}
                """)
    }

    private func validate(_ request: Request) -> Answer {
        state.withLock { state in
            guard let own = request.headers.first(name: "X-Auth-Token"), state.ownTokens.contains(own) else {
                return Answer(status: 401, body: "{\"error\": {\"code\": 401}}")
            }
            let subject = request.headers.first(name: "X-Subject-Token") ?? ""
            let expired = request.uri.contains("allow_expired=1") ? state.expired[subject] : nil
            guard let document = state.tokens[subject] ?? expired else {
                return Answer(status: 404, body: "{\"error\": {\"code\": 404}}")
            }
            return Answer(status: 200, body: document)
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart
        private let keystone: KeystoneFake
        private var head: HTTPRequestHead?
        private var body = ""

        init(keystone: KeystoneFake) { self.keystone = keystone }

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
                let channel = context.channel
                keystone.receive(request) { answer in
                    // Status 0: never answers.
                    guard answer.status > 0 else { return }
                    var headers = answer.headers
                    headers.replaceOrAdd(name: "Content-Length", value: "\(answer.body.utf8.count)")
                    let head = HTTPResponseHead(
                        version: .http1_1, status: HTTPResponseStatus(statusCode: answer.status), headers: headers)
                    channel.write(HTTPServerResponsePart.head(head), promise: nil)
                    let body = ByteBuffer(string: answer.body)
                    channel.write(HTTPServerResponsePart.body(.byteBuffer(body)), promise: nil)
                    channel.writeAndFlush(HTTPServerResponsePart.end(nil), promise: nil)
                }
            }
        }
    }
}

/// Time passes only while somebody sleeps, and then at once.
final class HastyClock: WallClock {
    private struct State {
        var now = Timestamp(seconds: 1_800_000_000)
        var pauses: [Double] = []
    }
    private let state = Mutex(State())
    /// Called at the end of every sleep with the number of sleeps so far.
    let wakes = Mutex<(@Sendable (Int) async throws -> Void)?>(nil)

    var now: Timestamp { state.withLock { $0.now } }
    var pauses: [Double] { state.withLock { $0.pauses } }
    func advance(seconds: Int64) { state.withLock { $0.now = $0.now.adding(seconds: seconds) } }

    func sleep(seconds: Double) async throws {
        let count = state.withLock { state in
            state.pauses.append(seconds)
            state.now.microseconds += Int64(seconds * 1_000_000)
            return state.pauses.count
        }
        try await wakes.withLock { $0 }?(count)
    }
}
