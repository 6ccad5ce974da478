import Core

/// Who uses a cloud, where, and how it is proven: an entry of a `clouds.yaml` (openstacksdk, "Configuring OpenStack
/// SDK Applications").
package struct CloudAccount: Sendable {
    /// By id or by name.
    package enum Named: Sendable {
        case id(String)
        case name(String)
    }

    package enum Credential: Sendable {
        case password(
            user: Named, userDomain: Named, password: String, project: Named, projectDomain: Named)
        /// It knows its project.
        case application(id: String, secret: String)
    }

    /// Identity's, with or without `/v3`.
    package let authURL: String
    package let credential: Credential
    /// Nil takes the endpoints of any region.
    package let region: String?
    /// `public`, `internal` or `admin`.
    package let interface: String
    /// A file of certificates in PEM that servers are checked against; nil for the system's.
    package let caCertificateFile: String?

    package init(
        authURL: String, credential: Credential, region: String?, interface: String, caCertificateFile: String?
    ) {
        self.authURL = authURL
        self.credential = credential
        self.region = region
        self.interface = interface
        self.caCertificateFile = caCertificateFile
    }

    /// The body of `POST /v3/auth/tokens`.
    var loginDocument: String {
        let q = { (text: String) in JSONValue.string(text).text }
        switch credential {
        case .application(let id, let secret):
            return """
                {"auth": {"identity": {"methods": ["application_credential"], "application_credential": \
                {"id": \(q(id)), "secret": \(q(secret))}}}}
                """
        case .password(let user, let userDomain, let password, let project, let projectDomain):
            return """
                {"auth": {"identity": {"methods": ["password"], "password": {"user": \
                {\(Self.members(user, in: userDomain)), "password": \(q(password))}}}, "scope": {"project": \
                {\(Self.members(project, in: projectDomain))}}}}
                """
        }
    }

    /// An id needs no domain.
    private static func members(_ named: Named, in domain: Named) -> String {
        switch named {
        case .id: return member(named)
        case .name: return "\(member(named)), \"domain\": {\(member(domain))}"
        }
    }

    private static func member(_ named: Named) -> String {
        switch named {
        case .id(let id): "\"id\": \(JSONValue.string(id).text)"
        case .name(let name): "\"name\": \(JSONValue.string(name).text)"
        }
    }
}
