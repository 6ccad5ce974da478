import Trust

/// One attribute of a request: left out, null, or a value.
enum Field<Value: Sendable>: Sendable {
    case absent
    case null
    case value(Value)

    /// Nil when absent or null.
    var value: Value? {
        if case .value(let value) = self { value } else { nil }
    }

    /// What a change leaves in the place of `stored`.
    func over(_ stored: Value?) -> Value? {
        switch self {
        case .absent: stored
        case .null: nil
        case .value(let value): value
        }
    }
}

/// A resource as a client sent it, `{"user": {…}}`: attributes are taken out one by one, checked,
/// and what remains is `rest()`. Every failure is a `ServiceError.badRequest` that names the
/// attribute, never its value (it may be a password).
struct ResourceBody {
    private let resource: String
    private var members: [String: JSONValue]

    static let nameLength = 1...255
    static let textLength = 0...255
    private static let extraBytes = 65536

    /// - Parameter document: the whole request body.
    init(_ document: JSONValue, _ resource: String) throws {
        guard let object = document.objectValue?[resource]?.objectValue else {
            throw ServiceError.badRequest(
                "Expecting to find \(resource) in request body. The server could not comply with the request since it "
                    + "is either malformed or otherwise incorrect. The client is assumed to be in error.")
        }
        self.init(members: object, resource)
    }

    /// - Parameter members: the resource itself, an element of a list.
    init(members: [String: JSONValue], _ resource: String) {
        self.resource = resource
        self.members = members
    }

    static func invalid(_ name: String, _ problem: String) -> ServiceError {
        .badRequest("Invalid input for field/attribute \(name): \(problem).")
    }

    private mutating func take(_ name: String) -> Field<JSONValue> {
        switch members.removeValue(forKey: name) {
        case nil: .absent
        case .null?: .null
        case let value?: .value(value)
        }
    }

    /// A text that may be null.
    mutating func text(_ name: String, _ length: ClosedRange<Int> = textLength) throws -> Field<String> {
        switch take(name) {
        case .absent: return .absent
        case .null: return .null
        case .value(let value): return .value(try Self.checked(value, name, length))
        }
    }

    /// A text that may be left out but not null.
    mutating func solidText(_ name: String, _ length: ClosedRange<Int> = nameLength) throws -> String? {
        let field = try text(name, length)
        if case .null = field { throw Self.invalid(name, "null is not a string") }
        return field.value
    }

    mutating func requiredText(_ name: String, _ length: ClosedRange<Int> = nameLength) throws -> String {
        guard let text = try solidText(name, length) else {
            throw Self.invalid(resource, "'\(name)' is a required property")
        }
        return text
    }

    mutating func flag(_ name: String) throws -> Bool? {
        switch take(name) {
        case .absent: return nil
        case .value(.bool(let flag)): return flag
        case .null: throw Self.invalid(name, "null is not a boolean")
        case .value(let value): throw Self.invalid(name, "\(value.kind) is not a boolean")
        }
    }

    mutating func flagOrNull(_ name: String) throws -> Bool? {
        if case .null? = members[name] { members.removeValue(forKey: name) }
        return try flag(name)
    }

    mutating func integer(_ name: String, _ range: ClosedRange<Int64>) throws -> Int64? {
        switch take(name) {
        case .absent: return nil
        case .value(.integer(let number)):
            guard range.contains(number) else {
                throw Self.invalid(name, "it must lie between \(range.lowerBound) and \(range.upperBound)")
            }
            return number
        case .null: throw Self.invalid(name, "null is not an integer")
        case .value(let value): throw Self.invalid(name, "\(value.kind) is not an integer")
        }
    }

    mutating func array(_ name: String) throws -> Field<[JSONValue]> {
        switch take(name) {
        case .absent: return .absent
        case .null: return .null
        case .value(.array(let values)): return .value(values)
        case .value(let value): throw Self.invalid(name, "\(value.kind) is not an array")
        }
    }

    /// A password: bounded in bytes, because hashing works on all of them.
    mutating func password(_ name: String) throws -> Field<String> {
        switch take(name) {
        case .absent: return .absent
        case .null: return .null
        case .value(.string(let text)):
            guard text.utf8.count <= PasswordHash.maxPasswordBytes else {
                throw Self.invalid(name, "it is longer than \(PasswordHash.maxPasswordBytes) bytes")
            }
            return .value(text)
        case .value(let value): throw Self.invalid(name, "\(value.kind) is not a string")
        }
    }

    mutating func tags() throws -> [String]? {
        guard let values = try array("tags").value else { return nil }
        let tags = try values.map { try Self.checked($0, "tags", 1...255) }
        guard tags.count <= 80, Set(tags).count == tags.count,
            !tags.contains(where: { $0.contains { "/,".contains($0) } })
        else { throw Self.invalid("tags", "there may be 80 different ones, without slash or comma") }
        return tags
    }

    /// Options change how Keystone treats a resource. None is supported, and none is silently left out.
    mutating func noOptions() throws {
        guard let options = take("options").value else { return }
        guard options.objectValue?.isEmpty == true else {
            throw Self.invalid("options", "no resource options are supported")
        }
    }

    /// An attribute that may be repeated but not changed.
    mutating func unchanged(_ name: String, _ current: String?, _ message: String) throws {
        switch take(name) {
        case .absent: return
        case .null where current == nil: return
        case .value(.string(let text)) where text == current: return
        default: throw ServiceError.badRequest(message)
        }
    }

    /// What no one asked for, without what only the server says.
    mutating func rest() throws -> ExtraAttributes {
        for name in ["id", "links", "extra"] { members.removeValue(forKey: name) }
        guard JSONValue.object(members).text.utf8.count <= Self.extraBytes else {
            throw Self.invalid(resource, "its further attributes take more than \(Self.extraBytes) bytes")
        }
        guard members.keys.allSatisfy({ $0.utf8.count <= 255 }) else {
            throw Self.invalid(resource, "the name of an attribute is longer than 255 bytes")
        }
        return ExtraAttributes(members)
    }

    /// For resources that take no further attributes.
    mutating func refuseRest() throws {
        for name in ["id", "links"] { members.removeValue(forKey: name) }
        if let unknown = members.keys.sorted().first {
            throw Self.invalid(resource, "'\(unknown.prefix(64))' is not known here")
        }
    }

    private static func checked(_ value: JSONValue, _ name: String, _ length: ClosedRange<Int>) throws -> String {
        guard case .string(let text) = value else { throw invalid(name, "\(value.kind) is not a string") }
        // A NUL has no place in a name, and PostgreSQL stores none.
        guard length.contains(text.unicodeScalars.count), !text.utf8.contains(0) else {
            throw invalid(name, "it must have \(length.lowerBound) to \(length.upperBound) characters")
        }
        guard length.lowerBound == 0 || !text.allSatisfy(\.isWhitespace) else {
            throw invalid(name, "it must not be blank")
        }
        return text
    }
}
