import Persistence

/// Which part of a list of the Key Manager API is wanted: its clients count entries.
package struct KeyPageRequest: Sendable, Equatable {
    package let limit: Int64
    package let offset: Int64

    package init(limit: Int64 = 10, offset: Int64 = 0) {
        self.limit = limit
        self.offset = offset
    }
}

/// A part of a list, and how long the whole is.
package struct KeyPage<Entry: Sendable>: Sendable {
    package let entries: [Entry]
    package let total: Int64
}

extension SQLConnection {
    /// - Parameters:
    ///   - from: what stands behind FROM, conditions included, with `$1`, `$2`, … for `arguments`.
    ///   - order: columns that tell any two entries apart.
    func page<Entry: Sendable>(
        _ request: KeyPageRequest, select: String, from: String, orderedBy order: String,
        _ arguments: [any SQLBindable], row: (any SQLRow) throws -> Entry
    ) throws -> KeyPage<Entry> {
        let total = try query("SELECT COUNT(*) FROM \(from)", arguments) { try $0.get(0, as: Int64.self) }.first ?? 0
        let count = arguments.count
        let entries = try query(
            "SELECT \(select) FROM \(from) ORDER BY \(order) LIMIT $\(count + 1) OFFSET $\(count + 2)",
            arguments + [request.limit, request.offset], row: row)
        return KeyPage(entries: entries, total: total)
    }
}
