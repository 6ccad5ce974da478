import Persistence
import Trust

/// How a login names its user.
package enum UserReference: Sendable, Hashable {
    case id(UserID)
    case name(String, domain: DomainReference)

    /// One text for one user as named, for counting failures.
    var login: String {
        switch self {
        case .id(let id): "id\u{0}\(id)"
        case .name(let name, .id(let domain)): "name\u{0}\(name)\u{0}id\u{0}\(domain)"
        case .name(let name, .name(let domain)): "name\u{0}\(name)\u{0}name\u{0}\(domain)"
        }
    }
}

package enum DomainReference: Sendable, Hashable {
    case id(DomainID)
    case name(String)
}

/// A password that was right, and the state of the user it was right in: what follows from it must
/// find that state unchanged.
struct ProvenPassword: Sendable {
    let user: User
    /// As it stands in the row.
    let encodedHash: String
    /// The end of earlier tokens, as read with the hash.
    let notBefore: Timestamp
}

/// What a login needs of a user's row.
private struct LoginRow: Sendable {
    let user: User
    let isDomainEnabled: Bool
    let hash: PasswordHash?
    let failedAttempts: Int
    let failedAt: Timestamp
    let notBefore: Timestamp
}

extension IdentityService {
    /// Proves a password. Every failure looks the same and takes the same work: unknown user, no
    /// password, wrong password, locked out, disabled.
    /// - Throws: `ServiceError.loginFailed`; `.unavailable` when too many logins wait.
    func verify(password: String, of reference: UserReference) async throws -> ProvenPassword {
        guard password.utf8.count <= PasswordHash.maxPasswordBytes else {
            throw ResourceBody.invalid("password", "it is longer than \(PasswordHash.maxPasswordBytes) bytes")
        }
        // The row is read, judged and its count written while the place at the gate is held: of many
        // guesses at once only as many are judged on one count as places there are.
        let proven = try await hashing.whileHeld { pool in try await judge(password, reference, pool) }
        guard let proven else {
            let delay = loginDelays.noteFailure(of: reference.login, at: now)
            try await surroundings.clock.sleep(seconds: delay)
            throw ServiceError.loginFailed
        }
        loginDelays.forget(reference.login)
        return proven
    }

    private func judge(
        _ password: String, _ reference: UserReference, _ pool: any WorkPool
    ) async throws -> ProvenPassword? {
        let row = try await database.read { try $0.loginRow(reference) }
        let isLocked = row.map { isLockedOut($0) } ?? false
        let salt = surroundings.randomness.bytes(16)
        let cost = settings.scryptCost
        guard let row, let hash = row.hash, !isLocked else {
            // The same work as for a user there is.
            _ = try await pool.run { PasswordHash(password: password, costLog2: cost, salt: salt) }
            return nil
        }
        let id = row.user.id
        guard try await pool.run({ hash.matches(password) }) else {
            let now = now
            // Old failures are forgotten once the lock they led to is over.
            let start = now.adding(seconds: -settings.lockoutSeconds)
            _ = try await database.write { db in
                try db.execute(
                    """
                    UPDATE identity_users
                    SET failed_attempts = CASE WHEN failed_at < $1 THEN 1 ELSE failed_attempts + 1 END, failed_at = $2
                    WHERE id = $3
                    """, start, now, id)
            }
            return nil
        }
        guard row.user.isEnabled, row.isDomainEnabled else { return nil }
        let fresh: PasswordHash? =
            if hash.needsRehash(costLog2: cost) {
                try await pool.run { PasswordHash(password: password, costLog2: cost, salt: salt) }
            } else { nil }
        if fresh != nil || row.failedAttempts > 0 {
            _ = try await database.write { db in
                try db.execute(
                    """
                    UPDATE identity_users SET failed_attempts = 0, password_hash = $1
                    WHERE id = $2 AND password_hash = $3
                    """, (fresh ?? hash).encoded, id, hash.encoded)
            }
        }
        return ProvenPassword(
            user: row.user, encodedHash: (fresh ?? hash).encoded, notBefore: row.notBefore)
    }

    private func isLockedOut(_ row: LoginRow) -> Bool {
        row.failedAttempts >= settings.lockoutAttempts
            && now < row.failedAt.adding(seconds: settings.lockoutSeconds)
    }
}

extension SQLConnection {
    fileprivate func loginRow(_ reference: UserReference) throws -> LoginRow? {
        let select =
            """
            SELECT u.id, u.domain_id, u.name, u.enabled, u.default_project_id, u.extra, d.enabled, u.password_hash,
                u.failed_attempts, u.failed_at, u.not_before
            FROM identity_users u JOIN identity_domains d ON d.id = u.domain_id
            """
        let (condition, arguments): (String, [any SQLBindable]) =
            switch reference {
            case .id(let id): ("u.id = $1", [id])
            case .name(let name, .id(let domain)): ("u.name = $1 AND u.domain_id = $2", [name, domain])
            case .name(let name, .name(let domain)): ("u.name = $1 AND d.name = $2", [name, domain])
            }
        return try query("\(select) WHERE \(condition)", arguments) { row in
            LoginRow(
                user: try User(row: row), isDomainEnabled: try row.get(6),
                hash: try row.get(7, as: String?.self).map { PasswordHash(encoded: $0) },
                failedAttempts: try row.get(8), failedAt: try row.get(9), notBefore: try row.get(10))
        }.first
    }
}
