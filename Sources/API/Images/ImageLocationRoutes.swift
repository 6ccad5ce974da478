import Core
import HTTPTypes
import HummingbirdCore

/// Where the bytes of images are (since version 2.17).
struct ImageLocationRoutes: Sendable {
    let images: Images

    func add(to routes: inout RouteTable) {
        routes.on(.post, "/v2/images/{image}/locations") { exchange, caller in
            let draft = try LocationDraft(request: try await exchange.json())
            try await images.addLocation(draft, to: exchange.image, as: caller)
            return .empty(.accepted)
        }
        routes.get("/v2/images/{image}/locations") { exchange, caller in
            let locations = try await images.locations(of: exchange.image, as: caller)
            return .json(.ok) { ImageJSON.write(locations, to: &$0) }
        }
    }
}
