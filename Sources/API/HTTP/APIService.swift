import Core
import HTTPTypes
import HummingbirdCore

/// One OpenStack API behind a mount: routes, and how its clients want errors.
package protocol APIService: Sendable {
    /// The service type of the catalogue: `image`, `identity`, …
    var type: String { get }
    var routes: RouteTable { get }
    var authenticator: any Authenticator { get }

    /// The path that the table is asked for; a service with aliases resolves them here.
    func canonicalPath(_ path: [String]) -> [String]

    /// The answer to a path no route has.
    /// - Throws: `ServiceError`.
    func unmatched(_ exchange: Exchange) async throws -> Response

    /// Asked before anything else of a request: a service with microversions refuses those it does not know.
    /// - Throws: `ServiceError`.
    func admit(_ exchange: Exchange) throws

    /// What every answer of the service carries, errors included.
    func complete(_ response: inout Response, to exchange: Exchange)

    /// The envelope. Headers that belong to the error (`Allow`, `WWW-Authenticate`, …) are added by
    /// the dispatcher.
    func errorResponse(_ error: ServiceError, to exchange: Exchange) -> Response
}

extension APIService {
    package func admit(_ exchange: Exchange) throws {}
    package func complete(_ response: inout Response, to exchange: Exchange) {}

    package func canonicalPath(_ path: [String]) -> [String] { path }

    package func unmatched(_ exchange: Exchange) async throws -> Response {
        guard KnownMethods.all.contains(exchange.method) else {
            throw ServiceError.notImplemented("The method \(exchange.method.rawValue) is not known here.")
        }
        throw ServiceError.notFound("The resource could not be found.")
    }
}

package enum KnownMethods {
    package static let all: Set<HTTPRequest.Method> = [
        .get, .head, .post, .put, .patch, .delete, .options, .trace, .connect,
    ]
}
