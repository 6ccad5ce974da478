/// One kind of body of the Key Manager API, and what is said of one that does not fit. The words are those of
/// Barbican, whose clients show them and whose test suites look for them.
struct KeySchema: Sendable {
    let name: String

    init(_ name: String) { self.name = name }

    /// - Parameter property: the member of the body that is wrong; nil for the body itself.
    func mismatch(_ reason: String, at property: String?) -> ServiceError {
        .badRequest(
            "Provided object does not match schema '\(name)': \(reason). Invalid property: '\(property ?? "None")'")
    }

    func members(of value: JSONValue, at property: String? = nil) throws -> [String: JSONValue] {
        guard let members = value.objectValue else { throw wrongType(value, "'object'", at: property) }
        return members
    }

    /// Refuses members that the schema does not know.
    func requireOnly(_ known: Set<String>, in members: [String: JSONValue], at property: String? = nil) throws {
        let extra = members.keys.filter { !known.contains($0) }.sorted().map(\.pythonText)
        guard !extra.isEmpty else { return }
        let verb = extra.count == 1 ? "was" : "were"
        throw mismatch(
            "Additional properties are not allowed (\(extra.joined(separator: ", ")) \(verb) unexpected)", at: property)
    }

    func required(_ name: String, in members: [String: JSONValue], at property: String? = nil) throws -> JSONValue {
        guard let value = members[name] else {
            throw mismatch("\(name.pythonText) is a required property", at: property)
        }
        return value
    }

    /// - Parameters:
    ///   - length: in Unicode scalars, as Python counts.
    ///   - property: the member that is named when it is wrong; by default the text's own name.
    func text(
        _ value: JSONValue, _ length: ClosedRange<Int>, mayBeNull: Bool = false, at property: String?
    ) throws -> String? {
        if mayBeNull, value.isNull { return nil }
        guard let text = value.stringValue else {
            throw wrongType(value, mayBeNull ? "'string', 'null'" : "'string'", at: property)
        }
        let count = text.unicodeScalars.count
        guard count >= length.lowerBound else { throw mismatch("\(text.pythonText) should be non-empty", at: property) }
        guard count <= length.upperBound else { throw mismatch("\(text.pythonText) is too long", at: property) }
        return text
    }

    /// The text of a member that must be there.
    func requiredText(_ name: String, _ length: ClosedRange<Int>, in members: [String: JSONValue]) throws -> String {
        guard let text = try text(try required(name, in: members), length, at: name) else {
            preconditionFailure("a text that must not be null is null")
        }
        return text
    }

    /// The text of a member that may be absent.
    func optionalText(
        _ name: String, maxLength: Int = 255, mayBeNull: Bool = false, in members: [String: JSONValue]
    ) throws -> String? {
        guard let value = members[name] else { return nil }
        return try text(value, 0...maxLength, mayBeNull: mayBeNull, at: name)
    }

    func choice(_ value: JSONValue, _ known: [String], at property: String) throws -> String {
        guard let text = value.stringValue else { throw wrongType(value, "'string'", at: property) }
        guard known.contains(text) else {
            let list = known.map(\.pythonText).joined(separator: ", ")
            throw mismatch("\(text.pythonText) is not one of [\(list)]", at: property)
        }
        return text
    }

    func integer(_ value: JSONValue, _ range: ClosedRange<Int64>, at property: String) throws -> Int64 {
        guard let number = value.integerValue else { throw wrongType(value, "'integer'", at: property) }
        guard number >= range.lowerBound else {
            throw mismatch("\(number) is less than the minimum of \(range.lowerBound)", at: property)
        }
        guard number <= range.upperBound else {
            throw mismatch("\(number) is greater than the maximum of \(range.upperBound)", at: property)
        }
        return number
    }

    func wrongType(_ value: JSONValue, _ types: String, at property: String?) -> ServiceError {
        mismatch("\(value.pythonText) is not of type \(types)", at: property)
    }

    /// What is said of a value that only the rest of the request makes wrong.
    static let unsupportedField = ServiceError.badRequest("Provided field value is not supported")
}

extension JSONValue {
    /// As Python writes it.
    var pythonText: String {
        switch self {
        case .null: "None"
        case .bool(let flag): flag ? "True" : "False"
        case .integer(let number): String(number)
        case .number(let number): "\(number)"
        case .string(let text): text.pythonText
        case .array(let values): "[" + values.map(\.pythonText).joined(separator: ", ") + "]"
        case .object(let members):
            "{"
                + members.sorted { $0.key < $1.key }.map { "\($0.key.pythonText): \($0.value.pythonText)" }
                .joined(separator: ", ") + "}"
        }
    }
}

extension String {
    /// As Python quotes it.
    var pythonText: String {
        let quote = contains("'") && !contains("\"") ? "\"" : "'"
        var out = quote
        for scalar in unicodeScalars {
            switch scalar {
            case "\\": out += "\\\\"
            case "'" where quote == "'": out += "\\'"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case "\u{0}"..<" ", "\u{7f}":
                let hex = String(scalar.value, radix: 16)
                out += "\\x" + (hex.count == 1 ? "0" : "") + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + quote
    }
}
