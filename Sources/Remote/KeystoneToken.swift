import Core

/// What Keystone says of a token (Identity API v3, "token" of `GET /v3/auth/tokens`).
struct KeystoneToken: Sendable {
    let userID: UserID
    let userName: String?
    let projectID: ProjectID?
    let projectName: String?
    let projectDomainID: DomainID?
    let domainID: DomainID?
    let hasSystemScope: Bool
    let roles: Set<String>
    let auditID: String?
    let expiresAt: Timestamp
    /// Nil for a token that may do whatever its roles may.
    let accessRules: [AccessRule]?

    /// - Throws: `KeystoneError` for a document that is none.
    init(_ document: JSONValue) throws {
        guard let token = document["token"], let user = token["user"]?["id"]?.stringValue,
            let expiry = token["expires_at"]?.stringValue, let expiresAt = Timestamp(iso8601: expiry)
        else { throw KeystoneError(.unexpected, operation: "read token", cause: "no user or no expiry in the answer") }
        userID = UserID(user)
        self.expiresAt = expiresAt
        userName = token["user"]?["name"]?.stringValue
        projectID = token["project"]?["id"]?.stringValue.map { ProjectID($0) }
        projectName = token["project"]?["name"]?.stringValue
        projectDomainID = token["project"]?["domain"]?["id"]?.stringValue.map { DomainID($0) }
        domainID = token["domain"]?["id"]?.stringValue.map { DomainID($0) }
        hasSystemScope = token["system"]?["all"]?.boolValue ?? false
        roles = Set((token["roles"]?.arrayValue ?? []).compactMap { $0["name"]?.stringValue?.lowercased() })
        auditID = token["audit_ids"]?.arrayValue?.first?.stringValue
        accessRules = try Self.accessRules(of: token["application_credential"])
    }

    /// A credential without the member is unrestricted; with one that cannot be read, the token is
    /// not taken for more than it may be.
    private static func accessRules(of credential: JSONValue?) throws -> [AccessRule]? {
        guard let rules = credential?["access_rules"], !rules.isNull else { return nil }
        let unreadable = KeystoneError(.unexpected, operation: "read token", cause: "unreadable access rules")
        guard let rules = rules.arrayValue else { throw unreadable }
        return try rules.map { rule in
            guard let service = rule["service"]?.stringValue, let method = rule["method"]?.stringValue,
                let path = rule["path"]?.stringValue
            else { throw unreadable }
            return AccessRule(service: service, method: method, path: path)
        }
    }
}

/// Why Keystone did not give what was asked of it.
package struct KeystoneError: Error, Sendable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        /// It knows no such token: expired, revoked, or never given out.
        case unknownToken
        /// It does not take our own credentials.
        case refused
        /// It cannot be reached, or does not answer in time.
        case unreachable
        /// It answered something else.
        case unexpected
    }
    package let code: Code
    package let operation: String
    /// For the log; never holds a token or a password.
    package let cause: String
    /// The status of an answer that was not expected.
    let status: Int?

    init(_ code: Code, operation: String, cause: String, status: Int? = nil) {
        self.code = code
        self.operation = operation
        self.cause = cause
        self.status = status
    }

    /// Whether it is for Keystone, or what stands before it, to get well again.
    var mayPass: Bool { code == .unreachable || [429, 500, 502, 503, 504].contains(status) }

    package var description: String { "Keystone: \(code) in \(operation): \(cause)" }
}
