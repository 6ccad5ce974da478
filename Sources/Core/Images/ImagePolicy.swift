/// Who may do what (Image API digest, section 9).
///
/// What an operator's rule decides is *permission*. Three things no rule can give away:
/// - A caller needs a project.
/// - An image that a caller cannot *see* is not there for it, whatever the rule of the action says: not its own, not
///   open to all, not shared with it, and it is no admin. So no rule lets one project read another's images, and
///   lists, which find what can be seen by SQL, agree with every rule.
/// - What the use cases refuse for other reasons: protected images, statuses, quotas, owners, keys in use.
package struct ImagePolicy: Sendable {
    /// Glance's defaults for project-scoped tokens.
    package static let standard = ImagePolicy()

    /// Of the file, with the default rules of the actions that it leaves alone; none when there is no file.
    private let rules: PolicyRules?
    private let overridden: Set<ImageAction>
    let protections: PropertyProtections?

    private init() {
        rules = nil
        overridden = []
        protections = nil
    }

    /// - Parameters:
    ///   - texts: rules in the policy language, by action; any other name is one that rules refer to.
    ///   - protections: nil leaves all properties to whoever may do something with the image.
    /// - Throws: `PolicyError`, also for a name that is no action and that no rule refers to.
    package init(
        rules texts: [String: String], protections: [PropertyProtections.Draft]? = nil
    ) throws(PolicyError) {
        var all = texts
        for action in ImageAction.allCases where texts[action.rawValue] == nil {
            all[action.rawValue] = action.standardRule
        }
        let rules = try PolicyRules(parsing: all)
        self.protections = try protections.map { (drafts) throws(PolicyError) in
            try PropertyProtections(drafts, rules)
        }
        let referred = rules.referredNames.union(self.protections?.referredNames ?? [])
        for name in texts.keys.sorted() where ImageAction(rawValue: name) == nil && !referred.contains(name) {
            throw PolicyError(rule: name, Self.unknownAction)
        }
        self.rules = rules
        overridden = Set(ImageAction.allCases.filter { texts[$0.rawValue] != nil })
    }

    package static let unknownAction = "There is no such action, and no rule refers to it."

    package func isOverridden(_ action: ImageAction) -> Bool { overridden.contains(action) }

    /// The rule that decides, as a text.
    package func rule(of action: ImageAction) -> String {
        guard isOverridden(action), let rule = rules?[action.rawValue] else { return action.standardRule }
        return "\(rule)"
    }

    /// Attributes that rules ask callers for and that no caller ever has: such a check is always false.
    package var unknownCallerAttributes: [String] {
        guard let rules else { return [] }
        let asked = rules.names.compactMap { rules[$0] }.flatMap(\.callerAttributes)
        return Set(asked).subtracting(Caller.policyAttributeNames).sorted()
    }

    // MARK: decisions

    /// Whether the caller may do this with an image it stands so to.
    /// - Parameter target: asked for only when a rule of the operator's decides.
    package func allows(
        _ action: ImageAction, _ caller: Caller, _ standing: ImageStanding, _ target: @autoclosure () -> ImageTarget
    ) -> Bool {
        guard caller.projectID != nil else { return false }
        guard overridden.contains(action), let rules, let rule = rules[action.rawValue] else {
            return Self.standardAllows(action, caller, standing)
        }
        guard !action.needsSight || standing.isSeen(by: caller) else { return false }
        return evaluation(rules, caller, target()).allows(rule)
    }

    private func evaluation(_ rules: PolicyRules, _ caller: Caller, _ target: ImageTarget) -> PolicyEvaluation {
        PolicyEvaluation(
            rules: rules, roles: caller.roles, caller: caller.policyAttributes, target: target.attribute)
    }

    /// Glance's defaults, compiled: the same as `standardRule` says of images that can be seen.
    private static func standardAllows(_ action: ImageAction, _ caller: Caller, _ standing: ImageStanding) -> Bool {
        if caller.isAdmin { return true }
        switch action {
        case .getImage:
            return caller.has("reader") && (standing.isOwner || standing.isOpen || standing.isShared)
        case .downloadImage, .downloadFromStore:
            return caller.has("member") && (standing.isOwner || standing.isOpen || standing.isShared)
        case .getImages:
            return caller.has("reader")
        case .addImage, .modifyImage, .deleteImage, .uploadImage, .communitizeImage, .deactivate, .reactivate,
            .addMember, .deleteMember, .setImageLocation:
            return caller.has("member") && standing.isOwner
        case .getMember, .getMembers:
            return caller.has("reader") && (standing.isOwner || standing.isShared)
        case .modifyMember:
            return caller.has("member") && standing.isShared
        case .addImageLocation:
            let isService = caller.has("service") && standing.isSeen(by: caller)
            return isService || caller.has("member") && standing.isOwner
        case .getImageLocation:
            return caller.has("reader") && standing.isOwner
        case .fetchImageLocation:
            return caller.has("service") && standing.isSeen(by: caller)
        case .storesInfoDetail:
            return caller.has("service")
        case .publicizeImage, .copyImage, .tasksAPIAccess, .deleteImageLocation:
            return false
        }
    }

    /// Refuses with 404 when the caller may not even see the image, otherwise with 403.
    /// - Throws: `ServiceError.notFound`, `.forbidden`.
    func require(_ action: ImageAction, _ caller: Caller, _ image: Image, isMember: Bool) throws {
        let standing = ImageStanding(image, isMember: isMember, of: caller)
        if allows(action, caller, standing, ImageTarget(image, standing, caller)) { return }
        if action != .getImage, allows(.getImage, caller, standing, ImageTarget(image, standing, caller)) {
            throw Self.refusal(action)
        }
        throw ServiceError.noImage(image.id)
    }

    /// For what is no secret: a new image, or one that the caller is changing already.
    /// - Throws: `ServiceError.forbidden`.
    func require(_ action: ImageAction, _ caller: Caller, _ target: ImageTarget) throws {
        let standing = ImageStanding(
            isOwner: target.owner != nil && target.owner == caller.projectID, isMember: false, visibility: .private)
        guard allows(action, caller, standing, target) else { throw Self.refusal(action) }
    }

    private static func refusal(_ action: ImageAction) -> ServiceError {
        .forbidden("You are not authorized to complete \(action.rawValue) action.")
    }

    /// Whether a list must ask of each image that it found if it may be shown.
    var decidesImageByImage: Bool { overridden.contains(.getImage) || overridden.contains(.getImages) }

    /// What the caller may do with the properties of an image.
    func properties(of image: Image, _ standing: ImageStanding, for caller: Caller) -> PropertyAccess {
        guard let rules, let protections else { return .everything }
        return PropertyAccess(protections, evaluation(rules, caller, ImageTarget(image, standing, caller)))
    }

    // MARK: explanations

    /// An image as an operator imagines it.
    package static func imagined(
        owner: ProjectID?, visibility: Image.Visibility, properties: [String: String] = [:]
    ) -> Image {
        let never = Timestamp(seconds: 0)
        return Image(
            id: "00000000-0000-0000-0000-000000000000", name: nil, status: .active, visibility: visibility,
            isHidden: false, isProtected: false, owner: owner, containerFormat: "bare", diskFormat: "raw", minDiskGB: 0,
            minRAMMB: 0, createdAt: never, updatedAt: never, properties: properties.mapValues { .some($0) })
    }

    /// A decision and why it is so.
    package struct Explanation: Sendable {
        package let isAllowed: Bool
        /// What a client gets: 403 or 404; nil when it is allowed.
        package let refusal: Int?
        package let hasProject: Bool
        /// Whether the caller sees the image, and whether that counts for this action.
        package let isSeen: Bool
        package let needsSight: Bool
        /// The rule's part of the decision.
        package let tree: PolicyExplanation
    }

    /// - Throws: `PolicyError` for a default rule that cannot be read, which is our own mistake.
    package func explain(
        _ action: ImageAction, _ caller: Caller, _ image: Image, isMember: Bool
    ) throws -> Explanation {
        let standing = ImageStanding(image, isMember: isMember, of: caller)
        let target = ImageTarget(image, standing, caller)
        let isAllowed = allows(action, caller, standing, target)
        let sees = allows(.getImage, caller, standing, target)
        let rules = try rules ?? ImagePolicy(rules: [:]).rules ?? PolicyRules(parsing: [:])
        let rule = try PolicyRule(parsing: rule(of: action))
        let refusal = !action.needsSight || (sees && action != .getImage) ? 403 : 404
        return Explanation(
            isAllowed: isAllowed, refusal: isAllowed ? nil : refusal, hasProject: caller.projectID != nil,
            isSeen: standing.isSeen(by: caller), needsSight: action.needsSight,
            tree: evaluation(rules, caller, target).explain(rule))
    }
}

extension ImagePolicy {
    /// Why a caller may do this with a property of an image, or not.
    package enum PropertyExplanation: Sendable {
        /// There are no protections.
        case unprotected
        /// The name is the server's own.
        case reserved
        /// No pattern is found in the name.
        case nobodys
        /// It would be allowed if the caller could read it.
        case hidden(by: String)
        case ruled(by: String, PolicyExplanation)
    }

    package func explain(
        _ operation: PropertyProtections.Operation, property: String, _ caller: Caller, _ image: Image, isMember: Bool
    ) -> (isAllowed: Bool, why: PropertyExplanation) {
        guard let rules, let protections else { return (true, .unprotected) }
        let standing = ImageStanding(image, isMember: isMember, of: caller)
        let access = properties(of: image, standing, for: caller)
        let isAllowed = access.allows(operation, property)
        if ImageFields.isReserved(property) { return (isAllowed, .reserved) }
        guard let found = protections.decision(operation, of: property) else { return (isAllowed, .nobodys) }
        if isAllowed, operation == .update || operation == .delete, !access.allows(.read, property) {
            return (false, .hidden(by: found.pattern))
        }
        let tree = evaluation(rules, caller, ImageTarget(image, standing, caller)).explain(found.rule)
        return (isAllowed, .ruled(by: found.pattern, tree))
    }
}

/// What a decision about one image depends on.
package struct ImageStanding: Sendable {
    package let isOwner: Bool
    package let isMember: Bool
    package let visibility: Image.Visibility

    package init(isOwner: Bool, isMember: Bool, visibility: Image.Visibility) {
        self.isOwner = isOwner
        self.isMember = isMember
        self.visibility = visibility
    }

    package init(_ image: Image, isMember: Bool, of caller: Caller) {
        self.init(
            isOwner: image.owner != nil && image.owner == caller.projectID, isMember: isMember,
            visibility: image.visibility)
    }

    /// Whether the image is anybody's to see.
    var isOpen: Bool { visibility == .public || visibility == .community }
    /// A share counts only while the image is shared: membership rows survive a change of visibility.
    var isShared: Bool { isMember && visibility == .shared }

    /// Whether the image is there for the caller at all; rules decide what it may do with it.
    func isSeen(by caller: Caller) -> Bool { caller.isAdmin || isOwner || isOpen || isShared }
}

extension ServiceError {
    static func noImage(_ id: ImageID) -> ServiceError { .notFound("No image found with ID \(id)") }
}
