/// The JSON schemas of metadata definitions (draft 4): clients build their forms from them, and requests
/// and files are held to them (`SchemaCheck.swift`).
package enum MetadefSchemas {
    package static let namespace = schema(
        "namespace", required: ["namespace"],
        [
            "namespace": text("The unique name of the namespace.", 1...80),
            "display_name": text("The name of the namespace for people.", 0...80),
            "description": text("What the namespace is about.", 0...500),
            "visibility": [
                "type": "string", "description": "Who may see the namespace.", "enum": ["public", "private"],
            ],
            "protected": ["type": "boolean", "description": "If true, the namespace cannot be deleted."],
            "owner": text("The project that the namespace belongs to.", 1...255),
            "resource_type_associations": list(of: associationMembers),
            "properties": ["$ref": "#/definitions/property"],
            "objects": list(of: objectMembers.merging(links) { $1 }),
            "tags": list(of: tagMembers),
        ].merging(times("namespace")) { $1 }.merging(links) { $1 },
        definitions: definitions)

    package static let object = schema(
        "object", required: ["name"],
        objectMembers.merging(links) { $1 }, definitions: definitions)

    package static let property = schema(
        "property", required: ["type", "title", "name"], propertyMembers, definitions: arithmetic)

    package static let tag = schema("tag", required: ["name"], tagMembers)

    package static let resourceType = schema("resource_type_association", required: ["name"], associationMembers)

    /// What `POST …/tags` takes.
    static let tagList = schema("tags", required: ["tags"], ["tags": list(of: ["name": name("The tag.")])])

    package static let namespaces = collection("namespaces", of: namespace, definitions: definitions)
    package static let objects = collection("objects", of: object, definitions: definitions)
    package static let tags = collection("tags", of: tag)
    package static let resourceTypes = collection("resource_type_associations", of: resourceType)
    /// A map by name, so that a definition needs none of its own.
    package static let properties = collection(
        "properties", of: schema("property", required: ["type", "title"], propertyMembers),
        definitions: arithmetic, isMap: true)

    private static let types: JSONValue = ["array", "boolean", "integer", "number", "object", "string"]

    private static let arithmetic: [String: JSONValue] = [
        "positiveInteger": ["type": "integer", "minimum": 0],
        "positiveIntegerDefault0": ["allOf": [["$ref": "#/definitions/positiveInteger"], ["default": 0]]],
        "stringArray": ["type": "array", "items": ["type": "string"], "uniqueItems": true],
    ]

    private static let definitions = arithmetic.merging([
        "property": [
            "type": "object",
            "additionalProperties": [
                "type": "object", "required": ["title", "type"], "properties": .object(propertyMembers),
                "additionalProperties": false,
            ],
        ]
    ]) { $1 }

    private static let propertyMembers: [String: JSONValue] = [
        "name": name("The name of the property."),
        "title": ["type": "string"],
        "description": ["type": "string"],
        "operators": ["type": "array", "items": ["type": "string"]],
        "type": ["type": "string", "enum": types],
        "required": ["$ref": "#/definitions/stringArray"],
        "minimum": ["type": "number"],
        "maximum": ["type": "number"],
        "maxLength": ["$ref": "#/definitions/positiveInteger"],
        "minLength": ["$ref": "#/definitions/positiveIntegerDefault0"],
        "pattern": ["type": "string", "format": "regex"],
        "enum": ["type": "array"],
        "readonly": ["type": "boolean"],
        "confidential": ["type": "boolean"],
        "default": [:],
        "items": [
            "type": "object", "properties": ["type": ["type": "string", "enum": types], "enum": ["type": "array"]],
        ],
        "maxItems": ["$ref": "#/definitions/positiveInteger"],
        "minItems": ["$ref": "#/definitions/positiveIntegerDefault0"],
        "uniqueItems": ["type": "boolean", "default": false],
        "additionalItems": ["type": "boolean"],
    ]

    private static let objectMembers: [String: JSONValue] = [
        "name": name("The name of the object."),
        "description": ["type": "string"],
        "required": ["$ref": "#/definitions/stringArray"],
        "properties": ["$ref": "#/definitions/property"],
    ].merging(times("object")) { $1 }

    private static let tagMembers: [String: JSONValue] = ["name": name("The tag.")].merging(times("tag")) { $1 }

    private static let associationMembers: [String: JSONValue] = [
        "name": name("The resource type, called as in Heat wherever Heat has it."),
        "prefix": text(
            "What the names of the namespace's properties begin with on such a resource, the separator included "
                + "(a colon, for instance).", 0...80),
        "properties_target": text(
            "Which set of properties is meant, where a resource has several: a volume has those of its user and "
                + "those of its image.", 0...80),
    ].merging(times("resource type association")) { $1 }

    private static let links: [String: JSONValue] = [
        "self": ["readOnly": true, "type": "string"], "schema": ["readOnly": true, "type": "string"],
    ]

    private static func times(_ kind: String) -> [String: JSONValue] {
        func time(_ description: String) -> JSONValue {
            ["type": "string", "readOnly": true, "format": "date-time", "description": .string(description)]
        }
        return [
            "created_at": time("When the \(kind) was made."), "updated_at": time("When the \(kind) last changed."),
        ]
    }

    private static func text(_ description: String, _ length: ClosedRange<Int64>) -> JSONValue {
        var members: [String: JSONValue] = [
            "type": "string", "description": .string(description), "maxLength": .integer(length.upperBound),
        ]
        if length.lowerBound > 0 { members["minLength"] = .integer(length.lowerBound) }
        return .object(members)
    }

    private static func name(_ description: String) -> JSONValue { text(description, 1...80) }

    /// An array of things that have a name.
    private static func list(of members: [String: JSONValue]) -> JSONValue {
        [
            "type": "array",
            "items": [
                "type": "object", "required": ["name"], "properties": .object(members), "additionalProperties": false,
            ],
        ]
    }

    private static func schema(
        _ name: String, required: [JSONValue], _ properties: [String: JSONValue],
        definitions: [String: JSONValue] = [:]
    ) -> JSONValue {
        var members: [String: JSONValue] = [
            "name": .string(name), "type": "object", "required": .array(required), "properties": .object(properties),
            "additionalProperties": false,
        ]
        if !definitions.isEmpty { members["definitions"] = .object(definitions) }
        return .object(members)
    }

    private static func collection(
        _ name: String, of item: JSONValue, definitions: [String: JSONValue] = [:], isMap: Bool = false
    ) -> JSONValue {
        var item = item.objectValue ?? [:]
        item["definitions"] = nil
        var members: [String: JSONValue] = [
            "name": .string(name),
            "properties": [
                name: isMap
                    ? ["type": "object", "additionalProperties": .object(item)]
                    : ["type": "array", "items": .object(item)],
                "first": ["type": "string"], "next": ["type": "string"], "schema": ["type": "string"],
            ],
            "links": [
                ["rel": "first", "href": "{first}"], ["rel": "next", "href": "{next}"],
                ["rel": "describedby", "href": "{schema}"],
            ],
        ]
        if !definitions.isEmpty { members["definitions"] = .object(definitions) }
        return .object(members)
    }
}
