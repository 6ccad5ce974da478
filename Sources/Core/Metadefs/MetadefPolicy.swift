/// Who may do what with metadata definitions (Image API digest, section 9): everybody with a role reads what
/// is public or their project's; only administrators write (Launchpad 1916926: anybody could, and filled
/// everybody's catalogue).
package enum MetadefAction: String, Sendable, CaseIterable {
    case getNamespaces = "get_metadef_namespaces"
    case getNamespace = "get_metadef_namespace"
    case addNamespace = "add_metadef_namespace"
    case modifyNamespace = "modify_metadef_namespace"
    case deleteNamespace = "delete_metadef_namespace"
    case getProperties = "get_metadef_properties"
    case getProperty = "get_metadef_property"
    case addProperty = "add_metadef_property"
    case modifyProperty = "modify_metadef_property"
    case removeProperty = "remove_metadef_property"
    case getObjects = "get_metadef_objects"
    case getObject = "get_metadef_object"
    case addObject = "add_metadef_object"
    case modifyObject = "modify_metadef_object"
    case deleteObject = "delete_metadef_object"
    case getTags = "get_metadef_tags"
    case getTag = "get_metadef_tag"
    case addTag = "add_metadef_tag"
    case addTags = "add_metadef_tags"
    case modifyTag = "modify_metadef_tag"
    case deleteTag = "delete_metadef_tag"
    case deleteTags = "delete_metadef_tags"
    case listResourceTypes = "list_metadef_resource_types"
    case addAssociation = "add_metadef_resource_type_association"
    case removeAssociation = "remove_metadef_resource_type_association"

    var isRead: Bool {
        switch self {
        case .getNamespaces, .getNamespace, .getProperties, .getProperty, .getObjects, .getObject, .getTags, .getTag,
            .listResourceTypes:
            true
        case .addNamespace, .modifyNamespace, .deleteNamespace, .addProperty, .modifyProperty, .removeProperty,
            .addObject, .modifyObject, .deleteObject, .addTag, .addTags, .modifyTag, .deleteTag, .deleteTags,
            .addAssociation, .removeAssociation:
            false
        }
    }
}

package enum MetadefPolicy {
    /// Whether the caller's roles allow the action on a namespace that it can see, or that is of its project.
    package static func allows(_ action: MetadefAction, _ caller: Caller) -> Bool {
        guard caller.projectID != nil else { return false }
        return caller.isAdmin || action.isRead && caller.has("reader")
    }

    package static func sees(_ namespace: MetadefNamespace, _ caller: Caller) -> Bool {
        caller.isAdmin || namespace.visibility == .public || namespace.owner == caller.projectID
    }

    /// For actions that concern no namespace there is.
    /// - Returns: the caller's project.
    /// - Throws: `ServiceError.forbidden`.
    @discardableResult
    static func require(_ action: MetadefAction, _ caller: Caller) throws -> ProjectID {
        guard allows(action, caller), let project = caller.projectID else {
            throw ServiceError.forbidden("You are not authorized to complete \(action.rawValue) action.")
        }
        return project
    }

    /// Refuses with 404 when the caller may not even see the namespace, otherwise with 403.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    static func require(_ action: MetadefAction, _ caller: Caller, on namespace: MetadefNamespace) throws {
        guard allows(.getNamespace, caller), sees(namespace, caller) else {
            throw ServiceError.noNamespace(namespace.name)
        }
        try require(action, caller)
    }
}
