import Persistence

/// The conditions that a list's filters make, and which of them an index can find images by.
extension ImageListStatement {
    mutating func condition(of filter: ImageListQuery.Filter) -> String {
        switch filter {
        case .text(let column, let values) where values.count == 1:
            return "i.\(column.rawValue) = \(bind(values[0]))"
        case .text(let column, let values):
            return "i.\(column.rawValue) IN (\(values.map { bind($0) }.joined(separator: ", ")))"
        case .number(let column, let comparison, let value):
            return "i.\(column.rawValue) \(comparison.sql) \(bind(value))"
        case .time(let column, let comparison, let value):
            return timeCondition(column, comparison, value)
        case .protected(let value):
            return "i.protected = \(bind(value))"
        case .tag(let tag):
            return "EXISTS (SELECT 1 FROM image_tags t WHERE t.image_id = i.id AND t.tag = \(bind(tag)))"
        case .property(let name, let value):
            return """
                EXISTS (SELECT 1 FROM image_properties p WHERE p.image_id = i.id AND p.name = \(bind(name)) \
                AND p.value = \(bind(value)))
                """
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
        case .gt: return "\(column) >= \(bind(end))"
        case .gte: return "\(column) >= \(bind(start))"
        case .lt: return "\(column) < \(bind(start))"
        case .lte: return "\(column) < \(bind(end))"
        case .eq: return "\(column) >= \(bind(start)) AND \(column) < \(bind(end))"
        case .neq: return "(\(column) < \(bind(start)) OR \(column) >= \(bind(end)))"
        }
    }

    /// The condition by which an index that has nothing to do with arms finds the filter's images; nil when there is
    /// none.
    mutating func drivingCondition(of filter: ImageListQuery.Filter) -> String? {
        switch filter {
        case .text(let column, _) where [.id, .checksum, .hashValue].contains(column):
            return condition(of: filter)
        case .text(.hashAlgorithm, _):
            // Named twice, so that the index without the images that have none is known to hold all of them.
            return condition(of: filter) + " AND i.os_hash_algo IS NOT NULL"
        case .number(.virtualSize, let comparison, _) where comparison != .neq:
            return condition(of: filter) + " AND i.virtual_size IS NOT NULL"
        case .number(let column, let comparison, let value) where column == .minDisk || column == .minRAM:
            guard comparison == .eq || comparison == .gte, value > 0 else { return nil }
            return condition(of: filter) + " AND i.\(column.rawValue) > 0"
        case .protected(true):
            return condition(of: filter) + " AND i.protected = 1"
        case .tag(let tag):
            return "i.id IN (SELECT t.image_id FROM image_tags t WHERE t.tag = \(bind(tag)))"
        case .property(let name, let value):
            return """
                i.id IN (SELECT p.image_id FROM image_properties p WHERE p.name = \(bind(name)) \
                AND p.value = \(bind(value)))
                """
        default:
            return nil
        }
    }

    /// The condition by which an index of an arm finds the filter's images; nil when there is none.
    mutating func armCondition(of filter: ImageListQuery.Filter) -> String? {
        switch filter {
        case .text(let column, let values):
            guard let key = ImageListQuery.SortKey(rawValue: column.rawValue), key != .id else { return nil }
            let places = values.map { bind($0) }
            let sql = ImageListOrder.Column(key: key).sql
            return places.count == 1 ? "\(sql) = \(places[0])" : "\(sql) IN (\(places.joined(separator: ", ")))"
        case .number(.size, let comparison, let value) where comparison != .neq:
            return "\(ImageListOrder.Column(key: .size).sql) \(comparison.sql) \(bind(value))"
        case .time(_, let comparison, _) where comparison != .neq:
            return condition(of: filter)
        default:
            return nil
        }
    }
}
