import Foundation
import Glibc
import Testing
import Trust

@Suite struct SigningKeyTests {
    private struct Key {
        let name: String
        let type: String
        let pem: SecretBytes
        let passphrase: SecretBytes?
    }

    private func keys() throws -> [Key] {
        try Vectors("signatures/keys.txt").records.map { record in
            Key(
                name: try #require(record["NAME"]), type: try #require(record["TYPE"]),
                pem: SecretBytes(copying: try SignatureVectors.bytes(record, "PEM")),
                passphrase: record["PASSPHRASE"].map { SecretBytes(copying: Array($0.utf8)) })
        }
    }

    private func refusal(_ pem: SecretBytes, _ passphrase: String? = nil) -> String {
        SignatureVectors.refusal {
            _ = try SigningKey(pem: pem, passphrase: passphrase.map { SecretBytes(copying: Array($0.utf8)) })
        }
    }

    @Test func keysOfEveryFormAreRead() throws {
        for key in try keys() {
            let made = try SigningKey(pem: key.pem, passphrase: key.passphrase)
            #expect(made.keyType.rawValue == key.type, "\(key.name)")
            #expect("\(made)" == "<private key, \(key.type)>")
        }
        #expect(Set(try keys().map(\.type)) == Set(SignatureKeyType.allCases.map(\.rawValue)))
    }

    @Test func whatAKeySignsItsCertificateVerifies() throws {
        let certificates = try SignatureVectors.certificates("signatures")
        for key in try keys() {
            guard let der = certificates[key.name] else { continue }
            let (signer, certificate) = (try SigningKey(pem: key.pem), try SigningCertificate(der))
            #expect(signer.isKey(of: certificate))
            for hash in SignatureHash.allCases {
                let digest = Digest.of(Array("\(key.name) \(hash)".utf8), hash.digest)
                let signature = try signer.sign(digest: digest, hash: hash)
                let made = try ImageSignature(
                    signatureBase64: Data(signature).base64EncodedString(), hash: hash, keyType: signer.keyType,
                    certificate: certificate)
                #expect(made.isValid(forDigest: digest), "\(key.name) \(hash)")
                #expect(!made.isValid(forDigest: digest.flipped(at: 3)))
            }
        }
    }

    @Test func aKeyIsOfItsOwnCertificateAlone() throws {
        let certificates = try SignatureVectors.certificates("signatures")
        for key in try keys() where certificates[key.name] != nil {
            let signer = try SigningKey(pem: key.pem)
            for (name, der) in certificates {
                #expect(signer.isKey(of: try SigningCertificate(der)) == (name == key.name), "\(key.name), \(name)")
            }
        }
    }

    @Test func aLockedKeyNeedsItsPassphrase() throws {
        let locked = try keys().filter { $0.passphrase != nil }
        #expect(locked.count == 2)
        for key in locked {
            #expect(refusal(key.pem) == "the private key is encrypted, and there is no passphrase for it")
            #expect(refusal(key.pem, "wrong horse") == "the passphrase does not open the private key")
            let tooLong = String(repeating: "x", count: 5000)
            #expect(refusal(key.pem, tooLong) == "the passphrase does not open the private key")
        }
    }

    @Test func aKeyIsReadFromAFileOfItsOwnerAlone() throws {
        let base = NSTemporaryDirectory() + "signing-key-" + UUID().uuidString
        let (keyPath, passphrasePath) = (base + ".pem", base + ".txt")
        defer {
            unlink(keyPath)
            unlink(passphrasePath)
        }
        func load() -> String {
            SignatureVectors.refusal { _ = try SigningKey.load(path: keyPath, passphraseFile: passphrasePath) }
        }
        #expect(load() == "the passphrase in \(passphrasePath) cannot be read: it does not exist")
        try Data("correct horse\nsecond line\n".utf8).write(to: URL(filePath: passphrasePath))
        let locked = try #require(keys().first { $0.name == "encrypted" })
        try Data(locked.pem.withUnsafeBytes { Array($0) }).write(to: URL(filePath: keyPath))
        chmod(passphrasePath, 0o640)
        #expect(load() == "the passphrase in \(passphrasePath) can be read by others: chmod 600 it")
        chmod(passphrasePath, 0o600)
        chmod(keyPath, 0o604)
        #expect(load() == "the private key in \(keyPath) can be read by others: chmod 600 it")
        chmod(keyPath, 0o400)
        #expect(load() == "nothing was refused")
        #expect(throws: SignatureError.self) { try SigningKey.load(path: keyPath) }
    }

    @Test func otherCurvesAreRefusedByName() throws {
        let pair = try KeyPairs.make(.ec, bits: 256, passphrase: nil)
        #expect(
            refusal(pair.privateKey)
                == "the private key is on the curve prime256v1; there are ECC_SECT571K1, ECC_SECT409K1, "
                + "ECC_SECT571R1, ECC_SECT409R1, ECC_SECP521R1, ECC_SECP384R1")
    }

    @Test func whatIsNoPrivateKeyIsRefused() throws {
        let pair = try KeyPairs.make(.ec, bits: 384, passphrase: nil)
        let certificate = try #require(SignatureVectors.certificates("signatures")["openssl-rsa"])
        for bytes in [pair.publicKey, SignatureVectors.pem(certificate), certificate, Array("-----BEGIN".utf8), []] {
            #expect(refusal(SecretBytes(copying: bytes)) == "the private key is not PEM of a private key")
        }
        let long = SecretBytes(copying: [UInt8](repeating: 10, count: SigningKey.maxBytes + 1))
        #expect(refusal(long) == "the private key has more than 65536 bytes")
    }

    @Test func aShortKeyDoesNotSignALongHash() throws {
        let pair = try KeyPairs.make(.rsa, bits: 1024, passphrase: nil)
        let key = try SigningKey(pem: pair.privateKey)
        for hash in SignatureHash.allCases {
            let digest = Digest.of([], hash.digest)
            #expect(try key.sign(digest: digest, hash: hash).count == 128)
            #expect(throws: SignatureError.self) { try key.sign(digest: digest + [0], hash: hash) }
        }
    }
}
