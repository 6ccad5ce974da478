import Core
import HTTPTypes
import HummingbirdCore

/// The image record: create, show, list, patch, delete, actions.
struct ImageRoutes: Sendable {
    let images: Images

    func add(to routes: inout RouteTable) {
        routes.on(.post, "/v2/images", create)
        routes.get("/v2/images", list)
        routes.get("/v2/images/{image}", show) { exchange, caller in
            try images.getAtOnce(exchange.image, as: caller).map(Self.shown)
        }
        routes.on(.patch, "/v2/images/{image}", patch)
        routes.on(.delete, "/v2/images/{image}", body: .refused, delete)
        routes.on(.post, "/v2/images/{image}/actions/deactivate", body: .refused) { exchange, caller in
            try await images.deactivate(exchange.image, as: caller)
            return .empty(.noContent)
        }
        routes.on(.post, "/v2/images/{image}/actions/reactivate", body: .refused) { exchange, caller in
            try await images.reactivate(exchange.image, as: caller)
            return .empty(.noContent)
        }
    }

    private func create(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let draft = try ImageDraft(json: try await exchange.json(), settings: images.settings)
        let image = try await images.create(draft, as: caller)
        var headers: HTTPFields = [.location: exchange.baseURL + "/v2/images/" + image.id.rawValue]
        let methods = images.importMethods
        if !methods.isEmpty { headers[.importMethods] = methods.map(\.rawValue).joined(separator: ",") }
        if images.stores.areSeveral {
            headers[.imageStoreIDs] = images.stores.all.map(\.rawValue).joined(separator: ",")
        }
        return .json(.created, headers: headers) { ImageJSON.write(images.view(ofNew: image), to: &$0) }
    }

    private func show(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        Response(Self.shown(try await images.get(exchange.image, as: caller)))
    }

    private static func shown(_ view: ImageView) -> Response.Ready { .json(.ok) { ImageJSON.write(view, to: &$0) } }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let query = try exchange.query()
        let request = try ImageListParser(settings: images.settings).parse(query)
        let page = try await images.list(request, as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member("images", array: { json in for view in page.images { ImageJSON.write(view, to: &json) } })
                json.member("first", ImageListParser.link(query, marker: nil))
                if page.isFull, let last = page.last {
                    json.member("next", ImageListParser.link(query, marker: last))
                }
                json.member("schema", "/v2/schemas/images")
            }
        }
    }

    private func patch(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        guard let dialect = exchange.contentType.flatMap(ImagePatchDialect.init(rawValue:)) else {
            throw ServiceError.unsupportedMediaType(
                "A PATCH has the content type \(ImagePatchDialect.allCases.map(\.rawValue).joined(separator: " or ")).",
                acceptPatch: ImagePatchDialect.allCases.map(\.rawValue))
        }
        let operations = try dialect.parse(try await exchange.json())
        let view = try await images.patch(exchange.image, operations, as: caller)
        return .json(.ok) { ImageJSON.write(view, to: &$0) }
    }

    private func delete(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        try await images.delete(exchange.image, as: caller)
        return .empty(.noContent)
    }
}

extension HTTPField.Name {
    static let imageStoreIDs = HTTPField.Name("OpenStack-image-store-ids")!
}

extension Exchange {
    var image: ImageID { ImageID(parameter("image")) }
}
