import ArgumentParser
import Core
import Glibc
import NIOCore
import Remote
import Trust

struct SignCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sign", abstract: "Sign an image file, and upload it if asked to.",
        discussion: """
            Prints the properties that the signed image has to have, as arguments of `openstack image create`. The \
            signature is of the file's bytes: RSA-PSS with the longest salt, DSA or ECDSA, as the key is.

            The certificate has to be in the key manager. With --upload, this stores it there, makes the image, \
            uploads the file, and prints what the service found out about the signature.
            """)

    @Argument(help: "The image file.", completion: .file())
    var file: String

    @Option(help: ArgumentHelp("The private key, in PEM.", valueName: "file"), completion: .file())
    var key: String

    @Option(
        help: ArgumentHelp("The passphrase of the private key is this file's first line.", valueName: "file"),
        completion: .file())
    var passphraseFile: String?

    @Option(
        help: ArgumentHelp("The key's certificate, in PEM or DER: checked to be of the key.", valueName: "file"),
        completion: .file())
    var cert: String?

    @Option(help: ArgumentHelp("The certificate's id in the key manager, if it is there.", valueName: "id"))
    var certificateID: String?

    @Option(help: "SHA-224, SHA-256, SHA-384 or SHA-512; the last is computed for every upload in any case.")
    var hash = "SHA-512"

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Upload the file as a signed image.")
    var upload = false

    @OptionGroup(title: "With --upload") var image: NewImageOptions
    @OptionGroup(title: "The cloud") var cloud: CloudOptions

    func validate() throws {
        if upload, cert == nil, certificateID == nil {
            throw ValidationError("--upload needs --cert, or the --certificate-id of one that is stored.")
        }
        if let certificateID, !CloudClient.isID(certificateID) {
            throw ValidationError("--certificate-id: '\(certificateID)' is no id.")
        }
        _ = try image.properties()
    }

    func run() async throws {
        umask(0o077)
        try await Failure.reported {
            let method = try SignatureHash.named(hash.uppercased())
            let signingKey = try SigningKey.load(path: key, passphraseFile: passphraseFile)
            let certificate = try cert.map { try CertificateFile.read($0) }
            if let certificate, !signingKey.isKey(of: certificate) {
                throw Refusal("the certificate \(cert ?? "") is of another key than \(key)")
            }
            // Before a long file is read for nothing.
            let account = upload ? try cloud.account() : nil
            let (digest, _) = try StreamedFile.digest(file, method.digest, label: "hashing")
            var properties = SignatureProperties(
                signature: ImageSignature.base64(try signingKey.sign(digest: digest, hash: method)),
                hashMethod: method.rawValue, keyType: signingKey.keyType.rawValue, certificateID: certificateID)
            guard let account else {
                StandardOutput.say(json ? properties.json : properties.arguments)
                if certificateID == nil, !json {
                    StandardError.say(
                        "Still to be said: \(SignatureProperty.certificate), the certificate's id in the key "
                            + "manager (--certificate-id).")
                }
                return
            }
            try await CloudClient.with(account) { client in
                let work = SignedUpload(client: client, options: image, path: file)
                let outcome = try await work.run(&properties, certificate: certificate)
                StandardOutput.say(json ? outcome.json : outcome.text)
            }
        }
    }
}

/// A certificate in a file of its own.
enum CertificateFile {
    /// - Throws: `Refusal`, `FileProblem`.
    static func read(_ path: String) throws -> SigningCertificate {
        do {
            return try SigningCertificate(try SmallFile.read(path))
        } catch let error as SignatureError {
            throw Refusal("\(path): \(error)")
        }
    }

    /// - Throws: `Refusal`, `FileProblem`.
    static func readTrusted(_ path: String) throws -> TrustedCertificates {
        do {
            return try TrustedCertificates(pem: try SmallFile.read(path))
        } catch let error as SignatureError {
            throw Refusal("\(path): \(error)")
        }
    }
}
