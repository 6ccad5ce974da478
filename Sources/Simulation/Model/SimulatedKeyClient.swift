import Core
import Trust

/// What a key is to its users and its operator.
package enum KeyStatus: String, Hashable, Sendable, Comparable {
    /// Never stored.
    case absent
    case there
    /// Deleted, and in quarantine.
    case hidden
    /// Gone for good.
    case erased

    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// What is asked of a key manager about one key.
package enum KeyOperation: Hashable, Sendable {
    case delete(isForced: Bool)
    /// By the operator, from quarantine.
    case undelete
    case erase
    /// By a client: a backup of this name needs the key, or not any more.
    case register(String)
    case unregister(String)
}

/// A key as its owner knows it.
package struct StoredKey: Hashable, Sendable {
    package let project: ProjectID
    package let type: SecretType
    package let payload: [UInt8]

    /// Whether it may go with an image of this project (rule K5).
    func mayGo(with owner: ProjectID) -> Bool { project == owner && (type == .symmetric || type == .passphrase) }
}

/// Uses the key manager as a project's member would, and says what it was told.
package struct SimulatedKeyClient: Sendable {
    /// Whose keys and images the simulated clients have.
    package static let owner = SimulatedClient.owner
    package static let stranger: ProjectID = "p2"

    package let server: SimulatedServer
    package let project: ProjectID

    package init(_ server: SimulatedServer, project: ProjectID = Self.owner) {
        self.server = server
        self.project = project
    }

    static func backup(_ name: String) -> KeyConsumer {
        KeyConsumer(service: "backup", resourceType: "backup", resourceID: name)
    }

    private var caller: Caller { SimulatedServer.caller(project) }
    private var barbican: SimulatedBarbican? {
        server.keys?.flavour == .remote ? server.keys?.barbican : nil
    }

    /// - Returns: the key's id, unless it failed.
    package func store(_ key: StoredKey, lastsSeconds: Int64? = nil) async -> (reply: Reply, id: SecretID?) {
        if let barbican {
            let id = SecretID(server.surroundings.uuid())
            barbican.change {
                $0.secrets[id] = RemoteKeys.Secret(project: project, type: key.type, payload: key.payload)
            }
            return (.done, id)
        }
        var draft = SecretDraft()
        draft.type = key.type
        draft.payload = SecretPayload(bytes: SecretBytes(copying: key.payload), type: .octets)
        draft.expiresAt = lastsSeconds.map { server.clock.now.adding(seconds: $0) }
        let wanted = draft
        var id: SecretID?
        let reply = await Self.reply { id = try await server.secrets.store(wanted, as: caller) }
        return (reply, id)
    }

    package func perform(_ operation: KeyOperation, on key: SecretID) async -> Reply {
        if let barbican { return barbican.change { attempt(operation, on: key, in: &$0) } }
        return await Self.reply { try await attempt(operation, on: key) }
    }

    private func attempt(_ operation: KeyOperation, on key: SecretID) async throws {
        switch operation {
        case .delete(let isForced): try await server.secrets.delete(key, force: isForced, as: caller)
        case .undelete: try await server.secrets.quarantine.undelete(key)
        case .erase: try await server.secrets.quarantine.erase(key)
        case .register(let name): _ = try await server.secrets.register(Self.backup(name), of: key, as: caller)
        case .unregister(let name): _ = try await server.secrets.unregister(Self.backup(name), of: key, as: caller)
        }
    }

    /// What a Barbican says, which has no quarantine.
    private func attempt(_ operation: KeyOperation, on key: SecretID, in keys: inout RemoteKeys) -> Reply {
        guard let secret = keys.secrets[key], secret.project == project else { return .refused(404) }
        switch operation {
        case .delete(let isForced):
            guard isForced || secret.consumers.isEmpty else { return .refused(400) }
            keys.secrets[key] = nil
        case .undelete, .erase: return .refused(404)
        case .register(let name): keys.secrets[key]?.consumers.insert(Self.backup(name))
        case .unregister(let name):
            guard keys.secrets[key]?.consumers.remove(Self.backup(name)) != nil else { return .refused(404) }
        }
        return .done
    }

    private static func reply(_ body: () async throws -> Void) async -> Reply {
        do {
            try await body()
            return .done
        } catch let error as ServiceError where ![503, 500].contains(error.status) {
            return .refused(error.status)
        } catch {
            return .failed("\(error)")
        }
    }
}
