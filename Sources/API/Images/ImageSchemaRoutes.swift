import Core
import HTTPTypes
import HummingbirdCore
import NIOCore

/// The JSON schemas that clients build their forms from (draft 4, as Glance serves them).
struct ImageSchemaRoutes: Sendable {
    let settings: ImageSettings

    func add(to routes: inout RouteTable) {
        let image = imageSchema
        let schemas: [(String, JSONValue)] = [
            ("image", image),
            ("images", Self.collection("images", of: image, paged: true)),
            ("member", Self.member),
            ("members", Self.collection("members", of: Self.member, paged: false)),
            ("task", Self.task),
            ("tasks", Self.collection("tasks", of: Self.task, paged: true)),
        ]
        for (name, schema) in schemas {
            routes.get("/v2/schemas/\(name)") { _, _ in .json(.ok) { $0.value(schema) } }
        }
    }

    /// `null` first, as clients print it.
    private static let optionalString: JSONValue = ["null", "string"]
    private static let uuidPattern =
        "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"

    private static func field(
        _ type: JSONValue, _ description: String, readOnly: Bool = false, maxLength: Int64? = nil,
        allowed: [JSONValue]? = nil
    ) -> JSONValue {
        var members: [String: JSONValue] = ["type": type, "description": .string(description)]
        if readOnly { members["readOnly"] = true }
        if let maxLength { members["maxLength"] = .integer(maxLength) }
        if let allowed { members["enum"] = .array(allowed) }
        return .object(members)
    }

    private var imageSchema: JSONValue {
        var properties = Self.baseProperties(settings)
        for (name, property) in settings.schemaProperties.properties {
            properties[name] = Self.commonProperty(property)
        }
        var schema: [String: JSONValue] = [
            "name": "image", "properties": .object(properties), "additionalProperties": ["type": "string"],
            "links": [
                ["rel": "self", "href": "{self}"], ["rel": "enclosure", "href": "{file}"],
                ["rel": "describedby", "href": "{schema}"],
            ],
        ]
        if !settings.schemaProperties.required.isEmpty {
            schema["required"] = .array(settings.schemaProperties.required.map { .string($0) })
        }
        return .object(schema)
    }

    /// `is_base: false` tells glanceclient to add, not to replace, what it sets first.
    private static func commonProperty(_ property: SchemaProperty) -> JSONValue {
        var members: [String: JSONValue] = [
            "type": property.allowsNull ? optionalString : "string", "is_base": false,
        ]
        if let description = property.description { members["description"] = .string(description) }
        if let allowed = property.allowed {
            members["enum"] = .array((property.allowsNull ? [.null] : []) + allowed.map { .string($0) })
        }
        if let length = property.maxLength { members["maxLength"] = .integer(Int64(length)) }
        if property.isUUID { members["pattern"] = .string(uuidPattern) }
        return .object(members)
    }

    private static func baseProperties(_ settings: ImageSettings) -> [String: JSONValue] {
        func format(_ description: String, _ known: [String]) -> JSONValue {
            field(optionalString, description, allowed: [.null] + known.map { .string($0) })
        }
        let statuses = Image.Status.allCases.map { JSONValue.string($0.rawValue) }
        let visibilities = Image.Visibility.allCases.map { JSONValue.string($0.rawValue) }
        let optionalInteger: JSONValue = ["null", "integer"]
        return [
            "id": ["type": "string", "description": "An identifier for the image", "pattern": .string(uuidPattern)],
            "name": field(optionalString, "Descriptive name for the image", maxLength: 255),
            "status": field("string", "Status of the image", readOnly: true, allowed: statuses),
            "visibility": field("string", "Scope of image accessibility", allowed: visibilities),
            "protected": field("boolean", "If true, image will not be deletable."),
            "os_hidden": field("boolean", "If true, image will not appear in default image list response."),
            "checksum": field(optionalString, "md5 hash of image contents.", readOnly: true, maxLength: 32),
            "os_hash_algo": field(
                optionalString, "Algorithm to calculate the os_hash_value", readOnly: true, maxLength: 64),
            "os_hash_value": field(
                optionalString, "Hexdigest of the image contents using the algorithm specified by the os_hash_algo",
                readOnly: true, maxLength: 128),
            "owner": field(optionalString, "Owner of the image", maxLength: 255),
            "size": field(optionalInteger, "Size of image file in bytes", readOnly: true),
            "virtual_size": field(optionalInteger, "Virtual size of image in bytes", readOnly: true),
            "container_format": format("Format of the container", settings.containerFormats),
            "disk_format": format("Format of the disk", settings.diskFormats),
            "created_at": field("string", "Date and time of image registration", readOnly: true),
            "updated_at": field("string", "Date and time of the last image modification", readOnly: true),
            "tags": [
                "type": "array", "description": "List of strings related to the image",
                "items": ["type": "string", "maxLength": 255],
            ],
            "direct_url": field("string", "URL to access the image file kept in external store", readOnly: true),
            "min_ram": field("integer", "Amount of ram (in MB) required to boot image."),
            "min_disk": field("integer", "Amount of disk space (in GB) required to boot image."),
            "self": field("string", "An image self url", readOnly: true),
            "file": field("string", "An image file url", readOnly: true),
            "stores": field(
                "string",
                "Store in which image data resides. Only present when several stores are configured. "
                    + "May be a comma-separated list of store identifiers.", readOnly: true),
            "schema": field("string", "An image schema url", readOnly: true),
            "locations": locations,
        ]
    }

    private static let locations: JSONValue = [
        "type": "array", "description": "A set of URLs to access the image file kept in external store",
        "items": [
            "type": "object", "required": ["url", "metadata"],
            "properties": [
                "url": ["type": "string", "maxLength": 255],
                "metadata": ["type": "object"],
                "validation_data": [
                    "type": "object", "writeOnly": true, "additionalProperties": false,
                    "description":
                        "Values to be used to populate the corresponding image properties. If the image status is not 'queued', values must exactly match those already contained in the image properties.",
                    "required": ["os_hash_algo", "os_hash_value"],
                    "properties": [
                        "checksum": ["type": "string", "minLength": 32, "maxLength": 32],
                        "os_hash_algo": ["type": "string", "maxLength": 64],
                        "os_hash_value": ["type": "string", "maxLength": 128],
                    ],
                ],
            ],
        ],
    ]

    private static let member: JSONValue = [
        "name": "member",
        "properties": [
            "member_id": ["type": "string", "description": "An identifier for the image member (tenantId)"],
            "image_id": [
                "type": "string", "description": "An identifier for the image", "pattern": .string(uuidPattern),
            ],
            "created_at": ["type": "string", "description": "Date and time of image member creation"],
            "updated_at": ["type": "string", "description": "Date and time of last modification of image member"],
            "status": [
                "type": "string", "description": "The status of this image member",
                "enum": ["pending", "accepted", "rejected"],
            ],
            "schema": ["readOnly": true, "type": "string"],
        ],
    ]

    private static let task: JSONValue = [
        "name": "task",
        "properties": [
            "id": ["type": "string", "description": "An identifier for the task", "pattern": .string(uuidPattern)],
            "type": [
                "type": "string", "description": "The type of task represented by this content",
                "enum": .array(ImageTask.Kind.allCases.map { .string($0.rawValue) }),
            ],
            "status": [
                "type": "string", "description": "The current status of this task",
                "enum": .array(ImageTask.Status.allCases.map { .string($0.rawValue) }),
            ],
            "input": ["type": ["null", "object"], "description": "The parameters required by task, JSON blob"],
            "result": ["type": ["null", "object"], "description": "The result of current task, JSON blob"],
            "owner": ["type": "string", "description": "An identifier for the owner of this task"],
            "message": [
                "type": "string",
                "description": "Human-readable informative message only included when appropriate (usually on failure)",
            ],
            "image_id": ["type": "string", "description": "Image associated with the task"],
            "request_id": ["type": "string", "description": "Human-readable informative request-id"],
            "user_id": ["type": "string", "description": "User associated with the task"],
            "expires_at": [
                "type": ["null", "string"],
                "description": "Datetime when this resource would be subject to removal",
            ],
            "created_at": ["type": "string", "description": "Datetime when this resource was created"],
            "updated_at": ["type": "string", "description": "Datetime when this resource was updated"],
            "self": ["readOnly": true, "type": "string"],
            "schema": ["readOnly": true, "type": "string"],
        ],
    ]

    private static func collection(_ name: String, of item: JSONValue, paged: Bool) -> JSONValue {
        var properties: [String: JSONValue] = [
            name: ["type": "array", "items": item], "schema": ["type": "string"],
        ]
        var links: [JSONValue] = [["rel": "describedby", "href": "{schema}"]]
        if paged {
            properties["first"] = ["type": "string"]
            properties["next"] = ["type": "string"]
            links = [["rel": "first", "href": "{first}"], ["rel": "next", "href": "{next}"]] + links
        }
        return ["name": .string(name), "properties": .object(properties), "links": .array(links)]
    }
}
