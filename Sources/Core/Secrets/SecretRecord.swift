import Persistence

/// What a secret is for (Key Manager digest, section 3).
package enum SecretType: String, Sendable, CaseIterable {
    case symmetric, `public`, `private`, passphrase, certificate, opaque

    /// Whether it may be destroyed with the image that used it last (rule K5).
    var isImageKey: Bool { self == .symmetric || self == .passphrase }
}

/// A secret without its payload: what `GET /v1/secrets/{id}` shows.
package struct SecretRecord: Sendable, Equatable {
    package let id: SecretID
    package let project: ProjectID
    package let creator: UserID
    package var name: String?
    package var type: SecretType
    package var algorithm: String?
    package var bitLength: Int64?
    package var mode: String?
    package var expiresAt: Timestamp?
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
    /// The payload's media type; nil without a payload.
    package var contentType: String?

    package init(
        id: SecretID, project: ProjectID, creator: UserID, name: String?, type: SecretType, algorithm: String?,
        bitLength: Int64?, mode: String?, expiresAt: Timestamp?, createdAt: Timestamp, updatedAt: Timestamp,
        contentType: String?
    ) {
        self.id = id
        self.project = project
        self.creator = creator
        self.name = name
        self.type = type
        self.algorithm = algorithm
        self.bitLength = bitLength
        self.mode = mode
        self.expiresAt = expiresAt
        self.createdAt = createdAt
        self.updatedAt = updatedAt
        self.contentType = contentType
    }
}

/// The columns of `secrets` (alias `s`), in the order `SecretRow` reads them.
enum SecretRow {
    static let columns = """
        s.id, s.project, s.creator, s.name, s.secret_type, s.algorithm, s.bit_length, s.mode, s.expires_at, \
        s.created_at, s.updated_at, s.content_type
        """

    static func read(_ row: any SQLRow) throws -> SecretRecord {
        guard let type = SecretType(rawValue: try row.get(4)) else {
            throw SQLError(code: .corrupt, operation: "read secret", message: "unknown type")
        }
        return SecretRecord(
            id: try row.get(0), project: try row.get(1), creator: try row.get(2), name: try row.get(3), type: type,
            algorithm: try row.get(5), bitLength: try row.get(6), mode: try row.get(7), expiresAt: try row.get(8),
            createdAt: try row.get(9), updatedAt: try row.get(10), contentType: try row.get(11))
    }

    /// A secret that is there for its users: neither deleted nor expired.
    static func isThere(_ now: String) -> String {
        "s.deleted_at IS NULL AND (s.expires_at IS NULL OR s.expires_at > \(now))"
    }
}

extension SQLConnection {
    /// A secret that is neither deleted nor expired.
    func secret(_ id: SecretID, now: Timestamp) throws -> SecretRecord? {
        try first(
            "SELECT \(SecretRow.columns) FROM secrets s WHERE s.id = $1 AND \(SecretRow.isThere("$2"))", id, now,
            row: SecretRow.read)
    }

    package func insertSecret(_ secret: SecretRecord, _ envelope: SealedSecret?) throws {
        try execute(
            """
            INSERT INTO secrets (id, project, creator, name, secret_type, algorithm, bit_length, mode, expires_at,
                created_at, updated_at, content_type, project_key, wrapped_key, sealed_payload)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
            """,
            secret.id, secret.project, secret.creator, secret.name, secret.type.rawValue, secret.algorithm,
            secret.bitLength, secret.mode, secret.expiresAt, secret.createdAt, secret.updatedAt, secret.contentType,
            envelope?.projectKey, envelope?.wrappedKey, envelope?.payload)
    }
}
