import API
import Core
import NIOCore
import Trust

/// The four properties by which an image says that it is signed (Image API digest, section 5).
struct SignatureProperties: Sendable {
    var signature: String?
    var hashMethod: String?
    var keyType: String?
    /// The certificate's id in the key manager; nil while it is not stored.
    var certificateID: String?

    init(signature: String? = nil, hashMethod: String? = nil, keyType: String? = nil, certificateID: String? = nil) {
        self.signature = signature
        self.hashMethod = hashMethod
        self.keyType = keyType
        self.certificateID = certificateID
    }

    /// - Parameter document: what `ambrotype sign --json` prints, what the Image API answers, or what
    ///   `openstack image show -f json` prints, which has them in `properties`.
    init(_ document: JSONValue) {
        func text(_ name: String) -> String? {
            document[name]?.stringValue ?? document["properties"]?[name]?.stringValue
        }
        self.init(
            signature: text(SignatureProperty.signature), hashMethod: text(SignatureProperty.hash),
            keyType: text(SignatureProperty.keyType),
            certificateID: text(SignatureProperty.certificate))
    }

    /// Those that there are, in the order in which they are told.
    var members: [(name: String, value: String)] {
        [
            (SignatureProperty.signature, signature), (SignatureProperty.hash, hashMethod),
            (SignatureProperty.keyType, keyType),
            (SignatureProperty.certificate, certificateID),
        ].compactMap { name, value in value.map { (name, $0) } }
    }

    /// For `openstack image create`, a line each. None has a character that a shell takes for more than itself.
    var arguments: String { members.map { "--property \($0.name)=\($0.value)" }.joined(separator: "\n") }

    var json: String {
        var json = JSONWriter()
        json.object { json in for (name, value) in members { json.member(name, value) } }
        return String(buffer: json.finish())
    }

    /// - Throws: `Refusal` for a property that is missing, `SignatureError` for one that means nothing.
    func imageSignature(_ certificate: SigningCertificate) throws -> ImageSignature {
        func required(_ value: String?, _ name: String) throws -> String {
            guard let value else { throw Refusal("there is no \(name)") }
            return value
        }
        return try ImageSignature(
            signatureBase64: required(signature, SignatureProperty.signature),
            hash: SignatureHash.named(required(hashMethod, SignatureProperty.hash)),
            keyType: SignatureKeyType.named(required(keyType, SignatureProperty.keyType)), certificate: certificate)
    }
}

/// Files that are read once, front to back.
enum StreamedFile {
    private static let chunkBytes = 1 << 20

    /// - Parameter label: for the progress bar.
    /// - Throws: `FileProblem`.
    static func digest(_ path: String, _ algorithm: DigestAlgorithm, label: String) throws -> (
        digest: [UInt8], sizeBytes: Int64
    ) {
        let file = try OpenFile(path)
        let digest = Digest(algorithm)
        let bar = ProgressBar.onTerminal()
        defer { bar?.clear() }
        var done: Int64 = 0
        while let chunk = try file.read(chunkBytes) {
            chunk.withUnsafeBytes { digest.update($0) }
            done += Int64(chunk.count)
            bar?.show(ProgressLine(label: label, unit: .bytes), done, of: file.sizeBytes)
        }
        return (digest.finish(), done)
    }
}
