import AsyncHTTPClient
import Core
import NIOCore
import NIOHTTP1

/// The requests a service makes of Keystone. Only `KeystoneError` and `CancellationError` are thrown.
final class KeystoneClient: Sendable {
    /// A new connection is tried for this often after the first, with twice the pause each time.
    private static let connectRetries = 3
    private static let firstPauseSeconds = 0.5
    /// Our own token is renewed this long before its end, so that none expires on the way.
    private static let renewalSeconds: Int64 = 30
    private static let answerLimitBytes = 1 << 20

    /// With `/v3`, without a slash at the end.
    private let baseURL: String
    private let settings: KeystoneSettings
    private let clock: any WallClock
    private let http: HTTPClient
    private let ownTokens: LookupCache<OwnToken>
    private let ownTokenKey = TokenKey(token: "", variant: "own")

    private struct OwnToken: Sendable {
        let token: String
        let expiresAt: Timestamp
    }

    init(_ settings: KeystoneSettings, clock: any WallClock) {
        self.settings = settings
        self.clock = clock
        var url = Substring(settings.authURL)
        while url.hasSuffix("/") { url.removeLast() }
        baseURL = url.hasSuffix("/v3") ? String(url) : url + "/v3"
        // Its end is looked at on every use, so the age here only has to be beyond every lifetime.
        ownTokens = LookupCache(clock: clock, maxAgeSeconds: 86_400, limit: 1)
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        let timeout = TimeAmount.seconds(settings.timeoutSeconds)
        configuration.timeout = .init(connect: timeout, read: timeout)
        // Retried here, where the number of tries is known.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.httpVersion = .http1Only
        http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    func shutdown() async throws {
        try await http.shutdown()
    }

    /// A document of Keystone's, read as ourselves.
    /// - Parameter path: behind `/v3`; begins with a slash.
    func document(_ path: String, operation: String) async throws -> JSONValue {
        var retriesAsSomeoneElse = 1
        while true {
            let own = try await ownToken()
            var request = HTTPClientRequest(url: baseURL + path)
            request.headers = ["X-Auth-Token": own.token, "Accept": "application/json"]
            let (response, body) = try await send(request, operation: operation)
            switch response.status {
            case .ok:
                return try json(body, operation: operation)
            case .unauthorized where retriesAsSomeoneElse > 0:
                retriesAsSomeoneElse -= 1
                ownTokens.invalidate(ownTokenKey) { $0.token == own.token }
            case .unauthorized, .forbidden:
                throw KeystoneError(
                    .refused, operation: operation, cause: "Keystone answered \(response.status.code) to \(settings)")
            default:
                throw KeystoneError(
                    .unexpected, operation: operation, cause: "Keystone answered \(response.status.code)",
                    status: Int(response.status.code))
            }
        }
    }

    /// What a token means: `GET /v3/auth/tokens`.
    /// - Parameter allowExpired: whether one that expired lately (48 hours, as Keystone counts) will do.
    func validate(_ token: String, allowExpired: Bool) async throws -> KeystoneToken {
        var retriesAsSomeoneElse = 1
        while true {
            let own = try await ownToken()
            var request = HTTPClientRequest(
                url: baseURL + "/auth/tokens?nocatalog" + (allowExpired ? "&allow_expired=1" : ""))
            request.headers = [
                "X-Auth-Token": own.token, "X-Subject-Token": token,
                // Without it, Keystone hides tokens of restricted application credentials.
                "OpenStack-Identity-Access-Rules": "1", "Accept": "application/json",
            ]
            let (response, body) = try await send(request, operation: "validate token")
            switch response.status {
            case .ok:
                return try KeystoneToken(try json(body, operation: "validate token"))
            case .notFound:
                throw KeystoneError(.unknownToken, operation: "validate token", cause: "404")
            case .unauthorized where retriesAsSomeoneElse > 0:
                // It is our own token that ran out or was revoked.
                retriesAsSomeoneElse -= 1
                ownTokens.invalidate(ownTokenKey) { $0.token == own.token }
            case .unauthorized:
                throw KeystoneError(.refused, operation: "validate token", cause: "401 with a fresh token of our own")
            default:
                throw KeystoneError(
                    .unexpected, operation: "validate token", cause: "Keystone answered \(response.status.code)")
            }
        }
    }

    /// The catalogue that a token's bearer sees: `GET /v3/auth/catalog`.
    func catalogue(for token: CallerToken) async throws -> JSONValue {
        let operation = "read catalogue"
        var request = HTTPClientRequest(url: baseURL + "/auth/catalog")
        request.headers = ["X-Auth-Token": token.text, "Accept": "application/json"]
        let (response, body) = try await send(request, operation: operation)
        switch response.status {
        case .ok: return try json(body, operation: operation)
        case .unauthorized, .notFound:
            throw KeystoneError(.unknownToken, operation: operation, cause: "\(response.status.code)")
        default:
            throw KeystoneError(
                .unexpected, operation: operation, cause: "Keystone answered \(response.status.code)")
        }
    }

    private func ownToken() async throws -> OwnToken {
        let own = try await ownTokens.value(for: ownTokenKey, load: logIn)
        if own.expiresAt > clock.now.adding(seconds: Self.renewalSeconds) { return own }
        ownTokens.invalidate(ownTokenKey) { $0.token == own.token }
        // A token that is short-lived from the start is used as it is.
        return try await ownTokens.value(for: ownTokenKey, load: logIn)
    }

    private func logIn() async throws -> OwnToken {
        let (token, document) = try await logIn(scope: ownScope, query: "?nocatalog")
        return OwnToken(token: token, expiresAt: try KeystoneToken(document).expiresAt)
    }

    /// That Keystone takes our credentials now, whatever it said before.
    func checkCredentials() async throws { _ = try await logIn() }

    /// A new token of ours in a project, with the catalogue. Keystone answers 401 both to wrong credentials and
    /// where we have no role: `.refused`.
    func logIn(to project: ProjectID) async throws -> (token: String, document: JSONValue) {
        try await logIn(scope: "{\"project\": {\"id\": \(JSONValue.string(project.rawValue).text)}}", query: "")
    }

    /// A new token in our own project, with the catalogue.
    func logInWithCatalogue() async throws -> JSONValue {
        try await logIn(scope: ownScope, query: "").document
    }

    /// `POST /v3/auth/tokens` with our password.
    private func logIn(scope: String, query: String) async throws -> (token: String, document: JSONValue) {
        var request = HTTPClientRequest(url: baseURL + "/auth/tokens" + query)
        request.method = .POST
        request.headers = ["Content-Type": "application/json", "Accept": "application/json"]
        request.body = .bytes(loginDocument(scope: scope))
        let (response, body) = try await send(request, operation: "log in")
        switch response.status {
        case .created, .ok:
            guard let token = response.headers.first(name: "X-Subject-Token") else {
                throw KeystoneError(.unexpected, operation: "log in", cause: "no X-Subject-Token in the answer")
            }
            return (token, try json(body, operation: "log in"))
        case .unauthorized, .forbidden:
            throw KeystoneError(
                .refused, operation: "log in",
                cause: "Keystone answered \(response.status.code) to the credentials of \(settings)")
        default:
            throw KeystoneError(
                .unexpected, operation: "log in", cause: "Keystone answered \(response.status.code)",
                status: Int(response.status.code))
        }
    }

    private var ownScope: String {
        let q = { (text: String) in JSONValue.string(text).text }
        return """
            {"project": {"name": \(q(settings.projectName)), "domain": {"name": \(q(settings.projectDomainName))}}}
            """
    }

    private func loginDocument(scope: String) -> ByteBuffer {
        let q = { (text: String) in JSONValue.string(text).text }
        return ByteBuffer(
            string: """
                {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": \(q(settings.username)), \
                "domain": {"name": \(q(settings.userDomainName))}, "password": \(q(settings.password))}}}, \
                "scope": \(scope)}}
                """)
    }

    /// That an Identity v3 is there and takes our credentials.
    func checkReachable() async throws {
        let operation = "check Keystone at \(baseURL)"
        let (response, body) = try await send(HTTPClientRequest(url: baseURL), operation: operation)
        guard response.status == .ok, let id = try json(body, operation: operation)["version"]?["id"]?.stringValue,
            id.hasPrefix("v3.")
        else {
            throw KeystoneError(
                .unexpected, operation: operation, cause: "there is no Identity v3 (status \(response.status.code))")
        }
        _ = try await ownToken()
    }

    private func json(_ body: ByteBuffer, operation: String) throws -> JSONValue {
        do {
            return try JSONValue(parsing: body)
        } catch {
            throw KeystoneError(.unexpected, operation: operation, cause: "the answer is not JSON: \(error)")
        }
    }

    private func send(
        _ request: HTTPClientRequest, operation: String
    ) async throws -> (HTTPClientResponse, ByteBuffer) {
        var pause = Self.firstPauseSeconds
        for retry in 0... {
            do {
                return try await http.exchange(
                    request, timeoutSeconds: settings.timeoutSeconds, limitBytes: Self.answerLimitBytes)
            } catch {
                try Task.checkCancellation()
                guard retry < Self.connectRetries, Self.mayHelpToConnectAgain(error) else {
                    throw KeystoneError(.unreachable, operation: operation, cause: "\(error)")
                }
            }
            try await clock.sleep(seconds: pause)
            pause *= 2
        }
        preconditionFailure("the loop ends by itself")
    }

    /// Keystone has not begun to work on such a request, or the request changes nothing. Waiting again
    /// for one that was slow would only make it busier.
    private static func mayHelpToConnectAgain(_ error: any Error) -> Bool {
        switch error as? HTTPClientError {
        case .deadlineExceeded, .readTimeout, .cancelled, .invalidURL, .emptyHost, .emptyScheme: false
        default: !(error is NIOTooManyBytesError)
        }
    }
}
