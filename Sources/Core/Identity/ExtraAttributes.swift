import NIOCore
import Persistence

/// Attributes of a resource that the API does not define: Keystone keeps them and gives them back,
/// and clients rely on it (`email` of a user).
package struct ExtraAttributes: Sendable, Hashable, SQLBindable, SQLReadable {
    package var members: [String: JSONValue]

    package init(_ members: [String: JSONValue] = [:]) { self.members = members }

    package var sqlValue: SQLValue { .text(members.isEmpty ? "" : JSONText.encode(.object(members))) }

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

    var sqlValue: SQLValue { .text(tags.isEmpty ? "" : JSONText.encode(.array(tags.map { .string($0) }))) }

    init?(sqlValue: SQLValue) {
        guard case .text(let text) = sqlValue else { return nil }
        let parsed = text.isEmpty ? .array([]) : try? JSONValue(parsing: ByteBuffer(string: text))
        guard let values = parsed?.arrayValue else { return nil }
        tags = values.compactMap(\.stringValue)
    }
}

/// JSON (RFC 8259) as text for a column.
enum JSONText {
    static func encode(_ value: JSONValue) -> String {
        var out = ""
        write(value, &out)
        return out
    }

    private static func write(_ value: JSONValue, _ out: inout String) {
        switch value {
        case .null: out += "null"
        case .bool(let flag): out += flag ? "true" : "false"
        case .integer(let number): out += String(number)
        case .number(let number): out += number.isFinite ? "\(number)" : "null"
        case .string(let text): quote(text, &out)
        case .array(let values):
            out += "["
            for (index, value) in values.enumerated() {
                if index > 0 { out += "," }
                write(value, &out)
            }
            out += "]"
        case .object(let members):
            out += "{"
            for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { out += "," }
                quote(member.key, &out)
                out += ":"
                write(member.value, &out)
            }
            out += "}"
        }
    }

    private static func quote(_ text: String, _ out: inout String) {
        out += "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\u{0}"..<" ":
                let hex = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        out += "\""
    }
}
