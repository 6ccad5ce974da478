import NIOHTTP1

// Who may do what on every route of the Image API, written down once more from the specification (Image API digest,
// sections 3 and 9) without asking the code that decides. `AuthorizationTests` holds the running server to it.
//
// A cell is one route, one caller and one image: what is answered, and whether something must have changed.

/// Everyone who may come, by what the token says.
enum TableCaller: String, CaseIterable, Sendable {
    case noToken, wrongToken, expiredToken, revokedToken
    /// In the project that owns the images.
    case ownerReader, ownerMember, ownerManager, ownerAdmin, ownerService, ownerObserver
    /// In projects that shared images are shared with.
    case acceptedReader, acceptedMember, pendingReader, pendingMember, rejectedMember
    /// In projects that have nothing to do with them.
    case outsiderReader, outsiderMember, outsiderAdmin, service
    /// Without a project.
    case unscopedMember, systemAdmin

    var isProven: Bool {
        switch self {
        case .noToken, .wrongToken, .expiredToken, .revokedToken: false
        default: true
        }
    }

    var hasProject: Bool { isProven && self != .unscopedMember && self != .systemAdmin }

    /// The roles that the token carries, implied ones included.
    var roles: Set<String> {
        switch self {
        case .noToken, .wrongToken, .expiredToken, .revokedToken, .unscopedMember: []
        case .ownerReader, .acceptedReader, .pendingReader, .outsiderReader: ["reader"]
        case .ownerMember, .acceptedMember, .pendingMember, .rejectedMember, .outsiderMember: ["member", "reader"]
        case .ownerManager: ["manager", "member", "reader"]
        case .ownerAdmin, .outsiderAdmin, .systemAdmin: ["admin", "manager", "member", "reader"]
        case .ownerService, .service: ["service"]
        case .ownerObserver: ["observer"]
        }
    }

    var isOwner: Bool {
        switch self {
        case .ownerReader, .ownerMember, .ownerManager, .ownerAdmin, .ownerService, .ownerObserver: true
        default: false
        }
    }

    /// The status of its project's membership of shared images.
    var membership: String? {
        switch self {
        case .acceptedReader, .acceptedMember: "accepted"
        case .pendingReader, .pendingMember: "pending"
        case .rejectedMember: "rejected"
        default: nil
        }
    }

    /// Admin of whatever project.
    var isAdmin: Bool { hasProject && roles.contains("admin") }
}

/// An image that a cell is about. All have an owner but the ownerless, and members whatever their visibility.
struct TableImage: Hashable, Sendable, CustomStringConvertible {
    enum Visibility: String, CaseIterable { case `private`, shared, community, `public` }
    enum Condition: String, CaseIterable { case queued, active, deactivated, protected, hidden, ownerless, deleted }

    let visibility: Visibility
    let condition: Condition

    static let all = Visibility.allCases.flatMap { visibility in
        Condition.allCases.map { TableImage(visibility: visibility, condition: $0) }
    }

    var description: String { "\(visibility.rawValue) \(condition.rawValue)" }
    var isOwnerless: Bool { condition == .ownerless }

    enum Relation { case owner, member, community, `public` }

    func stands(_ relation: Relation, to caller: TableCaller) -> Bool {
        switch relation {
        case .owner: caller.isOwner && !isOwnerless
        case .member: caller.membership != nil && visibility == .shared
        case .community: visibility == .community
        case .public: visibility == .public
        }
    }
}

/// A rule of section 9: an admin, or the role together with one of the relations.
struct TableRule: Sendable {
    let role: String?
    let relations: [TableImage.Relation]
    var orServices = false

    static let getImage = TableRule(role: "reader", relations: [.owner, .member, .community, .public])
    static let downloadImage = TableRule(role: "member", relations: [.owner, .member, .community, .public])
    static let ownersMember = TableRule(role: "member", relations: [.owner])
    static let getMembers = TableRule(role: "reader", relations: [.owner, .member])
    static let modifyMember = TableRule(role: "member", relations: [.member])
    static let admin = TableRule(role: nil, relations: [])
    /// Services, of what they see.
    static let services = TableRule(role: "service", relations: [.owner, .member, .community, .public])
    /// Those, and the owner's members.
    static let addLocation = TableRule(role: "member", relations: [.owner], orServices: true)

    func allows(_ caller: TableCaller, _ image: TableImage) -> Bool {
        guard caller.hasProject else { return false }
        if caller.isAdmin { return true }
        if orServices, Self.services.allows(caller, image) { return true }
        guard let role, caller.roles.contains(role) else { return false }
        return relations.contains { image.stands($0, to: caller) }
    }
}

/// What a cell demands.
struct TableCell: Sendable, CustomStringConvertible {
    let route: String
    let caller: TableCaller
    /// Nil for routes about no image.
    let image: TableImage?
    /// Tells requests of one route apart.
    let variant: String
    let method: HTTPMethod
    /// Behind the service's prefix; `{image}`, `{accepted}` and `{fresh}` stand for ids.
    let path: String
    let body: String?
    let contentType: String?
    let status: Int
    /// Whether it changes an image: then it has one of its own.
    let changes: Bool

    var description: String {
        "\(route)\(variant.isEmpty ? "" : " [\(variant)]") as \(caller.rawValue)\(image.map { " on \($0)" } ?? "")"
    }
}

/// The rows of one route.
struct TableRoute: Sendable {
    let name: String
    let cells: [TableCell]

    /// All routes there are. One that is missing here fails `everyRouteHasRows`.
    static let all =
        images + members + data + imports + imageCollections + cache + operators + unconditional + metadefs

    static let cells = all.flatMap(\.cells)

    /// A route about one image.
    /// - Parameters:
    ///   - rule: who may; `getImage` decides between 403 and 404 for the others.
    ///   - mustSee: whether seeing the image is asked for first (members).
    ///   - outcome: for whoever may: the status, and whether the image has changed.
    fileprivate static func onImage(
        _ method: HTTPMethod, _ template: String, variant: String = "", path: String? = nil, body: String? = nil,
        contentType: String? = nil,
        _ rule: TableRule, mustSee: Bool = false,
        outcome: (TableCaller, TableImage) -> (status: Int, changes: Bool)
    ) -> TableRoute {
        let route = "\(method.rawValue) \(template)"
        var cells: [TableCell] = []
        for caller in TableCaller.allCases {
            for image in TableImage.all {
                let sees = TableRule.getImage.allows(caller, image)
                var expected = (status: sees ? 403 : 404, changes: false)
                if !caller.isProven {
                    expected.status = 401
                } else if image.condition == .deleted {
                    expected.status = 404
                } else if rule.allows(caller, image), sees || !mustSee {
                    expected = outcome(caller, image)
                }
                cells.append(
                    TableCell(
                        route: route, caller: caller, image: image, variant: variant, method: method,
                        path: path ?? template, body: body, contentType: contentType, status: expected.status,
                        changes: expected.changes))
            }
        }
        return TableRoute(name: route, cells: cells)
    }

    /// A route about no image; one row a caller and variant.
    static func plain(
        _ method: HTTPMethod, _ template: String, path: String? = nil,
        variants: [(name: String, body: String?)] = [("", nil)], status: (TableCaller, String) -> Int
    ) -> TableRoute {
        let route = "\(method.rawValue) \(template)"
        let cells = TableCaller.allCases.flatMap { caller in
            variants.map { variant in
                TableCell(
                    route: route, caller: caller, image: nil, variant: variant.name, method: method,
                    path: path ?? template, body: variant.body,
                    contentType: variant.body == nil ? nil : "application/json", status: status(caller, variant.name),
                    changes: false)
            }
        }
        return TableRoute(name: route, cells: cells)
    }
}

// MARK: the rows

extension TableRoute {
    private static let record = "/v2/images/{image}"

    private static let images: [TableRoute] = [
        onImage(.GET, record, .getImage) { _, _ in (200, false) },
        patch("name", #""renamed""#) { _ in true },
        patch("visibility", #""public""#) { $0.isAdmin },
        patch("visibility", #""community""#) { _ in true },
        patch("visibility", #""private""#) { _ in true },
        patch("owner", #""{fresh}""#) { $0.isAdmin },
        patch("protected", "true") { _ in true },
        patch("colour", #""red""#, verb: "add") { _ in true },
        onImage(.DELETE, record, .ownersMember) { _, image in image.condition == .protected ? (403, false) : (204, true)
        },
        onImage(.POST, record + "/actions/deactivate", .ownersMember) { _, image in
            switch image.condition {
            case .queued: (403, false)
            case .deactivated: (204, false)
            default: (204, true)
            }
        },
        onImage(.POST, record + "/actions/reactivate", .ownersMember) { _, image in
            switch image.condition {
            case .queued: (403, false)
            case .deactivated: (204, true)
            default: (204, false)
            }
        },
        onImage(.PUT, record + "/tags/{tag}", path: record + "/tags/new", .ownersMember) { _, _ in (204, true) },
        onImage(.DELETE, record + "/tags/{tag}", path: record + "/tags/old", .ownersMember) { _, _ in (204, true) },
    ]

    /// A change of one attribute: `modify_image`, and what the attribute asks for besides.
    private static func patch(
        _ attribute: String, _ value: String, verb: String = "replace", besides: (TableCaller) -> Bool
    ) -> TableRoute {
        onImage(
            .PATCH, record, variant: "\(attribute) \(value)",
            body: #"[{"op": "\#(verb)", "path": "/\#(attribute)", "value": \#(value)}]"#,
            contentType: "application/openstack-images-v2.1-json-patch", .ownersMember
        ) { caller, _ in besides(caller) ? (200, true) : (403, false) }
    }

    private static let data: [TableRoute] = [
        onImage(
            .PUT, record + "/file", body: "0123456789", contentType: "application/octet-stream", .ownersMember
        ) { _, image in image.condition == .queued ? (204, true) : (409, false) },
        onImage(.GET, record + "/file", .downloadImage) { caller, image in
            switch image.condition {
            case .queued: (204, false)
            case .deactivated: (caller.isAdmin ? 200 : 403, false)
            default: (200, false)
            }
        },
        // There is no store for what other servers keep.
        onImage(
            .POST, record + "/locations", body: #"{"url": "http://images.example/a"}"#, contentType: "application/json",
            .addLocation
        ) { caller, image in
            image.condition != .queued ? (409, false) : (caller.roles.contains("service") ? 400 : 403, false)
        },
        onImage(.GET, record + "/locations", .services) { _, _ in (200, false) },
        onImage(.GET, "/ambrotype/v1/images/{image}/provenance", .getImage) { _, image in
            (image.condition == .queued ? 404 : 200, false)
        },
    ]

    private static let imports: [TableRoute] =
        [
            onImage(
                .PUT, record + "/stage", body: "0123456789", contentType: "application/octet-stream", .ownersMember
            ) { _, image in image.condition == .queued ? (204, true) : (409, false) },
            // Nothing is staged.
            onImage(
                .POST, record + "/import", variant: "glance-direct", body: #"{"method": {"name": "glance-direct"}}"#,
                contentType: "application/json", .ownersMember
            ) { _, _ in (409, false) },
            // There is one store, and it has them.
            onImage(
                .POST, record + "/import", variant: "copy-image", body: #"{"method": {"name": "copy-image"}}"#,
                contentType: "application/json", .admin
            ) { _, image in (image.condition == .queued || image.condition == .deactivated ? 409 : 400, false) },
            onImage(.GET, record + "/tasks", .getImage) { _, _ in (200, false) },
        ]
        + [
            ("GET", "/v2/tasks", "/v2/tasks", 200), ("POST", "/v2/tasks", "/v2/tasks", 400),
            ("GET", "/v2/tasks/{task}", "/v2/tasks/0e0b0c0d-1111-4222-8333-444455556666", 404),
        ].map { method, template, path, status in
            plain(
                HTTPMethod(rawValue: method), template, path: path, variants: [("", method == "POST" ? "{}" : nil)]
            ) { caller, _ in caller.isProven ? caller.isAdmin ? status : 403 : 401 }
        }

    private static let members: [TableRoute] = [
        onImage(.GET, record + "/members", .getMembers, mustSee: true) { _, image in
            (image.visibility == .shared ? 200 : 403, false)
        },
        onImage(
            .POST, record + "/members", body: #"{"member": "{fresh}"}"#, contentType: "application/json", .ownersMember,
            mustSee: true
        ) { _, image in image.visibility == .shared ? (200, true) : (403, false) },
        // The member asked about is the one that has accepted; others must not learn of it.
        onImage(.GET, record + "/members/{member}", path: record + "/members/{accepted}", .getImage) { caller, image in
            let knows =
                caller.isAdmin || image.stands(.owner, to: caller)
                || image.stands(.member, to: caller) && caller.membership == "accepted"
            return (knows && image.visibility == .shared ? 200 : 404, false)
        },
        onImage(
            .PUT, record + "/members/{member}", path: record + "/members/{accepted}",
            body: #"{"status": "rejected"}"#, contentType: "application/json", .modifyMember, mustSee: true
        ) { caller, image in
            let isItself = caller.isAdmin || caller.membership == "accepted"
            return image.visibility == .shared && isItself ? (200, true) : (403, false)
        },
        onImage(
            .DELETE, record + "/members/{member}", path: record + "/members/{accepted}", .ownersMember, mustSee: true
        ) { _, image in image.visibility == .shared ? (204, true) : (403, false) },
    ]

    private static let imageCollections: [TableRoute] = [
        plain(
            .POST, "/v2/images",
            variants: TableImage.Visibility.allCases.map {
                ($0.rawValue, #"{"name": "made", "visibility": "\#($0.rawValue)"}"#)
            } + [("another's", #"{"name": "made", "owner": "{fresh}"}"#)]
        ) { caller, variant in
            guard caller.isProven else { return 401 }
            if caller.isAdmin { return 201 }
            let isForAdmins = variant == "public" || variant == "another's"
            return caller.hasProject && caller.roles.contains("member") && !isForAdmins ? 201 : 403
        },
        plain(.GET, "/v2/images") { caller, _ in
            guard caller.isProven else { return 401 }
            return caller.hasProject && caller.roles.contains("reader") ? 200 : 403
        },
    ]

    /// The cache: admins, of the system too. There is none here, which only they learn.
    private static let cache: [TableRoute] = {
        func row(_ method: HTTPMethod, _ path: String, example: String? = nil) -> TableRoute {
            plain(method, "/v2/cache" + path, path: "/v2/cache" + (example ?? path)) { caller, _ in
                caller.isProven ? caller.roles.contains("admin") ? 404 : 403 : 401
            }
        }
        let nothing = "0e0b0c0d-1111-4222-8333-444455556666"
        return [
            row(.GET, ""), row(.DELETE, ""), row(.PUT, "/{image}", example: "/\(nothing)"),
            row(.DELETE, "/{image}", example: "/\(nothing)"), row(.GET, "/nodes/{image}", example: "/nodes/\(nothing)"),
            row(.POST, "/clean"), row(.POST, "/prune"),
        ]
    }()

    /// The operator's view: admins, of the system too.
    private static let operators: [TableRoute] = {
        func row(_ method: HTTPMethod, _ path: String, example: String? = nil, _ status: Int) -> TableRoute {
            let root = "/ambrotype/v1"
            return plain(method, root + path, path: root + (example ?? path)) { caller, _ in
                caller.isProven ? caller.roles.contains("admin") ? status : 403 : 401
            }
        }
        let nothing = "0e0b0c0d-1111-4222-8333-444455556666"
        return [
            row(.GET, "", 200), row(.GET, "/", 200), row(.GET, "/deletions", 200), row(.GET, "/leases", 200),
            row(.GET, "/stores", 200), row(.GET, "/usage", 200), row(.GET, "/jobs", 200),
            row(.GET, "/jobs/{kind}/{subject}", example: "/jobs/erase-blob/nothing", 404),
            row(.POST, "/jobs/{kind}/{subject}/retry", example: "/jobs/erase-blob/nothing/retry", 404),
            row(.POST, "/jobs/retry-parked", 202), row(.GET, "/deleted-images", 200),
            row(.POST, "/deleted-images/{image}/undelete", example: "/deleted-images/\(nothing)/undelete", 404),
            row(.DELETE, "/deleted-images/{image}", example: "/deleted-images/\(nothing)", 404),
            row(.GET, "/flagged-images", 200),
            row(.DELETE, "/flagged-images/{image}", example: "/flagged-images/\(nothing)", 404),
            row(.GET, "/keys/{key}", example: "/keys/\(nothing)", 404), row(.GET, "/deleted-keys", 200),
            row(.POST, "/deleted-keys/{key}/undelete", example: "/deleted-keys/\(nothing)/undelete", 404),
            row(.DELETE, "/deleted-keys/{key}", example: "/deleted-keys/\(nothing)", 404),
        ]
    }()

    /// Discovery is for everyone, schemas and what the service offers for everyone with a token.
    private static let unconditional: [TableRoute] = {
        let open = [("/", 300), ("/versions", 200), ("/versions/", 200), ("/v2", 302)].map { path, status in
            plain(.GET, path) { _, _ in status }
        }
        let withToken = [
            ("/v2/schemas/image", 200), ("/v2/schemas/images", 200), ("/v2/schemas/member", 200),
            ("/v2/schemas/members", 200), ("/v2/schemas/task", 200), ("/v2/schemas/tasks", 200),
            ("/v2/info/import", 200), ("/v2/info/usage", 200),
            // There is one store.
            ("/v2/info/stores", 404), ("/v2/info/stores/detail", 404),
        ].map { path, status in plain(.GET, path) { caller, _ in caller.isProven ? status : 401 } }
        let store = plain(
            .DELETE, "/v2/stores/{store}/{image}", path: "/v2/stores/local/0e0b0c0d-1111-4222-8333-444455556666"
        ) { caller, _ in caller.isProven ? 404 : 401 }
        return open + withToken + [store]
    }()
}

// MARK: lists

/// Whether a list shows an image: the list's own rows of the table.
struct TableListing: Sendable, CustomStringConvertible {
    /// `visibility` of the query; nil is the default scope.
    enum Scope: String, CaseIterable, Sendable {
        case standard, all, `private`, shared, community, `public`
        var query: String { self == .standard ? "" : "&visibility=\(rawValue)" }
    }

    let caller: TableCaller
    let scope: Scope
    let image: TableImage
    let isShown: Bool

    var description: String { "\(scope.rawValue) list of \(caller.rawValue): \(image)" }

    static let all: [TableListing] = TableCaller.allCases.filter {
        $0.hasProject && $0.roles.contains("reader")
    }.flatMap { caller in
        Scope.allCases.flatMap { scope in
            TableImage.all.map {
                TableListing(caller: caller, scope: scope, image: $0, isShown: shows($0, scope, caller))
            }
        }
    }

    private static func shows(_ image: TableImage, _ scope: Scope, _ caller: TableCaller) -> Bool {
        guard image.condition != .deleted else { return false }
        let isOwn = image.stands(.owner, to: caller)
        let isAccepted = image.stands(.member, to: caller) && caller.membership == "accepted"
        switch scope {
        case .standard:
            if caller.isAdmin { return image.visibility != .community || isOwn }
            return isOwn || image.visibility == .public || isAccepted
        case .all:
            return caller.isAdmin || isOwn || isAccepted || image.visibility == .public
                || image.visibility == .community
        case .private, .shared:
            return image.visibility.rawValue == scope.rawValue && (caller.isAdmin || isOwn || isAccepted)
        case .community, .public:
            return image.visibility.rawValue == scope.rawValue
        }
    }
}
