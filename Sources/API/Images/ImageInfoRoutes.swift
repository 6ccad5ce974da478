import Core
import HTTPTypes
import HummingbirdCore

/// What this service offers: which import methods, which stores.
struct ImageInfoRoutes: Sendable {
    let images: Images

    func add(to routes: inout RouteTable) {
        routes.get("/v2/info/import") { _, _ in
            .json(.ok) { json in
                json.object { json in
                    json.member(
                        "import-methods",
                        object: { json in
                            json.member("description", "Import methods available.")
                            json.member("type", "array")
                            json.member("value", array: { _ in })
                        })
                }
            }
        }
        routes.get("/v2/info/stores") { _, _ in
            let ids = images.storeIDs
            guard ids.count > 1 else { throw ServiceError.notFound("Multi backend is not supported at this site.") }
            return .json(.ok) { json in
                json.object { json in
                    json.member(
                        "stores",
                        array: { json in
                            for (index, id) in ids.enumerated() {
                                json.object { json in
                                    json.member("id", id.rawValue)
                                    if index == 0 { json.member("default", "true") }
                                }
                            }
                        })
                }
            }
        }
    }
}
