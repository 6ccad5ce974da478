import Persistence

/// What a create request asks for, checked against the schema.
package struct ImageDraft: Sendable {
    package var id: ImageID?
    package var name: String?
    package var visibility = Image.Visibility.shared
    package var isHidden = false
    package var isProtected = false
    /// Nil: the caller's project.
    package var owner: ProjectID?
    package var containerFormat: String?
    package var diskFormat: String?
    package var minDiskGB: Int64 = 0
    package var minRAMMB: Int64 = 0
    package var tags: Set<String> = []
    package var properties: [String: String?] = [:]

    package init() {}

    /// - Throws: `ServiceError.badRequest` for what the schema forbids, `.forbidden` for what only the
    ///   server sets.
    package init(json: JSONValue, settings: ImageSettings) throws {
        guard let members = json.objectValue else {
            throw ServiceError.badRequest("The body must be a JSON object, not \(json.kind).")
        }
        let fields = ImageFields(settings: settings)
        for (name, value) in members.sorted(by: { $0.key < $1.key }) {
            guard !ImageFields.isServerSet(name) else {
                throw ServiceError.forbidden("Attribute '\(name)' is read-only.")
            }
            try set(name, value, fields)
        }
        for name in settings.schemaProperties.required where properties[name] == nil {
            throw ServiceError.badRequest("Provided object does not match schema 'image': '\(name)' is required.")
        }
    }

    private mutating func set(_ name: String, _ value: JSONValue, _ fields: ImageFields) throws {
        switch name {
        case "id":
            guard let text = value.stringValue, ImageText.isUUID(text) else {
                throw fields.mismatch("id", "not a UUID")
            }
            id = ImageID(text)
        case "name": self.name = try fields.optionalText(name, value)
        case "visibility": visibility = try fields.visibility(value)
        case "os_hidden": isHidden = try fields.flag(name, value)
        case "protected": isProtected = try fields.flag(name, value)
        case "owner": owner = try fields.optionalText(name, value).map(ProjectID.init(rawValue:))
        case "container_format": containerFormat = try fields.containerFormat(value)
        case "disk_format": diskFormat = try fields.diskFormat(value)
        case "min_disk": minDiskGB = try fields.number(name, value)
        case "min_ram": minRAMMB = try fields.number(name, value)
        case "tags": tags = try fields.tags(value)
        default: properties[name] = .some(try fields.property(name, value))
        }
    }
}

/// The schema of single fields, shared by create and update.
struct ImageFields {
    let settings: ImageSettings

    /// Columns that a client may set.
    static let writable: Set<String> = [
        "name", "visibility", "os_hidden", "protected", "owner", "container_format", "disk_format", "min_disk",
        "min_ram", "tags",
    ]

    private static let serverSet: Set<String> = [
        "status", "checksum", "size", "virtual_size", "created_at", "updated_at", "direct_url", "self", "file",
        "schema",
        "stores", "locations", "location", "deleted", "deleted_at", "os_hash_algo", "os_hash_value",
    ]

    /// Names that only the server writes, the reserved prefix included.
    static func isServerSet(_ name: String) -> Bool { serverSet.contains(name) || isReserved(name) }

    /// By bytes: `hasPrefix` would let a combining mark behind the prefix hide it.
    static func isReserved(_ name: String) -> Bool { name.utf8.starts(with: "os_glance".utf8) }

    func mismatch(_ name: String, _ problem: String) -> ServiceError {
        .badRequest("Provided object does not match schema 'image': \(name): \(problem).")
    }

    func optionalText(_ name: String, _ value: JSONValue) throws -> String? {
        if value.isNull { return nil }
        guard let text = value.stringValue else { throw mismatch(name, "\(value.kind) is not a string or null") }
        try requireShort(name, text)
        return text
    }

    private func requireShort(_ name: String, _ text: String) throws {
        guard text.unicodeScalars.count <= 255 else { throw mismatch(name, "longer than 255 characters") }
        guard !ImageText.hasFourByteCharacters(text) else {
            throw ServiceError.badRequest("\(name): characters of four bytes in UTF-8 are not supported.")
        }
    }

    func visibility(_ value: JSONValue) throws -> Image.Visibility {
        guard let result = value.stringValue.flatMap(Image.Visibility.init(rawValue:)) else {
            throw mismatch("visibility", "not one of public, community, shared, private")
        }
        return result
    }

    func flag(_ name: String, _ value: JSONValue) throws -> Bool {
        guard let result = value.boolValue else { throw mismatch(name, "\(value.kind) is not a boolean") }
        return result
    }

    func number(_ name: String, _ value: JSONValue) throws -> Int64 {
        guard let result = value.integerValue else { throw mismatch(name, "\(value.kind) is not an integer") }
        guard (0...Int64(Int32.max)).contains(result) else {
            throw mismatch(name, "\(result) is not between 0 and \(Int32.max)")
        }
        return result
    }

    func containerFormat(_ value: JSONValue) throws -> String? {
        try format("container_format", value, of: settings.containerFormats)
    }

    func diskFormat(_ value: JSONValue) throws -> String? { try format("disk_format", value, of: settings.diskFormats) }

    private func format(_ name: String, _ value: JSONValue, of known: [String]) throws -> String? {
        if value.isNull { return nil }
        guard let text = value.stringValue, known.contains(text) else {
            throw mismatch(name, "not one of \(known.joined(separator: ", "))")
        }
        return text
    }

    func tags(_ value: JSONValue) throws -> Set<String> {
        guard let list = value.arrayValue else { throw mismatch("tags", "\(value.kind) is not an array") }
        var tags: Set<String> = []
        for item in list {
            guard let tag = item.stringValue else { throw mismatch("tags", "\(item.kind) is not a string") }
            try requireShort("tags", tag)
            tags.insert(tag)
        }
        return tags
    }

    /// An extra property's value, which is a string unless a typed property allows null.
    func property(_ name: String, _ value: JSONValue) throws -> String? {
        guard !name.isEmpty else { throw mismatch("property", "an empty name") }
        try requireShort("property name", name)
        if let schema = settings.schemaProperties.properties[name] {
            if let problem = schema.problem(with: value) { throw mismatch(name, problem) }
        } else if value.stringValue == nil {
            throw mismatch(name, "\(value.kind) is not of type 'string'")
        }
        guard let text = value.stringValue else { return nil }
        guard !ImageText.hasFourByteCharacters(text) else {
            throw ServiceError.badRequest("\(name): characters of four bytes in UTF-8 are not supported.")
        }
        guard text.utf8.count <= 65535 else { throw mismatch(name, "longer than 65535 bytes") }
        return text
    }
}
