import Foundation
import Testing
import Trust

/// `Tests/Vectors/signatures` and `Tests/Vectors/chains`, read.
enum SignatureVectors {
    static func bytes(_ record: [String: String], _ name: String) throws -> [UInt8] {
        let text = try #require(record[name])
        return [UInt8](try #require(Data(base64Encoded: text)))
    }

    static func certificates(_ folder: String) throws -> [String: [UInt8]] {
        var found: [String: [UInt8]] = [:]
        for record in try Vectors("\(folder)/certificates.txt").records {
            found[try #require(record["NAME"])] = try bytes(record, "CERTIFICATE")
        }
        return found
    }

    static func pem(_ der: [UInt8], newline: String = "\n") -> [UInt8] {
        let lines = Data(der).base64EncodedString(options: [.lineLength64Characters, .endLineWithLineFeed])
            .replacingOccurrences(of: "\n", with: newline)
        return Array(
            "-----BEGIN CERTIFICATE-----\(newline)\(lines)\(newline)-----END CERTIFICATE-----\(newline)".utf8)
    }

    /// What `body` refuses with, in words.
    static func refusal(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "nothing was refused"
        } catch {
            return error is SignatureError ? "\(error)" : "another error: \(error)"
        }
    }
}

/// One of `signatures.txt`, with its certificate.
struct SignedData {
    let name: String
    let data: [UInt8]
    let signature: [UInt8]
    let hash: SignatureHash
    let keyType: SignatureKeyType
    let certificate: [UInt8]
    /// Where the key's bits are in the certificate.
    let keyBits: Range<Int>

    static func all() throws -> [SignedData] {
        let certificates = try Vectors("signatures/certificates.txt").records
        return try Vectors("signatures/signatures.txt").records.map { record in
            let label = try #require(record["CERTIFICATE"])
            let found = try #require(certificates.first { $0["NAME"] == label })
            let der = try SignatureVectors.bytes(found, "CERTIFICATE")
            let bits = try SignatureVectors.bytes(found, "PUBLIC_KEY")
            return SignedData(
                name: "\(label) \(record["HASH"] ?? "") salt \(record["SALT"] ?? "none")",
                data: try #require(Hex.decode(record["DATA"] ?? "")),
                signature: try SignatureVectors.bytes(record, "SIGNATURE"),
                hash: try SignatureHash.named(#require(record["HASH"])),
                keyType: try SignatureKeyType.named(#require(record["TYPE"])), certificate: der,
                keyBits: try #require(Data(der).range(of: Data(bits))))
        }
    }

    func isValid(data: [UInt8]? = nil, signature: [UInt8]? = nil, certificate: [UInt8]? = nil) throws -> Bool {
        let made = try ImageSignature(
            signatureBase64: Data(signature ?? self.signature).base64EncodedString(), hash: hash, keyType: keyType,
            certificate: SigningCertificate(certificate ?? self.certificate))
        return made.isValid(forDigest: Digest.of(data ?? self.data, hash.digest))
    }
}

extension [UInt8] {
    /// With one bit the other way, which depends on the place.
    func flipped(at index: Int) -> [UInt8] {
        var copy = self
        copy[index] ^= 1 << UInt8(index % 8)
        return copy
    }
}
