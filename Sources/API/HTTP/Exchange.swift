import Core
import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore

/// One request on its way to a handler: decoded as far as every service needs it.
package struct Exchange: Sendable {
    package let method: HTTPRequest.Method
    /// The path's segments behind the service's mount, percent-decoded.
    package let path: [String]
    package let rawQuery: Substring
    package let headers: HTTPFields
    package let body: RequestStream
    /// For a response's body that is more than what is in memory.
    package let sender: BodySender
    package let requestID: String
    /// The address that the connection came from, without its port.
    package let client: String?
    package let logger: Logger
    /// Scheme, authority and mount prefix as the client used them (or as `public_endpoint` says),
    /// without a slash at the end: what absolute links begin with.
    package let baseURL: String
    /// The mount's own path prefix (`/image`, or empty), for logs and links.
    package let mount: String
    /// What the route's template captured.
    package internal(set) var parameters: [String: String] = [:]

    /// A captured part of the path. The template that named it was matched, so it is there.
    package func parameter(_ name: String) -> String {
        guard let value = parameters[name] else { preconditionFailure("the route has no parameter \(name)") }
        return value
    }

    /// The path as the service's own API has it.
    package var servicePath: String { "/" + path.joined(separator: "/") }

    /// - Throws: `ServiceError.badRequest`.
    package func query() throws -> Query { try Query(decoding: rawQuery) }

    /// The body as JSON.
    /// - Throws: `ServiceError.badRequest` for malformed JSON or none, `.tooLarge`, `IncompleteRequest`.
    package func json(limitBytes: Int = 1 << 20) async throws -> JSONValue {
        let bytes = try await body.collect(limitBytes: limitBytes)
        guard bytes.readableBytes > 0 else {
            throw ServiceError.badRequest("The request needs a JSON body.")
        }
        do {
            return try JSONValue(parsing: bytes)
        } catch {
            throw ServiceError.badRequest("Malformed JSON in request body: \(error)")
        }
    }

    /// The media type of the body, without parameters, in lower case.
    package var contentType: String? {
        headers[.contentType]?.split(separator: ";").first.map { $0.trimmingSpaces().lowercased() }
    }

    /// Whether the head announces a body.
    package var announcesBody: Bool {
        if headers[.transferEncoding] != nil { return true }
        return (headers[.contentLength].flatMap { Int64($0) } ?? 0) > 0
    }
}

extension StringProtocol {
    func trimmingSpaces() -> String {
        var view = Substring(self)
        while let first = view.first, first == " " || first == "\t" { view.removeFirst() }
        while let last = view.last, last == " " || last == "\t" { view.removeLast() }
        return String(view)
    }
}

extension Response {
    /// A response with a body of JSON.
    package static func json(
        _ status: HTTPResponse.Status, headers: HTTPFields = [:], _ write: (inout JSONWriter) -> Void
    ) -> Response {
        Response(.json(status, headers: headers, write))
    }

    /// A response whose body is in memory.
    package struct Ready: Sendable {
        package let status: HTTPResponse.Status
        package let headers: HTTPFields
        package let bytes: ByteBuffer

        package static func json(
            _ status: HTTPResponse.Status, headers: HTTPFields = [:], _ write: (inout JSONWriter) -> Void
        ) -> Ready {
            var writer = JSONWriter()
            write(&writer)
            var headers = headers
            headers[.contentType] = "application/json"
            return Ready(status: status, headers: headers, bytes: writer.finish())
        }
    }

    package init(_ ready: Ready) {
        self.init(status: ready.status, headers: ready.headers, bytes: ready.bytes)
    }

    package init(status: HTTPResponse.Status, headers: HTTPFields, bytes: ByteBuffer) {
        var headers = headers
        headers[.contentLength] = String(bytes.readableBytes)
        self.init(status: status, headers: headers, body: .init(byteBuffer: bytes))
    }
}
