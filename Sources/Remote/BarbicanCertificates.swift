import Core

/// The certificates of signed images in a Barbican, read with the token of whoever uploads.
extension BarbicanKeyManager: CertificateSource {
    /// Barbican gives a payload only as what it was stored as (digest, section 3), and certificates are stored as
    /// either: as bytes by most, as text by who has PEM.
    private static let types = ["application/octet-stream", "text/plain", "application/pkix-cert"]

    package func certificate(_ id: SecretID, for caller: Caller, token: CallerToken?) async throws -> [UInt8] {
        let operation = "read certificate \(id)"
        guard Self.isPossible(id), let token else {
            throw KeyManagerError(code: .notFound, operation: operation, cause: "there is no such secret")
        }
        for type in Self.types {
            let answer = try await client.payload(
                "secrets/\(id)/payload", accept: type, token: token.text, operation)
            switch answer.status {
            case 200: return answer.bytes
            case 406: continue
            case 404: throw KeyManagerError(code: .notFound, operation: operation, cause: "there is no such secret")
            case 401, 403:
                throw KeyManagerError(
                    code: .refused, operation: operation, cause: "Barbican answered \(answer.status)")
            default:
                throw KeyManagerError(
                    code: .unexpected, operation: operation, cause: "Barbican answered \(answer.status)")
            }
        }
        throw KeyManagerError(code: .refused, operation: operation, cause: "it is stored as no certificate")
    }
}
