import Core
import Logging
import NIOCore
import Synchronization

/// The limits of projects as a Keystone keeps them: registered limits, and those of a project instead. Of the models
/// that Keystone has, `flat` alone.
///
/// What was learnt is believed for a short while. When Keystone is out of reach, what was learnt before is believed
/// longer, up to `staleSeconds`; after that what needs the limits fails.
package final class KeystoneLimits: RemoteLimits {
    /// How long what was learnt may be used when Keystone does not answer.
    package static let staleSeconds: Int64 = 600
    /// So long at least what was learnt is believed: a transaction that waited for it must be able to use it.
    private static let leastFreshSeconds: Int64 = 5
    private static let setupFreshSeconds: Int64 = 300
    private static let projectLimit = 10_000

    private let client: KeystoneClient
    private let serviceType: String
    private let region: String
    private let clock: any WallClock
    private let logger: Logger
    private let freshSeconds: Int64
    private let serviceIDs: LookupCache<String>
    private let registered: LookupCache<[String: RegisteredDefault]>
    private let projects: LookupCache<ProjectLimits>
    private let known = Mutex([ProjectID: Known]())

    private struct Known {
        let limits: ProjectLimits
        let learntAt: Timestamp
        var believedUntil: Timestamp
    }

    private struct RegisteredDefault: Sendable {
        let limit: Int64
        let isForRegion: Bool
    }

    init(
        _ client: KeystoneClient, serviceType: String, region: String, cacheSeconds: Int64, clock: any WallClock,
        logger: Logger
    ) {
        self.client = client
        self.serviceType = serviceType
        self.region = region
        self.clock = clock
        self.logger = logger
        freshSeconds = max(cacheSeconds, Self.leastFreshSeconds)
        serviceIDs = LookupCache(clock: clock, maxAgeSeconds: Self.setupFreshSeconds, limit: 1)
        registered = LookupCache(clock: clock, maxAgeSeconds: freshSeconds, limit: 1)
        // Lookups that overlap are one; what is believed, and how long, is kept here.
        projects = LookupCache(clock: clock, maxAgeSeconds: 0)
    }

    package func known(of project: ProjectID) -> ProjectLimits? {
        let now = clock.now
        return known.withLock { known in
            // A clock set back must not prolong a belief.
            guard let found = known[project], found.believedUntil > now, found.learntAt <= now else { return nil }
            return found.limits
        }
    }

    package func learn(of project: ProjectID) async throws {
        let began = clock.now
        do {
            let limits = try await projects.value(for: TokenKey(token: project.rawValue)) { try await look(project) }
            // A slow answer is used all the same, by whoever waited for it.
            let until = max(began.adding(seconds: freshSeconds), clock.now.adding(seconds: Self.leastFreshSeconds))
            keep(Known(limits: limits, learntAt: began, believedUntil: until), of: project)
        } catch let error as KeystoneError {
            guard error.mayPass, believeLonger(project) else { throw translated(error) }
            logger.warning(
                "the limits of a project cannot be learnt from Keystone now; those learnt before are used",
                metadata: ["project": "\(project)", "error": "\(error)"])
        }
    }

    private func keep(_ learnt: Known, of project: ProjectID) {
        let now = clock.now
        known.withLock { known in
            if known.count >= Self.projectLimit {
                known = known.filter { $0.value.believedUntil > now }
                if known.count >= Self.projectLimit { known = [:] }
            }
            known[project] = learnt
        }
    }

    private func believeLonger(_ project: ProjectID) -> Bool {
        let now = clock.now
        return known.withLock { known in
            guard var found = known[project], found.learntAt <= now,
                found.learntAt.adding(seconds: Self.staleSeconds) > now
            else { return false }
            found.believedUntil = min(
                now.adding(seconds: freshSeconds), found.learntAt.adding(seconds: Self.staleSeconds))
            known[project] = found
            return true
        }
    }

    private func translated(_ error: KeystoneError) -> ServiceError {
        error.mayPass
            ? .unavailable("The limits of the project cannot be found out now; try again later.", cause: error)
            : .internalError(cause: error)
    }

    // MARK: asking

    private func look(_ project: ProjectID) async throws -> ProjectLimits {
        let service = try await serviceIDs.value(for: TokenKey(token: "service")) { try await lookUpService() }
        let defaults = try await registered.value(for: TokenKey(token: "registered")) {
            try await lookUpRegistered(service)
        }
        let operation = "list limits of a project"
        let path = "/limits?service_id=\(Self.escaped(service))&project_id=\(Self.escaped(project.rawValue))"
        let document = try await client.document(path, operation: operation)
        var limits = defaults.mapValues(\.limit)
        for limit in try Self.list(document, "limits", operation) {
            // Whatever a filter let through: a limit of another project is not this one's.
            guard limit["project_id"]?.stringValue == project.rawValue,
                limit["service_id"]?.stringValue ?? service == service,
                let name = limit["resource_name"]?.stringValue, let registered = defaults[name],
                isThisRegion(limit["region_id"]) == registered.isForRegion,
                let value = limit["resource_limit"]?.integerValue
            else { continue }
            limits[name] = value
        }
        return ProjectLimits(registered: limits)
    }

    /// The service's id in the catalogue, if Keystone counts as we do.
    private func lookUpService() async throws -> String {
        let operation = "read the model of limits"
        let model = try await client.document("/limits/model", operation: operation)
        guard let name = model["model"]?["name"]?.stringValue, name == LimitModel.name else {
            throw KeystoneError(
                .unexpected, operation: operation,
                cause: "limits are enforced by the model \(LimitModel.name); Keystone has another")
        }
        let document = try await client.logInWithCatalogue()
        let services = document["token"]?["catalog"]?.arrayValue ?? []
        guard
            let id = services.first(where: { $0["type"]?.stringValue == serviceType })?["id"]?.stringValue
        else {
            throw KeystoneError(
                .unexpected, operation: "find the service of limits",
                cause: "the catalogue of our user has no service of type \(serviceType)")
        }
        return id
    }

    private func lookUpRegistered(_ service: String) async throws -> [String: RegisteredDefault] {
        let operation = "list registered limits"
        let document = try await client.document(
            "/registered_limits?service_id=\(Self.escaped(service))", operation: operation)
        var found: [String: RegisteredDefault] = [:]
        for limit in try Self.list(document, "registered_limits", operation) {
            let isForRegion = isThisRegion(limit["region_id"])
            guard isForRegion || limit["region_id"]?.stringValue == nil,
                limit["service_id"]?.stringValue ?? service == service,
                let name = limit["resource_name"]?.stringValue,
                let value = limit["default_limit"]?.integerValue
            else { continue }
            if found[name]?.isForRegion == true, !isForRegion { continue }
            found[name] = RegisteredDefault(limit: value, isForRegion: isForRegion)
        }
        return found
    }

    private func isThisRegion(_ value: JSONValue?) -> Bool { value?.stringValue == region }

    private static func list(
        _ document: JSONValue, _ member: String, _ operation: String
    ) throws -> [JSONValue] {
        guard let list = document[member]?.arrayValue else {
            throw KeystoneError(.unexpected, operation: operation, cause: "the answer has no list '\(member)'")
        }
        return list
    }

    /// For a query (RFC 3986 section 2.3): an owner that an administrator made up may hold anything.
    private static func escaped(_ text: String) -> String {
        var out = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                out.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let hex = String(byte, radix: 16, uppercase: true)
                out += hex.count == 1 ? "%0\(hex)" : "%\(hex)"
            }
        }
        return out
    }
}
