import Core
import HTTPTypes
import HummingbirdCore
import NIOCore

/// The Image API v2 (`/v2`, aliases `/v2.N`), and the operator's view beside it (`/ambrotype/v1`).
package struct ImageAPI: APIService {
    package let type = "image"
    package let routes: RouteTable
    package let authenticator: any Authenticator

    private let versions: ImageAPIVersions

    package init(images: Images, authenticator: any Authenticator) {
        self.authenticator = authenticator
        let versions = ImageAPIVersions(hasSeveralStores: images.stores.areSeveral, hasCache: images.hasCache)
        self.versions = versions
        var routes = RouteTable()
        VersionRoutes(versions: versions).add(to: &routes)
        ImageRoutes(images: images).add(to: &routes)
        ImageDataRoutes(images: images).add(to: &routes)
        ImportRoutes(images: images).add(to: &routes)
        TaskRoutes(images: images).add(to: &routes)
        ImageTagRoutes(images: images).add(to: &routes)
        ImageMemberRoutes(images: images).add(to: &routes)
        ImageSchemaRoutes(settings: images.settings).add(to: &routes)
        ImageInfoRoutes(images: images).add(to: &routes)
        ImageStoreRoutes(images: images).add(to: &routes)
        ImageLocationRoutes(images: images).add(to: &routes)
        ImageCacheRoutes(images: images).add(to: &routes)
        MetadefNamespaceRoutes(metadefs: Metadefs(images), settings: images.settings).add(to: &routes)
        let view = OperatorView(images)
        OperatorRoutes(view: view).add(to: &routes)
        ProvenanceRoutes(images: images, view: view).add(to: &routes)
        self.routes = routes
    }

    /// `/v2.N` is `/v2` for every version served.
    package func canonicalPath(_ path: [String]) -> [String] {
        guard let first = path.first, first.hasPrefix("v2."), let minor = Int(first.dropFirst(3)),
            versions.contains(minor)
        else { return path }
        return ["v2"] + path.dropFirst()
    }

    /// A first segment that is no version of ours gets the choice of versions.
    package func unmatched(_ exchange: Exchange) async throws -> Response {
        let first = canonicalPath(exchange.path).first ?? ""
        let isOurs = first == "v2" && !exchange.asksForVersion(besides: versions) || exchange.isForOperators
        guard isOurs else { return VersionRoutes(versions: versions).choices(exchange) }
        guard KnownMethods.all.contains(exchange.method) else {
            throw ServiceError.notImplemented("The method \(exchange.method.rawValue) is not known here.")
        }
        throw ServiceError.notFound("The resource could not be found.")
    }

    package func errorResponse(_ error: ServiceError, to exchange: Exchange) -> Response {
        // No client of Glance's reads the operator's view.
        ImageErrors.response(error, accept: exchange.isForOperators ? "application/json" : exchange.headers[.accept])
    }
}

extension Exchange {
    fileprivate var isForOperators: Bool { path.first == "ambrotype" }

    /// Whether `Accept` names a version of the Image API that is not served.
    fileprivate func asksForVersion(besides versions: ImageAPIVersions) -> Bool {
        guard let accept = headers[.accept], let marker = accept.firstRange(of: "application/vnd.openstack.images-v")
        else { return false }
        let version = accept[marker.upperBound...].prefix { $0.isNumber || $0 == "." }
        return version != "2" && !versions.minors.contains { version == "2.\($0)" }
    }
}

/// Version discovery: what clients choose their features by.
struct VersionRoutes: Sendable {
    let versions: ImageAPIVersions

    func add(to routes: inout RouteTable) {
        routes.open(.get, "/") { choices($0) }
        for path in ["/versions", "/versions/"] {
            routes.open(.get, path) { exchange in .json(.ok) { write(&$0, exchange) } }
        }
        routes.open(.get, "/v2") { exchange in
            Response(
                status: .found, headers: [.location: exchange.baseURL + "/v2/", .contentLength: "0"])
        }
    }

    func choices(_ exchange: Exchange) -> Response {
        .json(.multipleChoices) { write(&$0, exchange) }
    }

    private func write(_ json: inout JSONWriter, _ exchange: Exchange) {
        json.object { json in
            json.member(
                "versions",
                array: { json in
                    for minor in versions.minors {
                        json.object { json in
                            json.member("id", "v2.\(minor)")
                            json.member("status", minor == versions.current ? "CURRENT" : "SUPPORTED")
                            json.member(
                                "links",
                                array: { json in
                                    json.object { json in
                                        json.member("rel", "self")
                                        json.member("href", exchange.baseURL + "/v2/")
                                    }
                                })
                        }
                    }
                })
        }
    }
}

/// The error bodies of Glance, which clients pick apart: a flat JSON object, an HTML page or plain
/// text, by `Accept`. glanceclient sends `*/*`, strips the tags from HTML, and fails on JSON.
enum ImageErrors {
    static func response(_ error: ServiceError, accept: String?) -> Response {
        let status = error.status
        let title = reasonPhrase(status)
        var writer = JSONWriter()
        let type: String
        let body: ByteBuffer
        switch form(accept) {
        case .json:
            type = "application/json"
            writer.object { json in
                json.member("message", error.message + "<br /><br />\n\n\n")
                json.member("code", "\(status) \(title)")
                json.member("title", title)
            }
            body = writer.finish()
        case .html:
            type = "text/html; charset=UTF-8"
            let text = escape(error.message)
            body = ByteBuffer(
                string:
                    "<html>\n <head>\n  <title>\(status) \(title)</title>\n </head>\n <body>\n  <h1>\(status) \(title)</h1>\n"
                    + "  \(text)<br /><br />\n\n\n\n </body>\n</html>")
        case .text:
            type = "text/plain; charset=UTF-8"
            body = ByteBuffer(string: "\(status) \(title)\n\n\(error.message)\n\n   ")
        }
        return Response(status: .init(code: status), headers: [.contentType: type], bytes: body)
    }

    private enum Form { case json, html, text }

    /// The first type of `Accept` that there is a form for, heaviest first as they stand.
    private static func form(_ accept: String?) -> Form {
        for range in (accept ?? "").split(separator: ",") {
            switch range.split(separator: ";").first.map({ $0.trimmingSpaces().lowercased() }) ?? "" {
            case "application/json": return .json
            case "text/html", "*/*", "text/*": return .html
            case "text/plain": return .text
            default: continue
            }
        }
        return .text
    }

    private static func escape(_ text: String) -> String {
        var out = ""
        for character in text {
            switch character {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            default: out.append(character)
            }
        }
        return out
    }
}

/// An empty success looks as Glance's does.
extension Response {
    static func empty(_ status: HTTPResponse.Status) -> Response {
        Response(status: status, headers: [.contentType: "text/html; charset=UTF-8", .contentLength: "0"])
    }
}
