import HTTPTypes
import HummingbirdCore

/// Cross-origin requests of browsers (the Fetch standard, "CORS protocol"), for the origins the operator named. To all
/// others nothing is said, which browsers take for no.
///
/// A token goes in a header of its own and not in a cookie, so no response allows credentials.
package struct CrossOrigin: Sendable {
    private let origins: Set<String>

    /// - Parameter origins: as browsers send them: `https://dashboard.example`, with the port unless it is the scheme's.
    package init(origins: [String]) { self.origins = Set(origins) }

    /// What pages may send, beside what every page may.
    private static let requestHeaders = [
        "Accept-Patch", "Content-MD5", "Content-Range", "Content-Type", "OpenStack-API-Version", "Range",
        "X-Auth-Token", "X-Image-Meta-Store", "X-OpenStack-Append", "X-OpenStack-Image-Size",
        "X-OpenStack-Request-ID", "X-Service-Token", "X-Subject-Token",
    ].joined(separator: ", ")
    /// What pages may read, beside what every page may.
    private static let responseHeaders = [
        "Content-MD5", "Content-Range", "Location", "OpenStack-image-import-methods", "OpenStack-image-store-ids",
        "X-OpenStack-Request-ID", "X-Subject-Token",
    ].joined(separator: ", ")
    private static let methods = "GET, HEAD, POST, PUT, PATCH, DELETE"

    /// The answer to a browser that asks whether a page may send a request; nil for anything else.
    func preflight(_ head: HTTPRequest) -> Response? {
        guard head.method == .options, head.headerFields[.accessControlRequestMethod] != nil, allowed(head) != nil
        else {
            return nil
        }
        return Response(
            status: .noContent,
            headers: [
                .accessControlAllowMethods: Self.methods, .accessControlAllowHeaders: Self.requestHeaders,
                .accessControlMaxAge: "3600",
            ])
    }

    /// Says in a response that the page that asked may read it.
    func complete(_ headers: inout HTTPFields, to head: HTTPRequest) {
        guard !origins.isEmpty else { return }
        // Also where the origin is none of these: the answer to one must not be kept for another.
        headers.append(HTTPField(name: .vary, value: "Origin"))
        guard let origin = allowed(head) else { return }
        headers[.accessControlAllowOrigin] = origin
        headers[.accessControlExposeHeaders] = Self.responseHeaders
    }

    private func allowed(_ head: HTTPRequest) -> String? {
        guard let origin = head.headerFields[.origin], origins.contains(origin) else { return nil }
        return origin
    }
}
