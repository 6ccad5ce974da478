import Trust

/// `POST /v3/auth/tokens`, decoded: what is offered as proof, and what scope is asked for.
struct AuthenticationRequest: Sendable {
    enum Method: Sendable {
        case password(UserReference, String)
        case token(String)
        case applicationCredential(ApplicationCredentialReference, secret: String)
    }

    enum Scope: Sendable {
        case unscoped
        case projectID(ProjectID)
        case projectName(String, DomainReference)
        case domain(DomainReference)
        case system
    }

    let methods: [Method]
    /// Nil when the request names none: the user's default project, if it can be had.
    let scope: Scope?

    /// - Throws: `ServiceError.badRequest` for another shape; `.unauthorized` for unknown methods.
    init(_ document: JSONValue) throws {
        guard let auth = document["auth"]?.objectValue else { throw Self.expecting("auth", "request body") }
        guard let identity = auth["identity"]?.objectValue else { throw Self.expecting("identity", "auth") }
        guard let names = identity["methods"]?.arrayValue else { throw Self.expecting("methods", "identity") }
        var methods: [Method] = []
        var seen: Set<String> = []
        for name in names {
            guard let name = name.stringValue else {
                throw ResourceBody.invalid("methods", "\(name.kind) is not a string")
            }
            guard seen.insert(name).inserted else { continue }
            methods.append(try Self.method(name, identity))
        }
        guard !methods.isEmpty else { throw ServiceError.loginFailed }
        self.methods = methods
        scope = try auth["scope"].map { try Self.scope($0) }
    }

    private static func expecting(_ what: String, _ place: String) -> ServiceError {
        .badRequest(
            "Expecting to find \(what) in \(place). The server could not comply with the request since it is either "
                + "malformed or otherwise incorrect. The client is assumed to be in error.")
    }

    private static func method(_ name: String, _ identity: [String: JSONValue]) throws -> Method {
        guard ["password", "token", "application_credential"].contains(name) else {
            throw ServiceError.unauthorized("Attempted to authenticate with an unsupported method.")
        }
        guard let members = identity[name]?.objectValue else { throw expecting(name, "identity") }
        switch name {
        case "password":
            guard let user = members["user"]?.objectValue else { throw expecting("user", name) }
            let password = try text("password", in: user, "user", limit: Int.max)
            return .password(try self.user(user), password)
        case "token":
            return .token(try text("id", in: members, name, limit: Int.max))
        default:
            let secret = try text("secret", in: members, name, limit: PasswordHash.maxPasswordBytes)
            if members["id"] != nil {
                return .applicationCredential(
                    .id(ApplicationCredentialID(try text("id", in: members, name))), secret: secret)
            }
            let credentialName = try text("name", in: members, name)
            guard let user = members["user"]?.objectValue else { throw expecting("user", name) }
            return .applicationCredential(.name(credentialName, try self.user(user)), secret: secret)
        }
    }

    private static func user(_ members: [String: JSONValue]) throws -> UserReference {
        if members["id"] != nil { return .id(UserID(try text("id", in: members, "user"))) }
        return .name(try text("name", in: members, "user"), domain: try domain(in: members, "user"))
    }

    private static func domain(in members: [String: JSONValue], _ place: String) throws -> DomainReference {
        guard let domain = members["domain"]?.objectValue else { throw expecting("domain", place) }
        return try self.domain(domain)
    }

    private static func domain(_ members: [String: JSONValue]) throws -> DomainReference {
        if members["id"] != nil { return .id(DomainID(try text("id", in: members, "domain"))) }
        return .name(try text("name", in: members, "domain"))
    }

    private static func scope(_ value: JSONValue) throws -> Scope {
        if value == .string("unscoped") { return .unscoped }
        let problem = expecting("system, project, domain, OS-TRUST:trust or unscoped", "scope")
        guard let members = value.objectValue, members.count == 1, let (name, inner) = members.first else {
            throw problem
        }
        switch (name, inner) {
        case ("unscoped", .object), ("unscoped", .null):
            return .unscoped
        case ("project", .object(let project)):
            if project["id"] != nil { return .projectID(ProjectID(try text("id", in: project, name))) }
            return .projectName(try text("name", in: project, name), try domain(in: project, name))
        case ("domain", .object(let domain)):
            return .domain(try self.domain(domain))
        case ("system", .object(let system)):
            guard system["all"] == .bool(true) else { throw expecting("all", "system") }
            return .system
        case ("OS-TRUST:trust", .object):
            throw ServiceError.badRequest("Trusts are not supported by this Identity service.")
        default:
            throw problem
        }
    }

    private static func text(
        _ name: String, in members: [String: JSONValue], _ place: String, limit: Int = 255
    ) throws -> String {
        guard let value = members[name] else { throw expecting(name, place) }
        guard case .string(let text) = value else { throw ResourceBody.invalid(name, "\(value.kind) is not a string") }
        guard text.unicodeScalars.count <= limit else {
            throw ResourceBody.invalid(name, "it is longer than \(limit) characters")
        }
        // PostgreSQL cannot even be asked for such a name; a password may hold what it likes.
        guard limit > 255 || !text.utf8.contains(0) else { throw ResourceBody.invalid(name, "it holds a NUL") }
        return text
    }
}
