import Core
import HTTPTypes
import HummingbirdCore

/// The stores there are, and taking an image out of one.
struct ImageStoreRoutes: Sendable {
    let images: Images

    func add(to routes: inout RouteTable) {
        routes.get("/v2/info/stores") { _, _ in Self.list(try images.storeInfos(), isDetailed: false) }
        routes.get("/v2/info/stores/detail") { _, caller in
            Self.list(try images.storeDetails(as: caller), isDetailed: true)
        }
        routes.on(.delete, "/v2/stores/{store}/{image}", body: .refused) { exchange, caller in
            try await images.delete(exchange.image, from: StoreID(exchange.parameter("store")), as: caller)
            return .empty(.noContent)
        }
    }

    private static func list(_ stores: [StoreInfo], isDetailed: Bool) -> Response {
        .json(.ok) { json in
            json.object { json in
                json.member(
                    "stores", array: { json in for store in stores { write(store, isDetailed: isDetailed, to: &json) } }
                )
            }
        }
    }

    /// Clients expect these flags as strings, and only where they hold.
    private static func write(_ store: StoreInfo, isDetailed: Bool, to json: inout JSONWriter) {
        json.object { json in
            json.member("id", store.id.rawValue)
            if let description = store.traits.description { json.member("description", description) }
            if store.isDefault { json.member("default", "true") }
            if store.isReadOnly { json.member("read-only", "true") }
            guard isDetailed else { return }
            json.member("type", type(of: store.traits))
            json.member("weight", store.traits.weight)
            json.member("properties", object: { properties(of: store.traits, to: &$0) })
        }
    }

    private static func type(of traits: StoreTraits) -> String {
        switch traits.kind {
        case .file: "file"
        case .http: "http"
        case nil: "unknown"
        }
    }

    private static func properties(of traits: StoreTraits, to json: inout JSONWriter) {
        guard case .file(let directory) = traits.kind else { return }
        json.member("data_dir", directory)
        json.member("chunk_size", Int(chunkBytes))
        json.member("thin_provisioning", false)
    }

    /// In what pieces data is read.
    private static let chunkBytes = 1 << 20
}
