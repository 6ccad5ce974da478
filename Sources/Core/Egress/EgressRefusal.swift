/// Why the server does not fetch something for a user. Everything here was decided before a byte was sent.
///
/// When a request names the URL (web-download, a legacy task), a refusal is `ServiceError.badRequest` (400) with
/// `message`; when it comes up later (a redirect, a name that now leads elsewhere), the task fails with `message` and
/// the image returns to `queued`.
package enum EgressRefusal: Error, Sendable, Equatable {
    /// Not an absolute `http` or `https` URL of RFC 3986, or longer than `EgressTarget.limitBytes`.
    case malformed(Flaw)
    /// A user or password stands in the URL.
    case credentials
    /// Neither http nor https, or the operator's lists do not let it pass.
    case scheme(String)
    /// The host is neither a canonical IP address nor a DNS name.
    case malformedHost
    /// The operator's lists do not let the host pass.
    case host(String)
    /// The operator's lists do not let the port pass.
    case port(Int)
    /// The host is an address that is not to be reached, or its name leads to one.
    case address(NetworkAddress, NetworkKind, host: String)
    /// The host's name leads to no address.
    case unknownName(String)
    /// A redirect from https to http.
    case downgrade
    /// More redirects than this in a row.
    case tooManyRedirects(limit: Int)

    package enum Flaw: String, Sendable, CaseIterable {
        case tooLong = "it is too long"
        case notAbsolute = "it does not begin with a scheme and //"
        case forbiddenCharacter = "it has a character that must be percent-encoded"
        case badPercentEncoding = "it has a % without two hex digits"
        case emptyHost = "it has no host"
        case badPort = "its port is not a number from 1 to 65535"
        case badRedirect = "a redirect leads to no URL"
    }

    /// Safe to show to the user. It holds none of the URL beyond scheme, host and port, so no password; and it does not
    /// tell an address that a name led to, nor whether there was one, so nobody can read the operator's DNS with it.
    package var message: String { "The URI does not pass filtering: \(reason)." }

    private var reason: String {
        switch self {
        case .malformed(let flaw): flaw.rawValue
        case .credentials: "it holds a user or a password"
        case .scheme(let scheme): "the scheme '\(scheme)' is not allowed"
        case .malformedHost: "its host is neither an IP address in its canonical form nor a DNS name"
        case .host(let host): "the host '\(host)' is not allowed"
        case .port(let port): "the port \(port) is not allowed"
        case .address(_, _, let host), .unknownName(let host): "'\(host)' is no host that may be reached"
        case .downgrade: "a redirect leads from https to http"
        case .tooManyRedirects(let limit): "it redirects more than \(limit) times"
        }
    }
}

extension EgressRefusal: CustomStringConvertible {
    /// For the log alone.
    package var description: String {
        switch self {
        case .address(let address, let kind, let host): "'\(host)' leads to \(address) (\(kind.rawValue))"
        case .unknownName(let host): "'\(host)' has no address"
        default: reason
        }
    }
}
