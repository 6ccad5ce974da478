import Persistence

/// The catalogue of metadata definitions: which properties, objects and tags mean what on which kind of
/// resource. Dashboards build their forms from it; nothing here is enforced on images. One file of use
/// cases for each kind of thing: `MetadefNamespaces.swift`, `MetadefObjects.swift`, ….
package struct Metadefs: Sendable {
    let database: any SQLDatabase
    let surroundings: Surroundings

    package init(database: any SQLDatabase, surroundings: Surroundings) {
        self.database = database
        self.surroundings = surroundings
    }

    package init(_ images: Images) {
        self.init(database: images.database, surroundings: images.surroundings)
    }

    var now: Timestamp { surroundings.clock.now }
}

/// What a namespace's contents refer to: its name can change.
package struct MetadefNamespaceID: Identifier {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
}

/// A set of definitions, under a name that no other has.
package struct MetadefNamespace: Sendable, Equatable {
    package enum Visibility: String, Sendable, CaseIterable { case `public`, `private` }

    let id: MetadefNamespaceID
    package var name: String
    package var displayName: String?
    package var description: String?
    package var visibility: Visibility
    /// Neither it nor anything in it can be deleted.
    package var isProtected: Bool
    package var owner: ProjectID
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
}

/// A kind of resource that the definitions of a namespace apply to.
package struct MetadefAssociation: Sendable, Equatable {
    /// The resource type's name, as Heat calls it: `OS::Glance::Image`.
    package let name: String
    /// What properties' names begin with on such a resource.
    package let prefix: String?
    /// Which of several sets of properties of the resource is meant: `image` of a volume's.
    package let propertiesTarget: String?
    package let createdAt: Timestamp
    package let updatedAt: Timestamp
}

/// A kind of resource that some namespace was once associated with.
package struct MetadefResourceType: Sendable, Equatable {
    package let name: String
    package let createdAt: Timestamp
    package let updatedAt: Timestamp
}

/// The definition of one property: a JSON object (`title`, `type`, `enum`, …), without the name.
package struct MetadefProperty: Sendable, Equatable {
    package let name: String
    package let definition: [String: JSONValue]
}

/// Properties that belong together.
package struct MetadefObject: Sendable, Equatable {
    package var name: String
    package var description: String?
    /// Names of those properties that the object is not whole without.
    package var required: [String]
    package var properties: [String: JSONValue]
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
}

/// A word that a resource may be marked with.
package struct MetadefTag: Sendable, Equatable {
    package var name: String
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
}

/// A namespace with all that is in it.
package struct MetadefNamespaceDetail: Sendable, Equatable {
    package let namespace: MetadefNamespace
    package var associations: [MetadefAssociation]
    package var properties: [MetadefProperty]
    package var objects: [MetadefObject]
    package var tags: [MetadefTag]

    /// The names as they are on a resource of a type: with the prefix of its association, if it has one.
    package func prefixed(for resourceType: String) -> MetadefNamespaceDetail {
        guard let prefix = associations.first(where: { $0.name == resourceType })?.prefix, !prefix.isEmpty else {
            return self
        }
        var result = self
        result.properties = properties.map { MetadefProperty(name: prefix + $0.name, definition: $0.definition) }
        for index in objects.indices {
            result.objects[index].required = objects[index].required.map { prefix + $0 }
            result.objects[index].properties = Dictionary(
                objects[index].properties.map { (prefix + $0.key, $0.value) }, uniquingKeysWith: { $1 })
        }
        return result
    }
}

extension ServiceError {
    static func noNamespace(_ name: String) -> ServiceError {
        .notFound("Metadata definition namespace=\(name) was not found.")
    }

    static func protectedNamespace(_ name: String) -> ServiceError {
        .forbidden("Metadata definition namespace \(name) is protected; nothing of it can be deleted.")
    }
}
