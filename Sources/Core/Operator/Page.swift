import Persistence

/// Where a page of a list in order of time ended. It holds what the list is ordered by, not the name of a
/// row: what the operator pages through comes and goes, and the row may be gone by the next page.
package struct PageMarker: Sendable, Equatable {
    package let time: Timestamp
    /// Tells rows of one moment apart.
    package let id: String

    package init(_ time: Timestamp, _ id: String) {
        self.time = time
        self.id = id
    }

    /// From `MICROSECONDS.ID`; nil when it is no such text.
    package init?(_ text: String) {
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[1].isEmpty, parts[0].utf8.allSatisfy({ (48...57).contains($0) }),
            let microseconds = Int64(parts[0])
        else { return nil }
        self.init(Timestamp(microseconds: microseconds), String(parts[1]))
    }

    package var text: String { "\(time.microseconds).\(id)" }
}

/// Which part of a list is wanted.
package struct PageRequest: Sendable {
    package static let standardLimit = 100
    package static let maxLimit = 1000

    package var limit: Int
    package var after: PageMarker?

    package init(limit: Int = standardLimit, after: PageMarker? = nil) {
        self.limit = limit
        self.after = after
    }
}

/// A part of a list.
package struct Page<Entry: Sendable>: Sendable {
    package let entries: [Entry]
    /// Where the next one begins; nil when there is none.
    package let next: PageMarker?

    /// - Parameter found: one entry more than asked for, if there are as many.
    init(_ found: [Entry], _ request: PageRequest, marker: (Entry) -> PageMarker) {
        entries = Array(found.prefix(request.limit))
        next = found.count > request.limit ? entries.last.map(marker) : nil
    }
}

/// A statement put together from parts, with its arguments numbered as they come. Package access, so that
/// a test can ask the engine for its plan.
package struct ListStatement: Sendable {
    package private(set) var sql: String
    package private(set) var arguments: [any SQLBindable] = []
    private var hasCondition = false

    init(_ select: String) { sql = select }

    mutating func bind(_ value: any SQLBindable) -> String {
        arguments.append(value)
        return "$\(arguments.count)"
    }

    mutating func add(_ text: String) { sql += " " + text }

    mutating func condition(_ text: String) {
        add((hasCondition ? "AND " : "WHERE ") + text)
        hasCondition = true
    }

    /// Order, position and length of a page: a comparison of rows, which an index can seek to.
    mutating func page(_ request: PageRequest, by columns: [String], after values: [any SQLBindable]?) {
        let order = columns.joined(separator: ", ")
        if let values { condition("(\(order)) > (\(values.map { bind($0) }.joined(separator: ", ")))") }
        add("ORDER BY \(order) LIMIT \(bind(request.limit + 1))")
    }
}
