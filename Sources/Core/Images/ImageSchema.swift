/// A typed common property: what the schema says of it and what its value must be.
package struct SchemaProperty: Sendable, Equatable {
    package var description: String?
    package var allowsNull = false
    /// The values there may be; nil is any.
    package var allowed: [String]?
    package var maxLength: Int?
    /// Whether the value must be a UUID (8-4-4-4-12 hexadecimal digits).
    package var isUUID = false

    package init(
        description: String? = nil, allowsNull: Bool = false, allowed: [String]? = nil, maxLength: Int? = nil,
        isUUID: Bool = false
    ) {
        self.description = description
        self.allowsNull = allowsNull
        self.allowed = allowed
        self.maxLength = maxLength
        self.isUUID = isUUID
    }

    /// Nil when the value is right, otherwise what is wrong.
    func problem(with value: JSONValue) -> String? {
        if value.isNull { return allowsNull ? nil : "null is not of type 'string'" }
        guard let text = value.stringValue else { return "\(value.kind) is not of type 'string'" }
        if let allowed, !allowed.contains(text) { return "'\(text)' is not one of \(allowed)" }
        if let maxLength, text.unicodeScalars.count > maxLength { return "it is longer than \(maxLength) characters" }
        if isUUID, !ImageText.isUUID(text) { return "'\(text)' is not a UUID" }
        return nil
    }
}

/// The typed common properties of a cloud (`schema-image.json`): names, and which a create must have.
package struct SchemaProperties: Sendable, Equatable {
    package var properties: [String: SchemaProperty]
    package var required: [String]

    package init(properties: [String: SchemaProperty], required: [String] = []) {
        self.properties = properties
        self.required = required
    }

    /// What every cloud's images have in common.
    package static let standard = SchemaProperties(properties: [
        "kernel_id": SchemaProperty(
            description:
                "ID of image stored in Glance that should be used as the kernel when booting an AMI-style image.",
            allowsNull: true, isUUID: true),
        "ramdisk_id": SchemaProperty(
            description:
                "ID of image stored in Glance that should be used as the ramdisk when booting an AMI-style image.",
            allowsNull: true, isUUID: true),
        "instance_uuid": SchemaProperty(
            description: "Metadata which can be used to record which instance this image is associated with. "
                + "(Informational only, does not create an instance snapshot.)"),
        "architecture": SchemaProperty(
            description: "Operating system architecture, as the compute service names it (x86_64, aarch64, …)."),
        "os_distro": SchemaProperty(
            description: "Common name of the operating system distribution, in lower case."),
        "os_version": SchemaProperty(
            description: "Operating system version as specified by the distributor."),
        "description": SchemaProperty(
            description: "A human-readable string describing this image."),
        "cinder_encryption_key_id": SchemaProperty(
            description: "Identifier in the key manager of the key that this image's data is encrypted with."),
        "cinder_encryption_key_deletion_policy": SchemaProperty(
            description: "What happens to the key named by cinder_encryption_key_id when this image is deleted: "
                + "on_image_deletion deletes it, unless something else still needs it; do_not_delete leaves it. "
                + "Without the property the key is left.",
            allowed: ["on_image_deletion", "do_not_delete"]),
    ])

    package enum Problem: Error, CustomStringConvertible {
        case shape(String)
        package var description: String {
            switch self {
            case .shape(let text): text
            }
        }
    }

    /// Reads an operator's file: `{"name": {…}, …}` or `{"properties": {"name": {…}}, "required": ["name"]}`.
    /// Types are `string`, or `["null", "string"]`; nothing else can be stored.
    /// - Throws: `Problem`, naming the property that is wrong.
    package init(file: JSONValue) throws {
        guard let top = file.objectValue else { throw Problem.shape("the file must hold a JSON object") }
        let isWrapped = top["properties"]?["type"] == nil && top["properties"]?.objectValue != nil
        guard let members = isWrapped ? top["properties"]?.objectValue : top else {
            throw Problem.shape("'properties' must be an object")
        }
        var required: [String] = []
        if isWrapped, let names = top["required"] {
            guard let list = names.arrayValue, list.allSatisfy({ $0.stringValue != nil }) else {
                throw Problem.shape("'required' must be a list of names")
            }
            required = list.compactMap(\.stringValue)
        }
        var properties: [String: SchemaProperty] = [:]
        for (name, schema) in members { properties[name] = try Self.property(name, schema) }
        for name in required where properties[name] == nil {
            throw Problem.shape("'required' names '\(name)', which is not among the properties")
        }
        self.init(properties: properties, required: required)
    }

    private static func property(_ name: String, _ schema: JSONValue) throws -> SchemaProperty {
        guard let members = schema.objectValue else { throw Problem.shape("'\(name)' must be an object") }
        var result = SchemaProperty(description: members["description"]?.stringValue)
        switch members["type"] {
        case .string("string"), nil: break
        case .array(let types) where Set(types) == ["null", "string"]: result.allowsNull = true
        default: throw Problem.shape("'\(name)' must have type string, or null and string")
        }
        if let values = members["enum"] {
            guard let list = values.arrayValue else { throw Problem.shape("'\(name)': enum must be a list") }
            result.allowed = list.compactMap(\.stringValue)
            if list.contains(.null) { result.allowsNull = true }
        }
        if let length = members["maxLength"] {
            guard let number = length.integerValue, number >= 0 else {
                throw Problem.shape("'\(name)': maxLength must be a number")
            }
            result.maxLength = Int(number)
        }
        if let pattern = members["pattern"]?.stringValue {
            // The one pattern Glance's own file uses; regular expressions of an operator's own are not taken.
            guard pattern.contains("0-9a-fA-F") else {
                throw Problem.shape("'\(name)': only the UUID pattern is known")
            }
            result.isUUID = true
        }
        return result
    }
}

/// Rules for texts of images.
package enum ImageText {
    /// 8-4-4-4-12 hexadecimal digits of either case.
    package static func isUUID(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count == 36 else { return false }
        for (index, byte) in bytes.enumerated() {
            switch index {
            case 8, 13, 18, 23: if byte != UInt8(ascii: "-") { return false }
            default:
                let isHex =
                    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20)
                if !isHex { return false }
            }
        }
        return true
    }

    /// Characters outside the Basic Multilingual Plane: Glance's databases cannot hold them, so
    /// clients never see them there.
    package static func hasFourByteCharacters(_ text: String) -> Bool {
        text.unicodeScalars.contains { $0.value > 0xffff }
    }
}
