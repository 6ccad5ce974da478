import Core
import HTTPTypes
import HummingbirdCore

/// The cache, for admins. The routes are there without a cache too: they say so, to admins alone.
struct ImageCacheRoutes: Sendable {
    let images: Images

    func add(to routes: inout RouteTable) {
        routes.get("/v2/cache", list)
        routes.on(.delete, "/v2/cache", body: .refused) { exchange, caller in
            try await images.clearCache(exchange.headers[.cacheClearTarget] ?? "", as: caller)
            return .empty(.noContent)
        }
        routes.on(.put, "/v2/cache/{image}", body: .refused) { exchange, caller in
            try await images.queueForCache(exchange.image, as: caller)
            return .empty(.accepted)
        }
        routes.on(.delete, "/v2/cache/{image}", body: .refused) { exchange, caller in
            try await images.removeFromCache(exchange.image, as: caller)
            return .empty(.noContent)
        }
        routes.get("/v2/cache/nodes/{image}") { exchange, caller in
            try images.cacheNodes(of: exchange.image, as: caller)
            return .empty(.ok)
        }
        routes.on(.post, "/v2/cache/clean") { _, caller in
            try await images.cleanCache(as: caller)
            return .empty(.ok)
        }
        routes.on(.post, "/v2/cache/prune") { _, caller in
            let pruned = try await images.pruneCache(as: caller)
            return .json(.ok) { json in
                json.object { json in
                    json.member("total_files_pruned", pruned.images)
                    json.member("total_bytes_pruned", pruned.bytes)
                }
            }
        }
    }

    private func list(_ exchange: Exchange, _ caller: Caller) async throws -> Response {
        let contents = try await images.cacheContents(as: caller)
        return .json(.ok) { json in
            json.object { json in
                json.member(
                    "cached_images",
                    array: { json in
                        for entry in contents.cached {
                            json.object { json in
                                json.member("image_id", entry.image.rawValue)
                                json.member("hits", entry.hits)
                                json.member("last_accessed", .number(entry.lastAccessed.epoch))
                                json.member("last_modified", .number(entry.lastModified.epoch))
                                json.member("size", entry.sizeBytes)
                                json.member("checksum", entry.checksum)
                            }
                        }
                    })
                json.member(
                    "queued_images", array: { json in for id in contents.queued { json.string(id.rawValue) } })
            }
        }
    }
}

extension Timestamp {
    /// Seconds since 1970, as Glance's cache tells times.
    fileprivate var epoch: Double { Double(microseconds) / 1_000_000 }
}

extension HTTPField.Name {
    static let cacheClearTarget = HTTPField.Name("X-Image-Cache-Clear-Target")!
}
