import NIOHTTP1

// The rows of metadata definitions (Image API digest, sections 3.7 and 9): whoever has the role reader in a project reads
// what is public or the project's, admins of a project write. They are about namespaces of the administrator's that are
// protected and have one of each part, so that no cell changes anything: what an admin may do is a conflict.

extension TableRoute {
    /// Made by the stage, with `parts` in each.
    static let namespaces = [("public", "table-open"), ("private", "table-closed")]

    /// By path, what makes one of each part.
    static let parts = [
        ("/objects", #"{"name": "kept"}"#),
        ("/properties", #"{"name": "kept", "title": "kept", "type": "string"}"#),
        ("/resource_types", #"{"name": "kept"}"#),
        ("/tags", #"{"tags": [{"name": "kept"}]}"#),
    ]

    static let metadefs: [TableRoute] = collections + ofNamespace + schemas

    private static let root = "/v2/metadefs/namespaces"

    private static func isReader(_ caller: TableCaller) -> Bool {
        caller.hasProject && (caller.isAdmin || caller.roles.contains("reader"))
    }

    private static let collections: [TableRoute] = [
        plain(.GET, root) { caller, _ in !caller.isProven ? 401 : isReader(caller) ? 200 : 403 },
        plain(.POST, root, variants: [("of a name that there is", #"{"namespace": "table-open"}"#)]) { caller, _ in
            !caller.isProven ? 401 : caller.isAdmin ? 409 : 403
        },
        plain(.GET, "/v2/metadefs/resource_types") { caller, _ in
            !caller.isProven ? 401 : isReader(caller) ? 200 : 403
        },
    ]

    /// One route, for a namespace that all see and for one that only admins do.
    /// - Parameter admin: what an admin of a project is answered.
    private static func row(
        _ method: HTTPMethod, _ template: String, _ tail: String? = nil, body: String? = nil, admin: Int
    ) -> TableRoute {
        let route = root + "/{namespace}" + template
        let cells = namespaces.flatMap { visibility, name in
            plain(
                method, route, path: root + "/" + name + (tail ?? template),
                variants: [(visibility, body)]
            ) { caller, _ in
                if !caller.isProven { return 401 }
                if caller.isAdmin { return admin }
                guard visibility == "public", isReader(caller) else { return 404 }
                return method == .GET ? admin : 403
            }.cells
        }
        return TableRoute(name: "\(method.rawValue) \(route)", cells: cells)
    }

    private static let ofNamespace: [TableRoute] = [
        row(.GET, "", admin: 200),
        row(.PUT, "", body: #"{"namespace": "table-other"}"#, admin: 409),
        row(.DELETE, "", admin: 403),
        row(.GET, "/objects", admin: 200),
        row(.POST, "/objects", body: parts[0].1, admin: 409),
        row(.DELETE, "/objects", admin: 403),
        row(.GET, "/objects/{object}", "/objects/none", admin: 404),
        row(.PUT, "/objects/{object}", "/objects/none", body: #"{"name": "none"}"#, admin: 404),
        row(.DELETE, "/objects/{object}", "/objects/none", admin: 404),
        row(.GET, "/properties", admin: 200),
        row(.POST, "/properties", body: parts[1].1, admin: 409),
        row(.DELETE, "/properties", admin: 403),
        row(.GET, "/properties/{property}", "/properties/none", admin: 404),
        row(
            .PUT, "/properties/{property}", "/properties/none",
            body: #"{"name": "none", "title": "none", "type": "string"}"#, admin: 404),
        row(.DELETE, "/properties/{property}", "/properties/none", admin: 404),
        row(.GET, "/resource_types", admin: 200),
        row(.POST, "/resource_types", body: parts[2].1, admin: 409),
        row(.DELETE, "/resource_types/{type}", "/resource_types/none", admin: 404),
        row(.GET, "/tags", admin: 200),
        // The same tags in place of those there are.
        row(.POST, "/tags", body: parts[3].1, admin: 201),
        row(.DELETE, "/tags", admin: 403),
        row(.GET, "/tags/{tag}", "/tags/none", admin: 404),
        row(.POST, "/tags/{tag}", "/tags/kept", admin: 409),
        row(.PUT, "/tags/{tag}", "/tags/none", body: #"{"name": "none"}"#, admin: 404),
        row(.DELETE, "/tags/{tag}", "/tags/none", admin: 404),
    ]

    private static let schemas: [TableRoute] = [
        "namespace", "namespaces", "object", "objects", "property", "properties", "resource_type", "resource_types",
        "tag", "tags",
    ].map { name in
        plain(.GET, "/v2/schemas/metadefs/\(name)") { caller, _ in caller.isProven ? 200 : 401 }
    }
}
