import Persistence

/// Finds a page of a list, so that it costs what it returns, however many images there are.
///
/// What the caller sees are several sets of images, the *arms*, each of which an index holds in every order that one
/// can ask for. Without filters a page is a short walk over them. A filter by equality on a column of these indexes is
/// a part of the walk. Whatever else is filtered by is either common, then a short walk finds enough, or rare, then an
/// index finds all of it: the walk is tried first, unless the filter is known to find next to nothing.
package struct ImageListSearch: Sendable {
    /// So few images are looked at without having tried a walk.
    static let fewImages = 200
    /// How many images a walk looks at in vain before it is given up.
    static let walkedImages = 1000
    /// So many images are sorted at most; of more of them a walk must come across enough.
    static let sortedImages = 20_000
    /// A filter of so many values at most is a part of the walk: each value of each arm is a walk of its own.
    private static let pinnedValues = 8

    private let query: ImageListQuery
    private let marker: Image?
    private let arms: [ImageListArm]
    private let order: ImageListOrder
    private var pinned: ImageListPin?
    private var bounds: [ImageListQuery.Filter] = []
    /// Filters that say of each image whether it fits.
    private var told: [ImageListQuery.Filter] = []

    package init(_ query: ImageListQuery, project: ProjectID, isAdmin: Bool, marker: Image?) {
        self.query = query
        self.marker = marker
        arms = ImageListArm.arms(of: query, project: project, isAdmin: isAdmin)
        order = ImageListOrder(query)
        var rest = query.filters.filter { filter in
            if case .text(.owner, let values) = filter { values.count != 1 } else { true }
        }
        let best = rest.indices.compactMap { index in pin(rest[index]).map { (index, $0) } }
            .min { Self.rank($0.1) < Self.rank($1.1) }
        if let (index, pin) = best {
            pinned = pin
            rest.remove(at: index)
        }
        let first = order.terms.first { $0.column != pinned?.column }?.column.key
        for filter in rest {
            switch filter {
            case .time(let column, let comparison, _) where comparison != .neq && column.rawValue == first?.rawValue:
                bounds.append(filter)
            case .number(.size, let comparison, _) where comparison != .neq && first == .size:
                bounds.append(filter)
                told.append(filter)
            default:
                told.append(filter)
            }
        }
    }

    /// A filter as a part of the walk; nil when it cannot be one.
    private func pin(_ filter: ImageListQuery.Filter) -> ImageListPin? {
        let key: ImageListQuery.SortKey
        let values: [any SQLBindable]
        switch filter {
        case .text(let column, let texts):
            // An absent text is an empty one in the index, but not for the filter.
            guard let own = ImageListQuery.SortKey(rawValue: column.rawValue), own != .id, !texts.contains("") else {
                return nil
            }
            (key, values) = (own, Set(texts).sorted())
        case .number(.size, .eq, let size) where size != 0:
            (key, values) = (.size, [size])
        default:
            return nil
        }
        guard order.isIndexed, values.count <= Self.pinnedValues else { return nil }
        let pin = ImageListPin(column: .init(key: key), values: values)
        if order.terms.map(\.column.key) == [.createdAt, .id] { return pin }
        guard order.terms[0].column.key == key, values.count == 1 else { return nil }
        return marker.map { pin.column.value(of: $0).sqlValue == values[0].sqlValue } ?? true ? pin : nil
    }

    /// What tells images apart best comes first.
    private static func rank(_ pin: ImageListPin) -> Int {
        switch pin.column.key {
        case .name: 0
        case .size: 1
        default: 2
        }
    }

    package func run(in db: any SQLConnection) throws -> [Image] {
        if arms.isEmpty { return [] }
        if told.isEmpty { return try walk(in: db, limit: query.limit).found }
        if let driver = try driver(finding: Self.fewImages, in: db) { return try images(driver, in: db) }
        if order.isIndexed {
            let (found, isWhole) = try walk(in: db, limit: Self.walkedImages + query.limit)
            if isWhole { return found }
        }
        if let driver = try driver(finding: Self.sortedImages, in: db) { return try images(driver, in: db) }
        return try walk(in: db, limit: Int(Int32.max)).found
    }

    /// What the walk asks for, in its last form: for the tests of plans.
    package var walkStatement: ImageListStatement { walkStatement(limit: query.limit) }

    private func walkStatement(limit: Int) -> ImageListStatement {
        .walk(arms, query, pinned: pinned, bounds: bounds, told: told, marker: marker, limit: limit)
    }

    /// - Returns: the page, and whether nothing of it is missing.
    private func walk(in db: any SQLConnection, limit: Int) throws -> (found: [Image], isWhole: Bool) {
        struct Enough: Error {}
        let statement = walkStatement(limit: limit)
        var found: [Image] = []
        found.reserveCapacity(min(query.limit, 1000))
        var walked = 0
        do {
            try db.forEachRow(statement.sql, statement.arguments) { row in
                walked += 1
                if !told.isEmpty, try !row.get(statement.fitsColumn, as: Bool.self) { return }
                found.append(try ImageRow.read(row))
                if found.count == query.limit { throw Enough() }
            }
        } catch is Enough {
            return (found, true)
        }
        return (found, walked < limit)
    }

    /// The filter that finds the fewest images, if it finds no more than so many.
    package func driver(finding limit: Int, in db: any SQLConnection) throws -> ImageListQuery.Filter? {
        var best: (filter: ImageListQuery.Filter, count: Int)?
        for filter in told {
            if case .text(.id, let ids) = filter, ids.count <= limit { return filter }
            guard let statement = ImageListStatement.count(of: filter, arms, query, limit: limit + 1) else { continue }
            let count = try db.query(statement.sql, statement.arguments) { try $0.get(0, as: Int.self) }.first ?? 0
            if count <= limit, count < best?.count ?? .max { best = (filter, count) }
            if count == 0 { break }
        }
        return best?.filter
    }

    private func images(_ driver: ImageListQuery.Filter, in db: any SQLConnection) throws -> [Image] {
        guard let statement = drivenStatement(by: driver) else {
            preconditionFailure("a filter was counted that finds nothing")
        }
        return try db.query(statement.sql, statement.arguments, row: ImageRow.read)
    }

    /// - Returns: nil when the filter has no index.
    package func drivenStatement(by driver: ImageListQuery.Filter) -> ImageListStatement? {
        ImageListStatement.driven(
            by: driver, arms, query, rest: otherFilters(than: driver), marker: marker, limit: query.limit)
    }

    private func otherFilters(than driver: ImageListQuery.Filter) -> [ImageListQuery.Filter] {
        query.filters.filter { filter in
            if filter == driver { return false }
            if case .text(.owner, let values) = filter { return values.count != 1 }
            return true
        }
    }
}
