import Foundation
import Glibc
import JWTKit

/// The keys that sign tokens: ES256 (RFC 7518 section 3.4) and nothing else. The newest signs, all
/// verify, so a key can be replaced while tokens of the one before still live.
package struct TokenKeys: Sendable {
    /// A longer token is none of ours and is not looked at.
    private static let maxTokenBytes = 8192

    private let collection: JWTKeyCollection
    private let keyIDs: Set<String>
    private let signingKeyID: JWKIdentifier

    package enum Failure: Error, CustomStringConvertible {
        case unreadable(path: String, reason: String)
        case tooOpen(path: String)
        case noKey

        package var description: String {
            switch self {
            case .unreadable(let path, let reason): "the token keys in \(path) cannot be used: \(reason)"
            case .tooOpen(let path): "the token keys in \(path) can be read by others: chmod 600 it"
            case .noKey: "there is no P-256 private key in PEM"
            }
        }
    }

    /// Why a token is not one of ours.
    package struct Invalid: Error {}

    /// - Parameter pem: P-256 private keys (PKCS #8 or SEC 1), oldest first.
    /// - Throws: `Failure.noKey`.
    package init(pem: String) async throws {
        let keys = try Self.blocks(of: pem).map { block -> ES256PrivateKey in
            guard let key = try? ES256PrivateKey(pem: block) else { throw Failure.noKey }
            return key
        }
        guard let newest = keys.last else { throw Failure.noKey }
        let collection = JWTKeyCollection()
        var ids: Set<String> = []
        for key in keys {
            let id = try Self.thumbprint(key)
            ids.insert(id)
            await collection.add(ecdsa: key, kid: JWKIdentifier(string: id))
        }
        self.collection = collection
        keyIDs = ids
        signingKeyID = JWKIdentifier(string: try Self.thumbprint(newest))
    }

    /// Reads the keys, or makes the first one: a file of mode 0600. A key added at the end of the
    /// file signs from the next start.
    /// - Throws: `Failure`.
    package static func loadOrCreate(path: String) async throws -> TokenKeys {
        let file: SecretBytes
        do {
            // Of two servers that start at once both use the key that was first.
            if access(path, F_OK) != 0 {
                let pem = ES256PrivateKey().pemRepresentation + "\n"
                try PrivateFile.create(path, holding: SecretBytes(copying: Array(pem.utf8)))
            }
            file = try PrivateFile.read(path)
        } catch .tooOpen {
            throw Failure.tooOpen(path: path)
        } catch {
            throw Failure.unreadable(path: path, reason: error.description)
        }
        let pem = file.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        do {
            return try await TokenKeys(pem: pem)
        } catch {
            throw Failure.unreadable(path: path, reason: "\(error)")
        }
    }

    /// Signs a token.
    package func sign(_ claims: TokenClaims) async throws -> String {
        try await collection.sign(TokenPayload(claims), kid: signingKeyID)
    }

    /// Checks the signature, and that the token has the shape of ours; not its expiry.
    /// - Throws: `Invalid`.
    package func verify(_ token: String) async throws -> TokenClaims {
        guard token.utf8.count <= Self.maxTokenBytes else { throw Invalid() }
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        // The header is judged before any of it chooses a key: one algorithm, a key we know, no extension.
        guard parts.count == 3, let headerBytes = Secret.decodeBase64URL(parts[0]),
            Secret.decodeBase64URL(parts[1]) != nil, Secret.decodeBase64URL(parts[2]) != nil,
            let header = try? JSONDecoder().decode(Header.self, from: Data(headerBytes)),
            header.alg == "ES256", header.crit == nil, keyIDs.contains(header.kid)
        else { throw Invalid() }
        guard let payload = try? await collection.verify(token, as: TokenPayload.self), let claims = payload.claims
        else { throw Invalid() }
        return claims
    }

    private struct Header: Decodable {
        let alg: String
        let kid: String
        let crit: [String]?
    }

    /// The key's id (RFC 7638): the same for everyone who has the key.
    private static func thumbprint(_ key: ES256PrivateKey) throws -> String {
        guard let (x, y) = key.parameters, let xBytes = Data(base64Encoded: x), let yBytes = Data(base64Encoded: y)
        else { throw Failure.noKey }
        let members =
            #"{"crv":"P-256","kty":"EC","x":"\#(Secret.base64URL([UInt8](xBytes)))","#
            + #""y":"\#(Secret.base64URL([UInt8](yBytes)))"}"#
        return Secret.base64URL(Digest.of(Array(members.utf8), .sha256))
    }

    /// The private keys of a PEM text; what else stands in it (curve parameters, comments) is left out.
    private static func blocks(of pem: String) -> [String] {
        var blocks: [String] = []
        var current: [Substring]?
        for line in pem.split(whereSeparator: \.isNewline) {
            if line.hasPrefix("-----BEGIN "), line.hasSuffix("PRIVATE KEY-----") { current = [] }
            current?.append(line)
            if line.hasPrefix("-----END "), let lines = current {
                blocks.append(lines.joined(separator: "\n"))
                current = nil
            }
        }
        return blocks
    }
}
