import Foundation
import NIOCore
import NIOSSL
import Remote

/// The image service that is measured: where it is, and what its requests begin with.
struct LoadTarget: Sendable {
    /// Without the version and slashes at the end.
    let url: String
    let address: SocketAddress
    /// Nil without TLS.
    let tls: (context: NIOSSLContext, serverName: String?)?
    /// Whether every request has a connection of its own.
    let closesConnections: Bool
    private let pathPrefix: String
    private let fields: String

    /// Looks the name up.
    /// - Throws: `Refusal`.
    init(url: String, token: String, caCertificateFile: String?, closesConnections: Bool = false) throws {
        guard let parts = URLComponents(string: url), let host = parts.host, !host.isEmpty,
            let scheme = parts.scheme?.lowercased(), scheme == "http" || scheme == "https"
        else { throw Refusal("'\(url)' is no URL of a service") }
        guard token.utf8.allSatisfy({ (0x21...0x7e).contains($0) }), !token.isEmpty else {
            throw Refusal("the token is none: it has characters that no token has, or is empty")
        }
        let name = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        let port = parts.port ?? (scheme == "https" ? 443 : 80)
        do {
            address = try SocketAddress.makeAddressResolvingHost(name, port: port)
        } catch {
            throw Refusal("\(name) cannot be looked up: \(error)")
        }
        tls = scheme == "https" ? try Self.tls(name, caCertificateFile) : nil
        self.url = url
        self.closesConnections = closesConnections
        pathPrefix = parts.percentEncodedPath
        fields =
            " HTTP/1.1\r\nHost: \(host)\(parts.port.map { ":\($0)" } ?? "")\r\nX-Auth-Token: \(token)\r\n"
            + "User-Agent: ambrotype-bench/\(programVersion)\r\nAccept: */*\r\n"
            + (closesConnections ? "Connection: close\r\n" : "")
    }

    private static func tls(_ name: String, _ file: String?) throws -> (context: NIOSSLContext, serverName: String?) {
        do {
            var configuration = TLSConfiguration.makeClientConfiguration()
            if let file { configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(file)) }
            // An address is no name that a server could be asked for.
            let isAddress = (try? SocketAddress(ipAddress: name, port: 0)) != nil
            return (try NIOSSLContext(configuration: configuration), isAddress ? nil : name)
        } catch {
            throw Refusal("the certificates \(file ?? "of the system") cannot be used: \(error)")
        }
    }

    /// - Parameter path: below the service, with its version, and percent-encoded.
    func head(_ method: String, _ path: String, _ more: String = "", body: String = "") -> LoadPlan.Head {
        .fixed(ByteBuffer(string: "\(method) \(pathPrefix)\(path)\(fields)\(more)\r\n\(body)"))
    }

    /// The same for a path with an image's id in it.
    func head(_ method: String, imagePath suffix: String, _ more: String = "") -> LoadPlan.Head {
        .naming(
            before: ByteBuffer(string: "\(method) \(pathPrefix)/v2/images/"),
            after: ByteBuffer(string: "\(suffix)\(fields)\(more)\r\n"))
    }
}
