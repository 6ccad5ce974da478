/// Who may do what (Image API digest, section 9): the default policy of project-scoped tokens.
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
}

/// What a decision about one image depends on.
package struct ImageStanding: Sendable {
    package let isOwner: Bool
    package let isMember: Bool
    package let visibility: Image.Visibility

    /// Whether the image is anybody's to see.
    var isOpen: Bool { visibility == .public || visibility == .community }
    /// A share counts only while the image is shared: membership rows survive a change of visibility.
    var isShared: Bool { isMember && visibility == .shared }
}

package enum ImagePolicy {
    /// Whether the caller's roles allow the action on an image it stands so to.
    package static func allows(_ action: ImageAction, _ caller: Caller, _ standing: ImageStanding) -> Bool {
        guard caller.projectID != nil else { return false }
        if caller.isAdmin { return true }
        switch action {
        case .getImage:
            return caller.has("reader") && (standing.isOwner || standing.isOpen || standing.isShared)
        case .downloadImage:
            return caller.has("member") && (standing.isOwner || standing.isOpen || standing.isShared)
        case .getImages:
            return caller.has("reader")
        case .addImage, .modifyImage, .deleteImage, .uploadImage, .communitizeImage, .deactivate, .reactivate,
            .addMember, .deleteMember:
            return caller.has("member") && standing.isOwner
        case .getMember, .getMembers:
            return caller.has("reader") && (standing.isOwner || standing.isShared)
        case .modifyMember:
            return caller.has("member") && standing.isShared
        case .publicizeImage:
            return false
        }
    }

    /// Refuses with 404 when the caller may not even see the image, otherwise with 403.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    static func require(
        _ action: ImageAction, _ caller: Caller, _ image: Image, isMember: Bool
    ) throws {
        let standing = ImageStanding(
            isOwner: image.owner != nil && image.owner == caller.projectID, isMember: isMember,
            visibility: image.visibility)
        if allows(action, caller, standing) { return }
        if action != .getImage, allows(.getImage, caller, standing) {
            throw ServiceError.forbidden("You are not authorized to complete \(action.rawValue) action.")
        }
        throw ServiceError.noImage(image.id)
    }

    /// For actions that concern no image yet.
    /// - Throws: `ServiceError.forbidden`.
    static func require(_ action: ImageAction, _ caller: Caller, owner: ProjectID?) throws {
        let standing = ImageStanding(
            isOwner: owner != nil && owner == caller.projectID, isMember: false, visibility: .private)
        guard allows(action, caller, standing) else {
            throw ServiceError.forbidden("You are not authorized to complete \(action.rawValue) action.")
        }
    }
}

extension ServiceError {
    static func noImage(_ id: ImageID) -> ServiceError { .notFound("No image found with ID \(id)") }
}
