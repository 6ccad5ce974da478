import Persistence

/// What a list of namespaces asks for.
package struct MetadefNamespaceQuery: Sendable {
    package enum SortKey: String, Sendable, CaseIterable {
        case createdAt = "created_at"
        case updatedAt = "updated_at"
        case namespace
        case displayName = "display_name"
        case owner, visibility, protected

        var sql: String {
            switch self {
            case .createdAt: "n.created_at"
            case .updatedAt: "n.updated_at"
            case .namespace: "n.name"
            case .displayName: "COALESCE(n.display_name, '')"
            case .owner: "n.owner"
            case .visibility: "n.visibility"
            case .protected: "n.protected"
            }
        }

        func value(_ namespace: MetadefNamespace) -> any SQLBindable {
            switch self {
            case .createdAt: namespace.createdAt
            case .updatedAt: namespace.updatedAt
            case .namespace: namespace.name
            case .displayName: namespace.displayName ?? ""
            case .owner: namespace.owner
            case .visibility: namespace.visibility.rawValue
            case .protected: namespace.isProtected
            }
        }
    }

    package var limit: Int
    /// The name of the last namespace of the page before.
    package var marker: String?
    package var sortKey = SortKey.createdAt
    package var isAscending = false
    package var visibility: MetadefNamespace.Visibility?
    /// Only namespaces associated with one of these.
    package var resourceTypes: [String]?

    package init(limit: Int) { self.limit = limit }
}

/// Which part of a namespace's objects or tags is wanted, and in which order.
package struct MetadefContentQuery: Sendable {
    package enum SortKey: String, Sendable, CaseIterable {
        case createdAt = "created_at"
        case updatedAt = "updated_at"
        case name
    }

    /// Nil: all of them.
    package var limit: Int?
    package var marker: String?
    /// Nil: in the order in which they came.
    package var sortKey: SortKey?
    package var isAscending: Bool

    package init(sortKey: SortKey?, isAscending: Bool) {
        self.sortKey = sortKey
        self.isAscending = isAscending
    }

    package static let inOrder = MetadefContentQuery(sortKey: nil, isAscending: true)
}

/// One page of a list of namespaces, with what each is associated with.
package struct MetadefNamespacePage: Sendable {
    package let namespaces: [(namespace: MetadefNamespace, associations: [MetadefAssociation])]
    /// Whether a further page may exist: this one is full.
    package let isFull: Bool
}

extension Metadefs {
    /// `GET /v2/metadefs/namespaces`: a page of what the caller may see.
    /// - Throws: `ServiceError.forbidden`, `.notFound` (the marker).
    package func namespaces(_ query: MetadefNamespaceQuery, as caller: Caller) async throws -> MetadefNamespacePage {
        let project = try MetadefPolicy.require(.getNamespaces, caller)
        return try await database.read { db in
            let marker = try query.marker.map { try namespace($0, .getNamespace, caller, in: db) }
            var statement = ListStatement("SELECT \(MetadefNamespaceRow.columns) FROM metadef_namespaces n")
            if !caller.isAdmin {
                statement.condition("(n.owner = \(statement.bind(project)) OR n.visibility = 'public')")
            }
            if let visibility = query.visibility {
                statement.condition("n.visibility = \(statement.bind(visibility.rawValue))")
            }
            if let types = query.resourceTypes {
                let list = types.map { statement.bind($0) }.joined(separator: ", ")
                statement.condition(
                    "n.id IN (SELECT a.namespace_id FROM metadef_associations a WHERE a.resource_type IN (\(list)))")
            }
            statement.page(
                [query.sortKey.sql, "n.name"], isAscending: query.isAscending,
                after: marker.map { [query.sortKey.value($0), $0.name] }, limit: query.limit)
            let found = try db.query(statement.sql, statement.arguments, row: MetadefNamespaceRow.read)
            let namespaces = try found.map { (namespace: $0, associations: try db.associations(in: $0.id)) }
            return MetadefNamespacePage(
                namespaces: namespaces, isFull: !found.isEmpty && found.count == query.limit)
        }
    }
}

extension ListStatement {
    /// Order, position and length of a page. The columns together tell any two rows apart.
    mutating func page(
        _ columns: [String], isAscending: Bool, after values: [any SQLBindable]?, limit: Int?
    ) {
        if let values {
            let marker = values.map { bind($0) }.joined(separator: ", ")
            condition("(\(columns.joined(separator: ", "))) \(isAscending ? ">" : "<") (\(marker))")
        }
        add("ORDER BY " + columns.map { "\($0) \(isAscending ? "ASC" : "DESC")" }.joined(separator: ", "))
        if let limit { add("LIMIT \(bind(limit))") }
    }

    /// A part of a namespace's objects or tags.
    /// - Returns: nil if the marker is none of them.
    static func contents(
        _ columns: String, from table: String, in id: MetadefNamespaceID, _ query: MetadefContentQuery,
        in db: any SQLConnection
    ) throws -> ListStatement? {
        let order = [query.sortKey?.rawValue, "position"].compactMap { $0 }
        var statement = ListStatement("SELECT \(columns) FROM \(table)")
        statement.condition("namespace_id = \(statement.bind(id))")
        var after: [any SQLBindable]?
        if let marker = query.marker {
            after = try db.first(
                "SELECT \(order.joined(separator: ", ")) FROM \(table) WHERE namespace_id = $1 AND name = $2", id,
                marker
            ) { row in order.indices.map { row.value($0) } }
            guard after != nil else { return nil }
        }
        statement.page(order, isAscending: query.isAscending, after: after, limit: query.limit)
        return statement
    }
}

extension SQLConnection {
    /// Where the next object or tag of a namespace goes: behind the others.
    func nextPosition(in table: String, of id: MetadefNamespaceID) throws -> Int {
        try first("SELECT COALESCE(MAX(position), 0) + 1 FROM \(table) WHERE namespace_id = $1", id) {
            try $0.get(0, as: Int.self)
        } ?? 1
    }
}
