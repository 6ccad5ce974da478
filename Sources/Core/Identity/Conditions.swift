import Persistence

/// The WHERE of a list: only the filters that were given.
struct Conditions {
    private var clauses: [String] = []
    private(set) var arguments: [any SQLBindable] = []

    /// Adds `column = value` unless the value is nil.
    mutating func equal(_ column: String, _ value: (any SQLBindable)?) {
        guard let value else { return }
        arguments.append(value)
        clauses.append("\(column) = $\(arguments.count)")
    }

    /// Adds a condition that has no parameter.
    mutating func require(_ clause: String) { clauses.append(clause) }

    /// With a space before it; empty when there are no conditions.
    var sql: String { clauses.isEmpty ? "" : " WHERE " + clauses.joined(separator: " AND ") }
}
