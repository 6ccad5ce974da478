import Core
import Persistence
import Trust

/// What must be true of the keys of a cloud at rest, read from its database, and from the key manager outside of
/// it if it has one: invariant (e) of the design, and rule R5.
package struct KeyAudit: Sendable {
    package let server: SimulatedServer
    /// All that was stored and acknowledged.
    package let stored: [SecretID: StoredKey]

    package init(_ server: SimulatedServer, stored: [SecretID: StoredKey]) {
        self.server = server
        self.stored = stored
    }

    package struct Result: Sendable {
        package var statuses: [SecretID: KeyStatus] = [:]
        /// Which backups need each key.
        package var backups: [SecretID: Set<String>] = [:]
        /// How many secrets are there that nobody was told to be stored.
        package var strays = 0
        package var violations: [String] = []
    }

    private struct Edge: Hashable {
        let key: SecretID
        let image: ImageID
        let via: String
    }

    private struct Found {
        let holds: Bool
        let state: String
        let destroys: Bool
        let project: ProjectID?
    }

    private var remote: RemoteKeys? { server.keys?.flavour == .remote ? server.keys?.barbican.keys : nil }

    /// - Parameter images: all there are, as they were found.
    package func run(images: [ImageID: ModelImage]) async throws -> Result {
        var result = Result()
        let edges = try await imageEdges()
        result.violations += check(edges, against: images)
        if let remote {
            for (id, secret) in remote.secrets {
                result.statuses[id] = .there
                result.backups[id] = Set(secret.consumers.filter { $0.service == "backup" }.map(\.resourceID))
            }
            result.violations += checkConsumers(of: remote, edges)
        } else {
            try await readSecrets(into: &result)
        }
        result.strays = result.statuses.keys.count { stored[$0] == nil }
        for id in stored.keys where result.statuses[id] == nil { result.statuses[id] = .erased }
        for (edge, found) in edges {
            guard let key = stored[edge.key], result.statuses[edge.key] != .erased else { continue }
            // An edge keeps the owner's key, and no other project's.
            if found.holds != (key.project == SimulatedKeyClient.owner) {
                result.violations.append(
                    "(h) the edge of image \(edge.image) to key \(edge.key) of project \(key.project) "
                        + (found.holds ? "keeps it" : "does not keep it"))
            }
        }
        return result
    }

    private func imageEdges() async throws -> [Edge: Found] {
        try await server.database.read { db in
            var edges: [Edge: Found] = [:]
            try db.forEachRow(
                """
                SELECT secret_id, resource_id, via, holds, state, destroys, project FROM key_edges
                WHERE service = 'image' AND resource_type = 'image' AND via <> 'consumer'
                """, []
            ) {
                edges[Edge(key: try $0.get(0), image: try $0.get(1), via: try $0.get(2))] = Found(
                    holds: try $0.get(3), state: try $0.get(4), destroys: try $0.get(5), project: try $0.get(6))
            }
            return edges
        }
    }

    /// The edges follow from the properties of the images, and the other way round.
    private func check(_ edges: [Edge: Found], against images: [ImageID: ModelImage]) -> [String] {
        var due: Set<Edge> = []
        for (image, model) in images where model.mayUseKeys {
            for (via, value) in [
                (SimulatedClient.keyProperty, model.key), (SimulatedClient.certificateProperty, model.certificate),
            ] {
                if let key = KeyName.key(value) { due.insert(Edge(key: key, image: image, via: via)) }
            }
        }
        var violations: [String] = []
        for edge in due where edges[edge] == nil {
            violations.append("(e) image \(edge.image) names key \(edge.key) in \(edge.via) without an edge")
        }
        for (edge, found) in edges {
            let name = "the edge of image \(edge.image) to key \(edge.key) by \(edge.via)"
            if !due.contains(edge) { violations.append("(e) \(name) is \(found.state), and follows from nothing") }
            if found.state != "held" { violations.append("(g) \(name) is \(found.state) at rest") }
            if found.project != SimulatedKeyClient.owner {
                violations.append("(h) \(name) is of \(found.project as Any)")
            }
        }
        return violations.sorted()
    }

    /// What a key manager of its own was told is what the edges say.
    private func checkConsumers(of remote: RemoteKeys, _ edges: [Edge: Found]) -> [String] {
        var violations: [String] = []
        for (id, secret) in remote.secrets.sorted(by: { $0.key < $1.key }) {
            let told = Set(secret.consumers.filter { $0.service == "image" }.map(\.resourceID))
            let due = Set(edges.filter { $0.key.key == id && $0.value.holds }.map(\.key.image.rawValue))
            if told != due {
                violations.append("(e) key \(id) is registered for images \(told.sorted()), due are \(due.sorted())")
            }
        }
        return violations
    }

    /// Each key, deleted or not, opens and is what was stored.
    private func readSecrets(into result: inout Result) async throws {
        let vault = server.secrets.vault
        let found = try await server.database.read { db in
            let secrets = try db.query("SELECT id, deleted_at IS NOT NULL FROM secrets") {
                (id: try $0.get(0, as: SecretID.self), isDeleted: try $0.get(1, as: Bool.self))
            }
            let backups = try db.query("SELECT secret_id, resource_id FROM key_edges WHERE service = 'backup'") {
                (key: try $0.get(0, as: SecretID.self), name: try $0.get(1, as: String.self))
            }
            return (
                secrets: secrets.map { ($0, Result.opened($0.id, vault, db)) }, backups: backups
            )
        }
        for ((id, isDeleted), opened) in found.secrets {
            result.statuses[id] = isDeleted ? .hidden : .there
            guard let key = stored[id] else { continue }
            switch opened {
            case .success(let payload) where payload == key.payload: break
            case .success: result.violations.append("(a) key \(id) has another payload than was stored")
            case .failure(let error): result.violations.append("(a) key \(id) does not open: \(error)")
            }
        }
        for (key, name) in found.backups { result.backups[key, default: []].insert(name) }
    }
}

extension KeyAudit.Result {
    fileprivate static func opened(
        _ id: SecretID, _ vault: KeyVault, _ db: any SQLConnection
    ) -> Swift.Result<[UInt8]?, any Error> {
        Swift.Result { try vault.payload(of: id, in: db)?.withUnsafeBytes { Array($0) } }
    }
}

/// What stands in a property that names a key.
enum KeyName {
    /// Written down anew; nil for what is no UUID.
    static func key(_ value: String?) -> SecretID? {
        guard let value, value.utf8.count == 36 else { return nil }
        for (index, byte) in value.utf8.enumerated() {
            switch (index, byte) {
            case (8, UInt8(ascii: "-")), (13, UInt8(ascii: "-")), (18, UInt8(ascii: "-")), (23, UInt8(ascii: "-")):
                continue
            case (8, _), (13, _), (18, _), (23, _): return nil
            case (_, 48...57), (_, 65...70), (_, 97...102): continue
            default: return nil
            }
        }
        return SecretID(value.lowercased())
    }
}

extension ModelImage {
    /// Whether it is there, for its users or for its operator: then its keys must be.
    var mayUseKeys: Bool {
        switch status {
        case .absent, .deleted: false
        case .queued, .saving, .active, .deactivated, .recycled: true
        }
    }

    func names(_ id: SecretID) -> Bool {
        mayUseKeys && (KeyName.key(key) == id || KeyName.key(certificate) == id)
    }

    /// Whether this key is to go with the image.
    func destroys(_ id: SecretID) -> Bool { destroysKey == true && KeyName.key(key) == id }

    /// The keys it names.
    var keyIDs: Set<SecretID> {
        mayUseKeys ? Set([KeyName.key(key), KeyName.key(certificate)].compactMap(\.self)) : []
    }
}
