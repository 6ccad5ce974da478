import Core
import Foundation
import NIOCore
import Persistence
import Synchronization
import Testing
import Trust

/// Certificates by id, as a key manager gives them, and who asked for them.
final class FakeCertificates: CertificateSource {
    let known = Mutex<[SecretID: [UInt8]]>([:])
    let asked = Mutex<[(project: ProjectID?, token: String?)]>([])
    let failure = Mutex<KeyManagerError.Code?>(nil)
    let before = Mutex<(@Sendable () async -> Void)?>(nil)

    func certificate(_ id: SecretID, for caller: Caller, token: CallerToken?) async throws -> [UInt8] {
        asked.withLock { $0.append((caller.projectID, token?.text)) }
        await before.withLock { $0 }?()
        if let code = failure.withLock({ $0 }) { throw KeyManagerError(code: code, operation: "ask", cause: "a test") }
        guard let bytes = known.withLock({ $0[id] }) else {
            throw KeyManagerError(code: .notFound, operation: "ask", cause: "a test")
        }
        return bytes
    }
}

/// Signed images, from their properties to what is recorded of them.
@Suite struct SignedUploadTests {
    private static let certificateID: SecretID = "0f2d7a3e-1111-4222-8333-444455556666"

    private struct World {
        let fixture: ImageFixture
        let certificates: FakeCertificates
        let signed: SignedData

        /// - Parameter which: the first part of a vector's name.
        init(_ which: String = "", _ change: (inout ImageSettings) -> Void = { _ in }) async throws {
            try await self.init(try #require(try SignedData.all().first { $0.name.hasPrefix(which) }), change)
        }

        init(_ signed: SignedData, _ change: (inout ImageSettings) -> Void = { _ in }) async throws {
            certificates = FakeCertificates()
            self.signed = signed
            certificates.known.withLock { $0[certificateID] = signed.certificate }
            fixture = try await ImageFixture(change, certificates: certificates)
        }

        var properties: [String: String?] {
            [
                "img_signature": Data(signed.signature).base64EncodedString(),
                "img_signature_hash_method": signed.hash.rawValue,
                "img_signature_key_type": signed.keyType.rawValue,
                "img_signature_certificate_uuid": certificateID.rawValue,
            ]
        }

        func image(_ change: (inout [String: String?]) -> Void = { _ in }) async throws -> ImageID {
            var given = properties
            change(&given)
            return try await fixture.createImage { $0.properties = given }.id
        }

        func upload(_ bytes: [UInt8]? = nil, to id: ImageID) async throws {
            try await fixture.images.upload(
                Body(chunks: [ByteBuffer(bytes: bytes ?? signed.data)]), to: id, declaredSizeBytes: nil, store: nil,
                as: fixture.caller(), token: CallerToken("the token"))
        }

        /// The refusal's status and words. Nothing of the upload may be left.
        func refusal(_ bytes: [UInt8]? = nil, to id: ImageID) async throws -> (Int, String) {
            var refusal = (200, "")
            do {
                try await upload(bytes, to: id)
            } catch let error as ServiceError {
                refusal = (error.status, error.message)
            }
            try await fixture.images.reconcile()
            let image = try await fixture.images.get(id, as: fixture.caller()).image
            #expect(
                image.status == .queued && image.sizeBytes == nil && image.checksum == nil && image.hashValue == nil)
            #expect(try fixture.storedFiles() == [])
            #expect(try await fixture.blobRows() == [])
            #expect(try await fixture.chargedBytes() == 0)
            return refusal
        }

        func signer(of id: ImageID) async throws -> Provenance.Signer? {
            try await fixture.images.provenance(of: id, as: fixture.caller()).record.provenance.signer
        }
    }

    @Test func everySignatureThatFitsIsTakenAndNoOther() async throws {
        for signed in try SignedData.all() {
            let world = try await World(signed)
            let id = try await world.image()
            let changed = signed.data.flipped(at: signed.data.count / 2)
            let (status, message) = try await world.refusal(changed, to: id)
            #expect(status == 400, "\(signed.name)")
            #expect(message.hasPrefix("Signature verification for the image failed"), "\(signed.name): \(message)")
            try await world.upload(to: id)
            #expect(try await world.fixture.bytes(of: id) == signed.data, "\(signed.name)")
            let signer = try #require(try await world.signer(of: id))
            #expect(signer.keyType == signed.keyType && signer.hash == signed.hash)
            #expect(signer.fingerprint == Hex.encode(Digest.of(signed.certificate, .sha256)))
            #expect(signer.certificate == Self.certificateID)
        }
    }

    @Test(arguments: [
        "img_signature", "img_signature_hash_method", "img_signature_key_type", "img_signature_certificate_uuid",
    ])
    func theMissingPropertyIsNamed(_ name: String) async throws {
        let world = try await World()
        let one = try await world.image { $0[name] = nil }
        let (status, message) = try await world.refusal(to: one)
        #expect(status == 400 && message.contains("but not \(name);"), "\(message)")
        let alone = try await world.image { all in all = all.filter { $0.key == name } }
        let (otherStatus, others) = try await world.refusal(to: alone)
        #expect(otherStatus == 400)
        for other in world.properties.keys where other != name {
            #expect(others.split(separator: ";")[0].contains(other), "\(others)")
        }
        #expect(world.certificates.asked.withLock { $0.isEmpty })
    }

    @Test(arguments: [
        ("img_signature", "???"), ("img_signature", "QUJD"), ("img_signature_hash_method", "MD5"),
        ("img_signature_hash_method", "sha-256"), ("img_signature_key_type", "ECC_SECP256R1"),
        ("img_signature_key_type", "DSA"), ("img_signature_certificate_uuid", "x"),
        ("img_signature_certificate_uuid", "0f2d7a3e-1111-4222-8333-444455556667"),
    ])
    func aWrongPropertyIsRefused(_ name: String, _ value: String) async throws {
        let world = try await World("cryptography-rsa")
        let (status, message) = try await world.refusal(to: try await world.image { $0[name] = value })
        #expect(status == 400, "\(message)")
    }

    @Test(arguments: [
        (KeyManagerError.Code.notFound, 400), (.refused, 400), (.unavailable, 503), (.unexpected, 503),
    ])
    func noByteIsReadBeforeTheCertificateIsThere(_ code: KeyManagerError.Code, _ expected: Int) async throws {
        let world = try await World()
        world.certificates.failure.withLock { $0 = code }
        let id = try await world.image()
        let reads = Mutex(0)
        let body = Body(chunks: [ByteBuffer(bytes: world.signed.data)]) { _ in reads.withLock { $0 += 1 } }
        let outcome = await status {
            try await world.fixture.images.upload(
                body, to: id, declaredSizeBytes: nil, store: nil, as: world.fixture.caller())
        }
        #expect(outcome == expected)
        #expect(reads.withLock { $0 } == 0)
        world.certificates.failure.withLock { $0 = nil }
        try await world.upload(to: id)
    }

    @Test func whatIsNoCertificateIsRefused() async throws {
        let world = try await World()
        let id = try await world.image()
        for bytes in [
            [], [1, 2, 3], Array("-----BEGIN CERTIFICATE-----".utf8), [UInt8](repeating: 0x30, count: 70_000),
        ] {
            world.certificates.known.withLock { $0[Self.certificateID] = bytes }
            #expect(try await world.refusal(to: id).0 == 400)
        }
    }

    @Test func theKeyManagerIsAskedAsWhoUploads() async throws {
        let world = try await World()
        let id = try await world.image()
        try await world.upload(to: id)
        let asked = world.certificates.asked.withLock { $0 }
        #expect(asked.count == 1 && asked[0].project == "p1" && asked[0].token == "the token")
        // Who may not upload makes nobody ask.
        let other = try await world.image()
        let stranger = world.fixture.caller("p2")
        #expect(await status { try await world.fixture.upload([1], to: other, as: stranger) } == 404)
        #expect(world.certificates.asked.withLock { $0.count } == 1)
    }

    @Test func propertiesThatChangeMeanwhileAreNotThoseThatWereChecked() async throws {
        let world = try await World()
        let id = try await world.image()
        let fixture = world.fixture
        world.certificates.before.withLock {
            $0 = {
                do {
                    _ = try await fixture.database.write {
                        try $0.execute(
                            "UPDATE image_properties SET value = 'QUJD' WHERE name = 'img_signature'")
                    }
                } catch {
                    Issue.record(error)
                }
            }
        }
        #expect(try await world.refusal(to: id).0 == 409)
    }

    @Test func onlySignedImagesAreTakenWhereThatIsAsked() async throws {
        for (rule, isRefused) in [
            (SignatureSettings.RequireSigned.everyone, true), (.projects(["p1", "p3"]), true),
            (.projects(["p3"]), false), (.nobody, false),
        ] {
            let world = try await World { $0.signatures.requireSigned = rule }
            let unsigned = try await world.image { $0 = [:] }
            if isRefused {
                let (status, message) = try await world.refusal([1], to: unsigned)
                #expect(status == 403 && message.contains("img_signature"))
            } else {
                try await world.upload([1], to: unsigned)
            }
            try await world.upload(to: try await world.image())
        }
    }

    @Test func anImageWithoutASignatureNeedsNoKeyManager() async throws {
        let fixture = try await ImageFixture()
        let plain = try await fixture.createImage()
        try await fixture.upload([1], to: plain.id)
        let world = try await World()
        let signed = try await fixture.createImage { $0.properties = world.properties }
        #expect(await status { try await fixture.upload([1], to: signed.id) } == 400)
    }

    @Test func theDownloadOfASignedImageIsChecked() async throws {
        let world = try await World()
        let id = try await world.image()
        try await world.upload(to: id)
        let file = world.fixture.directory.appending(path: "local")
        let names = FileManager.default.enumerator(at: file, includingPropertiesForKeys: nil)
        while let url = names?.nextObject() as? URL {
            guard try world.fixture.storedFiles().contains(url.lastPathComponent) else { continue }
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: url.path)
            try Data(world.signed.data.flipped(at: 0)).write(to: url)
        }
        // Nor does it help to say that the seal is another key's.
        for key in [ImageFixture.seal.keyID, "another"] {
            _ = try await world.fixture.database.write {
                try $0.execute("UPDATE image_provenance SET seal_key = $1", key)
            }
            let data = try #require(try await world.fixture.images.download(id, as: world.fixture.caller()))
            let reader = data.wholeReader
            await #expect(throws: BlobError.self) {
                _ = try await reader.read(offset: 0, count: Int(data.sizeBytes))
            }
            await reader.close()
        }
        #expect(try await world.fixture.images.provenance(of: id, as: world.fixture.caller()).flag != nil)
    }

    // MARK: chains

    /// A vector whose certificate is signed by itself, hence trusted by nobody.
    @Test func aSignerThatNobodyTrustsIsTakenWithAWarningOrRefused() async throws {
        let off = try await World { $0.signatures.chains = .off }
        let one = try await off.image()
        try await off.upload(to: one)
        #expect(try await off.signer(of: one)?.chain == .unchecked)

        let warn = try await World { $0.signatures.chains = .warn }
        let other = try await warn.image()
        try await warn.upload(to: other)
        guard case .untrusted(let reason) = try await warn.signer(of: other)?.chain else {
            Issue.record("the signer is trusted")
            return
        }
        let require = try await World { $0.signatures.chains = .require }
        let (status, message) = try await require.refusal(to: try await require.image())
        #expect(status == 400)
        #expect(message.contains("certificate validation failed") && message.hasSuffix(reason), "\(message)")
    }
}
