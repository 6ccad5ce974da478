import Trust

/// Where the certificates of signed images are: a key manager, asked as whoever uploads. Nobody can make the server
/// fetch for them what they may not read themselves.
package protocol CertificateSource: Sendable {
    /// - Returns: the payload of the secret, DER or PEM as it was stored.
    /// - Throws: `KeyManagerError`: `.notFound`, also for what the caller may not know of; `.refused`;
    ///   `.unavailable`.
    func certificate(_ id: SecretID, for caller: Caller, token: CallerToken?) async throws -> [UInt8]
}

/// The token a request came with, for a service that has to be asked in the caller's name. Nothing prints it.
package struct CallerToken: Sendable, CustomStringConvertible, CustomReflectable {
    package let text: String

    package init(_ text: String) { self.text = text }

    package var description: String { "<token>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// The certificates in the key manager of this program.
package struct EmbeddedCertificates: CertificateSource {
    private let secrets: Secrets

    package init(_ secrets: Secrets) { self.secrets = secrets }

    package func certificate(_ id: SecretID, for caller: Caller, token: CallerToken?) async throws -> [UInt8] {
        do {
            let payload = try await secrets.payload(of: id, as: caller)
            return payload.bytes.withUnsafeBytes { Array($0) }
        } catch let error as ServiceError {
            let operation = "read certificate \(id)"
            switch error {
            case .notFound: throw KeyManagerError(code: .notFound, operation: operation, cause: error.message)
            case .forbidden: throw KeyManagerError(code: .refused, operation: operation, cause: error.message)
            default: throw error
            }
        }
    }
}
