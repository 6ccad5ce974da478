import Core
import NIOCore
import NIOHTTP1
import NIOSSL
import Synchronization

/// Fetches what users name, and nothing the policy does not let pass: HTTP/1.1 over TCP and TLS, one connection a
/// request, no cookies, no proxy, nothing remembered.
///
/// A URL and every redirect take the same way: the URL is judged, its host's addresses are looked up and judged, and the
/// connection goes to one of those very addresses.
package final class EgressClient: RemoteContentSource {
    /// A name with more addresses has only its first ones tried.
    private static let addressLimit = 8

    private let policy: EgressPolicy
    private let resolver: any NameResolver
    private let connector: any EgressConnector
    private let trustRoots: NIOSSLTrustRoots
    /// Made at the first https: it reads all certificates the system trusts.
    private let tls = Mutex<NIOSSLContext?>(nil)

    /// - Parameter trustRoots: whose certificates prove a server's name.
    package init(
        _ policy: EgressPolicy, resolver: any NameResolver, connector: any EgressConnector,
        trustRoots: NIOSSLTrustRoots = .default
    ) {
        self.policy = policy
        self.resolver = resolver
        self.connector = connector
        self.trustRoots = trustRoots
    }

    package func judge(_ url: String) throws(EgressRefusal) {
        try policy.judge(try EgressTarget(url))
    }

    package func open(
        _ url: String, range: Range<Int64>?, headers: [(name: String, value: String)]
    ) async throws -> RemoteContent {
        precondition(range.map { $0.lowerBound >= 0 && !$0.isEmpty } ?? true, "a range without bytes")
        do {
            return try await follow(try EgressTarget(url), range, headers)
        } catch {
            try Task.checkCancellation()
            throw error
        }
    }

    private func follow(
        _ first: EgressTarget, _ range: Range<Int64>?, _ headers: [(name: String, value: String)]
    ) async throws -> RemoteContent {
        let settings = policy.settings
        let deadline = NIODeadline.now() + .seconds(settings.totalSeconds)
        var target = first
        var headers = headers
        for _ in 0...settings.maxRedirects {
            try policy.judge(target)
            let (head, hold) = try await ask(target, Self.headers(target, range, headers), deadline)
            switch try EgressAnswer(head, range: range, limitBytes: settings.maxSizeBytes) {
            case .content(let size):
                return RemoteContent(
                    sizeBytes: size,
                    body: EgressBody(hold: hold, sizeBytes: size, limitBytes: settings.maxSizeBytes))
            case .redirect(let location):
                target = try target.redirected(to: location)
                // Another server's answer does not lead them back either.
                if !target.hasOrigin(of: first) { headers = [] }
            }
        }
        throw EgressRefusal.tooManyRedirects(limit: settings.maxRedirects)
    }

    private static func headers(
        _ target: EgressTarget, _ range: Range<Int64>?, _ own: [(name: String, value: String)]
    ) -> HTTPHeaders {
        var headers = HTTPHeaders(own.map { ($0.name, $0.value) })
        headers.replaceOrAdd(name: "Host", value: target.authority)
        headers.replaceOrAdd(name: "Accept-Encoding", value: "identity")
        headers.replaceOrAdd(name: "Connection", value: "close")
        if !headers.contains(name: "Accept") { headers.add(name: "Accept", value: "*/*") }
        headers.replaceOrAdd(name: "User-Agent", value: "Ambrotype")
        if let range { headers.replaceOrAdd(name: "Range", value: "bytes=\(range.lowerBound)-\(range.upperBound - 1)") }
        return headers
    }

    // MARK: One request

    /// Asks at one address after another until one takes the connection.
    private func ask(
        _ target: EgressTarget, _ headers: HTTPHeaders, _ deadline: NIODeadline
    ) async throws -> (HTTPResponseHead, EgressHold) {
        let order = EgressHandler.Order(
            target: target, headers: headers, connectSeconds: policy.settings.connectSeconds,
            stallSeconds: policy.settings.stallSeconds, deadline: deadline)
        var problem: any Error = EgressHandler.noConnection
        for address in try await admitted(target.host).prefix(Self.addressLimit) {
            try Task.checkCancellation()
            guard NIODeadline.now() < deadline else { throw EgressHandler.tooSlow("it takes too long altogether") }
            let hold = EgressHold()
            do {
                try connect(order, to: address, for: hold.exchange)
                return (try await hold.exchange.head(), hold)
            } catch let error as RemoteContentError where error.isRetryable && !hold.exchange.wasConnected {
                problem = error
            }
        }
        throw problem
    }

    private func admitted(_ host: EgressHost) async throws -> [AdmittedAddress] {
        switch host {
        case .address(let address): return try policy.admit([address], of: host)
        case .name(let name): return try policy.admit(try await addresses(of: name), of: host)
        }
    }

    private func addresses(of name: String) async throws -> [NetworkAddress] {
        try await withThrowingTaskGroup(of: [NetworkAddress].self) { group in
            group.addTask { [resolver] in try await resolver.addresses(of: name) }
            group.addTask { [policy] in
                try await Task.sleep(for: .seconds(policy.settings.connectSeconds))
                throw RemoteContentError(.unreachable, "The address of '\(name)' cannot be found in time.")
            }
            defer { group.cancelAll() }
            return try await group.next() ?? []
        }
    }

    private func connect(
        _ order: EgressHandler.Order, to address: AdmittedAddress, for exchange: EgressExchange
    ) throws {
        let tls = order.target.scheme == .https ? try tlsContext() : nil
        connector.connect(
            to: address, port: order.target.connectPort, timeoutSeconds: order.connectSeconds
        ) { channel in
            try exchange.attach(channel)
            let pipeline = channel.pipeline.syncOperations
            if let tls {
                try pipeline.addHandler(
                    NIOSSLClientHandler(context: tls, serverHostname: ServerIdentity.serverName(order.target.host)))
            }
            let overhead = OverheadLimit()
            try pipeline.addHandler(overhead)
            try pipeline.addHTTPClientHandlers(decoderLimitConfiguration: EgressHandler.limits)
            try pipeline.addHandler(EgressHandler(order, exchange, overhead))
        }.whenFailure { _ in exchange.fail(EgressHandler.noConnection) }
    }

    private func tlsContext() throws -> NIOSSLContext {
        try tls.withLock { tls in
            if let tls { return tls }
            do {
                let context = try NIOSSLContext(configuration: Self.tlsConfiguration(trustRoots))
                tls = context
                return context
            } catch {
                throw RemoteContentError(.unreachable, "Nothing can be fetched by https at the moment.")
            }
        }
    }

    private static func tlsConfiguration(_ trustRoots: NIOSSLTrustRoots) -> TLSConfiguration {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = trustRoots
        configuration.certificateVerification = .fullVerification
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        return configuration
    }
}
