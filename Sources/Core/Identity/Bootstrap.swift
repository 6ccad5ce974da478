import Persistence
import Trust

/// One service of this installation, for the catalogue.
package struct CatalogEntry: Sendable {
    package let type: String
    package let name: String
    package let url: String

    package init(type: String, name: String, url: String) {
        self.type = type
        self.name = name
        self.url = url
    }
}

/// What there must be before anyone can log in.
package struct BootstrapPlan: Sendable {
    package var catalog: [CatalogEntry]
    /// Told the new users' passwords before the users exist, so that a crash in between never leaves
    /// users whose passwords nobody knows. Not called once there are users.
    package var keepPasswords: (@Sendable ([String: String]) throws -> Void)?

    package init(catalog: [CatalogEntry], keepPasswords: (@Sendable ([String: String]) throws -> Void)? = nil) {
        self.catalog = catalog
        self.keepPasswords = keepPasswords
    }
}

package struct BootstrapResult: Sendable {
    /// By user name; empty unless this call made the users. Nowhere else in clear.
    package let createdPasswords: [String: String]
}

/// A user that the first start makes.
private struct FirstUser: Sendable {
    let name: String
    let project: String
    let role: String
    /// The role on the whole system, if any.
    let systemRole: String?

    static let all = [
        FirstUser(name: "admin", project: "admin", role: "admin", systemRole: "admin"),
        FirstUser(name: "demo", project: "demo", role: "member", systemRole: nil),
        // What the services themselves log in as. Quota checks read endpoints, hence the reader.
        FirstUser(name: "ambrotype", project: "service", role: "service", systemRole: "reader"),
    ]
    static let projects = [
        ("admin", "The operators' project."), ("demo", "A project to try things in."),
        ("service", "The services' own project."),
    ]
}

extension IdentityService {
    /// Whether `bootstrap` was ever done.
    package func isSetUp() async throws -> Bool { try await database.read { try $0.hasDomain(.standard) } }

    /// Brings the database to where users can log in. The first call makes the domain, the projects
    /// and the users; every call sees to the fixed roles and brings the catalogue's URLs up to date.
    /// What an administrator deleted or changed in between stays so. One transaction.
    package func bootstrap(_ plan: BootstrapPlan) async throws -> BootstrapResult {
        let isNew = try await !isSetUp()
        var passwords: [String: String] = [:]
        var hashes: [String: PasswordHash] = [:]
        if isNew {
            for user in FirstUser.all {
                let password = Secret.base64URL(surroundings.randomness.bytes(Secret.sizeBytes))
                passwords[user.name] = password
                hashes[user.name] = try await hash(password)
            }
            try plan.keepPasswords?(passwords)
        }
        let created = hashes
        let ids = (0..<16 + plan.catalog.count * 4).map { _ in surroundings.hexUUID() }
        let region = settings.region
        let isFirst = try await change { db in
            var fresh = ids.makeIterator()
            func id() -> String {
                guard let id = fresh.next() else { preconditionFailure("too few ids were drawn") }
                return id
            }
            try db.bootstrapRoles(id)
            let isFirst = try !db.hasDomain(.standard) && !created.isEmpty
            if isFirst { try db.bootstrapPeople(created, id) }
            try db.bootstrapCatalog(plan.catalog, region: RegionID(region), id)
            return isFirst
        }
        return BootstrapResult(createdPasswords: isFirst ? passwords : [:])
    }
}

extension SQLConnection {
    fileprivate func bootstrapRoles(_ id: () -> String) throws {
        for name in FixedRoles.all {
            let found = try execute(
                "UPDATE identity_roles SET name = $1, fixed = 1 WHERE name_key = $2", name, name)
            if found == 0 {
                try insert(
                    Role(id: RoleID(id()), name: name, description: nil, isFixed: true, extra: ExtraAttributes()))
            }
        }
    }

    fileprivate func bootstrapPeople(_ hashes: [String: PasswordHash], _ id: () -> String) throws {
        try insert(
            Domain(
                id: .standard, name: "Default", description: "The default domain", isEnabled: true, tags: [],
                extra: ExtraAttributes()))
        var projects: [String: ProjectID] = [:]
        for (name, description) in FirstUser.projects {
            let project = Project(
                id: ProjectID(id()), domainID: .standard, parentID: nil, name: name, description: description,
                isEnabled: true, tags: [], extra: ExtraAttributes())
            try insert(project)
            projects[name] = project.id
        }
        let roles = try fixedRoles()
        for first in FirstUser.all {
            let user = User(
                id: UserID(id()), domainID: .standard, name: first.name, isEnabled: true, defaultProjectID: nil,
                extra: ExtraAttributes())
            try insert(user, hashes[first.name])
            if let role = roles[first.role], let project = projects[first.project] {
                try grant(role.id, to: user.id, on: .project(project))
            }
            if let role = first.systemRole.flatMap({ roles[$0] }) { try grant(role.id, to: user.id, on: .system) }
        }
    }

    fileprivate func bootstrapCatalog(_ entries: [CatalogEntry], region: RegionID, _ id: () -> String) throws {
        try execute(
            """
            INSERT INTO identity_regions (id, description, parent_region_id, extra) VALUES ($1, '', NULL, '')
            ON CONFLICT DO NOTHING
            """, region)
        for entry in entries {
            let serviceID = try bootstrapService(entry, id)
            for interface in EndpointInterface.allCases {
                let found = try query(
                    """
                    SELECT \(Endpoint.columns) FROM identity_endpoints
                    WHERE service_id = $1 AND interface = $2 AND region_id = $3 ORDER BY id
                    """, serviceID, interface.rawValue, region
                ) { try Endpoint(row: $0) }.first
                if var endpoint = found {
                    guard endpoint.url != entry.url else { continue }
                    endpoint.url = entry.url
                    try update(endpoint)
                } else {
                    try insert(
                        Endpoint(
                            id: EndpointID(id()), serviceID: serviceID, interface: interface, regionID: region,
                            url: entry.url, isEnabled: true, extra: ExtraAttributes()))
                }
            }
        }
    }

    private func bootstrapService(_ entry: CatalogEntry, _ id: () -> String) throws -> ServiceID {
        let found = try first(
            "SELECT id FROM identity_services WHERE type = $1 ORDER BY id LIMIT 1", entry.type
        ) { try $0.get(0, as: ServiceID.self) }
        if let found {
            try execute("UPDATE identity_services SET name = $1 WHERE id = $2", entry.name, found)
            return found
        }
        let service = RegisteredService(
            id: ServiceID(id()), type: entry.type, name: entry.name, description: nil, isEnabled: true,
            extra: ExtraAttributes())
        try insert(service)
        return service.id
    }
}
