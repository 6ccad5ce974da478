import AsyncHTTPClient
import Core
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Testing

/// What a server answered.
struct Answer: Sendable {
    let status: Int
    let headers: HTTPHeaders
    let body: ByteBuffer

    var text: String { String(buffer: body) }
    var bytes: [UInt8] { Array(body.readableBytesView) }
    /// The body as JSON; null when it is none.
    var json: JSONValue { (try? JSONValue(parsing: body)) ?? .null }
    func header(_ name: String) -> String? { headers.first(name: name) }
}

/// Someone with a token.
struct TestAccount: Sendable {
    let token: String
    let userID: String
    let projectID: String
}

extension TestServer {
    private static let client: HTTPClient = {
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        configuration.httpVersion = .http1Only
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }()

    /// Makes one request.
    /// - Parameters:
    ///   - path: behind the main listener's URL, with the service's prefix; or a whole URL.
    ///   - token: sent as `X-Auth-Token`.
    func call(
        _ method: HTTPMethod, _ path: String, as token: String? = nil, headers: [(String, String)] = [],
        body: [UInt8]? = nil, tls: TLSConfiguration? = nil
    ) async throws -> Answer {
        try await Self.call(
            method, path.hasPrefix("/") ? url + path : path, as: token, headers: headers, body: body, tls: tls)
    }

    /// Makes one request with a body of JSON.
    func call(
        _ method: HTTPMethod, _ path: String, as token: String? = nil, headers: [(String, String)] = [],
        json: String
    ) async throws -> Answer {
        let hasType = headers.contains { $0.0.lowercased() == "content-type" }
        return try await call(
            method, path, as: token, headers: hasType ? headers : headers + [("Content-Type", "application/json")],
            body: Array(json.utf8))
    }

    private static func call(
        _ method: HTTPMethod, _ url: String, as token: String? = nil, headers: [(String, String)] = [],
        body: [UInt8]? = nil, tls: TLSConfiguration? = nil
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: url)
        request.method = method
        request.tlsConfiguration = tls
        if let token { request.headers.add(name: "X-Auth-Token", value: token) }
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body { request.body = .bytes(ByteBuffer(bytes: body)) }
        let response = try await client.execute(request, timeout: .seconds(60))
        let content = try await response.body.collect(upTo: 1 << 30)
        return Answer(status: Int(response.status.code), headers: response.headers, body: content)
    }

    /// A token for a user of the default domain, scoped to a project there.
    static func token(
        from identity: String, user: String, password: String, project: String, tls: TLSConfiguration? = nil
    ) async throws -> String {
        let body = """
            {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "\(user)",
            "domain": {"id": "default"}, "password": "\(password)"}}},
            "scope": {"project": {"name": "\(project)", "domain": {"id": "default"}}}}}
            """
        let answer = try await call(
            .POST, identity + "/v3/auth/tokens", headers: [("Content-Type", "application/json")],
            body: Array(body.utf8), tls: tls)
        guard answer.status == 201, let token = answer.header("X-Subject-Token") else {
            throw TestFailure("no token for \(user): \(answer.status) \(answer.text)")
        }
        return token
    }

    /// A new user with a role in a project of its own, or in one there is.
    func account(role: String = "member", projectID: String? = nil) async throws -> TestAccount {
        let name = "t" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        let password = "password-of-" + name
        func make(_ path: String, _ json: String, _ member: String) async throws -> String {
            let answer = try await call(.POST, "/identity/v3/" + path, as: admin, json: json)
            guard answer.status == 201, let id = answer.json[member]?["id"]?.stringValue else {
                throw TestFailure("POST \(path): \(answer.status) \(answer.text)")
            }
            return id
        }
        let project =
            if let projectID { projectID } else {
                try await make("projects", #"{"project": {"name": "\#(name)", "domain_id": "default"}}"#, "project")
            }
        let user = try await make(
            "users", #"{"user": {"name": "\#(name)", "password": "\#(password)", "domain_id": "default"}}"#, "user")
        let roles = try await call(.GET, "/identity/v3/roles", as: admin).json["roles"]?.arrayValue ?? []
        guard let roleID = roles.first(where: { $0["name"]?.stringValue == role })?["id"]?.stringValue else {
            throw TestFailure("there is no role \(role)")
        }
        let grant = try await call(
            .PUT, "/identity/v3/projects/\(project)/users/\(user)/roles/\(roleID)", as: admin)
        guard grant.status == 204 else { throw TestFailure("granting \(role): \(grant.status) \(grant.text)") }
        let scope = #""scope": {"project": {"id": "\#(project)"}}"#
        let login = try await call(
            .POST, "/identity/v3/auth/tokens",
            json: """
                {"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": "\(user)",
                "password": "\(password)"}}}, \(scope)}}
                """)
        guard login.status == 201, let token = login.header("X-Subject-Token") else {
            throw TestFailure("no token for \(name): \(login.status) \(login.text)")
        }
        return TestAccount(token: token, userID: user, projectID: project)
    }
}

// MARK: bytes as they are

/// One response as it came over the wire.
struct RawResponse: Sendable {
    let status: Int
    let headers: [(name: String, value: String)]
    let body: [UInt8]

    var text: String { String(decoding: body, as: UTF8.self) }
    func header(_ name: String) -> String? { headers.first { $0.name.lowercased() == name.lowercased() }?.value }
}

extension TestServer {
    /// Sends bytes on a new connection and reads one response; interim ones (1xx) are passed over.
    /// - Parameter isHead: the response has no body, whatever its headers say.
    func raw(_ bytes: [UInt8], isHead: Bool = false) async throws -> RawResponse {
        let connection = try await connect()
        defer { connection.close() }
        // A server that has refused the request may close before it has read it all.
        try? await connection.send(bytes)
        while true {
            let response = try await connection.response(isHead: isHead)
            if response.status >= 200 { return response }
        }
    }

    func raw(_ text: String, isHead: Bool = false) async throws -> RawResponse {
        try await raw(Array(text.utf8), isHead: isHead)
    }

    /// A connection to the main listener, or to another port; the caller closes it.
    func connect(port: Int? = nil) async throws -> RawConnection {
        try await RawConnection.open(port: port ?? self.port)
    }
}

/// A TCP connection. One task uses it at a time.
final class RawConnection: Sendable {
    private let channel: any Channel
    private let reader: ResponseReader

    private init(channel: any Channel, reader: ResponseReader) {
        self.channel = channel
        self.reader = reader
    }

    static func open(port: Int) async throws -> RawConnection {
        let (bytes, arrival) = AsyncThrowingStream.makeStream(of: ByteBuffer.self)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ArrivalHandler(arrival: arrival))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        return RawConnection(channel: channel, reader: ResponseReader(bytes))
    }

    func send(_ bytes: [UInt8]) async throws {
        try await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get()
    }

    func send(_ text: String) async throws { try await send(Array(text.utf8)) }

    /// The next response, interim ones (100) included.
    /// - Throws: `TestFailure` when the connection ends first, or after 30 s.
    func response(isHead: Bool = false) async throws -> RawResponse {
        try await Self.within(seconds: 30) { try await self.reader.next(isHead: isHead) }
    }

    /// Waits for the server to close the connection.
    /// - Returns: what it sent before.
    func remainder() async throws -> [UInt8] {
        try await Self.within(seconds: 30) { try await self.reader.remainder() }
    }

    /// Closes it at once, with whatever is under way.
    func close() { channel.close(promise: nil) }

    /// Says that no more is sent, and still listens.
    func endSending() async throws { try await channel.close(mode: .output).get() }

    private static func within<T: Sendable>(
        seconds: Int, _ body: @escaping @Sendable () async throws -> T
    ) async throws -> T {
        try await withThrowingTaskGroup(of: T.self) { group in
            group.addTask(operation: body)
            group.addTask {
                try await Task.sleep(for: .seconds(seconds))
                throw TestFailure("no response within \(seconds) s")
            }
            defer { group.cancelAll() }
            guard let value = try await group.next() else { throw CancellationError() }
            return value
        }
    }
}

private final class ArrivalHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let arrival: AsyncThrowingStream<ByteBuffer, any Error>.Continuation

    init(arrival: AsyncThrowingStream<ByteBuffer, any Error>.Continuation) { self.arrival = arrival }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { arrival.yield(unwrapInboundIn(data)) }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event { arrival.finish() }
    }

    func channelInactive(context: ChannelHandlerContext) { arrival.finish() }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { arrival.finish(throwing: error) }
}

/// Cuts a stream of bytes into responses (RFC 9112).
private actor ResponseReader {
    private var iterator: AsyncThrowingStream<ByteBuffer, any Error>.AsyncIterator
    private var buffer: [UInt8] = []

    init(_ bytes: AsyncThrowingStream<ByteBuffer, any Error>) { iterator = bytes.makeAsyncIterator() }

    /// False at the end of the stream.
    private func fill() async throws -> Bool {
        var current = iterator
        let next = try await current.next(isolation: self)
        iterator = current
        guard let next else { return false }
        buffer += next.readableBytesView
        return true
    }

    func remainder() async throws -> [UInt8] {
        while try await fill() {}
        defer { buffer = [] }
        return buffer
    }

    func next(isHead: Bool) async throws -> RawResponse {
        let lines = try await head()
        let parts = (lines.first ?? "").split(separator: " ", maxSplits: 2)
        guard parts.count >= 2, parts[0] == "HTTP/1.1", let status = Int(parts[1]) else {
            throw TestFailure("not a response: \(lines.first ?? "")")
        }
        let headers = lines.dropFirst().map { line -> (name: String, value: String) in
            let split = line.split(separator: ":", maxSplits: 1)
            return (String(split.first ?? ""), split.count > 1 ? split[1].drop { $0 == " " }.description : "")
        }
        func header(_ name: String) -> String? { headers.first { $0.name.lowercased() == name }?.value }
        let body: [UInt8]
        if isHead || status < 200 || status == 204 || status == 304 {
            body = []
        } else if header("transfer-encoding")?.lowercased() == "chunked" {
            body = try await chunks()
        } else if let length = header("content-length").flatMap({ Int($0) }) {
            body = try await take(length)
        } else {
            body = try await remainder()
        }
        return RawResponse(status: status, headers: headers, body: body)
    }

    private func head() async throws -> [String] {
        while true {
            if let end = Self.find([13, 10, 13, 10], in: buffer) {
                let text = String(decoding: buffer[..<end], as: UTF8.self)
                buffer.removeFirst(end + 4)
                return text.components("\r\n")
            }
            guard try await fill() else { throw TestFailure("the connection ended before a response") }
        }
    }

    private func line() async throws -> String {
        while true {
            if let end = Self.find([13, 10], in: buffer) {
                let text = String(decoding: buffer[..<end], as: UTF8.self)
                buffer.removeFirst(end + 2)
                return text
            }
            guard try await fill() else { throw TestFailure("the connection ended within a response") }
        }
    }

    private func take(_ count: Int) async throws -> [UInt8] {
        while buffer.count < count {
            guard try await fill() else { throw TestFailure("the connection ended within a body") }
        }
        defer { buffer.removeFirst(count) }
        return Array(buffer[..<count])
    }

    private func chunks() async throws -> [UInt8] {
        var body: [UInt8] = []
        while true {
            guard let size = Int(try await line().prefix { $0 != ";" }, radix: 16) else {
                throw TestFailure("a chunk without a size")
            }
            if size == 0 {
                while try await !line().isEmpty {}
                return body
            }
            body += try await take(size)
            _ = try await take(2)
        }
    }

    private static func find(_ pattern: [UInt8], in bytes: [UInt8]) -> Int? {
        guard bytes.count >= pattern.count else { return nil }
        return (0...bytes.count - pattern.count).first { bytes[$0..<$0 + pattern.count].elementsEqual(pattern) }
    }
}

extension String {
    fileprivate func components(_ separator: String) -> [String] {
        split(separator: separator, omittingEmptySubsequences: false).map(String.init)
    }
}
