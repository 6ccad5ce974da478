import Core

/// Reads the queries of lists of metadata definitions. What it does not know is ignored, as Glance does.
enum MetadefListParser {
    /// - Throws: `ServiceError.badRequest` naming the parameter that is wrong.
    static func namespaces(_ query: Query, _ settings: ImageSettings) throws -> MetadefNamespaceQuery {
        let limit = try limit(query, least: 0) ?? settings.listLimitDefault
        var result = MetadefNamespaceQuery(limit: min(limit, settings.listLimitMax))
        result.marker = query["marker"]
        result.sortKey = try sortKey(query) ?? .createdAt
        result.isAscending = try isAscending(query) ?? false
        if let text = query["visibility"] {
            guard let visibility = MetadefNamespace.Visibility(rawValue: text) else {
                throw ServiceError.badRequest("Invalid visibility value: \(text)")
            }
            result.visibility = visibility
        }
        if let text = query["resource_types"] {
            let types = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
            guard types.count <= ImageListParser.maxListValues else {
                throw ServiceError.badRequest("resource_types: at most \(ImageListParser.maxListValues) values.")
            }
            result.resourceTypes = types
        }
        return result
    }

    /// - Throws: `ServiceError.badRequest`.
    static func objects(_ query: Query) throws -> MetadefContentQuery {
        try contents(query, least: 1, MetadefContentQuery(sortKey: nil, isAscending: true))
    }

    /// - Throws: `ServiceError.badRequest`.
    static func tags(_ query: Query) throws -> MetadefContentQuery {
        try contents(query, least: 0, MetadefContentQuery(sortKey: .createdAt, isAscending: false))
    }

    private static func contents(
        _ query: Query, least: Int, _ standard: MetadefContentQuery
    ) throws -> MetadefContentQuery {
        var result = standard
        if let text = query["visibility"], !["public", "private", "shared"].contains(text) {
            throw ServiceError.badRequest("Invalid visibility value: \(text)")
        }
        result.limit = try limit(query, least: least)
        result.marker = query["marker"]
        if let key: MetadefContentQuery.SortKey = try sortKey(query) { result.sortKey = key }
        if let direction = try isAscending(query) { result.isAscending = direction }
        return result
    }

    private static func limit(_ query: Query, least: Int) throws -> Int? {
        guard let text = query["limit"] else { return nil }
        guard let number = Int(text), text.utf8.allSatisfy({ (48...57).contains($0) }), number >= least else {
            throw ServiceError.badRequest("limit param must be an integer, \(least) or more.")
        }
        return number
    }

    private static func sortKey<Key: RawRepresentable & CaseIterable>(_ query: Query) throws -> Key?
    where Key.RawValue == String {
        guard let text = query["sort_key"] else { return nil }
        guard let key = Key(rawValue: text) else {
            let known = Key.allCases.map(\.rawValue).joined(separator: ", ")
            throw ServiceError.badRequest("Invalid sort key '\(text)'; there are: \(known).")
        }
        return key
    }

    private static func isAscending(_ query: Query) throws -> Bool? {
        switch query["sort_dir"] {
        case nil: return nil
        case "asc": return true
        case "desc": return false
        case .some(let text): throw ServiceError.badRequest("Invalid sort direction: \(text)")
        }
    }

    /// A link to the same list of namespaces from the start, or behind a marker: relative, every other
    /// parameter kept.
    static func link(_ query: Query, marker: String?) -> String {
        var pairs = query.pairs.filter { $0.name != "marker" }
        if let marker { pairs.append(("marker", marker)) }
        guard !pairs.isEmpty else { return MetadefJSON.base }
        return MetadefJSON.base + "?"
            + pairs.map { "\(Percent.encode($0.name))=\(Percent.encode($0.value))" }.joined(separator: "&")
    }
}
