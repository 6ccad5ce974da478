import Persistence

/// What a list asks for, typed; parsed from a query by the API.
package struct ImageListQuery: Sendable {
    package enum SortKey: String, Sendable, CaseIterable {
        case name, status
        case containerFormat = "container_format"
        case diskFormat = "disk_format"
        case size, id
        case createdAt = "created_at"
        case updatedAt = "updated_at"
    }

    package enum Direction: String, Sendable { case asc, desc }

    package enum Scope: Sendable, Equatable {
        /// Own, public, and what is shared with the caller.
        case standard
        /// And everybody's community images.
        case all
        case only(Image.Visibility)
    }

    package enum Comparison: String, Sendable, CaseIterable {
        case gt, gte, lt, lte, eq, neq

        var sql: String {
            switch self {
            case .gt: ">"
            case .gte: ">="
            case .lt: "<"
            case .lte: "<="
            case .eq: "="
            case .neq: "<>"
            }
        }
    }

    package enum TimeColumn: String, Sendable {
        case createdAt = "created_at"
        case updatedAt = "updated_at"
    }
    package enum NumberColumn: String, Sendable, CaseIterable {
        case size
        case minDisk = "min_disk"
        case minRAM = "min_ram"
        case virtualSize = "virtual_size"
    }
    package enum TextColumn: String, Sendable, CaseIterable {
        case id, name, status, owner, checksum
        case containerFormat = "container_format"
        case diskFormat = "disk_format"
        case hashAlgorithm = "os_hash_algo"
        case hashValue = "os_hash_value"

        /// The columns that take `in:`.
        package var takesLists: Bool {
            switch self {
            case .id, .name, .status, .containerFormat, .diskFormat: true
            case .owner, .checksum, .hashAlgorithm, .hashValue: false
            }
        }
    }

    package enum Filter: Sendable, Equatable {
        case text(TextColumn, anyOf: [String])
        case number(NumberColumn, Comparison, Int64)
        case time(TimeColumn, Comparison, Timestamp)
        case protected(Bool)
        case tag(String)
        case property(String, String)
    }

    package var scope = Scope.standard
    /// Which shares count as the caller's; nil is all.
    package var memberStatus: ImageMember.Status? = .accepted
    package var isHidden = false
    package var filters: [Filter] = []
    package var sort: [(key: SortKey, direction: Direction)] = [(.createdAt, .desc)]
    /// The direction of the tie-breaks created_at and id.
    package var tieDirection = Direction.desc
    package var marker: ImageID?
    package var limit = 25

    package init() {}
}
