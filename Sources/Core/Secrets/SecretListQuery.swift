import Persistence

/// What a list asks for, typed; parsed from a query by the API.
package struct SecretListQuery: Sendable {
    package static let maxLimit: Int64 = 100

    package enum SortKey: String, Sendable, CaseIterable {
        case created, updated, name, status, algorithm
        case bitLength = "bit_length"
        case mode
        case secretType = "secret_type"
        case expiration

        /// Nil for what is the same for all that is listed.
        var column: String? {
            switch self {
            case .created: "s.created_at"
            case .updated: "s.updated_at"
            case .name, .algorithm, .mode, .bitLength, .secretType: "s.\(rawValue)"
            case .expiration: "s.expires_at"
            case .status: nil
            }
        }

        var mayBeNull: Bool {
            switch self {
            case .name, .algorithm, .mode, .bitLength, .expiration: true
            case .created, .updated, .secretType, .status: false
            }
        }
    }

    package enum Direction: String, Sendable { case asc, desc }
    package enum Comparison: String, Sendable, CaseIterable { case gt, gte, lt, lte, eq }

    package enum TimeColumn: String, Sendable, CaseIterable {
        case created, updated, expiration

        var column: String {
            switch self {
            case .created: "s.created_at"
            case .updated: "s.updated_at"
            case .expiration: "s.expires_at"
            }
        }
    }

    package enum TextColumn: String, Sendable { case name, algorithm, mode }

    package enum Filter: Sendable, Equatable {
        /// A pattern of SQL's LIKE, upper and lower case alike.
        case like(TextColumn, String)
        case bitLength(Int64)
        case type(String)
        case time(TimeColumn, Comparison, Timestamp)
    }

    package var filters: [Filter] = []
    package var sort: [(key: SortKey, direction: Direction)] = []
    /// What the caller is on the access list of, in whatever project, instead of what its project has.
    package var isACLOnly = false
    package var limit: Int64 = 10
    package var offset: Int64 = 0

    package init() {}
}

/// A list's SQL, for the page and for the number of all. Package access, so that a test can ask for its plan.
package struct SecretListStatement {
    package let page: String
    package let count: String
    /// Of `count`; `page` has limit and offset behind them.
    package private(set) var arguments: [any SQLBindable] = []
    package var pageArguments: [any SQLBindable] { arguments + [limit, offset] }
    private let limit: Int64
    private let offset: Int64

    package init(_ query: SecretListQuery, project: ProjectID, user: UserID, now: Timestamp) {
        limit = query.limit
        offset = query.offset
        var arguments: [any SQLBindable] = []
        func bind(_ value: any SQLBindable) -> String {
            arguments.append(value)
            return "$\(arguments.count)"
        }
        var conditions: [String]
        if query.isACLOnly {
            conditions = ["s.id IN (SELECT u.resource_id FROM secret_acl_users u WHERE u.user_id = \(bind(user)))"]
        } else {
            conditions = ["s.project = \(bind(project))"]
        }
        conditions.append(SecretRow.isThere(bind(now)))
        conditions += query.filters.map { Self.condition($0, bind) }
        let source = "FROM secrets s WHERE " + conditions.joined(separator: " AND ")
        count = "SELECT COUNT(*) " + source
        page =
            "SELECT \(SecretRow.columns) \(source) ORDER BY \(Self.order(query.sort)) "
            + "LIMIT $\(arguments.count + 1) OFFSET $\(arguments.count + 2)"
        self.arguments = arguments
    }

    private static func condition(
        _ filter: SecretListQuery.Filter, _ bind: (any SQLBindable) -> String
    ) -> String {
        switch filter {
        case .like(let column, let pattern):
            // PostgreSQL's LIKE tells case apart, SQLite's does not; and only PostgreSQL's has an escape by itself,
            // with which a pattern must not end.
            return "LOWER(s.\(column.rawValue)) LIKE LOWER(\(bind(Self.whole(pattern)))) ESCAPE '\\'"
        case .bitLength(let bits): return "s.bit_length = \(bind(bits))"
        case .type(let type): return "s.secret_type = \(bind(type))"
        case .time(let column, let comparison, let value): return time(column.column, comparison, value, bind)
        }
    }

    static func whole(_ pattern: String) -> String {
        let escapes = pattern.utf8.reversed().prefix { $0 == UInt8(ascii: "\\") }.count
        return escapes.isMultiple(of: 2) ? pattern : pattern + "\\"
    }

    /// Times are shown in whole seconds, so they are compared as such.
    private static func time(
        _ column: String, _ comparison: SecretListQuery.Comparison, _ value: Timestamp,
        _ bind: (any SQLBindable) -> String
    ) -> String {
        let start = Timestamp(seconds: value.seconds)
        let end = start.adding(seconds: 1)
        switch comparison {
        case .gt: return "\(column) >= \(bind(end))"
        case .gte: return "\(column) >= \(bind(start))"
        case .lt: return "\(column) < \(bind(start))"
        case .lte: return "\(column) < \(bind(end))"
        case .eq: return "(\(column) >= \(bind(start)) AND \(column) < \(bind(end)))"
        }
    }

    /// A total order, and without a wish the index's own. Null comes first, as it does for Barbican's clients.
    private static func order(_ sort: [(key: SecretListQuery.SortKey, direction: SecretListQuery.Direction)]) -> String
    {
        var terms = sort.compactMap { term -> String? in
            guard let column = term.key.column else { return nil }
            let nulls = !term.key.mayBeNull ? "" : term.direction == .asc ? " NULLS FIRST" : " NULLS LAST"
            return "\(column) \(term.direction == .asc ? "ASC" : "DESC")\(nulls)"
        }
        let last = sort.last?.direction == .desc ? "DESC" : "ASC"
        if !sort.contains(where: { $0.key == .created }) { terms.append("s.created_at \(last)") }
        terms.append("s.id \(last)")
        return terms.joined(separator: ", ")
    }
}
