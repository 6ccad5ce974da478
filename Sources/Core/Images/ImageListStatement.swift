import Persistence

/// One set of images the caller sees, as the beginning of an index. No image is in two arms of a list.
package struct ImageListArm: Sendable, Equatable {
    package enum Source: Sendable, Equatable {
        /// Everybody's of a visibility.
        case all(Image.Visibility)
        /// A project's of a visibility.
        case owned(ProjectID, Image.Visibility)
        /// Others' images that are shared with the project; of one other, if that is all that is asked for.
        case sharedWith(ProjectID, ImageMember.Status, owner: ProjectID?)
    }
    package let source: Source

    /// Whether an index holds the arm's images in order.
    package var isIndexed: Bool { if case .sharedWith = source { false } else { true } }

    package static func arms(of query: ImageListQuery, project: ProjectID, isAdmin: Bool) -> [ImageListArm] {
        var sources = sources(query, project, isAdmin)
        // A filter by owner is not tried on every image: it chooses the arms.
        for case .text(.owner, let owners) in query.filters where owners.count == 1 {
            let owner = ProjectID(owners[0])
            sources = sources.compactMap { source in
                switch source {
                case .all(let visibility): .owned(owner, visibility)
                case .owned(let project, _): project == owner ? source : nil
                case .sharedWith(let project, let status, _):
                    project == owner ? nil : .sharedWith(project, status, owner: owner)
                }
            }
        }
        return sources.map(ImageListArm.init(source:))
    }

    private static func sources(_ query: ImageListQuery, _ project: ProjectID, _ isAdmin: Bool) -> [Source] {
        // A status each, for an index has each in order.
        let statuses = query.memberStatus.map { [$0] } ?? ImageMember.Status.allCases
        let shared = statuses.map { Source.sharedWith(project, $0, owner: nil) }
        switch (query.scope, isAdmin) {
        case (.standard, true): return [.all(.public), .all(.shared), .all(.private), .owned(project, .community)]
        case (.all, true): return Image.Visibility.allCases.map { .all($0) }
        case (.only(let visibility), true): return [.all(visibility)]
        case (.standard, false):
            return [
                .owned(project, .private), .owned(project, .shared), .owned(project, .community), .all(.public),
            ] + shared
        case (.all, false):
            return [.owned(project, .private), .owned(project, .shared), .all(.community), .all(.public)] + shared
        case (.only(.public), false): return [.all(.public)]
        case (.only(.community), false): return [.all(.community)]
        case (.only(.private), false): return [.owned(project, .private)]
        case (.only(.shared), false): return [.owned(project, .shared)] + shared
        }
    }
}

/// SQL that finds images of a list, in its order. The arms are read side by side, each from an index of its own and
/// no further than the page (`MERGE (UNION ALL)` in SQLite's plans, `Merge Append` in PostgreSQL's).
package struct ImageListStatement {
    package private(set) var sql = ""
    package private(set) var arguments: [any SQLBindable] = []

    private let order: ImageListOrder
    /// Whether the images are sorted after they were found: then no planner may find them by their order.
    private let isSorted: Bool
    private var hidden = ""
    /// Whether the arm that is being written is read from the shares, in the order of their images' age.
    private var isSharesFirst = false
    /// What is selected beside the record because it is sorted by, and where each term of the order is in the result.
    private var extraColumns: [String] = []
    private var orderPositions: [Int] = []
    /// Where a walk tells whether an image fits, counted from 0.
    package var fitsColumn: Int { ImageRow.count + extraColumns.count }

    private init(_ query: ImageListQuery, isSorted: Bool = false) {
        order = ImageListOrder(query)
        self.isSorted = isSorted
        hidden = bind(query.isHidden)
        for term in order.terms {
            if !isSorted, let position = term.column.position {
                orderPositions.append(position)
            } else {
                extraColumns.append(sql(of: term))
                orderPositions.append(ImageRow.count + extraColumns.count)
            }
        }
    }

    private func sql(of term: ImageListOrder.Term) -> String {
        let sql = isSorted ? term.column.hiddenSQL : term.column.sql
        return isSharesFirst ? Self.ofShares[sql] ?? sql : sql
    }

    /// What a share has of its image, so that a walk over shares is in order.
    private static let ofShares = ["i.id": "m.image_id", "i.created_at": "m.image_created_at"]
    private static let columnsOfShares =
        ImageRow.columns.split(separator: ", ").map { ofShares[String($0)] ?? String($0) }.joined(separator: ", ")

    mutating func bind(_ value: any SQLBindable) -> String {
        arguments.append(value)
        return "$\(arguments.count)"
    }

    // MARK: the three ways

    /// Walks the arms in order.
    /// - Parameters:
    ///   - pinned: a filter that the arms' indexes have before the order: every image walked over fits it.
    ///   - bounds: filters by what the order begins with: they end the walk early, or have it begin late.
    ///   - told: filters whose outcome is told with each image, in the last column, instead of leaving images out.
    ///   - limit: how many images are walked over.
    package static func walk(
        _ arms: [ImageListArm], _ query: ImageListQuery, pinned: ImageListPin? = nil,
        bounds: [ImageListQuery.Filter] = [], told: [ImageListQuery.Filter] = [], marker: Image?, limit: Int
    ) -> ImageListStatement {
        var statement = ImageListStatement(query)
        let fits = told.map { statement.condition(of: $0) }.joined(separator: " AND ")
        let bounds = bounds.compactMap { statement.armCondition(of: $0) }
        var pins: [String?] = []
        for value in pinned?.values ?? [] { pins.append("\(pinned!.column.sql) = \(statement.bind(value))") }
        if pins.isEmpty { pins = [nil] }
        var selects: [String] = []
        for arm in arms {
            statement.isSharesFirst = statement.order.isByAge && !arm.isIndexed
            let positions = statement.positions(after: marker, without: pinned)
            let base = statement.condition(of: arm, isFound: true)
            for pin in pins {
                for position in positions {
                    let all = base + [pin, position].compactMap(\.self) + bounds
                    selects.append(statement.select(all, fits: told.isEmpty ? nil : fits))
                }
            }
        }
        statement.finish(selects, limit: limit)
        return statement
    }

    /// Finds images by a filter, and sorts those that the caller sees. Nil when nothing can be found by the filter.
    package static func driven(
        by filter: ImageListQuery.Filter, _ arms: [ImageListArm], _ query: ImageListQuery,
        rest: [ImageListQuery.Filter], marker: Image?, limit: Int
    ) -> ImageListStatement? {
        var statement = ImageListStatement(query, isSorted: true)
        let driver = statement.drivingCondition(of: filter)
        guard let condition = driver ?? statement.armCondition(of: filter) else { return nil }
        // Of an arm's index the filter itself too: there, what is absent counts as empty.
        var conditions = (driver == nil ? [filter] + rest : rest).map { statement.condition(of: $0) }
        let positions = statement.positions(after: marker, without: nil).compactMap(\.self)
        if !positions.isEmpty { conditions.append("(\(positions.map { "(\($0))" }.joined(separator: " OR ")))") }
        var selects: [String] = []
        if driver == nil {
            for arm in arms {
                let base = statement.condition(of: arm, isFound: true)
                selects.append(statement.select(base + [condition] + conditions, fits: nil))
            }
        } else {
            let seen = arms.map { "(\(statement.condition(of: $0, isFound: false).joined(separator: " AND ")))" }
            let all = [condition, "i.deleted_at IS NULL", "(\(seen.joined(separator: " OR ")))"] + conditions
            selects.append(statement.select(all, fits: nil))
        }
        statement.finish(selects, limit: limit)
        return statement
    }

    /// Counts what a filter would find, up to a limit. Nil when nothing can be found by it.
    package static func count(
        of filter: ImageListQuery.Filter, _ arms: [ImageListArm], _ query: ImageListQuery, limit: Int
    ) -> ImageListStatement? {
        var statement = ImageListStatement(counting: query)
        if let driver = statement.countedCondition(of: filter) {
            statement.sql = "SELECT COUNT(*) FROM (SELECT 1 FROM \(driver) LIMIT \(statement.bind(limit))) found"
            return statement
        }
        statement = ImageListStatement(query)
        guard let driver = statement.armCondition(of: filter) else { return nil }
        var selects: [String] = []
        for arm in arms where arm.isIndexed {
            let all = statement.condition(of: arm, isFound: true) + [driver]
            selects.append("SELECT 1 FROM images i WHERE \(all.joined(separator: " AND "))")
        }
        // Shares alone are few enough.
        guard !selects.isEmpty else { return nil }
        let limit = statement.bind(limit)
        statement.sql = "SELECT COUNT(*) FROM (\(selects.joined(separator: " UNION ALL ")) LIMIT \(limit)) found"
        return statement
    }

    // MARK: parts

    /// Binds nothing yet.
    private init(counting query: ImageListQuery) {
        order = ImageListOrder(query)
        isSorted = true
    }

    private mutating func countedCondition(of filter: ImageListQuery.Filter) -> String? {
        switch filter {
        case .tag(let tag): "image_tags t WHERE t.tag = \(bind(tag))"
        case .property(let name, let value):
            "image_properties p WHERE p.name = \(bind(name)) AND p.value = \(bind(value))"
        default: drivingCondition(of: filter).map { "images i WHERE i.deleted_at IS NULL AND \($0)" }
        }
    }

    /// - Parameter isFound: whether the images are to be found by being in the arm; otherwise only asked whether they
    ///   are, behind expressions, so that no planner finds them by it.
    private mutating func condition(of arm: ImageListArm, isFound: Bool) -> [String] {
        let (owner, visibility) = isFound ? ("i.owner", "i.visibility") : ("i.owner || ''", "i.visibility || ''")
        let shown = ["i.deleted_at IS NULL", "\(isFound ? "i.os_hidden" : "i.os_hidden + 0") = \(hidden)"]
        switch arm.source {
        case .all(let value):
            return shown + ["\(visibility) = \(bind(value.rawValue))"]
        case .owned(let project, let value):
            return shown + ["\(owner) = \(bind(project))", "\(visibility) = \(bind(value.rawValue))"]
        case .sharedWith(let project, let status, let owner):
            let project = bind(project)
            let member = "m.member = \(project) AND m.status = \(bind(status.rawValue))"
            let isShared =
                isFound && isSharesFirst
                ? member + " AND i.id = m.image_id" : "i.id IN (SELECT m.image_id FROM image_members m WHERE \(member))"
            return [
                "i.deleted_at IS NULL", "i.os_hidden + 0 = \(hidden)", isShared,
                "i.visibility || '' = '\(Image.Visibility.shared.rawValue)'",
                owner.map { "i.owner || '' = \(bind($0))" } ?? "(i.owner IS NULL OR i.owner || '' <> \(project))",
            ]
        }
    }

    /// Behind the marker, as conditions of which each image fits at most one and each one is a part of an index.
    /// - Parameter pin: a column that is the same in all images.
    private mutating func positions(after marker: Image?, without pin: ImageListPin?) -> [String?] {
        guard let marker else { return [nil] }
        let terms = order.terms.filter { $0.column != pin?.column }
        let values = terms.map { bind($0.column.value(of: marker)) }
        let columns = terms.map { sql(of: $0) }
        // With two directions there is no comparison of rows that an index understands.
        if order.isOneWay { return [Self.comparison(columns[...], terms[0].behind, values[...])] }
        return terms.indices.map { index in
            let same = terms[..<index].indices.map { "\(columns[$0]) = \(values[$0])" }
            return (same + ["\(columns[index]) \(terms[index].behind) \(values[index])"]).joined(separator: " AND ")
        }
    }

    private static func comparison(
        _ columns: ArraySlice<String>, _ behind: String, _ values: ArraySlice<String>
    ) -> String {
        if columns.count == 1 { return "\(columns[columns.startIndex]) \(behind) \(values[values.startIndex])" }
        return "(\(columns.joined(separator: ", "))) \(behind) (\(values.joined(separator: ", ")))"
    }

    private func select(_ conditions: [String], fits: String?) -> String {
        let record = isSharesFirst ? Self.columnsOfShares : ImageRow.columns
        var columns = ([record] + extraColumns).joined(separator: ", ")
        if let fits { columns += ", CASE WHEN \(fits) THEN 1 ELSE 0 END" }
        // A cross join is made in the order in which it is written.
        let source = isSharesFirst ? "image_members m CROSS JOIN images i" : "images i"
        return "SELECT \(columns) FROM \(source) WHERE \(conditions.joined(separator: " AND "))"
    }

    private mutating func finish(_ selects: [String], limit: Int) {
        let terms = zip(orderPositions, order.terms).map { "\($0) \($1.direction == .asc ? "ASC" : "DESC")" }
        sql = """
            \(selects.joined(separator: " UNION ALL ")) ORDER BY \(terms.joined(separator: ", ")) LIMIT \(bind(limit))
            """
    }
}

/// A filter by equality that the arms' indexes have before created_at and id.
package struct ImageListPin: Sendable {
    let column: ImageListOrder.Column
    let values: [any SQLBindable]
}
