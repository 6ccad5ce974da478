import Persistence

/// Secrets that belong together: a key pair, a certificate with its key.
package struct KeyContainer: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable { case generic, rsa, certificate }

    package struct Member: Sendable, Equatable {
        /// What the secret is in the container; nil for one without a name.
        package let name: String?
        package let secret: SecretID

        package init(name: String?, secret: SecretID) {
            self.name = name
            self.secret = secret
        }
    }

    /// Who uses the container. It is shown, and keeps nothing.
    package struct Consumer: Sendable, Equatable {
        package let name: String
        package let url: String

        package init(name: String, url: String) {
            self.name = name
            self.url = url
        }
    }

    package let id: ContainerID
    package let project: ProjectID
    package let creator: UserID
    package let name: String?
    package let kind: Kind
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
    /// Those that are there: deleted and expired secrets are in no container.
    package var members: [Member] = []
    package var consumers: [Consumer] = []
}

extension KeyContainer {
    static let columns = "c.id, c.project, c.creator, c.name, c.type, c.created_at, c.updated_at"

    /// Without members and consumers.
    init(row: any SQLRow) throws {
        guard let kind = Kind(rawValue: try row.get(4)) else {
            throw SQLError(code: .corrupt, operation: "read container", message: "unknown type")
        }
        self.init(
            id: try row.get(0), project: try row.get(1), creator: try row.get(2), name: try row.get(3), kind: kind,
            createdAt: try row.get(5), updatedAt: try row.get(6))
    }
}

extension SQLConnection {
    /// With members and consumers.
    func container(_ id: ContainerID, now: Timestamp) throws -> KeyContainer? {
        let found = try first("SELECT \(KeyContainer.columns) FROM secret_containers c WHERE c.id = $1", id) {
            try KeyContainer(row: $0)
        }
        guard let found else { return nil }
        return try completed([found], now: now).first
    }

    func completed(_ containers: [KeyContainer], now: Timestamp) throws -> [KeyContainer] {
        var containers = containers
        let ids: [any SQLBindable] = containers.map(\.id)
        if ids.isEmpty { return [] }
        let places = ids.indices.map { "$\($0 + 1)" }.joined(separator: ", ")
        let indexes = Dictionary(uniqueKeysWithValues: zip(containers.map(\.id), containers.indices))
        let members = try query(
            """
            SELECT m.container_id, m.name, m.secret_id FROM secret_container_members m
            JOIN secrets s ON s.id = m.secret_id AND \(SecretRow.isThere("$\(ids.count + 1)"))
            WHERE m.container_id IN (\(places)) ORDER BY m.name, m.secret_id
            """, ids + [now]
        ) { (try $0.get(0, as: ContainerID.self), try $0.get(1, as: String.self), try $0.get(2, as: SecretID.self)) }
        for (id, name, secret) in members {
            guard let index = indexes[id] else { continue }
            containers[index].members.append(.init(name: name.isEmpty ? nil : name, secret: secret))
        }
        let consumers = try query(
            """
            SELECT container_id, name, url FROM secret_container_consumers
            WHERE container_id IN (\(places)) ORDER BY created_at, name, url
            """, ids
        ) { (try $0.get(0, as: ContainerID.self), try $0.get(1, as: String.self), try $0.get(2, as: String.self)) }
        for (id, name, url) in consumers {
            guard let index = indexes[id] else { continue }
            containers[index].consumers.append(.init(name: name, url: url))
        }
        return containers
    }

    /// The container with its members.
    func insert(_ container: KeyContainer) throws {
        try execute(
            """
            INSERT INTO secret_containers (id, project, creator, name, type, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            """, container.id, container.project, container.creator, container.name, container.kind.rawValue,
            container.createdAt, container.updatedAt)
        for member in container.members { try insert(member, in: container.id) }
    }

    func insert(_ member: KeyContainer.Member, in container: ContainerID) throws {
        try execute(
            "INSERT INTO secret_container_members (container_id, secret_id, name) VALUES ($1, $2, $3)", container,
            member.secret, member.name ?? "")
    }

    func deleteContainer(_ id: ContainerID) throws {
        try execute("DELETE FROM secret_container_members WHERE container_id = $1", id)
        try execute("DELETE FROM secret_container_consumers WHERE container_id = $1", id)
        try deleteACL(of: id.rawValue)
        try execute("DELETE FROM secret_containers WHERE id = $1", id)
    }
}
