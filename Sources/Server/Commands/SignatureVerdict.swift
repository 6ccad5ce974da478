import API
import NIOCore
import Trust

/// What is known of some bytes and a signature: whose it is, whether it is theirs, and who vouches for the signer.
struct SignatureVerdict {
    let digest: [UInt8]
    let hash: SignatureHash
    let keyType: SignatureKeyType
    let signer: SigningCertificate
    let isValid: Bool
    let chain: Result<[SigningCertificate], ChainError>

    /// - Parameter digest: of all the bytes, by the signature's hash.
    init(_ signature: ImageSignature, digest: [UInt8], trusted: TrustedCertificates, atUnixSeconds now: Int64) {
        self.digest = digest
        hash = signature.hash
        keyType = signature.keyType
        signer = signature.certificate
        isValid = signature.isValid(forDigest: digest)
        chain = trusted.chain(of: signature.certificate, atUnixSeconds: now)
    }

    /// Why the bytes are not to be trusted; nil if they may be.
    var refusal: String? {
        guard isValid else { return "these are not the bytes that were signed, or another key signed them" }
        guard case .failure(let error) = chain else { return nil }
        return error.description
    }

    var text: String {
        var lines = [
            "signature  \(isValid ? "valid" : "NOT VALID") (\(keyType.rawValue), \(hash.rawValue))",
            "signer     \(signer.subject)", "           SHA-256 fingerprint \(Hex.encode(signer.fingerprintSHA256))",
        ]
        switch chain {
        case .success(let chain):
            lines.append("chain      trusted")
            lines += chain.dropFirst().map { "           issued by \($0.subject)" }
        case .failure(let error): lines.append("chain      NOT TRUSTED: \(error)")
        }
        return lines.joined(separator: "\n")
    }

    var json: String {
        var json = JSONWriter()
        json.object { json in
            json.member(
                "digest",
                object: { json in
                    json.member("algorithm", hash.digest.rawValue)
                    json.member("value", Hex.encode(digest))
                })
            json.member("signature", isValid ? "valid" : "invalid")
            json.member(
                "signer",
                object: { json in
                    json.member("subject", signer.subject)
                    json.member("fingerprint_sha256", Hex.encode(signer.fingerprintSHA256))
                })
            json.member("chain", object: write)
        }
        return String(buffer: json.finish())
    }

    private func write(_ json: inout JSONWriter) {
        switch chain {
        case .success(let chain):
            json.member("result", "trusted")
            json.member("certificates", array: { json in for link in chain { json.string(link.subject) } })
            json.member("reason", nil as String?)
        case .failure(let error):
            json.member("result", "untrusted")
            json.member("certificates", array: { json in json.string(signer.subject) })
            json.member("reason", error.description)
        }
    }
}
