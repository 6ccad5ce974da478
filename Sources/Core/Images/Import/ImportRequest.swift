import Persistence

/// What a client asks of an import (Image API digest, section 3.3): the body, its shape checked.
package struct ImportRequest: Sendable {
    package let method: ImportMethod
    /// Of `web-download`.
    package let uri: String?
    /// Of `glance-download`.
    let glance: GlanceSource?
    /// Named by the body or the header; nil when neither names any.
    package let stores: [StoreID]?
    package let wantsAllStores: Bool
    package let mustAllSucceed: Bool
    /// As it came: a task echoes it.
    package let body: JSONValue

    /// - Parameters:
    ///   - header: the store that `X-Image-Meta-Store` names.
    ///   - enabled: the methods there are.
    /// - Throws: `ServiceError.badRequest`.
    package init(json: JSONValue, header: StoreID?, enabled: [ImportMethod]) throws {
        guard json.objectValue != nil else {
            throw ServiceError.badRequest("The body must be a JSON object, not \(json.kind).")
        }
        guard let method = json["method"] else {
            throw ServiceError.badRequest("Import request requires a 'method' field.")
        }
        guard method.objectValue != nil else {
            throw ServiceError.badRequest("The field 'method' must be an object, not \(method.kind).")
        }
        guard let name = method["name"] else {
            throw ServiceError.badRequest("Import request requires a 'name' field.")
        }
        guard let known = name.stringValue.flatMap(ImportMethod.init(rawValue:)), enabled.contains(known) else {
            throw ServiceError.badRequest("Unknown import method name '\(name.stringValue ?? name.kind)'.")
        }
        self.method = known
        uri = try Self.uri(method["uri"], for: known)
        glance = known == .glanceDownload ? try GlanceSource(method) : nil
        wantsAllStores = try Self.flag("all_stores", json) ?? false
        mustAllSucceed = try Self.flag("all_stores_must_succeed", json) ?? true
        let named = try Self.stores(json["stores"])
        guard named == nil || header == nil else {
            throw ServiceError.badRequest(
                "Stores parameter and x-image-meta-store header can't be both specified.")
        }
        guard !wantsAllStores || named == nil && header == nil else {
            throw ServiceError.badRequest(
                "All_stores parameter can't be used with x-image-meta-store header or stores parameter.")
        }
        stores = named ?? header.map { [$0] }
        body = json
    }

    private static func flag(_ name: String, _ json: JSONValue) throws -> Bool? {
        guard let value = json[name] else { return nil }
        guard let flag = value.boolValue else {
            throw ServiceError.badRequest("'\(name)' must be a boolean value only, not \(value.kind).")
        }
        return flag
    }

    private static func uri(_ value: JSONValue?, for method: ImportMethod) throws -> String? {
        guard method == .webDownload else {
            guard value == nil else {
                throw ServiceError.badRequest("A 'uri' is for web-download only, not for \(method.rawValue).")
            }
            return nil
        }
        guard let uri = value?.stringValue else {
            throw ServiceError.badRequest("The method web-download needs a 'uri', a string.")
        }
        return uri
    }

    /// The same store twice is once.
    private static func stores(_ value: JSONValue?) throws -> [StoreID]? {
        guard let value else { return nil }
        guard let items = value.arrayValue, !items.isEmpty else {
            throw ServiceError.badRequest("'stores' must be a list of the names of stores.")
        }
        var stores: [StoreID] = []
        for item in items {
            guard let name = item.stringValue else {
                throw ServiceError.badRequest("'stores' must be a list of the names of stores.")
            }
            if !stores.contains(StoreID(name)) { stores.append(StoreID(name)) }
        }
        return stores
    }
}
