import NIOCore
import Persistence

/// Attributes of a resource that the API does not define: Keystone keeps them and gives them back,
/// and clients rely on it (`email` of a user).
package struct ExtraAttributes: Sendable, Hashable, SQLBindable, SQLReadable {
    package var members: [String: JSONValue]

    package init(_ members: [String: JSONValue] = [:]) { self.members = members }

    package var sqlValue: SQLValue { .text(members.isEmpty ? "" : JSONValue.object(members).text) }

    package init?(sqlValue: SQLValue) {
        guard case .text(let text) = sqlValue else { return nil }
        if text.isEmpty {
            members = [:]
        } else {
            guard let value = try? JSONValue(parsing: ByteBuffer(string: text)), case .object(let members) = value
            else { return nil }
            self.members = members
        }
    }

    func merging(_ changes: ExtraAttributes) -> ExtraAttributes {
        ExtraAttributes(members.merging(changes.members) { $1 })
    }
}

/// Tags of a project or domain, in a column as a JSON array.
struct TagList: SQLBindable, SQLReadable {
    let tags: [String]
    init(_ tags: [String]) { self.tags = tags }

    var sqlValue: SQLValue { .text(tags.isEmpty ? "" : JSONValue.array(tags.map { .string($0) }).text) }

    init?(sqlValue: SQLValue) {
        guard case .text(let text) = sqlValue else { return nil }
        let parsed = text.isEmpty ? .array([]) : try? JSONValue(parsing: ByteBuffer(string: text))
        guard let values = parsed?.arrayValue else { return nil }
        tags = values.compactMap(\.stringValue)
    }
}
