import AsyncHTTPClient
import Core
import NIOCore
import NIOHTTP1
import NIOSSL

/// Why a cloud did not do what a command asked of it. Never holds a token or a password.
package struct CloudError: Error, CustomStringConvertible {
    package let description: String

    init(_ operation: String, _ cause: String) { description = "\(operation): \(cause)" }
}

/// The image service and the key manager of a cloud as a user of them sees them: for commands, not for the server.
/// Nothing is tried twice. Only `CloudError` and `CancellationError` are thrown, but for what a caller's closure
/// throws.
package final class CloudClient: Sendable {
    package enum Service: String, Sendable {
        case image
        case keyManager = "key-manager"
    }

    package struct Answer: Sendable {
        package let status: Int
        package let body: ByteBuffer

        /// Null when it is not JSON.
        package var json: JSONValue { (try? JSONValue(parsing: body)) ?? .null }
    }

    private static let answerLimitBytes = 1 << 20
    private static let timeoutSeconds: Int64 = 60
    /// A service may check what it got for a long time before it answers.
    private static let transferTimeoutSeconds: Int64 = 24 * 3600

    private let http: HTTPClient
    private let token: String
    private let catalog: [Service: String]

    private init(http: HTTPClient, token: String, catalog: [Service: String]) {
        self.http = http
        self.token = token
        self.catalog = catalog
    }

    /// Whether it may stand in a path as an id.
    package static func isID(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 64
            && text.utf8.allSatisfy {
                UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0
                    || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= $0 || $0 == UInt8(ascii: "-")
            }
    }

    /// Logs in, and out of the way when `body` is done.
    package static func with<R: Sendable>(
        _ account: CloudAccount, _ body: (CloudClient) async throws -> R
    ) async throws -> R {
        try await withHTTP(caCertificateFile: account.caCertificateFile) { http in
            try await body(try await logIn(account, http))
        }
    }

    /// The same for an image service alone, with a token that somebody else got.
    /// - Parameter url: without the version.
    package static func with<R: Sendable>(
        imageURL url: String, token: String, caCertificateFile: String?, _ body: (CloudClient) async throws -> R
    ) async throws -> R {
        try await withHTTP(caCertificateFile: caCertificateFile) { http in
            try await body(CloudClient(http: http, token: token, catalog: [.image: withoutVersion(url)]))
        }
    }

    private static func withHTTP<R: Sendable>(
        caCertificateFile: String?, _ body: (HTTPClient) async throws -> R
    ) async throws -> R {
        let http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: try configuration(caCertificateFile))
        do {
            let result = try await body(http)
            try? await http.shutdown()
            return result
        } catch {
            try? await http.shutdown()
            throw error
        }
    }

    /// What a client of another kind needs for the image service.
    /// - Throws: `CloudError` when there is none.
    package func imageAccess() throws -> (url: String, token: String) {
        guard let url = catalog[.image] else {
            throw CloudError("find the image service", "the cloud's catalogue has none for it")
        }
        return (url, token)
    }

    private static func configuration(_ caCertificateFile: String?) throws -> HTTPClient.Configuration {
        // A redirect would take the token along to wherever it says.
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        configuration.timeout = .init(connect: .seconds(timeoutSeconds), read: .seconds(transferTimeoutSeconds))
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.httpVersion = .http1Only
        if let path = caCertificateFile {
            var tls = TLSConfiguration.makeClientConfiguration()
            do {
                tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(path))
            } catch {
                throw CloudError("read the certificates of the cloud", "\(path): \(error)")
            }
            configuration.tlsConfiguration = tls
        }
        return configuration
    }

    private static func logIn(_ account: CloudAccount, _ http: HTTPClient) async throws -> CloudClient {
        let operation = "log in"
        var url = Substring(account.authURL)
        while url.hasSuffix("/") { url.removeLast() }
        var request = HTTPClientRequest(url: (url.hasSuffix("/v3") ? url : url + "/v3") + "/auth/tokens")
        request.method = .POST
        request.headers = ["Content-Type": "application/json", "Accept": "application/json"]
        request.body = .bytes(ByteBuffer(string: account.loginDocument))
        let (response, body) = try await exchange(http, request, operation)
        guard response.status == .created, let token = response.headers.first(name: "X-Subject-Token") else {
            throw CloudError(
                operation,
                response.status == .unauthorized
                    ? "Identity does not take these credentials" : "Identity answered \(response.status.code)")
        }
        guard let document = try? JSONValue(parsing: body) else {
            throw CloudError(operation, "Identity's answer is not JSON")
        }
        var catalog: [Service: String] = [:]
        for service in [Service.image, .keyManager] { catalog[service] = endpoint(service, document, account) }
        return CloudClient(http: http, token: token, catalog: catalog)
    }

    /// Without the version and slashes at the end.
    private static func endpoint(_ service: Service, _ document: JSONValue, _ account: CloudAccount) -> String? {
        let found = (document["token"]?["catalog"]?.arrayValue ?? [])
            .filter { $0["type"]?.stringValue == service.rawValue }
            .flatMap { $0["endpoints"]?.arrayValue ?? [] }
            .first {
                $0["interface"]?.stringValue == account.interface
                    && (account.region == nil || $0["region"]?.stringValue == account.region)
            }
        return found?["url"]?.stringValue.map(withoutVersion)
    }

    private static func withoutVersion(_ url: String) -> String {
        var url = Substring(url)
        while url.hasSuffix("/") { url.removeLast() }
        for version in ["/v1", "/v2"] where url.hasSuffix(version) { url.removeLast(version.count) }
        return String(url)
    }

    /// - Parameter path: begins with a slash, below the service's URL without its version.
    /// - Returns: the answer, whatever its status.
    package func call(
        _ method: HTTPMethod, _ service: Service, _ path: String, headers: HTTPHeaders = [:], json: String? = nil,
        _ operation: String
    ) async throws -> Answer {
        var request = try self.request(method, service, path, headers, operation)
        if let json {
            request.headers.replaceOrAdd(name: "Content-Type", value: "application/json")
            request.body = .bytes(ByteBuffer(string: json))
        }
        let (response, body) = try await Self.exchange(http, request, operation)
        return Answer(status: Int(response.status.code), body: body)
    }

    /// Sends what `body` has, as it comes.
    package func send<Body: AsyncSequence & Sendable>(
        _ path: String, _ body: Body, sizeBytes: Int64?, _ operation: String
    ) async throws -> Answer where Body.Element == ByteBuffer {
        var request = try self.request(
            .PUT, .image, path, ["Content-Type": "application/octet-stream"], operation)
        request.body = .stream(body, length: sizeBytes.map { .known($0) } ?? .unknown)
        let (response, answer) = try await Self.exchange(
            http, request, operation, timeoutSeconds: Self.transferTimeoutSeconds)
        return Answer(status: Int(response.status.code), body: answer)
    }

    /// Fetches the data of an image.
    /// - Parameter each: gets all of it, in order, and how much there will be if that was said.
    /// - Throws: also what `each` throws.
    package func receive(
        _ path: String, _ operation: String, _ each: (ByteBuffer, _ sizeBytes: Int64?) throws -> Void
    ) async throws {
        let request = try self.request(.GET, .image, path, ["Accept": "application/octet-stream"], operation)
        let response: HTTPClientResponse
        do {
            response = try await http.execute(request, timeout: .seconds(Self.transferTimeoutSeconds))
        } catch {
            throw try Self.translated(error, operation)
        }
        guard response.status == .ok else {
            throw CloudError(operation, "the service answered \(response.status.code)")
        }
        let size = response.headers.first(name: "Content-Length").flatMap { Int64($0) }
        var parts = response.body.makeAsyncIterator()
        while true {
            let part: ByteBuffer?
            do {
                part = try await parts.next()
            } catch {
                throw try Self.translated(error, operation)
            }
            guard let part else { return }
            try each(part, size)
        }
    }

    private func request(
        _ method: HTTPMethod, _ service: Service, _ path: String, _ headers: HTTPHeaders, _ operation: String
    ) throws -> HTTPClientRequest {
        guard let base = catalog[service] else {
            throw CloudError(operation, "the cloud's catalogue has no \(service.rawValue) service for it")
        }
        var request = HTTPClientRequest(url: base + path)
        request.method = method
        request.headers = headers
        request.headers.add(name: "X-Auth-Token", value: token)
        if !headers.contains(name: "Accept") { request.headers.add(name: "Accept", value: "application/json") }
        return request
    }

    private static func exchange(
        _ http: HTTPClient, _ request: HTTPClientRequest, _ operation: String, timeoutSeconds: Int64 = timeoutSeconds
    ) async throws -> (HTTPClientResponse, ByteBuffer) {
        do {
            return try await http.exchange(request, timeoutSeconds: timeoutSeconds, limitBytes: answerLimitBytes)
        } catch {
            throw try translated(error, operation)
        }
    }

    /// - Throws: `CancellationError`.
    private static func translated(_ error: any Error, _ operation: String) throws -> CloudError {
        try Task.checkCancellation()
        return CloudError(operation, "\(error)")
    }
}
