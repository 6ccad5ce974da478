import Core
import HTTPTypes

/// A call that may change something, as the audit log has it: who asks for what. It never holds bodies, tokens or
/// queries, which may have secrets in them.
package struct AuditedCall: Sendable {
    package let requestID: String
    package let service: String
    package let method: String
    /// The route's template with the mount's prefix.
    package let route: String
    /// What the route is about: the parts of the path that the template captured, by name.
    package let resource: [(name: String, value: String)]
    package let user: String
    package let userName: String?
    package let project: String?
    package let domain: String?
    package let hasSystemScope: Bool
    package let roles: [String]
    package let serviceRoles: [String]
    /// The token's audit id.
    package let token: String?
    /// The address that the connection came from.
    package let client: String?

    /// What a client makes up is kept to a size that fits a line.
    private static let longest = 256

    init(_ exchange: Exchange, _ route: Route, service: String, _ caller: Caller) {
        self.init(
            method: exchange.method.rawValue, route: exchange.mount + route.template, service: service,
            resource: exchange.parameters, client: exchange.client, caller)
    }

    package init(
        method: String, route: String, service: String, resource: [String: String], client: String?, _ caller: Caller
    ) {
        func short(_ text: String) -> String {
            text.utf8.count <= Self.longest
                ? text : String(decoding: text.utf8.prefix(Self.longest), as: UTF8.self) + "…"
        }
        requestID = caller.requestID
        self.service = service
        self.method = method
        self.route = route
        self.resource = resource.sorted { $0.key < $1.key }.map { ($0.key, short($0.value)) }
        user = short(caller.userID.rawValue)
        userName = caller.userName.map(short)
        project = caller.projectID.map { short($0.rawValue) }
        domain = caller.domainID.map { short($0.rawValue) }
        hasSystemScope = caller.hasSystemScope
        roles = caller.roles.sorted().prefix(64).map(short)
        serviceRoles = caller.serviceRoles.sorted().prefix(64).map(short)
        token = caller.auditID.map(short)
        self.client = client
    }
}

/// How a call ended.
package struct AuditedResult: Sendable {
    package let status: Int
    /// What the call made, by the `Location` it answered with.
    package let location: String?

    package init(status: Int, location: String? = nil) {
        self.status = status
        self.location = location
    }
}

/// Where calls that may change something go on record.
///
/// Contract: a call is on record, and lasts, before it is carried out; and how it ended before that is answered. So
/// after a crash nothing was changed that is not on record, though it may stand there without its result.
package protocol AuditLog: Sendable {
    /// Returns when the record lasts, with its number.
    /// - Throws: `ServiceError.unavailable` when it cannot be made: the call must not be carried out then.
    func begin(_ call: AuditedCall) async throws -> Int64

    /// Returns when the record lasts, or cannot be made, which is for the log's owner to hear.
    /// - Parameter number: what `begin` returned.
    func end(_ call: AuditedCall, _ result: AuditedResult, number: Int64) async
}

extension Exchange {
    /// Whether a call of this method may change something.
    var mayChange: Bool {
        switch method {
        case .post, .put, .patch, .delete: true
        default: false
        }
    }
}
