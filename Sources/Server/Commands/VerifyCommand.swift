import ArgumentParser
import Core
import Glibc
import NIOCore
import Remote
import Trust

struct VerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check an image's signature and its signer's certificate, here.",
        discussion: """
            Of a file, with --cert and the image's properties: nothing is asked of any service.

              ambrotype verify FILE --trust CA.pem --cert CERT --properties image.json

            Of an image in a cloud, without --cert: its properties and its certificate are fetched, and its data is \
            downloaded, checked and thrown away.

              ambrotype verify IMAGE-ID --trust CA.pem

            Exit status: 0 the bytes are the signer's, and a chain of trusted certificates vouches for the signer; \
            1 otherwise, with the reason.
            """)

    @Argument(help: "The file; or the id of an image in a cloud.", completion: .file())
    var target: String

    @Option(
        help: ArgumentHelp(
            "Trusted certificates, in PEM: the root and every intermediate between it and the signer.",
            valueName: "file"), completion: .file())
    var trust: String

    @Option(
        help: ArgumentHelp("The signer's certificate, in PEM or DER. Makes TARGET a file.", valueName: "file"),
        completion: .file())
    var cert: String?

    @Option(
        help: ArgumentHelp(
            "The image's properties: what `ambrotype sign --json` or `openstack image show -f json` printed.",
            valueName: "file"), completion: .file())
    var properties: String?

    @Option(help: ArgumentHelp("Instead of --properties: img_signature.", valueName: "base64"))
    var signature: String?

    @Option(help: ArgumentHelp("Instead of --properties: img_signature_hash_method.", valueName: "hash"))
    var hash: String?

    @Option(help: ArgumentHelp("Instead of --properties: img_signature_key_type.", valueName: "type"))
    var keyType: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup(title: "The cloud") var cloud: CloudOptions

    func validate() throws {
        let given = [properties, signature, hash, keyType].contains { $0 != nil }
        if cert == nil, given { throw ValidationError("A file is checked with --cert, its signer's certificate.") }
        if cert == nil, !CloudClient.isID(target) {
            throw ValidationError("'\(target)' is no id of an image; a file is checked with --cert.")
        }
        if cert != nil, !given { throw ValidationError("Which signature? Give --properties, or the three of them.") }
    }

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let trusted = try CertificateFile.readTrusted(trust)
            let verdict =
                if let cert { try file(cert, trusted) } else { try await image(try cloud.account(), trusted) }
            StandardOutput.say(json ? verdict.json : verdict.text)
            if let refusal = verdict.refusal { throw Refusal("\(target) is not to be trusted: \(refusal)") }
        }
    }

    private func file(_ certificatePath: String, _ trusted: TrustedCertificates) throws -> SignatureVerdict {
        var found = SignatureProperties()
        if let properties {
            do {
                found = SignatureProperties(try JSONValue(parsing: ByteBuffer(bytes: try SmallFile.read(properties))))
            } catch let error as JSONValue.Malformed {
                throw Refusal("\(properties) is not JSON: \(error)")
            }
        }
        if let signature { found.signature = signature }
        if let hash { found.hashMethod = hash.uppercased() }
        if let keyType { found.keyType = keyType }
        let made = try found.imageSignature(try CertificateFile.read(certificatePath))
        let (digest, _) = try StreamedFile.digest(target, made.hash.digest, label: "checking")
        return SignatureVerdict(made, digest: digest, trusted: trusted, atUnixSeconds: Self.now)
    }

    private func image(_ account: CloudAccount, _ trusted: TrustedCertificates) async throws -> SignatureVerdict {
        try await CloudClient.with(account) { client in
            let (signature, digest) = try await SignedDownload(client: client, imageID: target).run()
            return SignatureVerdict(signature, digest: digest, trusted: trusted, atUnixSeconds: Self.now)
        }
    }

    private static var now: Int64 { Int64(time(nil)) }
}
