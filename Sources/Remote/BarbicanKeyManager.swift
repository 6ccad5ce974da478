import Core
import NIOHTTP1

/// The keys are in a Barbican. It is asked as a member of the project that owns the resource, with a token of our
/// user in that project: what a member may not do is not done (rule K5). For that an operator grants our user the
/// role `member`, inherited from the domains whose projects it serves.
///
/// `shutdown` gives its connections back.
package final class BarbicanKeyManager: KeyManager {
    /// How often a registration that came in between is taken back before the key stays.
    private static let rounds = 3
    private static let pageSize = 100
    private static let pageLimit = 100

    let client: BarbicanClient

    package init(_ settings: BarbicanSettings, surroundings: Surroundings) {
        precondition(settings.timeoutSeconds > 0)
        client = BarbicanClient(settings, surroundings: surroundings)
    }

    package func shutdown() async throws { try await client.shutdown() }

    /// That Keystone takes our credentials and there is a Barbican; for the check at start.
    /// - Returns: whether it knows consumers. One that does not lets any member delete a key that images need.
    /// - Throws: `KeyManagerError`.
    package func checkReachable() async throws -> Bool { try await client.checkReachable().hasConsumers }

    package var keepsOwnConsumers: Bool { true }

    /// Barbican finds the row there is and answers as for a new one (`SecretConsumerRepo.create_or_update_from`
    /// of its sources; seen of 23.0.0), so it may be sent again.
    package func register(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) async throws {
        let operation = "register \(consumer.text) with key \(key)"
        guard Self.isPossible(key) else { throw Self.notFound(operation) }
        guard try await client.abilities(for: project).hasConsumers else { return }
        let answer = try await client.call(
            .POST, "secrets/\(key)/consumers", json: consumer.json, in: project, operation)
        switch answer.status {
        case 200...204: return
        case 404: throw Self.notFound(operation)
        default: throw Self.error(answer, operation, project)
        }
    }

    package func unregister(_ consumer: KeyConsumer, of key: SecretID, for project: ProjectID) async throws {
        guard Self.isPossible(key), try await client.abilities(for: project).hasConsumers else { return }
        try await removeConsumer(consumer, of: key, in: project)
    }

    package func destroy(
        _ key: SecretID, of consumer: KeyConsumer, for project: ProjectID
    ) async throws -> KeyFate {
        guard Self.isPossible(key) else { return .notFound }
        guard let type = try await type(of: key, in: project) else { return .notFound }
        guard type == "symmetric" || type == "passphrase" else { return .kept("it is of the type \(type)") }
        let hasConsumers = try await client.abilities(for: project).hasConsumers
        for _ in 0..<Self.rounds {
            if hasConsumers {
                if let other = try await other(than: consumer, of: key, in: project) {
                    return .kept("\(other.text) needs it")
                }
                try await removeConsumer(consumer, of: key, in: project)
            }
            if try await delete(key, in: project) { return .destroyed }
            // Somebody has registered since we looked, and be it a job of ours that came late.
        }
        return .kept("something else needs it")
    }

    // MARK: Requests

    /// Nil when there is no such key.
    private func type(of key: SecretID, in project: ProjectID) async throws -> String? {
        let operation = "look at key \(key)"
        let answer = try await client.call(.GET, "secrets/\(key)", in: project, operation)
        switch answer.status {
        case 200:
            guard let type = try answer.json(operation)["secret_type"]?.stringValue else {
                throw KeyManagerError(code: .unexpected, operation: operation, cause: "the answer is no secret")
            }
            return type
        case 404: return nil
        default: throw Self.error(answer, operation, project)
        }
    }

    /// The first that is another; nil when there is none.
    private func other(
        than ours: KeyConsumer, of key: SecretID, in project: ProjectID
    ) async throws -> KeyConsumer? {
        let operation = "list the consumers of key \(key)"
        var seen = 0
        for _ in 0..<Self.pageLimit {
            let answer = try await client.call(
                .GET, "secrets/\(key)/consumers?limit=\(Self.pageSize)&offset=\(seen)", in: project, operation)
            if answer.status == 404 { return nil }
            guard answer.status == 200 else { throw Self.error(answer, operation, project) }
            let page = try answer.json(operation)
            guard let rows = page["consumers"]?.arrayValue, let total = page["total"]?.integerValue else {
                throw KeyManagerError(code: .unexpected, operation: operation, cause: "the answer is no list")
            }
            for row in rows {
                guard let consumer = KeyConsumer(row) else {
                    throw KeyManagerError(code: .unexpected, operation: operation, cause: "an unreadable consumer")
                }
                if consumer != ours { return consumer }
            }
            seen += rows.count
            if rows.isEmpty || seen >= total { return nil }
        }
        throw KeyManagerError(code: .unexpected, operation: operation, cause: "the list does not end")
    }

    private func removeConsumer(_ consumer: KeyConsumer, of key: SecretID, in project: ProjectID) async throws {
        let operation = "unregister \(consumer.text) from key \(key)"
        let answer = try await client.call(
            .DELETE, "secrets/\(key)/consumers", json: consumer.json, in: project, operation)
        switch answer.status {
        // 404: it is not registered, or the key is gone.
        case 200...204, 404: return
        default: throw Self.error(answer, operation, project)
        }
    }

    /// Never by force: what needs the key is asked once more by Barbican itself, from microversion 1.2.
    /// - Returns: false when something needs the key.
    private func delete(_ key: SecretID, in project: ProjectID) async throws -> Bool {
        let operation = "delete key \(key)"
        let answer = try await client.call(.DELETE, "secrets/\(key)", in: project, operation)
        switch answer.status {
        // 404: it was there before, so that this call was its end, or another that came with it.
        case 200...204, 404: return true
        case 400 where answer.complaint.contains("has consumers"): return false
        default: throw Self.error(answer, operation, project)
        }
    }

    // MARK: Answers

    /// Barbican has no others, and what is none must not become part of a path.
    static func isPossible(_ key: SecretID) -> Bool { SecretID(canonical: key.rawValue) != nil }

    private static func notFound(_ operation: String) -> KeyManagerError {
        KeyManagerError(code: .notFound, operation: operation, cause: "there is no such key")
    }

    private static func error(
        _ answer: BarbicanClient.Answer, _ operation: String, _ project: ProjectID
    ) -> KeyManagerError {
        guard answer.status == 403 else {
            return KeyManagerError(
                code: .unexpected, operation: operation, cause: "Barbican answered \(answer.status)")
        }
        let why =
            answer.complaint.contains("quota has been reached")
            ? "the quota of project \(project) is spent"
            : "the members of project \(project) may not, as the key is another project's or private"
        return KeyManagerError(code: .refused, operation: operation, cause: "Barbican answered 403: \(why)")
    }
}

extension KeyConsumer {
    fileprivate init?(_ row: JSONValue) {
        guard let service = row["service"]?.stringValue, let type = row["resource_type"]?.stringValue,
            let id = row["resource_id"]?.stringValue
        else { return nil }
        self.init(service: service, resourceType: type, resourceID: id)
    }

    fileprivate var text: String { "\(service)/\(resourceType) \(resourceID)" }

    fileprivate var json: String {
        let q = { (text: String) in JSONValue.string(text).text }
        return """
            {"service": \(q(service)), "resource_type": \(q(resourceType)), "resource_id": \(q(resourceID))}
            """
    }
}
