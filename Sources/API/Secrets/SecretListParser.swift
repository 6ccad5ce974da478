import Core

/// Reads a list's query, as leniently as Barbican does: what it does not know it passes over.
enum SecretListParser {
    /// Bounds on one statement: nobody's list needs more. No text that is searched has more than 255 characters.
    private static let maxParameters = 100
    private static let maxPatternBytes = 1024
    private static let maxTimes = 16

    /// - Throws: `ServiceError.badRequest`.
    static func parse(_ query: Query) throws -> SecretListQuery {
        guard query.pairs.count <= maxParameters else { throw ServiceError.badKeyManagerQuery }
        var result = SecretListQuery()
        (result.limit, result.offset) = KeyManagerLinks.place(query)
        for (name, column) in [("name", SecretListQuery.TextColumn.name), ("alg", .algorithm), ("mode", .mode)] {
            guard let pattern = query[name], !pattern.isEmpty else { continue }
            guard pattern.utf8.count <= maxPatternBytes else { throw ServiceError.badKeyManagerQuery }
            result.filters.append(.like(column, pattern))
        }
        if let bits = query["bits"].flatMap(number), bits > 0 { result.filters.append(.bitLength(bits)) }
        if let type = query["secret_type"], !type.isEmpty { result.filters.append(.type(type)) }
        for column in SecretListQuery.TimeColumn.allCases {
            guard let text = query[column.rawValue], !text.isEmpty else { continue }
            result.filters += try times(column, text)
        }
        result.isACLOnly = query["acl_only"]?.lowercased() == "true"
        if let text = query["sort"], !text.isEmpty { result.sort = try sort(text) }
        return result
    }

    /// Nil for what is no whole number; what does not fit is as far as one can go.
    static func number(_ text: String) -> Int64? {
        let text = text.trimmingSpaces()
        let digits = text.hasPrefix("-") || text.hasPrefix("+") ? text.dropFirst() : text[...]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        return Int64(text) ?? (text.hasPrefix("-") ? .min : .max)
    }

    /// Comparisons and times, joined by commas: all of them hold.
    private static func times(
        _ column: SecretListQuery.TimeColumn, _ text: String
    ) throws -> [SecretListQuery.Filter] {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard parts.count <= maxTimes else { throw ServiceError.badKeyManagerQuery }
        return try parts.map { part in
            var comparison = SecretListQuery.Comparison.eq
            var rest = part
            for known in [SecretListQuery.Comparison.gt, .gte, .lt, .lte] where part.hasPrefix(known.rawValue + ":") {
                comparison = known
                rest = part.dropFirst(known.rawValue.count + 1)
            }
            guard let time = SecretTime.read(String(rest)) else { throw ServiceError.badKeyManagerQuery }
            return .time(column, comparison, time)
        }
    }

    private static func sort(_ text: String) throws -> [(
        key: SecretListQuery.SortKey, direction: SecretListQuery.Direction
    )] {
        var seen: Set<SecretListQuery.SortKey> = []
        return try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
            let split = part.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            guard split.count <= 2, let key = SecretListQuery.SortKey(rawValue: split[0]),
                let direction = SecretListQuery.Direction(rawValue: split.count > 1 ? split[1] : "asc"),
                seen.insert(key).inserted
            else { throw ServiceError.badKeyManagerQuery }
            return (key, direction)
        }
    }
}

/// The links of a list that is paged by counting.
struct KeyManagerLinks {
    let previous: String?
    let next: String?

    /// All other parameters are kept, whatever they are.
    init(_ list: String, _ query: Query, limit: Int64, offset: Int64, total: Int64) {
        let kept = query.pairs.filter { $0.name != "limit" && $0.name != "offset" }
            .map { "&\(Percent.encode($0.name))=\(Percent.encode($0.value))" }.joined()
        func link(_ offset: Int64) -> String { "\(list)?limit=\(limit)&offset=\(offset)\(kept)" }
        let isThere = offset < total
        previous = isThere && offset > 0 ? link(max(0, offset - limit)) : nil
        next = isThere && total - offset > limit ? link(offset + limit) : nil
    }

    /// What `limit` and `offset` come to: nothing that stands there is refused.
    static func place(_ query: Query) -> (limit: Int64, offset: Int64) {
        let limit = query["limit"].flatMap(SecretListParser.number) ?? 10
        let offset = query["offset"].flatMap(SecretListParser.number) ?? 0
        return (min(max(1, limit), SecretListQuery.maxLimit), max(0, offset))
    }
}

extension ServiceError {
    static var badKeyManagerQuery: ServiceError { .badRequest("URI provided invalid query string parameters.") }
}
