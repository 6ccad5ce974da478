import Core
import HTTPTypes
import HummingbirdCore
import Logging
import Metrics
import NIOCore
import Synchronization

/// A service under a path prefix of a listener; an empty prefix is the root.
package struct Mount: Sendable {
    package let prefix: String
    package let service: any APIService
    /// What absolute links begin with instead of the request's own scheme and authority.
    package let publicEndpoint: String?

    package init(prefix: String, service: any APIService, publicEndpoint: String? = nil) {
        precondition(prefix.isEmpty || prefix.hasPrefix("/") && !prefix.hasSuffix("/"))
        self.prefix = prefix
        self.service = service
        self.publicEndpoint = publicEndpoint
    }
}

/// Answers one listener's requests: finds the service and the route, proves the caller, runs the
/// handler, writes errors in the service's own envelope, logs and counts. No request leaves it
/// without an answer, and no error without an envelope.
package struct Dispatcher: Sendable {
    private let mounts: [(segments: [String], mount: Mount)]
    private let listenerRoutes: RouteTable
    private let isSecure: Bool
    private let crossOrigin: CrossOrigin
    private let surroundings: Surroundings
    private let logger: Logger
    private let maxRequestIDLength: Int
    private let audit: (any AuditLog)?
    private let metrics = RequestMetrics()

    /// - Parameters:
    ///   - listenerRoutes: open routes of the listener itself (`/healthcheck`, `/metrics`).
    ///   - crossOrigin: whose pages browsers let read the answers.
    ///   - audit: nil when nothing is recorded of calls.
    ///   - maxRequestIDLength: a longer `X-Openstack-Request-Id` is refused with 431.
    package init(
        mounts: [Mount], listenerRoutes: RouteTable, isSecure: Bool,
        crossOrigin: CrossOrigin = CrossOrigin(origins: []),
        surroundings: Surroundings, logger: Logger, maxRequestIDLength: Int = 64, audit: (any AuditLog)? = nil
    ) {
        self.audit = audit
        self.mounts =
            mounts
            .map { ($0.prefix.split(separator: "/").map(String.init), $0) }
            .sorted { $0.0.count > $1.0.count }
        self.listenerRoutes = listenerRoutes
        self.isSecure = isSecure
        self.crossOrigin = crossOrigin
        self.surroundings = surroundings
        self.logger = logger
        self.maxRequestIDLength = maxRequestIDLength
    }

    /// Answers one request on a connection.
    package func respond(
        to request: Request, _ writer: consuming ResponseWriter, channel: any Channel, connection: ConnectionState
    ) async throws {
        let start = ContinuousClock.now
        let number = connection.nextRequest()
        let stream = RequestStream(
            body: request.body, head: request.head, channel: channel,
            isWhole: { connection.hasWhole(request: number) }, onReading: { connection.noteBodyWanted() })
        var outcome = await answer(
            request.head, stream, BodySender(channel: channel, clock: surroundings.clock),
            client: channel.remoteAddress?.ipAddress)
        complete(&outcome.response, to: request.head)
        await AnswerCompression.apply(to: &outcome.response, for: request.head.headerFields, on: surroundings.work)
        // An unread body would be read to its end for nothing, gigabytes of it: say so and close.
        if !stream.isConsumed, !(connection.hasWhole(request: number) && stream.byteCount == 0) {
            outcome.response.headers[.connection] = "close"
        }
        if request.head.method == .head {
            // The length stays, the body must not go out: the client would take it for the next response.
            outcome.response = Response(
                status: outcome.response.status, headers: outcome.response.headers, body: .init())
        }
        let bytesOut = outcome.response.body.contentLength
        var failure: (any Error)?
        do {
            try await writer.write(response: outcome.response.head, body: outcome.response.body)
        } catch {
            failure = error
        }
        record(
            outcome, request.head, start, bytesIn: stream.byteCount, bytesOut: bytesOut, failure: failure)
        if let failure { throw failure }
    }

    /// Answers a request without a body on the spot, if its route is brief and nothing has to be waited for. Otherwise
    /// nothing has happened, and `respond` answers it: all refusals are its business.
    package func respondAtOnce(to head: HTTPRequest, on channel: any Channel) -> ReadyAnswer? {
        let start = ContinuousClock.now
        let sender = BodySender(channel: channel, clock: surroundings.clock)
        let (mount, exchange, failure) = decode(head, RequestStream.none, sender, client: nil)
        guard failure == nil, let mount, var exchange else { return nil }
        let service = mount.service
        guard
            case .route(let route, let parameters) = service.routes.match(
                exchange.method, service.canonicalPath(exchange.path)), let brief = route.brief, !exchange.announcesBody
        else { return nil }
        exchange.parameters = parameters
        do {
            try service.admit(exchange)
            guard !exchange.headers.contains(.serviceToken), let token = exchange.headers[.authToken] else {
                return nil
            }
            let caller = service.authenticator.callerAtOnce(
                token: token, requestID: exchange.requestID, logger: exchange.logger)
            guard let caller, let ready = try brief(exchange, caller) else { return nil }
            var response = Response(status: ready.status, headers: ready.headers, body: .init())
            var bytes = ready.bytes
            response.headers[.contentLength] = String(bytes.readableBytes)
            let byteCount = bytes.readableBytes
            if AnswerCompression.isWanted(&response.headers, byteCount: byteCount, by: head.headerFields) {
                guard byteCount <= AnswerCompression.mostBytesAtOnce else { return nil }
                if let packed = AnswerCompression.pack(bytes) {
                    bytes = packed
                    AnswerCompression.mark(&response.headers, packed)
                }
            }
            response.headers[.openstackRequestID] = exchange.requestID
            service.complete(&response, to: exchange)
            complete(&response, to: head)
            let outcome = Outcome(
                response: response, template: mount.prefix + route.template, service: service.type,
                requestID: exchange.requestID, caller: caller)
            record(outcome, head, start, bytesIn: 0, bytesOut: bytes.readableBytes, failure: nil)
            return ReadyAnswer(head: response.head, body: bytes)
        } catch {
            return nil
        }
    }

    /// What every answer carries, whoever gave it.
    private func complete(_ response: inout Response, to head: HTTPRequest) {
        crossOrigin.complete(&response.headers, to: head)
        response.headers[.date] = HTTPDate.string(surroundings.clock.now)
    }

    private struct Outcome {
        var response: Response
        let template: String
        let service: String
        let requestID: String
        let caller: Caller?
    }

    private func answer(
        _ head: HTTPRequest, _ stream: RequestStream, _ sender: BodySender, client: String?
    ) async -> Outcome {
        let (mount, exchange, failure) = decode(head, stream, sender, client: client)
        guard let exchange else {
            let response = PlainErrors.response(failure ?? .badRequest("The request target cannot be read."))
            return Outcome(response: response, template: "-", service: "-", requestID: "-", caller: nil)
        }
        if let response = crossOrigin.preflight(head) {
            return Outcome(
                response: response, template: "/preflight", service: mount?.service.type ?? "listener",
                requestID: exchange.requestID, caller: nil)
        }
        guard let mount else { return await answerListener(exchange) }
        let service = mount.service
        var template = "/unmatched"
        var caller: Caller?
        var response: Response
        do {
            if let failure { throw failure }
            try service.admit(exchange)
            switch service.routes.match(exchange.method, service.canonicalPath(exchange.path)) {
            case .none:
                response = try await service.unmatched(exchange)
            case .wrongMethod(let matched, let allowed):
                template = matched
                throw ServiceError.methodNotAllowed(allowed)
            case .route(let route, let parameters):
                template = route.template
                var exchange = exchange
                exchange.parameters = parameters
                response = try await run(route, exchange, service, &caller)
            }
        } catch {
            response = errorResponse(Self.serviceError(error), service, exchange)
        }
        response.headers[.openstackRequestID] = exchange.requestID
        service.complete(&response, to: exchange)
        return Outcome(
            response: response, template: mount.prefix + template, service: service.type,
            requestID: exchange.requestID, caller: caller)
    }

    private func run(
        _ route: Route, _ exchange: Exchange, _ service: any APIService, _ caller: inout Caller?
    ) async throws -> Response {
        switch route.handler {
        case .open(let handler):
            try await refuseBody(route, exchange)
            return try await handler(exchange)
        case .authenticated(let handler):
            let proven = try await service.authenticator.authenticate(
                token: exchange.headers[.authToken], serviceToken: exchange.headers[.serviceToken],
                for: CredentialContext(
                    method: exchange.method.rawValue, path: exchange.servicePath, serviceType: service.type,
                    requestID: exchange.requestID, logger: exchange.logger))
            caller = proven
            try await refuseBody(route, exchange)
            guard let audit, exchange.mayChange else { return try await handler(exchange, proven) }
            let call = AuditedCall(exchange, route, service: service.type, proven)
            return try await recorded(call, in: audit) { try await handler(exchange, proven) }
        }
    }

    /// Carries a call out that goes on record, before and after.
    private func recorded(
        _ call: AuditedCall, in audit: any AuditLog, _ handler: () async throws -> Response
    ) async throws -> Response {
        let number = try await audit.begin(call)
        do {
            let response = try await handler()
            let location = response.headers[.location].map { String($0.prefix { $0 != "?" }.prefix(256)) }
            await audit.end(call, AuditedResult(status: response.status.code, location: location), number: number)
            return response
        } catch {
            let status = Self.serviceError(error).status
            await audit.end(call, AuditedResult(status: status, location: nil), number: number)
            throw error
        }
    }

    private func refuseBody(_ route: Route, _ exchange: Exchange) async throws {
        guard route.body == .refused, exchange.announcesBody else { return }
        // A chunked request may announce a body and have none.
        if exchange.headers[.contentLength] == nil {
            for try await part in exchange.body where part.readableBytes > 0 {
                throw ServiceError.badRequest("This request takes no body.")
            }
            return
        }
        throw ServiceError.badRequest("This request takes no body.")
    }

    private func answerListener(_ exchange: Exchange) async -> Outcome {
        var template = "unmatched"
        var response: Response
        switch listenerRoutes.match(exchange.method, exchange.path) {
        case .route(let route, _):
            template = route.template
            do {
                guard case .open(let handler) = route.handler else { throw ServiceError.unauthorized("") }
                response = try await handler(exchange)
            } catch {
                response = PlainErrors.response(Self.serviceError(error))
            }
        case .wrongMethod(let matched, let allowed):
            template = matched
            response = PlainErrors.response(.methodNotAllowed(allowed))
            response.headers[.allow] = allowed.joined(separator: ", ")
        case .none:
            let known = mounts.map { $0.mount.prefix }.joined(separator: ", ")
            response = PlainErrors.response(.notFound("Nothing is served here. The services are at: \(known)"))
        }
        return Outcome(
            response: response, template: template, service: "listener", requestID: exchange.requestID, caller: nil)
    }

    /// The request's target and id, and the mount it belongs to. A target that cannot be decoded
    /// still has an exchange, so that the refusal has the service's envelope.
    private func decode(
        _ head: HTTPRequest, _ stream: RequestStream, _ sender: BodySender, client: String?
    ) -> (Mount?, Exchange?, ServiceError?) {
        var failure: ServiceError?
        let target = Self.originForm(head.path ?? "/")
        let (rawPath, rawQuery) = Self.split(target, at: "?")
        var path: [String] = []
        let segments = rawPath.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        for segment in segments.dropFirst().map({ Substring($0) }) {
            guard let decoded = Percent.decode(segment) else {
                failure = .badRequest("The path is not valid percent-encoded UTF-8.")
                path.append(String(segment))
                continue
            }
            path.append(decoded)
        }
        let (requestID, refused) = requestID(head)
        if let refused { failure = failure ?? refused }
        var logger = logger
        logger[metadataKey: "request_id"] = "\(requestID)"
        let found = mounts.first { $0.segments.count <= path.count && path.starts(with: $0.segments) }
        if let found { path.removeFirst(found.segments.count) }
        let exchange = Exchange(
            method: head.method, path: path, rawQuery: rawQuery, headers: head.headerFields, body: stream,
            sender: sender, requestID: requestID, client: client, logger: logger, baseURL: baseURL(head, found?.mount),
            mount: found?.mount.prefix ?? ""
        )
        let isListeners =
            found == nil || found!.mount.prefix.isEmpty && listenerRoutes.matches(exchange.method, path)
        return (isListeners ? nil : found?.mount, exchange, failure)
    }

    /// What is before the first separator and what is behind it, by bytes: what cannot be read yet has no characters.
    private static func split(_ text: Substring, at separator: Unicode.Scalar) -> (before: Substring, behind: Substring)
    {
        guard let place = text.utf8.firstIndex(of: UInt8(ascii: separator)) else { return (text, "") }
        return (text[..<place], text[text.utf8.index(after: place)...])
    }

    /// RFC 9112 section 3.2.2: a server must accept the absolute form.
    private static func originForm(_ target: String) -> Substring {
        guard !target.hasPrefix("/"), let scheme = target.firstRange(of: "://") else { return target[...] }
        let rest = target[scheme.upperBound...]
        guard let slash = rest.firstIndex(of: "/") else { return "/" }
        return rest[slash...]
    }

    private func baseURL(_ head: HTTPRequest, _ mount: Mount?) -> String {
        if let endpoint = mount?.publicEndpoint {
            return endpoint.hasSuffix("/") ? String(endpoint.dropLast()) : endpoint
        }
        let authority = head.authority ?? head.headerFields[.host] ?? "localhost"
        return (isSecure ? "https://" : "http://") + authority + (mount?.prefix ?? "")
    }

    /// A caller's id is kept, so that its log and ours can be read together.
    private func requestID(_ head: HTTPRequest) -> (String, ServiceError?) {
        guard let given = head.headerFields[.openstackRequestID], !given.isEmpty else {
            return ("req-" + surroundings.uuid(), nil)
        }
        guard given.utf8.count <= maxRequestIDLength else {
            return (
                "req-" + surroundings.uuid(),
                .headerTooLarge("X-Openstack-Request-Id is longer than \(maxRequestIDLength) characters.")
            )
        }
        guard given.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else { return ("req-" + surroundings.uuid(), nil) }
        return (given.hasPrefix("req-") ? given : "req-" + given, nil)
    }

    private func errorResponse(_ error: ServiceError, _ service: any APIService, _ exchange: Exchange) -> Response {
        if let cause = error.cause {
            exchange.logger.error("request failed", metadata: ["status": "\(error.status)", "cause": "\(cause)"])
        }
        var response = service.errorResponse(error, to: exchange)
        switch error {
        case .unauthorized: response.headers[.wwwAuthenticate] = service.authenticator.challenge
        case .methodNotAllowed(let allowed): response.headers[.allow] = allowed.joined(separator: ", ")
        case .unsupportedMediaType(_, let accepted) where !accepted.isEmpty:
            response.headers[.acceptPatch] = accepted.joined(separator: ", ")
        case .rangeNotSatisfiable(_, let size): response.headers[.contentRange] = "bytes */\(size)"
        default: break
        }
        return response
    }

    /// What is not a `ServiceError` by now is a fault of ours or a connection that went away.
    private static func serviceError(_ error: any Error) -> ServiceError {
        switch error {
        case let error as ServiceError: error
        case is IncompleteRequest: .badRequest("The request ended before its body did.")
        case is CancellationError: .unavailable("The server is shutting down; try again.", cause: error)
        default: ServiceError(unexpected: error)
        }
    }

    private func record(
        _ outcome: Outcome, _ head: HTTPRequest, _ start: ContinuousClock.Instant, bytesIn: Int, bytesOut: Int?,
        failure: (any Error)?
    ) {
        let elapsed = ContinuousClock.now - start
        let status = outcome.response.status.code
        metrics.count(
            service: outcome.service, method: head.method, template: outcome.template, status: status,
            elapsed: elapsed, bytesIn: bytesIn, bytesOut: bytesOut ?? 0)
        logger.log(
            AnsweredRequest(
                requestID: outcome.requestID, method: head.method.rawValue,
                path: String(Self.split(Self.originForm(head.path ?? "/"), at: "?").before), status: status,
                bytesIn: bytesIn, bytesOut: bytesOut ?? -1, elapsed: elapsed, user: outcome.caller?.userID.rawValue,
                project: outcome.caller?.projectID?.rawValue, failure: failure.map { "\($0)" }))
    }
}

extension RouteTable {
    fileprivate func matches(_ method: HTTPRequest.Method, _ path: [String]) -> Bool {
        if case .none = match(method, path) { false } else { true }
    }
}

extension HTTPField.Name {
    package static let openstackRequestID = HTTPField.Name("X-Openstack-Request-Id")!
    package static let authToken = HTTPField.Name("X-Auth-Token")!
    package static let serviceToken = HTTPField.Name("X-Service-Token")!
    package static let subjectToken = HTTPField.Name("X-Subject-Token")!
    package static let acceptPatch = HTTPField.Name("Accept-Patch")!
    package static let host = HTTPField.Name("Host")!
}
