import Core

/// Reads a list's query.
struct ImageListParser {
    let settings: ImageSettings

    /// Bounds on one statement: nobody's list needs more.
    private static let maxParameters = 100
    static let maxListValues = 1000

    /// - Throws: `ServiceError.badRequest` naming the parameter that is wrong.
    func parse(_ query: Query) throws -> ImageListQuery {
        guard query.pairs.count <= Self.maxParameters else {
            throw ServiceError.badRequest("A list takes at most \(Self.maxParameters) parameters.")
        }
        var result = ImageListQuery()
        result.limit = settings.listLimitDefault
        for (name, value) in query.pairs { try set(name, value, &result) }
        let values = result.filters.reduce(0) { if case .text(_, let anyOf) = $1 { $0 + anyOf.count } else { $0 + 1 } }
        guard values <= Self.maxListValues else {
            throw ServiceError.badRequest("A list's filters take at most \(Self.maxListValues) values together.")
        }
        try sort(query, &result)
        return result
    }

    private func set(_ name: String, _ value: String, _ result: inout ImageListQuery) throws {
        switch name {
        case "sort", "sort_key", "sort_dir", "deleted": break
        case "limit": result.limit = try limit(value)
        case "marker": result.marker = ImageID(value)
        case "visibility": result.scope = try scope(value)
        case "member_status": result.memberStatus = try memberStatus(value)
        case "os_hidden": result.isHidden = try hidden(value)
        case "protected":
            guard value == "true" || value == "false" else {
                throw ServiceError.badRequest("protected must be true or false.")
            }
            result.filters.append(.protected(value == "true"))
        case "tag": result.filters.append(.tag(value))
        case "created_at": result.filters.append(try time(.createdAt, name, value))
        case "updated_at": result.filters.append(try time(.updatedAt, name, value))
        case "changes-since": throw ServiceError.badRequest("changes-since is not supported; use updated_at=gte:….")
        case "locations", "members", "properties", "stores":
            throw ServiceError.badRequest("\(name) cannot be filtered by.")
        default: result.filters.append(try column(name, value))
        }
    }

    private func column(_ name: String, _ value: String) throws -> ImageListQuery.Filter {
        if let column = ImageListQuery.TextColumn(rawValue: name) {
            return .text(column, anyOf: try values(of: column, value))
        }
        for (suffix, comparison) in [("", ImageListQuery.Comparison.eq), ("_min", .gte), ("_max", .lte)] {
            guard name.hasSuffix(suffix),
                let column = ImageListQuery.NumberColumn(rawValue: String(name.dropLast(suffix.count)))
            else { continue }
            guard let number = Int64(value) else { throw ServiceError.badRequest("\(name) must be a number.") }
            return .number(column, comparison, number)
        }
        return .property(name, value)
    }

    /// A value, or `in:` and a list.
    private func values(of column: ImageListQuery.TextColumn, _ value: String) throws -> [String] {
        guard column.takesLists, let colon = value.firstIndex(of: ":") else { return [value] }
        let prefix = value[..<colon]
        if prefix == "in" { return try ListValues.split(value[value.index(after: colon)...]) }
        // Any other comparison is refused, but a name may simply hold a colon.
        let comparisons = ["eq", "neq", "gt", "gte", "lt", "lte"]
        guard !comparisons.contains(String(prefix)) else {
            throw ServiceError.badRequest("\(column.rawValue): the operator '\(prefix)' is not supported, only 'in'.")
        }
        return [value]
    }

    private func limit(_ value: String) throws -> Int {
        guard let number = Int(value), value.utf8.allSatisfy({ (48...57).contains($0) }) else {
            throw ServiceError.badRequest("limit param must be an integer, zero or more.")
        }
        return min(number, settings.listLimitMax)
    }

    private func scope(_ value: String) throws -> ImageListQuery.Scope {
        if value == "all" { return .all }
        guard let visibility = Image.Visibility(rawValue: value) else {
            throw ServiceError.badRequest("Invalid visibility value: \(value)")
        }
        return .only(visibility)
    }

    private func memberStatus(_ value: String) throws -> ImageMember.Status? {
        if value == "all" { return nil }
        guard let status = ImageMember.Status(rawValue: value) else {
            throw ServiceError.badRequest("Invalid status: \(value); it must be pending, accepted, rejected or all.")
        }
        return status
    }

    private func hidden(_ value: String) throws -> Bool {
        switch value.lowercased() {
        case "true", "1": return true
        case "false", "0": return false
        default: throw ServiceError.badRequest("os_hidden must be true or false.")
        }
    }

    /// An operator and an ISO 8601 time; without an operator, `eq`.
    private func time(
        _ column: ImageListQuery.TimeColumn, _ name: String, _ value: String
    ) throws -> ImageListQuery.Filter {
        var comparison = ImageListQuery.Comparison.eq
        var rest = value[...]
        if let colon = value.firstIndex(of: ":"), value[..<colon].allSatisfy({ $0.isLetter }) {
            guard let named = ImageListQuery.Comparison(rawValue: String(value[..<colon])) else {
                throw ServiceError.badRequest("\(name): the operator '\(value[..<colon])' is not supported.")
            }
            comparison = named
            rest = value[value.index(after: colon)...]
        }
        guard let time = Timestamp(iso8601: String(rest)) else {
            throw ServiceError.badRequest("\(name): '\(rest)' is not a time in ISO 8601.")
        }
        return .time(column, comparison, time)
    }

    private func sort(_ query: Query, _ result: inout ImageListQuery) throws {
        let keys = query.all("sort_key")
        let directions = query.all("sort_dir")
        var terms: [(ImageListQuery.SortKey, ImageListQuery.Direction?)] = []
        if let combined = query["sort"] {
            guard keys.isEmpty, directions.isEmpty else {
                throw ServiceError.badRequest("Old and new sorting syntax cannot be combined.")
            }
            for part in combined.split(separator: ",", omittingEmptySubsequences: false) {
                let split = part.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                let direction = try split.count > 1 ? direction(split[1].trimmingSpaces()) : nil
                terms.append((try key(split[0].trimmingSpaces()), direction))
            }
        } else {
            guard directions.count <= 1 || directions.count == max(1, keys.count) else {
                throw ServiceError.badRequest("Number of sort dirs does not match the number of sort keys.")
            }
            let given = try directions.map(direction)
            let sortKeys = try keys.isEmpty ? [.createdAt] : keys.map(key)
            for (index, key) in sortKeys.enumerated() {
                terms.append((key, given.count == 1 ? given[0] : given.indices.contains(index) ? given[index] : nil))
            }
            if given.count == 1 { result.tieDirection = given[0] }
        }
        if terms.count == 1, let only = terms[0].1 { result.tieDirection = only }
        var seen: Set<ImageListQuery.SortKey> = []
        for (key, _) in terms where !seen.insert(key).inserted {
            throw ServiceError.badRequest("The sort key \(key.rawValue) is given twice.")
        }
        result.sort = terms.map { (key: $0.0, direction: $0.1 ?? .desc) }
    }

    private func key(_ text: String) throws -> ImageListQuery.SortKey {
        guard let key = ImageListQuery.SortKey(rawValue: text) else {
            let known = ImageListQuery.SortKey.allCases.map(\.rawValue).joined(separator: ", ")
            throw ServiceError.badRequest("Invalid sort key '\(text)'; there are: \(known).")
        }
        return key
    }

    private func direction(_ text: String) throws -> ImageListQuery.Direction {
        guard let direction = ImageListQuery.Direction(rawValue: text) else {
            throw ServiceError.badRequest("Invalid sort direction '\(text)'; there are: asc, desc.")
        }
        return direction
    }

    /// A link to the same list from the start, or behind a marker: relative, every other parameter kept.
    static func link(_ query: Query, marker: ImageID?, path: String = "/v2/images") -> String {
        var pairs = query.pairs.filter { $0.name != "marker" }
        if let marker { pairs.append(("marker", marker.rawValue)) }
        guard !pairs.isEmpty else { return path }
        return path + "?"
            + pairs.map { "\(Percent.encode($0.name))=\(Percent.encode($0.value))" }.joined(separator: "&")
    }
}

/// The list behind `in:`: values with commas in double quotes, backslash escapes inside them.
enum ListValues {
    /// - Throws: `ServiceError.badRequest` for bad quoting.
    static func split(_ text: Substring) throws -> [String] {
        var values: [String] = []
        var rest = text
        while true {
            var value = ""
            if rest.first == "\"" {
                rest.removeFirst()
                var isClosed = false
                while let character = rest.popFirst() {
                    if character == "\\", let escaped = rest.popFirst() {
                        value.append(escaped)
                    } else if character == "\"" {
                        isClosed = true
                        break
                    } else {
                        value.append(character)
                    }
                }
                guard isClosed, rest.isEmpty || rest.first == "," else {
                    throw ServiceError.badRequest("Invalid filter value '\(text)': the quotes do not match.")
                }
            } else {
                while let character = rest.first, character != "," {
                    guard character != "\"" else {
                        throw ServiceError.badRequest("Invalid filter value '\(text)': a quote inside a value.")
                    }
                    value.append(character)
                    rest.removeFirst()
                }
            }
            values.append(value)
            guard values.count <= ImageListParser.maxListValues else {
                throw ServiceError.badRequest("A filter takes at most \(ImageListParser.maxListValues) values.")
            }
            guard rest.popFirst() != nil else { return values }
        }
    }
}
