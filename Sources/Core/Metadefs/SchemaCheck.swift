/// Checks a document against a JSON schema (draft 4): those of its keywords that the schemas of metadata
/// definitions use. What clients are told and what is refused is then one thing.
///
/// A keyword it does not know constrains nothing (draft 4, section 5). The depth of the work is that of the
/// document, which the parser bounds.
struct SchemaCheck {
    private let definitions: [String: JSONValue]
    private let schema: [String: JSONValue]

    init(_ schema: JSONValue) {
        self.schema = schema.objectValue ?? [:]
        definitions = schema["definitions"]?.objectValue ?? [:]
    }

    /// What is wrong with the document, beginning with where; nil if nothing is.
    func problem(with value: JSONValue) -> String? { problem(value, schema, at: "") }

    private func problem(_ value: JSONValue, _ schema: [String: JSONValue], at path: String) -> String? {
        if let name = schema["$ref"]?.stringValue {
            let target = definitions[String(name.dropFirst("#/definitions/".count))]?.objectValue
            precondition(target != nil, "the schema has no \(name)")
            return problem(value, target ?? [:], at: path)
        }
        for part in schema["allOf"]?.arrayValue ?? [] {
            if let found = problem(value, part.objectValue ?? [:], at: path) { return found }
        }
        if let type = schema["type"]?.stringValue, !Self.matches(value, type) {
            return Self.told(path, "\(value.kind) is not of type '\(type)'")
        }
        if let allowed = schema["enum"]?.arrayValue, !allowed.contains(value) {
            return Self.told(path, "not one of \(allowed.compactMap(\.stringValue).joined(separator: ", "))")
        }
        switch value {
        case .string(let text): return problem(text, schema, at: path)
        case .integer(let number):
            if let least = schema["minimum"]?.integerValue, number < least {
                return Self.told(path, "\(number) is less than \(least)")
            }
            return nil
        case .array(let values): return problem(values, schema, at: path)
        case .object(let members): return problem(members, schema, at: path)
        case .null, .bool, .number: return nil
        }
    }

    private func problem(_ text: String, _ schema: [String: JSONValue], at path: String) -> String? {
        let length = Int64(text.unicodeScalars.count)
        if let most = schema["maxLength"]?.integerValue, length > most {
            return Self.told(path, "longer than \(most) characters")
        }
        if let least = schema["minLength"]?.integerValue, length < least {
            return Self.told(path, "shorter than \(least) characters")
        }
        return nil
    }

    private func problem(_ values: [JSONValue], _ schema: [String: JSONValue], at path: String) -> String? {
        if schema["uniqueItems"] == true, Set(values).count < values.count {
            return Self.told(path, "has an element twice")
        }
        guard let items = schema["items"]?.objectValue else { return nil }
        for (index, value) in values.enumerated() {
            if let found = problem(value, items, at: "\(path)[\(index)]") { return found }
        }
        return nil
    }

    private func problem(
        _ members: [String: JSONValue], _ schema: [String: JSONValue], at path: String
    ) -> String? {
        for name in (schema["required"]?.arrayValue ?? []).compactMap(\.stringValue) where members[name] == nil {
            return Self.told(path, "'\(name)' is required")
        }
        let known = schema["properties"]?.objectValue ?? [:]
        for (name, value) in members.sorted(by: { $0.key < $1.key }) {
            let place = Self.join(path, name)
            if let rule = known[name]?.objectValue {
                if let found = problem(value, rule, at: place) { return found }
            } else if schema["additionalProperties"] == false {
                return Self.told(place, "there is no such attribute")
            } else if let rule = schema["additionalProperties"]?.objectValue {
                if let found = problem(value, rule, at: place) { return found }
            }
        }
        return nil
    }

    private static func matches(_ value: JSONValue, _ type: String) -> Bool {
        switch (value, type) {
        case (.null, "null"), (.bool, "boolean"), (.integer, "integer"), (.integer, "number"), (.number, "number"),
            (.string, "string"), (.array, "array"), (.object, "object"):
            true
        default: false
        }
    }

    /// A name as long as a request must not come back as long in the answer and the log.
    private static func join(_ path: String, _ name: String) -> String {
        (path.isEmpty ? "" : path + ".") + (name.unicodeScalars.count > 80 ? name.prefix(80) + "…" : name)
    }

    private static func told(_ path: String, _ problem: String) -> String {
        path.isEmpty ? problem : "\(path): \(problem)"
    }
}
