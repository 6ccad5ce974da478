import API
import Core
import Logging

/// Where the running server answers.
package struct ServerURLs: Sendable, Equatable {
    /// The main listener's own URL, without a slash at the end.
    package let main: String
    /// Of the services that are served, in the catalogue's order.
    fileprivate let services: [Place]

    fileprivate struct Place: Equatable {
        let type: ServiceType
        let url: String
    }

    /// A service's URL as clients reach it, without the version; nil when it is not served here.
    package subscript(_ type: ServiceType) -> String? { services.first { $0.type == type }?.url }

    var catalog: [CatalogEntry] {
        services.map { CatalogEntry(type: $0.type.rawValue, name: $0.type.catalogName, url: $0.url) }
    }
}

/// The services that this server serves: what each is called, where it stands, and who answers.
struct ServedServices: Sendable {
    struct Service: Sendable {
        let type: ServiceType
        /// Its own; on the main listener it stands as well.
        let address: ListenAddress?
        let publicEndpoint: String?
        let open: @Sendable (Opening) async throws -> any APIService
    }

    /// What is known when a service is opened.
    struct Opening: Sendable {
        /// Its own URL.
        let url: String
        let urls: ServerURLs
        fileprivate let proven: (any Authenticator)?

        /// Who proves the callers. Identity, which is opened first, cannot ask for it.
        var authenticator: any Authenticator {
            guard let proven else { preconditionFailure("there is neither an Identity nor a Keystone") }
            return proven
        }
    }

    /// A listener.
    struct Place: Sendable {
        /// Nil is the main listener, where every service stands below its prefix.
        let service: ServiceType?
        let address: ListenAddress
    }

    /// Services that answer.
    struct Mounted: Sendable {
        fileprivate let services: [(served: Service, api: any APIService)]

        func mounts(on place: Place) -> [Mount] {
            services.filter { place.service == nil || $0.served.type == place.service }.map { served, api in
                Mount(
                    prefix: place.service == nil ? served.type.prefix : "", service: api,
                    publicEndpoint: served.publicEndpoint)
            }
        }
    }

    private let settings: ServerSettings
    private let logger: Logger
    private var services: [Service] = []

    init(_ settings: ServerSettings, logger: Logger) {
        self.settings = settings
        self.logger = logger
    }

    /// - Parameter open: makes who answers, once the addresses are known.
    mutating func add(_ type: ServiceType, open: @escaping @Sendable (Opening) async throws -> any APIService) {
        services.append(
            Service(
                type: type, address: settings.listeners[type], publicEndpoint: settings.publicEndpoints[type],
                open: open))
    }

    /// The listeners there are, the main one first.
    var places: [Place] {
        [Place(service: nil, address: settings.listen)]
            + services.compactMap { service in service.address.map { Place(service: service.type, address: $0) } }
    }

    /// - Parameter bound: in the order of `places`.
    func urls(_ bound: [Listeners.Bound]) -> ServerURLs {
        let scheme = settings.tls == nil ? "http" : "https"
        var main = ""
        var own: [ServiceType: String] = [:]
        for (place, listener) in zip(places, bound) {
            // Nothing can be called by the name of "all addresses".
            let host =
                !listener.address.isWildcard
                ? listener.address.hostInURL : listener.address.host.contains(":") ? "[::1]" : "127.0.0.1"
            let url = "\(scheme)://\(host):\(listener.port)"
            if let service = place.service { own[service] = url } else { main = url }
        }
        return ServerURLs(
            main: main,
            services: services.map { service in
                .init(type: service.type, url: url(of: service, own: own[service.type], main: main))
            })
    }

    private func url(of service: Service, own: String?, main: String) -> String {
        if var endpoint = service.publicEndpoint {
            while endpoint.hasSuffix("/") { endpoint.removeLast() }
            return endpoint
        }
        if let own { return own }
        let url = main + service.type.prefix
        if settings.listen.isWildcard {
            logger.warning(
                "listening on every address: the catalogue names one that only this machine can use",
                metadata: ["url": "\(url)", "setting": "public_endpoints.\(service.type.rawValue)"])
        }
        return url
    }

    /// Opens the services one after the other. When nobody else does, the first one proves the callers of the rest.
    /// - Parameter authenticator: who proves callers; nil when the first service does.
    func open(at urls: ServerURLs, provenBy authenticator: (any Authenticator)?) async throws -> Mounted {
        var proven = authenticator
        var opened: [(Service, any APIService)] = []
        for (service, place) in zip(services, urls.services) {
            let api = try await service.open(Opening(url: place.url, urls: urls, proven: proven))
            precondition(api.type == service.type.rawValue, "a service is mounted as what it is not")
            proven = proven ?? api.authenticator
            opened.append((service, api))
        }
        return Mounted(services: opened)
    }
}
