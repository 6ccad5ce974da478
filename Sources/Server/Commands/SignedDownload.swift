import Core
import NIOCore
import NIOHTTP1
import Remote
import Trust

/// An image of a cloud, fetched to be checked: its properties, its certificate, and its data, which is not kept.
struct SignedDownload {
    let client: CloudClient
    let imageID: String

    /// - Returns: the signature, and the digest of the data by its hash.
    /// - Throws: `CloudError`, `Refusal`, `SignatureError`.
    func run() async throws -> (signature: ImageSignature, digest: [UInt8]) {
        let operation = "read the image"
        let shown = try await client.call(.GET, .image, "/v2/images/\(imageID)", operation)
        guard shown.status == 200 else { throw Refusal(SignedUpload.problem(operation, shown)) }
        let properties = SignatureProperties(shown.json)
        guard !properties.members.isEmpty else { throw Refusal("the image \(imageID) is not signed") }
        guard let certificateID = properties.certificateID, CloudClient.isID(certificateID) else {
            throw Refusal("the image \(imageID) does not say which certificate is its signer's")
        }
        let signature = try properties.imageSignature(try await certificate(certificateID))
        return (signature, try await digest(signature.hash))
    }

    private func certificate(_ id: String) async throws -> SigningCertificate {
        let operation = "read the certificate from the key manager"
        let secret = try await client.call(.GET, .keyManager, "/v1/secrets/\(id)", operation)
        guard secret.status == 200 else { throw Refusal(SignedUpload.problem(operation, secret)) }
        // A key manager hands a payload out in the form it was stored in and in no other.
        let form = secret.json["content_types"]?["default"]?.stringValue ?? "application/octet-stream"
        let payload = try await client.call(
            .GET, .keyManager, "/v1/secrets/\(id)/payload", headers: ["Accept": form], operation)
        guard payload.status == 200 else { throw Refusal(SignedUpload.problem(operation, payload)) }
        return try SigningCertificate(Array(payload.body.readableBytesView))
    }

    private func digest(_ hash: SignatureHash) async throws -> [UInt8] {
        let digest = Digest(hash.digest)
        let bar = ProgressBar.onTerminal()
        defer { bar?.clear() }
        var done: Int64 = 0
        try await client.receive("/v2/images/\(imageID)/file", "download the data") { part, size in
            part.withUnsafeReadableBytes { digest.update($0) }
            done += Int64(part.readableBytes)
            bar?.show(ProgressLine(label: "downloading", unit: .bytes), done, of: size)
        }
        return digest.finish()
    }
}
