import Persistence

/// One page of a list.
package struct ImagePage: Sendable {
    package let images: [ImageView]
    /// The last image that was looked at, shown or not: where the next page begins.
    package let last: ImageID?
    /// Whether a further page may exist: this one is full.
    package let isFull: Bool
}

extension Images {
    /// `GET /v2/images`: a page of what the caller may see.
    ///
    /// The caller sees several sets: its own images, the public ones, those shared with it. One query
    /// over all of them would sort every visible image for each page. So each set is an *arm*, read in
    /// sort order from an index of its own and only as far as the page needs; the arms are then merged.
    /// - Throws: `ServiceError.badRequest` when the marker is no image the caller can see.
    package func list(_ query: ImageListQuery, as caller: Caller) async throws -> ImagePage {
        try settings.policy.require(.getImages, caller, ImageTarget(listing: caller.projectID))
        guard let project = caller.projectID else { return ImagePage(images: [], last: nil, isFull: false) }
        return try await database.read { db in
            let marker = try query.marker.map { id -> Image in
                guard let image = try db.image(id), try isSeen(image, by: caller, in: db) else {
                    throw ServiceError.badRequest("Invalid marker: image \(id) is not there, or not yours to see.")
                }
                return image
            }
            guard query.limit > 0 else { return ImagePage(images: [], last: nil, isFull: false) }
            var found: [Image] = []
            var seen: Set<ImageID> = []
            for arm in ImageListArm.arms(of: query, project: project, isAdmin: caller.isAdmin) {
                let statement = ImageListStatement(arm: arm, query: query, marker: marker)
                try db.forEachRow(statement.sql, statement.arguments) { row in
                    let image = try ImageRow.read(row)
                    if seen.insert(image.id).inserted { found.append(image) }
                }
            }
            let order = ImageListOrder(query)
            found.sort(by: order.precedes)
            return try page(of: found.prefix(query.limit), of: query, as: caller, in: db)
        }
    }

    /// A page may end early: a thousand images with all the properties there may be are a quarter of a
    /// gigabyte. `next` then leads on as ever.
    private func page(
        of found: ArraySlice<Image>, of query: ImageListQuery, as caller: Caller, in db: any SQLConnection
    ) throws -> ImagePage {
        var views: [ImageView] = []
        var last: ImageID?
        var count = 0
        var bytes = 0
        var rest = found
        while !rest.isEmpty, bytes < Self.pageBytes {
            var part = Array(rest.prefix(Self.pagePart))
            rest = rest.dropFirst(Self.pagePart)
            try db.completeImages(&part)
            for image in part {
                bytes += image.properties.reduce(600) { $0 + $1.key.utf8.count + ($1.value?.utf8.count ?? 0) }
                count += 1
                last = image.id
                guard let shown = try shown(image, by: query, to: caller, in: db) else { continue }
                views.append(ImageView(image: shown, stores: try stores(of: image, in: db)))
            }
        }
        return ImagePage(images: views, last: last, isFull: count == query.limit || !rest.isEmpty)
    }

    /// As SQL finds images: before any rule of the operator's.
    private func isSeen(_ image: Image, by caller: Caller, in db: any SQLConnection) throws -> Bool {
        ImageStanding(image, isMember: try isMember(caller, of: image, in: db), of: caller).isSeen(by: caller)
    }

    /// An image that the list found, as the caller may see it; nil when a rule of the operator's hides it, or when it
    /// was found by a property that is hidden.
    private func shown(
        _ image: Image, by query: ImageListQuery, to caller: Caller, in db: any SQLConnection
    ) throws -> Image? {
        let policy = settings.policy
        guard policy.decidesImageByImage || policy.protections != nil else { return image }
        let standing = ImageStanding(image, isMember: try isMember(caller, of: image, in: db), of: caller)
        guard policy.allows(.getImage, caller, standing, ImageTarget(image, standing, caller)) else { return nil }
        let properties = policy.properties(of: image, standing, for: caller)
        for case .property(let name, _) in query.filters where !properties.allows(.read, name) { return nil }
        return properties.readable(image)
    }

    private static let pageBytes = 4 << 20
    /// How many images' properties are read at once.
    private static let pagePart = 25
}

/// One set of images the caller sees, as a condition that an index begins with.
package struct ImageListArm: Sendable, Equatable {
    /// FROM clause and condition; `$n` are numbered by the statement.
    package enum Source: Sendable, Equatable {
        case everything
        case everythingButCommunityOfOthers(ProjectID)
        case owned(ProjectID)
        case visibility(Image.Visibility)
        case ownedWith(ProjectID, Image.Visibility)
        case sharedWith(ProjectID, ImageMember.Status?)
    }
    package let source: Source

    /// Whether an index holds the arm's images in this order (`ImageMigrations`).
    func isOrdered(by key: ImageListQuery.SortKey?) -> Bool {
        switch source {
        case .everything, .everythingButCommunityOfOthers: true
        case .sharedWith: false
        case .owned, .visibility, .ownedWith: key == .createdAt || key == .name
        }
    }

    package static func arms(of query: ImageListQuery, project: ProjectID, isAdmin: Bool) -> [ImageListArm] {
        let shared = Source.sharedWith(project, query.memberStatus)
        let sources: [Source]
        switch (query.scope, isAdmin) {
        case (.standard, true): sources = [.everythingButCommunityOfOthers(project)]
        case (.all, true): sources = [.everything]
        case (.only(let visibility), true): sources = [.visibility(visibility)]
        case (.standard, false): sources = [.owned(project), .visibility(.public), shared]
        case (.all, false): sources = [.owned(project), .visibility(.public), .visibility(.community), shared]
        case (.only(.public), false): sources = [.visibility(.public)]
        case (.only(.community), false): sources = [.visibility(.community)]
        case (.only(.private), false): sources = [.ownedWith(project, .private)]
        case (.only(.shared), false): sources = [.ownedWith(project, .shared), shared]
        }
        return sources.map(ImageListArm.init(source:))
    }
}

/// The SQL of one arm of one page.
package struct ImageListStatement {
    package private(set) var sql = ""
    package private(set) var arguments: [any SQLBindable] = []

    package init(arm: ImageListArm, query: ImageListQuery, marker: Image?) {
        let order = ImageListOrder(query)
        var conditions = ["i.deleted_at IS NULL"]
        // Behind an expression, where the arm has no index in this order: no planner may then walk all
        // images in sort order to find the arm's few.
        let hidden = arm.isOrdered(by: query.sort.first?.key) ? "i.os_hidden =" : "i.os_hidden + 0 ="
        conditions += [bindingCondition(hidden, query.isHidden)]
        conditions += condition(of: arm.source)
        for filter in query.filters { conditions.append(condition(of: filter)) }
        if let marker { conditions.append(position(after: marker, order)) }
        let terms = order.terms.map { "\($0.column.sql) \($0.direction == .asc ? "ASC" : "DESC")" }
        sql = """
            SELECT \(ImageRow.columns) FROM images i WHERE \(conditions.joined(separator: " AND ")) \
            ORDER BY \(terms.joined(separator: ", ")) LIMIT \(bind(query.limit))
            """
    }

    private mutating func bind(_ value: any SQLBindable) -> String {
        arguments.append(value)
        return "$\(arguments.count)"
    }

    private mutating func bindingCondition(_ text: String, _ value: any SQLBindable) -> String {
        "\(text) \(bind(value))"
    }

    private mutating func condition(of source: ImageListArm.Source) -> [String] {
        switch source {
        case .everything:
            return []
        case .everythingButCommunityOfOthers(let project):
            let visibility = bind(Image.Visibility.community.rawValue)
            return ["(i.visibility <> \(visibility) OR i.owner = \(bind(project)))"]
        case .owned(let project):
            return [bindingCondition("i.owner =", project)]
        case .visibility(let visibility):
            return [bindingCondition("i.visibility =", visibility.rawValue)]
        case .ownedWith(let project, let visibility):
            return [bindingCondition("i.owner =", project), bindingCondition("i.visibility =", visibility.rawValue)]
        case .sharedWith(let project, let status):
            var member = "SELECT m.image_id FROM image_members m WHERE \(bindingCondition("m.member =", project))"
            if let status { member += " AND \(bindingCondition("m.status =", status.rawValue))" }
            // An expression here too: not all shared images of the cloud either.
            return ["i.id IN (\(member))", "i.visibility || '' = \(bind(Image.Visibility.shared.rawValue))"]
        }
    }

    private mutating func condition(of filter: ImageListQuery.Filter) -> String {
        switch filter {
        case .text(let column, let values) where values.count == 1:
            return bindingCondition("i.\(column.rawValue) =", values[0])
        case .text(let column, let values):
            return "i.\(column.rawValue) IN (\(values.map { bind($0) }.joined(separator: ", ")))"
        case .number(let column, let comparison, let value):
            return bindingCondition("i.\(column.rawValue) \(comparison.sql)", value)
        case .time(let column, let comparison, let value):
            return timeCondition(column, comparison, value)
        case .protected(let value):
            return bindingCondition("i.protected =", value)
        case .tag(let tag):
            return "i.id IN (SELECT t.image_id FROM image_tags t WHERE \(bindingCondition("t.tag =", tag)))"
        case .property(let name, let value):
            let name = bindingCondition("p.name =", name)
            return
                "i.id IN (SELECT p.image_id FROM image_properties p WHERE \(name) AND \(bindingCondition("p.value =", value)))"
        }
    }

    /// Times are shown in whole seconds, so they are compared as such: `eq` means the whole second.
    private mutating func timeCondition(
        _ column: ImageListQuery.TimeColumn, _ comparison: ImageListQuery.Comparison, _ value: Timestamp
    ) -> String {
        let column = "i.\(column.rawValue)"
        let start = Timestamp(seconds: value.seconds)
        let end = start.adding(seconds: 1)
        switch comparison {
        case .gt: return bindingCondition("\(column) >=", end)
        case .gte: return bindingCondition("\(column) >=", start)
        case .lt: return bindingCondition("\(column) <", start)
        case .lte: return bindingCondition("\(column) <", end)
        case .eq: return "(\(bindingCondition("\(column) >=", start)) AND \(bindingCondition("\(column) <", end)))"
        case .neq: return "(\(bindingCondition("\(column) <", start)) OR \(bindingCondition("\(column) >=", end)))"
        }
    }

    /// Behind the marker in the page's order. With one direction for all terms this is a comparison of
    /// rows, which an index can seek to; with mixed directions it is spelled out.
    private mutating func position(after marker: Image, _ order: ImageListOrder) -> String {
        let terms = order.terms
        if terms.allSatisfy({ $0.direction == terms[0].direction }) {
            let columns = terms.map(\.column.sql).joined(separator: ", ")
            let values = terms.map { bind($0.column.value(of: marker)) }.joined(separator: ", ")
            return "(\(columns)) \(terms[0].direction == .asc ? ">" : "<") (\(values))"
        }
        var alternatives: [String] = []
        for (index, term) in terms.enumerated() {
            var parts = terms[..<index].map { "\($0.column.sql) = \(bind($0.column.value(of: marker)))" }
            parts.append(
                "\(term.column.sql) \(term.direction == .asc ? ">" : "<") \(bind(term.column.value(of: marker)))")
            alternatives.append("(\(parts.joined(separator: " AND ")))")
        }
        return "(\(alternatives.joined(separator: " OR ")))"
    }
}

/// The total order of a list: what was asked for, then created_at and id.
struct ImageListOrder {
    struct Column: Equatable {
        let key: ImageListQuery.SortKey

        /// Absent values sort as empty ones, on both engines.
        var sql: String {
            switch key {
            case .name, .containerFormat, .diskFormat: "COALESCE(i.\(key.rawValue), '')"
            case .size: "COALESCE(i.size, 0)"
            case .status, .id, .createdAt, .updatedAt: "i.\(key.rawValue)"
            }
        }

        func value(of image: Image) -> any SQLBindable {
            switch key {
            case .name: image.name ?? ""
            case .status: image.status.rawValue
            case .containerFormat: image.containerFormat ?? ""
            case .diskFormat: image.diskFormat ?? ""
            case .size: image.sizeBytes ?? 0
            case .id: image.id
            case .createdAt: image.createdAt
            case .updatedAt: image.updatedAt
            }
        }
    }

    let terms: [(column: Column, direction: ImageListQuery.Direction)]

    init(_ query: ImageListQuery) {
        var terms = query.sort.map { (column: Column(key: $0.key), direction: $0.direction) }
        for key in [ImageListQuery.SortKey.createdAt, .id] where !terms.contains(where: { $0.column.key == key }) {
            terms.append((Column(key: key), query.tieDirection))
        }
        self.terms = terms
    }

    /// The same order as the SQL's, for merging arms. Texts compare by their bytes, as in the database.
    func precedes(_ a: Image, _ b: Image) -> Bool {
        for term in terms {
            let order = Self.compare(term.column.value(of: a).sqlValue, term.column.value(of: b).sqlValue)
            if order != 0 { return (order < 0) == (term.direction == .asc) }
        }
        return false
    }

    private static func compare(_ a: SQLValue, _ b: SQLValue) -> Int {
        switch (a, b) {
        case (.integer(let a), .integer(let b)): return a < b ? -1 : a > b ? 1 : 0
        case (.text(let a), .text(let b)):
            if a == b, a.utf8.elementsEqual(b.utf8) { return 0 }
            return a.utf8.lexicographicallyPrecedes(b.utf8) ? -1 : 1
        default: preconditionFailure("a sort column has two types")
        }
    }
}
