import Core
import HTTPTypes
import HummingbirdCore

/// What this service offers: which import methods; and how much of it a project uses.
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
                            json.member(
                                "value",
                                array: { json in for method in images.importMethods { json.string(method.rawValue) } })
                        })
                }
            }
        }
        routes.get("/v2/info/usage") { _, caller in
            let uses = try await images.quotaUse(as: caller)
            return .json(.ok) { json in
                json.object { json in
                    json.member(
                        "usage",
                        object: { json in
                            for use in uses {
                                json.member(
                                    use.resource.rawValue,
                                    object: { json in
                                        json.member("usage", use.usage)
                                        json.member("limit", use.limit)
                                    })
                            }
                        })
                }
            }
        }
    }
}
