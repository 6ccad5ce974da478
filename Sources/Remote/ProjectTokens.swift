import Core

/// A token of our user in a project, and what else Keystone said with it.
struct ProjectToken: Sendable {
    let token: String
    let project: ProjectID
    let roles: Set<String>
    let expiresAt: Timestamp
    /// Where the project finds its key manager; nil when the catalogue does not say.
    let keyManagerURL: String?
}

/// Tokens of our user in other projects (rule K5): what it does there it does as one of their members.
///
/// Only `KeyManagerError` and `CancellationError` are thrown.
final class ProjectTokens: Sendable {
    /// A token is renewed this long before its end, so that none expires on the way.
    private static let renewalSeconds: Int64 = 30
    private static let limit = 500

    private let settings: BarbicanSettings
    private let clock: any WallClock
    private let keystone: KeystoneClient
    private let known: LookupCache<ProjectToken>

    init(_ settings: BarbicanSettings, clock: any WallClock) {
        self.settings = settings
        self.clock = clock
        keystone = KeystoneClient(settings.keystone, clock: clock)
        // Its end is looked at on every use, so the age here only bounds what a taken role is still good for.
        known = LookupCache(clock: clock, maxAgeSeconds: 3600, limit: Self.limit)
    }

    func shutdown() async throws { try await keystone.shutdown() }

    func token(for project: ProjectID) async throws -> ProjectToken {
        let key = Self.key(project)
        let found = try await known.value(for: key) { try await logIn(to: project) }
        if found.expiresAt > clock.now.adding(seconds: Self.renewalSeconds) { return found }
        forget(found)
        // A token that is short-lived from the start is used as it is.
        return try await known.value(for: key) { try await logIn(to: project) }
    }

    /// To be called when it was not taken.
    func forget(_ token: ProjectToken) {
        known.invalidate(Self.key(token.project)) { $0.token == token.token }
    }

    /// Where the key manager is for our own project, for the check at start.
    func keyManagerURL() async throws -> String? {
        do {
            return try catalogued(try await keystone.logInWithCatalogue())
        } catch let error as KeystoneError {
            throw Self.translated(error)
        }
    }

    private static func key(_ project: ProjectID) -> TokenKey { TokenKey(token: project.rawValue, variant: "project") }

    private func logIn(to project: ProjectID) async throws -> ProjectToken {
        do {
            let (token, document) = try await keystone.logIn(to: project)
            return try checked(token, document, for: project)
        } catch let error as KeystoneError where error.code == .refused {
            do {
                try await keystone.checkCredentials()
            } catch let error as KeystoneError {
                throw Self.translated(error)
            }
            throw refusal("the user \(settings.keystone.username) has no role in project \(project)", project)
        } catch let error as KeystoneError {
            throw Self.translated(error)
        }
    }

    private func checked(_ token: String, _ document: JSONValue, for project: ProjectID) throws -> ProjectToken {
        let meaning = try KeystoneToken(document)
        guard meaning.projectID == project else {
            throw KeyManagerError(
                code: .unexpected, operation: Self.operation, cause: "Keystone gave a token for another project")
        }
        // Barbican lets an admin of any project delete the keys of all (digest, section 3, "Roles").
        guard !meaning.roles.contains("admin") else {
            throw refusal(
                "the user \(settings.keystone.username) is admin in project \(project), and could delete keys of others",
                project)
        }
        return ProjectToken(
            token: token, project: project, roles: meaning.roles, expiresAt: meaning.expiresAt,
            keyManagerURL: try catalogued(document))
    }

    /// - Throws: `KeyManagerError` when the catalogue has several and nobody said which.
    private func catalogued(_ document: JSONValue) throws -> String? {
        let services = document["token"]?["catalog"]?.arrayValue ?? []
        let endpoints = services.filter { $0["type"]?.stringValue == "key-manager" }
            .flatMap { $0["endpoints"]?.arrayValue ?? [] }
            .filter { $0["interface"]?.stringValue == settings.interface }
            .filter { settings.region == nil || $0["region"]?.stringValue == settings.region }
        let urls = Set(endpoints.compactMap { $0["url"]?.stringValue })
        guard urls.count <= 1 || settings.url != nil else {
            throw KeyManagerError(
                code: .unavailable, operation: Self.operation,
                cause: "Keystone's catalogue has \(urls.count) key managers: say which, with keys.barbican_url")
        }
        return urls.first
    }

    static let operation = "log in to the project"

    /// What an operator has to grant.
    func refusal(_ reason: String, _ project: ProjectID) -> KeyManagerError {
        let user = "--user \(settings.keystone.username) --user-domain \(settings.keystone.userDomainName)"
        return KeyManagerError(
            code: .refused, operation: Self.operation,
            cause: """
                \(reason); it has to be member there, and no more: openstack role add \(user) --project \(project) \
                member, or once for all projects of a domain: openstack role add \(user) --domain DOMAIN --inherited \
                member
                """)
    }

    /// Credentials that are not taken are not for one job to give up for: they are put right for all.
    private static func translated(_ error: KeystoneError) -> KeyManagerError {
        let isForNow = error.code == .refused || error.mayPass
        return KeyManagerError(
            code: isForNow ? .unavailable : .unexpected, operation: operation, cause: "\(error)")
    }
}
