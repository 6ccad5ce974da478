import API
import ArgumentParser
import Core
import NIOCore
import NIOHTTP1
import Remote
import Trust

/// What the image is to be that `ambrotype sign --upload` makes.
struct NewImageOptions: ParsableArguments {
    @Option(help: "The image's name.")
    var name: String?

    @Option(help: "The image's disk format.")
    var diskFormat = "raw"

    @Option(help: "The image's container format.")
    var containerFormat = "bare"

    @Option(help: ArgumentHelp("A property of the image; again for each.", valueName: "name=value"))
    var property: [String] = []

    /// - Throws: `ValidationError`.
    func properties() throws -> [(name: String, value: String)] {
        try property.map { text in
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty else {
                throw ValidationError("--property: '\(text)' is not NAME=VALUE.")
            }
            return (String(parts[0]), String(parts[1]))
        }
    }
}

/// A file on its way into a cloud as a signed image. When that fails, what was made for it is removed again.
struct SignedUpload {
    let client: CloudClient
    let options: NewImageOptions
    let path: String

    /// What the service has, after all is done.
    struct Outcome {
        let image: JSONValue
        /// Nil from a service that has no such thing.
        let provenance: JSONValue?
    }

    /// - Parameter properties: gets the certificate's id.
    /// - Throws: `CloudError`, `Refusal`, `FileProblem`.
    func run(_ properties: inout SignatureProperties, certificate: SigningCertificate?) async throws -> Outcome {
        var stored: String?
        if properties.certificateID == nil, let certificate {
            stored = try await store(certificate)
            properties.certificateID = stored
        }
        var made: String?
        do {
            let image = try await create(properties)
            made = image
            try await upload(image)
            return try await outcome(image)
        } catch {
            await remove(image: made, certificate: stored)
            throw error
        }
    }

    /// - Returns: the id of the secret: of bytes that are PEM, as OpenStack's clients store and expect it.
    private func store(_ certificate: SigningCertificate) async throws -> String {
        let operation = "store the certificate in the key manager"
        var json = JSONWriter()
        json.object { json in
            // A name has 255 characters at most.
            json.member("name", String("image signing certificate \(certificate.subject)".prefix(255)))
            json.member("secret_type", "certificate")
            json.member("payload", ImageSignature.base64(certificate.pem))
            json.member("payload_content_type", "application/octet-stream")
            json.member("payload_content_encoding", "base64")
        }
        let answer = try await client.call(
            .POST, .keyManager, "/v1/secrets", json: String(buffer: json.finish()), operation)
        guard answer.status == 201,
            let id = answer.json["secret_ref"]?.stringValue?.split(separator: "/").last.map(String.init),
            CloudClient.isID(id)
        else { throw Refusal(Self.problem(operation, answer)) }
        return id
    }

    private func create(_ signature: SignatureProperties) async throws -> String {
        let operation = "make the image"
        var members = try options.properties() + signature.members
        members += [("disk_format", options.diskFormat), ("container_format", options.containerFormat)]
        if let name = options.name { members.append(("name", name)) }
        var json = JSONWriter()
        json.object { json in for (name, value) in members { json.member(name, value) } }
        let answer = try await client.call(.POST, .image, "/v2/images", json: String(buffer: json.finish()), operation)
        guard answer.status == 201, let id = answer.json["id"]?.stringValue, CloudClient.isID(id) else {
            throw Refusal(Self.problem(operation, answer))
        }
        return id
    }

    private func upload(_ image: String) async throws {
        let operation = "upload the data"
        let file = try OpenFile(path)
        let bar = ProgressBar.onTerminal()
        defer { bar?.clear() }
        let body = FileParts(file: file) { done in
            bar?.show(ProgressLine(label: "uploading", unit: .bytes), done, of: file.sizeBytes)
        }
        let answer = try await client.send(
            "/v2/images/\(image)/file", body, sizeBytes: file.sizeBytes, operation)
        guard answer.status == 204 else { throw Refusal(Self.problem(operation, answer)) }
    }

    private func outcome(_ image: String) async throws -> Outcome {
        let shown = try await client.call(.GET, .image, "/v2/images/\(image)", "read the image")
        let provenance = try? await client.call(
            .GET, .image, "/ambrotype/v1/images/\(image)/provenance", "read the image's provenance")
        return Outcome(image: shown.json, provenance: provenance.flatMap { $0.status == 200 ? $0.json : nil })
    }

    private func remove(image: String?, certificate: String?) async {
        if let image {
            let answer = try? await client.call(.DELETE, .image, "/v2/images/\(image)", "remove the image")
            if answer?.status != 204 { StandardError.say("The image \(image) is left; nothing is in it.") }
        }
        if let certificate {
            let answer = try? await client.call(
                .DELETE, .keyManager, "/v1/secrets/\(certificate)", "remove the certificate")
            if answer?.status != 204 { StandardError.say("The certificate \(certificate) is left in the key manager.") }
        }
    }

    /// With what the service says, as far as a terminal can show it.
    static func problem(_ operation: String, _ answer: CloudClient.Answer) -> String {
        let json = answer.json
        let said = ErrorPage.text(
            json["description"]?.stringValue ?? json["message"]?.stringValue ?? String(buffer: answer.body))
        let shown = String(
            String.UnicodeScalarView(said.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7f }))
        return "\(operation): the service answered \(answer.status)" + (shown.isEmpty ? "" : ": \(shown.prefix(300))")
    }
}

/// What is readable of an error in HTML, as image services answer it, in JSON too.
private enum ErrorPage {
    static func text(_ body: String) -> String {
        var out = ""
        var isTag = false
        for character in body.replacing(/<title>.*?<\/title>/, with: "") {
            if character == "<" { isTag = true }
            if !isTag { out.append(character) }
            if character == ">" {
                isTag = false
                out.append(" ")
            }
        }
        return out.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }
}

extension SignedUpload.Outcome {
    var json: String {
        var json = JSONWriter()
        json.object { json in
            json.member("image", image)
            json.member("provenance", provenance ?? .null)
        }
        return String(buffer: json.finish())
    }

    var text: String {
        var lines = ["image      \(image["id"]?.stringValue ?? "?"), \(image["status"]?.stringValue ?? "?")"]
        guard let provenance else {
            lines.append(
                "provenance not told by this service: it took the data, so it checked the signature if it does")
            return lines.joined(separator: "\n")
        }
        if let digest = provenance["digest"], let algorithm = digest["algorithm"]?.stringValue {
            lines.append("digest     \(algorithm) \(digest["value"]?.stringValue ?? "?")")
        }
        lines.append("signer     \(provenance["signer"]?["subject"]?.stringValue ?? "none")")
        let chain = provenance["signer"]?["chain"]
        let reason = chain?["reason"]?.stringValue.map { ": \($0)" } ?? ""
        lines.append("chain      \(chain?["result"]?.stringValue ?? "unchecked")\(reason)")
        return lines.joined(separator: "\n")
    }
}

/// A file, part by part.
struct FileParts: AsyncSequence, Sendable {
    private static let partBytes = 1 << 20

    let file: OpenFile
    /// Told how much there was so far.
    let progress: @Sendable (Int64) -> Void

    func makeAsyncIterator() -> Iterator { Iterator(file: file, progress: progress) }

    struct Iterator: AsyncIteratorProtocol {
        let file: OpenFile
        let progress: @Sendable (Int64) -> Void
        private var done: Int64 = 0

        init(file: OpenFile, progress: @escaping @Sendable (Int64) -> Void) {
            self.file = file
            self.progress = progress
        }

        mutating func next() async throws -> ByteBuffer? {
            guard let part = try file.read(FileParts.partBytes) else { return nil }
            done += Int64(part.count)
            progress(done)
            return ByteBuffer(bytes: part)
        }
    }
}
