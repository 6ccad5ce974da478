import Persistence

/// The total order of a list: what was asked for, then created_at and id.
package struct ImageListOrder: Sendable {
    package struct Column: Sendable, Equatable {
        let key: ImageListQuery.SortKey

        /// Absent values sort as empty ones, on both engines: there are columns in which they are (`ImageListIndexes`).
        var sql: String {
            switch key {
            case .name: "i.sort_name"
            case .containerFormat: "i.sort_container"
            case .diskFormat: "i.sort_disk"
            case .size: "i.sort_size"
            case .status, .id, .createdAt, .updatedAt: "i.\(key.rawValue)"
            }
        }

        /// The same behind another expression: no index holds it.
        var hiddenSQL: String {
            switch key {
            case .createdAt, .updatedAt, .size: sql + " + 0"
            case .name, .status, .containerFormat, .diskFormat, .id: sql + " || ''"
            }
        }

        /// Where `ImageRow.columns` has it; the others have to be selected beside them.
        var position: Int? {
            switch key {
            case .id: 1
            case .status: 3
            case .createdAt: 17
            case .updatedAt: 18
            case .name, .containerFormat, .diskFormat, .size: nil
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

    package struct Term: Sendable {
        package let column: Column
        package let direction: ImageListQuery.Direction

        /// What comes behind a value in this direction.
        var behind: String { direction == .asc ? ">" : "<" }
    }

    package let terms: [Term]

    package init(_ query: ImageListQuery) {
        var terms = query.sort.map { Term(column: Column(key: $0.key), direction: $0.direction) }
        for key in [ImageListQuery.SortKey.createdAt, .id] where !terms.contains(where: { $0.column.key == key }) {
            terms.append(Term(column: Column(key: key), direction: query.tieDirection))
        }
        // Nothing is left to be decided behind an id.
        if let last = terms.firstIndex(where: { $0.column.key == .id }) { terms.removeSubrange((last + 1)...) }
        self.terms = terms
    }

    /// One direction throughout: what an index is read in.
    var isOneWay: Bool { terms.allSatisfy { $0.direction == terms[0].direction } }

    /// Whether it is the order of the images' age, which an index of shares holds as well.
    var isByAge: Bool { isOneWay && terms.map(\.column.key) == [.createdAt, .id] }

    /// Whether the indexes of an arm hold this order: at most one column before created_at and id.
    package var isIndexed: Bool {
        let keys = terms.map(\.column.key)
        return isOneWay
            && (keys == [.id] || keys == [.createdAt, .id]
                || keys.count == 3 && Array(keys[1...]) == [.createdAt, .id])
    }
}
