import AsyncHTTPClient
import NIOCore
import NIOHTTP1

/// A URL of the operator's that documents are posted to. `shutdown` gives its connections back.
package final class Webhook: Sendable {
    private static let timeoutSeconds: Int64 = 30
    /// Of what is answered nothing is used.
    private static let answerLimitBytes = 1 << 20

    private let url: String
    private let http: HTTPClient

    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    package init(url: String) {
        self.url = url
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        configuration.timeout = .init(connect: .seconds(10), read: .seconds(Self.timeoutSeconds))
        configuration.httpVersion = .http1Only
        http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    package func shutdown() async throws { try await http.shutdown() }

    /// Returns when the receiver has taken the document over (2xx).
    /// - Throws: `Failure`, `CancellationError`.
    package func post(json document: ByteBuffer) async throws {
        var request = HTTPClientRequest(url: url)
        request.method = .POST
        request.headers = ["Content-Type": "application/json"]
        request.body = .bytes(document)
        let status: HTTPResponseStatus
        do {
            status = try await http.exchange(
                request, timeoutSeconds: Self.timeoutSeconds, limitBytes: Self.answerLimitBytes
            ).0.status
        } catch {
            try Task.checkCancellation()
            throw Failure(description: "the webhook is out of reach: \(error)")
        }
        guard (200..<300).contains(status.code) else {
            throw Failure(description: "the webhook answered \(status.code)")
        }
    }
}
