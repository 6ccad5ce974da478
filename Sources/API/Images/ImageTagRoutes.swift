import Core
import HTTPTypes
import HummingbirdCore

struct ImageTagRoutes: Sendable {
    let images: Images

    func add(to routes: inout RouteTable) {
        routes.on(.put, "/v2/images/{image}/tags/{tag}", body: .refused) { exchange, caller in
            try await images.addTag(exchange.parameter("tag"), to: exchange.image, as: caller)
            return .empty(.noContent)
        }
        routes.on(.delete, "/v2/images/{image}/tags/{tag}", body: .refused) { exchange, caller in
            try await images.removeTag(exchange.parameter("tag"), from: exchange.image, as: caller)
            return .empty(.noContent)
        }
    }
}
