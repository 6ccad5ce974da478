import Logging
import Persistence
import Trust

extension Secrets {
    /// `POST /v1/orders`: makes the key, or the pair, before it answers. What cannot be made is an order too,
    /// with its reason.
    /// - Throws: `ServiceError`: `.forbidden` (policy, a quota), `.badRequest` (it would have expired already),
    ///   `.unavailable` (too many keys are being made).
    package func place(_ draft: OrderDraft, as caller: Caller) async throws -> OrderID {
        let project = try SecretPolicy.requireMember(OrderAction.create, caller)
        let now = now
        if let expiresAt = draft.meta.expiresAt, expiresAt <= now {
            throw OrderDraft.secretFields.mismatch("expiration", "'expiration' is before current time")
        }
        let generation = KeyGeneration(draft.kind, draft.meta)
        let needs = OrderNeeds(generation, hasPassphrase: draft.passphrase != nil)
        // Before the work is done; the transaction asks again.
        try await database.read { db in try needs.requireRoom(for: project, in: db) }
        let product = try await make(generation, draft, in: project, by: caller.userID, now: now)
        let order = KeyOrder(
            id: OrderID(surroundings.uuid()), project: project, creator: caller.userID, kind: draft.kind,
            meta: draft.meta, outcome: product.outcome, createdAt: now, updatedAt: now)
        try await database.write { db in
            try needs.requireRoom(for: project, in: db)
            for secret in product.secrets {
                try db.insertSecret(secret.record, try vault.wrap(secret.prepared, now: now, in: db))
            }
            if let container = product.container { try db.insert(container) }
            try db.insert(order)
        }
        caller.logger.info(
            "order placed",
            metadata: ["order": "\(order.id)", "secrets": "\(product.secrets.map(\.record.id.rawValue))"])
        return order.id
    }

    private func make(
        _ generation: KeyGeneration, _ draft: OrderDraft, in project: ProjectID, by creator: UserID, now: Timestamp
    ) async throws -> OrderProduct {
        func secret(_ type: SecretType, _ bytes: SecretBytes) -> OrderProduct.Secret {
            let meta = draft.meta
            let record = SecretRecord(
                id: SecretID(surroundings.uuid()), project: project, creator: creator, name: meta.name, type: type,
                algorithm: meta.algorithm, bitLength: meta.bitLength, mode: meta.mode, expiresAt: meta.expiresAt,
                createdAt: now, updatedAt: now, contentType: OrderProduct.contentType)
            return .init(record: record, prepared: vault.prepare(bytes, of: record.id, in: project))
        }
        switch generation {
        case .impossible(let failure):
            return OrderProduct(outcome: .failed(failure))
        case .symmetric(let count):
            let key = secret(.symmetric, vault.secretBytes(count))
            return OrderProduct(outcome: .secret(key.record.id), secrets: [key])
        case .pair(let algorithm, let bits):
            let passphrase = draft.passphrase
            let pair = try await pairGate.run { try KeyPairs.make(algorithm, bits: bits, passphrase: passphrase) }
            var named = [
                ("private_key", secret(.private, pair.privateKey)),
                ("public_key", secret(.public, SecretBytes(copying: pair.publicKey))),
            ]
            if let passphrase { named.append(("private_key_passphrase", secret(.passphrase, passphrase))) }
            let container = KeyContainer(
                id: ContainerID(surroundings.uuid()), project: project, creator: creator, name: draft.meta.name,
                kind: .rsa, createdAt: now, updatedAt: now,
                members: named.map { .init(name: $0.0, secret: $0.1.record.id) })
            return OrderProduct(
                outcome: .container(container.id), secrets: named.map(\.1), container: container)
        }
    }
}

/// What an order comes to, not yet stored.
private struct OrderProduct: Sendable {
    /// Keys are bytes and PEM is handed out as such, whatever the order says: a client that stored it as text
    /// could not read it.
    static let contentType = "application/octet-stream"

    struct Secret: Sendable {
        let record: SecretRecord
        let prepared: KeyVault.Prepared
    }

    let outcome: KeyOrder.Outcome
    var secrets: [Secret] = []
    var container: KeyContainer?
}

/// How much of its quotas a project uses for an order.
private struct OrderNeeds: Sendable {
    let secrets: Int64
    let containers: Int64

    init(_ generation: KeyGeneration, hasPassphrase: Bool) {
        switch generation {
        case .impossible: (secrets, containers) = (0, 0)
        case .symmetric: (secrets, containers) = (1, 0)
        case .pair: (secrets, containers) = (hasPassphrase ? 3 : 2, 1)
        }
    }

    func requireRoom(for project: ProjectID, in db: any SQLConnection) throws {
        try KeyQuota.requireRoom(for: .orders, project, in: db)
        if secrets > 0 { try KeyQuota.requireRoom(for: .secrets, project, count: secrets, in: db) }
        if containers > 0 { try KeyQuota.requireRoom(for: .containers, project, count: containers, in: db) }
    }
}
