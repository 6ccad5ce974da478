/// What can be done with images, by the names that operators know (Image API digest, section 9).
package enum ImageAction: String, Sendable, CaseIterable {
    case addImage = "add_image"
    case getImage = "get_image"
    case getImages = "get_images"
    case modifyImage = "modify_image"
    case deleteImage = "delete_image"
    case uploadImage = "upload_image"
    case downloadImage = "download_image"
    case publicizeImage = "publicize_image"
    case communitizeImage = "communitize_image"
    case deactivate = "deactivate"
    case reactivate = "reactivate"
    case addMember = "add_member"
    case deleteMember = "delete_member"
    case getMember = "get_member"
    case getMembers = "get_members"
    case modifyMember = "modify_member"
    case copyImage = "copy_image"
    case tasksAPIAccess = "tasks_api_access"
    case downloadFromStore = "download_from_store"
    case addImageLocation = "add_image_location"
    case setImageLocation = "set_image_location"
    case getImageLocation = "get_image_location"
    case fetchImageLocation = "fetch_image_location"
    case deleteImageLocation = "delete_image_location"
    case storesInfoDetail = "stores_info_detail"
}

extension ImageAction {
    private static let ownersMember = "role:admin or (role:member and project_id:%(project_id)s)"
    private static func whoSees(_ role: String) -> String {
        """
        role:admin or (role:\(role) and (project_id:%(project_id)s or project_id:%(member_id)s \
        or 'community':%(visibility)s or 'public':%(visibility)s))
        """
    }

    /// The default in the policy language, of an image that the caller sees.
    package var standardRule: String {
        switch self {
        case .addImage, .modifyImage, .deleteImage, .uploadImage, .communitizeImage, .deactivate, .reactivate,
            .addMember, .deleteMember, .setImageLocation:
            Self.ownersMember
        case .getImage: Self.whoSees("reader")
        case .downloadImage, .downloadFromStore: Self.whoSees("member")
        case .addImageLocation: "role:service or \(Self.ownersMember)"
        case .getImageLocation: "role:admin or (role:reader and project_id:%(project_id)s)"
        case .fetchImageLocation, .storesInfoDetail: "role:admin or role:service"
        case .getImages: "role:admin or role:reader"
        case .getMember, .getMembers:
            "role:admin or (role:reader and (project_id:%(project_id)s or project_id:%(member_id)s))"
        case .modifyMember: "role:admin or (role:member and project_id:%(member_id)s)"
        case .publicizeImage, .copyImage, .tasksAPIAccess, .deleteImageLocation: "role:admin"
        }
    }

    /// Whether it is done with an image that the caller must see. A new image is nobody's secret, and a change of
    /// visibility comes after `modify_image`.
    package var needsSight: Bool {
        switch self {
        case .addImage, .getImages, .publicizeImage, .communitizeImage, .tasksAPIAccess, .storesInfoDetail: false
        case .getImage, .modifyImage, .deleteImage, .uploadImage, .downloadImage, .deactivate, .reactivate,
            .addMember, .deleteMember, .getMember, .getMembers, .modifyMember, .copyImage, .downloadFromStore,
            .addImageLocation, .setImageLocation, .getImageLocation, .fetchImageLocation, .deleteImageLocation:
            true
        }
    }

    package var summary: String {
        switch self {
        case .addImage: "create an image"
        case .getImage: "see an image"
        case .getImages: "list images"
        case .modifyImage: "change an image and its tags"
        case .deleteImage: "delete an image"
        case .uploadImage: "upload data"
        case .downloadImage: "download data"
        case .publicizeImage: "make an image public"
        case .communitizeImage: "make an image a community image"
        case .deactivate: "deactivate an image"
        case .reactivate: "reactivate an image"
        case .addMember: "share an image"
        case .deleteMember: "end sharing an image"
        case .getMember, .getMembers: "see whom an image is shared with"
        case .modifyMember: "accept or reject a shared image"
        case .copyImage: "copy an image to other stores"
        case .tasksAPIAccess: "see all tasks, and create one"
        case .downloadFromStore: "choose the store to download from"
        case .addImageLocation: "say where a new image's data is"
        case .setImageLocation: "change where an image's data is"
        case .getImageLocation: "take an image out of a store, together with delete_image_location"
        case .fetchImageLocation: "see where an image's data is"
        case .deleteImageLocation: "take an image out of a store, or a location from it"
        case .storesInfoDetail: "see the properties of stores"
        }
    }
}

extension Caller {
    /// The attributes that a rule can name before its colon, as oslo.context calls them.
    var policyAttributes: [String: PolicyValue] {
        [
            "user_id": .text(userID.rawValue), "project_id": PolicyValue(projectID?.rawValue),
            "project_domain_id": PolicyValue(projectDomainID?.rawValue), "domain_id": PolicyValue(domainID?.rawValue),
            "system_scope": PolicyValue(hasSystemScope ? "all" : nil), "is_admin": .flag(isAdmin),
            "roles": .list(roles.sorted()), "service_roles": .list(serviceRoles.sorted()),
        ]
    }

    static let policyAttributeNames: Set<String> = [
        "user_id", "project_id", "project_domain_id", "domain_id", "system_scope", "is_admin", "roles", "service_roles",
    ]
}

/// What `%(name)s` stands for in a rule about an image: its attributes and its properties.
package struct ImageTarget: Sendable {
    let owner: ProjectID?
    let attribute: @Sendable (String) -> PolicyValue?

    /// An image there is. `member_id` is the caller's own project if the image is shared with it.
    init(_ image: Image, _ standing: ImageStanding, _ caller: Caller) {
        owner = image.owner
        attribute = { name in
            switch name {
            case "member_id": return standing.isShared ? PolicyValue(caller.projectID?.rawValue) : .null
            case "id", "image_id": return .text(image.id.rawValue)
            case "status": return .text(image.status.rawValue)
            case "size": return PolicyValue(image.sizeBytes.map { "\($0)" })
            case "checksum": return PolicyValue(image.checksum)
            default:
                return Self.common(
                    name, owner: image.owner, image.name, image.visibility, isHidden: image.isHidden,
                    isProtected: image.isProtected, image.containerFormat, image.diskFormat, image.properties)
            }
        }
    }

    /// An image that somebody wants.
    init(_ draft: ImageDraft, owner: ProjectID?) {
        self.owner = owner
        attribute = { name in
            Self.common(
                name, owner: owner, draft.name, draft.visibility, isHidden: draft.isHidden,
                isProtected: draft.isProtected, draft.containerFormat, draft.diskFormat, draft.properties)
        }
    }

    /// No image: a list.
    init(listing project: ProjectID?) {
        owner = project
        attribute = { $0 == "project_id" || $0 == "owner" ? PolicyValue(project?.rawValue) : nil }
    }

    private static func common(
        _ name: String, owner: ProjectID?, _ imageName: String?, _ visibility: Image.Visibility, isHidden: Bool,
        isProtected: Bool, _ containerFormat: String?, _ diskFormat: String?, _ properties: [String: String?]
    ) -> PolicyValue? {
        switch name {
        case "project_id", "owner": PolicyValue(owner?.rawValue)
        case "name": PolicyValue(imageName)
        case "visibility": .text(visibility.rawValue)
        case "os_hidden": .flag(isHidden)
        case "protected": .flag(isProtected)
        case "container_format": PolicyValue(containerFormat)
        case "disk_format": PolicyValue(diskFormat)
        default: properties[name].map { PolicyValue($0) }
        }
    }
}
