import Core

/// The two JSON patch dialects of the Image API, told apart by content type. Each refuses the other's
/// syntax: tempest sends 2.0, glanceclient and the SDK 2.1.
enum ImagePatchDialect: String, CaseIterable {
    /// `[{"op": "add", "path": "/name", "value": "…"}]`
    case v21 = "application/openstack-images-v2.1-json-patch"
    /// `[{"add": "/name", "value": "…"}]`
    case v20 = "application/openstack-images-v2.0-json-patch"

    /// - Throws: `ServiceError.badRequest`.
    func parse(_ json: JSONValue) throws -> [ImagePatch] {
        guard let list = json.arrayValue else {
            throw ServiceError.badRequest("The body must be an array of operations, not \(json.kind).")
        }
        return try list.map { item in
            guard let members = item.objectValue else {
                throw ServiceError.badRequest("An operation must be an object, not \(item.kind).")
            }
            let (verb, pointer) = try self == .v21 ? Self.v21(members) : Self.v20(members)
            if verb != .remove, members["value"] == nil {
                throw ServiceError.badRequest("The operation '\(verb.rawValue)' needs a value.")
            }
            return ImagePatch(
                verb: verb, path: try Self.segments(pointer), value: members["value"] ?? .null,
                addRefusesExisting: self == .v20)
        }
    }

    private static func v21(_ members: [String: JSONValue]) throws -> (ImagePatch.Verb, String) {
        guard let verb = members["op"]?.stringValue.flatMap(ImagePatch.Verb.init(rawValue:)) else {
            throw ServiceError.badRequest("An operation needs an 'op' of add, replace or remove.")
        }
        guard let path = members["path"]?.stringValue else {
            throw ServiceError.badRequest("The operation '\(verb.rawValue)' needs a 'path'.")
        }
        return (verb, path)
    }

    private static func v20(_ members: [String: JSONValue]) throws -> (ImagePatch.Verb, String) {
        let verbs = members.keys.compactMap(ImagePatch.Verb.init(rawValue:))
        guard verbs.count == 1, let verb = verbs.first else {
            throw ServiceError.badRequest("An operation needs exactly one of 'add', 'replace' and 'remove'.")
        }
        guard let path = members[verb.rawValue]?.stringValue else {
            throw ServiceError.badRequest("The value of '\(verb.rawValue)' must be a path.")
        }
        return (verb, path)
    }

    /// A JSON pointer's segments (RFC 6901): it begins with `/`, is not empty anywhere, and `~` stands
    /// only in `~0` and `~1`.
    private static func segments(_ pointer: String) throws -> [String] {
        guard pointer.hasPrefix("/") else {
            throw ServiceError.badRequest("Pointer '\(pointer)' does not start with \"/\".")
        }
        let parts = pointer.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        return try parts.map { part in
            guard !part.isEmpty else {
                throw ServiceError.badRequest("Pointer '\(pointer)' has an empty segment.")
            }
            return try unescape(part, pointer)
        }
    }

    private static func unescape(_ part: Substring, _ pointer: String) throws -> String {
        var out = ""
        var rest = part.unicodeScalars.makeIterator()
        while let scalar = rest.next() {
            guard scalar == "~" else {
                out.unicodeScalars.append(scalar)
                continue
            }
            switch rest.next() {
            case "0": out += "~"
            case "1": out += "/"
            default: throw ServiceError.badRequest("Pointer '\(pointer)' has a '~' that is neither ~0 nor ~1.")
            }
        }
        return out
    }
}
