import Core

extension ServerSettings {
    /// Where images are cached (`image.cache`).
    package struct CacheChoice: Sendable, Equatable {
        /// Absolute.
        package let directory: String
        package let bytes: Int64
        package let stores: [StoreID]

        package init(directory: String, bytes: Int64, stores: [StoreID] = []) {
            self.directory = directory
            self.bytes = bytes
            self.stores = stores
        }

        /// Nil when there is no directory.
        init?(_ resolved: ResolvedSettings, stores configured: [StoreChoice], _ problems: inout [String]) {
            let key = Setting.imageCache.key
            let names = (resolved.text(.imageCache, "stores") ?? "").split(separator: " ").map(String.init)
            for name in names where !configured.contains(where: { $0.id == StoreID(name) }) {
                problems.append("\(key).stores '\(name)': there is no such store in image.stores")
            }
            guard let path = resolved.text(.imageCache, "directory") else {
                if !names.isEmpty { problems.append("\(key).directory: it is missing; \(key).stores needs it") }
                return nil
            }
            let directory = absolutePath(path)
            if let store = configured.first(where: { $0.place == .directory(directory) }) {
                problems.append("\(key).directory: store \(store.id) is in \(directory); the cache needs its own")
            }
            self.init(
                directory: directory, bytes: Int64(resolved.integer(.imageCache, "bytes")),
                stores: names.map { StoreID($0) })
        }
    }
}
