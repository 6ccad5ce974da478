import NIOCore

/// A JSON document (RFC 8259) as a client sent it, before anything is known of its shape.
package enum JSONValue: Sendable, Hashable {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// - Throws: `Malformed`, with a text fit for the client.
    package init(parsing bytes: ByteBuffer) throws {
        self = try bytes.withUnsafeReadableBytes { raw in
            var parser = JSONParser(raw.bindMemory(to: UInt8.self))
            return try parser.document()
        }
    }

    package struct Malformed: Error, CustomStringConvertible {
        package let description: String
    }

    package var stringValue: String? {
        if case .string(let value) = self { value } else { nil }
    }
    package var boolValue: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }
    package var integerValue: Int64? {
        if case .integer(let value) = self { value } else { nil }
    }
    package var arrayValue: [JSONValue]? {
        if case .array(let value) = self { value } else { nil }
    }
    package var objectValue: [String: JSONValue]? {
        if case .object(let value) = self { value } else { nil }
    }
    package var isNull: Bool { self == .null }

    /// The member of an object; nil for other values and absent members.
    package subscript(_ member: String) -> JSONValue? { objectValue?[member] }

    /// What the value is, for messages.
    package var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .integer, .number: "a number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral,
    ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int64) { self = .integer(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(Dictionary(elements, uniquingKeysWith: { $1 }))
    }
}
