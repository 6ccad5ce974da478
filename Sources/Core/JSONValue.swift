import Foundation
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

    /// Nesting past this depth is refused: no request of these APIs comes near it.
    private static let maxDepth = 32

    /// - Throws: `Malformed`, with a text fit for the client.
    package init(parsing bytes: ByteBuffer) throws {
        do {
            self = try JSONDecoder().decode(JSONValue.self, from: Data(bytes.readableBytesView))
        } catch let error as Malformed {
            throw error
        } catch let DecodingError.dataCorrupted(context) {
            let detail = (context.underlyingError as NSError?)?.userInfo[NSDebugDescriptionErrorKey] as? String
            throw Malformed(description: detail ?? context.debugDescription)
        } catch {
            throw Malformed(description: "it cannot be read as JSON")
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

extension JSONValue: Decodable {
    package init(from decoder: any Decoder) throws {
        guard decoder.codingPath.count <= Self.maxDepth else {
            throw Malformed(description: "it is nested deeper than \(Self.maxDepth) levels")
        }
        if let object = try? decoder.container(keyedBy: MemberName.self) {
            var members: [String: JSONValue] = [:]
            for key in object.allKeys {
                try Self.requireStorable(key.stringValue)
                members[key.stringValue] = try object.decode(JSONValue.self, forKey: key)
            }
            self = .object(members)
            return
        }
        if var array = try? decoder.unkeyedContainer() {
            var values: [JSONValue] = []
            while !array.isAtEnd { values.append(try array.decode(JSONValue.self)) }
            self = .array(values)
            return
        }
        let single = try decoder.singleValueContainer()
        if single.decodeNil() {
            self = .null
        } else if let value = try? single.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? single.decode(Int64.self) {
            self = .integer(value)
        } else if let value = try? single.decode(Double.self) {
            self = .number(value)
        } else {
            let text = try single.decode(String.self)
            try Self.requireStorable(text)
            self = .string(text)
        }
    }

    /// PostgreSQL has no text with U+0000, and nothing these APIs name has one.
    private static func requireStorable(_ text: String) throws {
        guard !text.utf8.contains(0) else { throw Malformed(description: "it has the character U+0000 in a string") }
    }

    private struct MemberName: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
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
