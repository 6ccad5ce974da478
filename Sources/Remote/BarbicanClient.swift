import AsyncHTTPClient
import Core
import NIOCore
import NIOHTTP1

/// The requests a service makes of a Barbican, each in the project that it concerns. All of them may be repeated,
/// and are, for a short while; what takes longer is for the job that asks.
///
/// Only `KeyManagerError` and `CancellationError` are thrown.
final class BarbicanClient: Sendable {
    private static let tries = 4
    /// Before the second; then twice as long each time. Half of each is drawn.
    private static let firstPauseSeconds = 0.5
    private static let answerLimitBytes = 1 << 20
    /// What a Barbican can do changes with its version: an upgrade is noticed this late.
    private static let abilitiesSeconds: Int64 = 3600

    struct Answer: Sendable {
        let status: Int
        fileprivate let body: ByteBuffer

        fileprivate init(status: Int, body: ByteBuffer) {
            self.status = status
            self.body = body
        }

        /// As it came.
        var bytes: [UInt8] { Array(body.readableBytesView) }

        /// What Barbican says of an error (digest, section 2). Not for messages: it is not ours.
        var complaint: String { (try? JSONValue(parsing: body))?["description"]?.stringValue ?? "" }

        func json(_ operation: String) throws -> JSONValue {
            do {
                return try JSONValue(parsing: body)
            } catch {
                throw KeyManagerError(code: .unexpected, operation: operation, cause: "the answer is not JSON")
            }
        }
    }

    /// What a Barbican offers (digest, section 1).
    struct Abilities: Sendable, Equatable {
        /// The microversion to ask for; nil where there are none.
        let minor: Int?
        var hasConsumers: Bool { (minor ?? 0) >= 1 }
    }

    private let settings: BarbicanSettings
    private let surroundings: Surroundings
    private let tokens: ProjectTokens
    private let http: HTTPClient
    private let abilities: LookupCache<Abilities>
    private let catalogued: LookupCache<String?>

    init(_ settings: BarbicanSettings, surroundings: Surroundings) {
        self.settings = settings
        self.surroundings = surroundings
        tokens = ProjectTokens(settings, clock: surroundings.clock)
        abilities = LookupCache(clock: surroundings.clock, maxAgeSeconds: Self.abilitiesSeconds, limit: 8)
        catalogued = LookupCache(clock: surroundings.clock, maxAgeSeconds: Self.abilitiesSeconds, limit: 1)
        // A redirect would take the token along to wherever it says.
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
        try await tokens.shutdown()
    }

    /// For the check at start.
    func checkReachable() async throws -> Abilities {
        try await abilities(at: try baseURL(try await tokens.keyManagerURL()))
    }

    func abilities(for project: ProjectID) async throws -> Abilities {
        try await abilities(at: try baseURL(try await tokens.token(for: project).keyManagerURL))
    }

    /// - Parameters:
    ///   - path: below `/v1/`.
    ///   - json: the body.
    /// - Returns: the answer, whatever its status, except for those that say that it did not come to that.
    func call(
        _ method: HTTPMethod, _ path: String, json: String? = nil, in project: ProjectID, _ operation: String
    ) async throws -> Answer {
        var mayRenew = true
        while true {
            let token = try await tokens.token(for: project)
            let base = try baseURL(token.keyManagerURL)
            var request = HTTPClientRequest(url: base + "/v1/" + path)
            request.method = method
            request.headers = ["X-Auth-Token": token.token, "Accept": "application/json"]
            if let minor = try await abilities(at: base).minor {
                request.headers.add(name: Self.versionHeader, value: "key-manager 1.\(minor)")
            }
            if let json {
                request.headers.add(name: "Content-Type", value: "application/json")
                request.body = .bytes(ByteBuffer(string: json))
            }
            let answer = try await send(request, operation)
            switch answer.status {
            case 401 where mayRenew:
                // It ran out, or was revoked with a role.
                mayRenew = false
                tokens.forget(token)
            case 401:
                throw KeyManagerError(
                    code: .unavailable, operation: operation, cause: "Barbican answered 401 to a fresh token")
            case 406:
                // It was replaced by an older one.
                abilities.invalidate(Self.key(base)) { _ in true }
                throw KeyManagerError(
                    code: .unavailable, operation: operation, cause: "Barbican does not know its microversion any more")
            case 403 where !token.roles.contains("member"):
                throw tokens.refusal(
                    "Barbican answered 403 (\(operation)), and the user \(settings.keystone.username) has only the "
                        + "roles \(token.roles.sorted().joined(separator: ", ")) in project \(project)", project)
            default:
                return answer
            }
        }
    }

    /// A secret's payload, read with a token that is not ours.
    /// - Parameter path: below `/v1/`.
    /// - Returns: the answer, whatever its status.
    func payload(_ path: String, accept: String, token: String, _ operation: String) async throws -> Answer {
        let url: String?
        if let given = settings.url {
            url = given
        } else {
            url = try await catalogued.value(for: TokenKey(token: "", variant: "key-manager")) {
                try await tokens.keyManagerURL()
            }
        }
        var request = HTTPClientRequest(url: try baseURL(url) + "/v1/" + path)
        request.headers = ["X-Auth-Token": token, "Accept": accept]
        return try await send(request, operation)
    }

    // MARK: Discovery

    private static let versionHeader = "OpenStack-API-Version"

    private static func key(_ base: String) -> TokenKey { TokenKey(token: base, variant: "abilities") }

    /// Without `/v1` and slashes at the end.
    private func baseURL(_ catalogued: String?) throws -> String {
        guard var url = (settings.url ?? catalogued).map({ Substring($0) }) else {
            throw KeyManagerError(
                code: .unavailable, operation: "find Barbican",
                cause: "Keystone's catalogue has no \(settings.interface) endpoint of the type key-manager")
        }
        while url.hasSuffix("/") { url.removeLast() }
        if url.hasSuffix("/v1") { url.removeLast(3) }
        while url.hasSuffix("/") { url.removeLast() }
        return String(url)
    }

    private func abilities(at base: String) async throws -> Abilities {
        try await abilities.value(for: Self.key(base)) {
            let operation = "discover Barbican at \(base)"
            var request = HTTPClientRequest(url: base + "/")
            // One without microversions ignores it, and answers in the older form.
            request.headers = [Self.versionHeader: "key-manager latest", "Accept": "application/json"]
            let answer = try await send(request, operation)
            let versions = try answer.json(operation)["versions"]
            guard [200, 300].contains(answer.status),
                let list = versions?.arrayValue ?? versions?["values"]?.arrayValue,
                let v1 = list.first(where: { $0["id"]?.stringValue == "v1" })
            else {
                throw KeyManagerError(
                    code: .unexpected, operation: operation,
                    cause: "there is no Key Manager v1 (status \(answer.status))")
            }
            guard let newest = v1["max_version"]?.stringValue else { return Abilities(minor: nil) }
            let parts = newest.split(separator: ".").map { Int($0) }
            guard parts.count == 2, parts[0] == 1, let minor = parts[1] else {
                throw KeyManagerError(code: .unexpected, operation: operation, cause: "an unknown microversion")
            }
            return Abilities(minor: min(minor, 2))
        }
    }

    // MARK: Sending

    private func send(_ request: HTTPClientRequest, _ operation: String) async throws -> Answer {
        var pause = Self.firstPauseSeconds
        for attempt in 1... {
            let problem: String
            do {
                let (response, body) = try await http.exchange(
                    request, timeoutSeconds: settings.timeoutSeconds, limitBytes: Self.answerLimitBytes)
                let status = Int(response.status.code)
                guard [429, 502, 503, 504].contains(status) else { return Answer(status: status, body: body) }
                problem = "Barbican answered \(status)"
            } catch is NIOTooManyBytesError {
                throw KeyManagerError(code: .unexpected, operation: operation, cause: "the answer is too large")
            } catch {
                try Task.checkCancellation()
                problem = "\(error)"
                guard Self.mayHelpToTryAgain(error) else {
                    throw KeyManagerError(code: .unavailable, operation: operation, cause: problem)
                }
            }
            guard attempt < Self.tries else {
                throw KeyManagerError(code: .unavailable, operation: operation, cause: problem)
            }
            let draw = Double(surroundings.randomness.bytes(1)[0]) / 255
            try await surroundings.clock.sleep(seconds: pause * (0.5 + draw / 2))
            pause *= 2
        }
        preconditionFailure("the loop ends by itself")
    }

    /// Waiting again for one that was slow would only make it busier.
    private static func mayHelpToTryAgain(_ error: any Error) -> Bool {
        switch error as? HTTPClientError {
        case .deadlineExceeded, .readTimeout, .cancelled, .invalidURL, .emptyHost, .emptyScheme: false
        default: true
        }
    }
}
