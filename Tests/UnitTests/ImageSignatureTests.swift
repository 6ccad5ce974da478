import Foundation
import Testing
import Trust

/// Signatures that others made are `Tests/Vectors/signatures`.
@Suite struct ImageSignatureTests {
    @Test func everySignatureOfOthersIsValid() throws {
        let all = try SignedData.all()
        for signed in all { #expect(try signed.isValid(), "\(signed.name)") }
        for type in SignatureKeyType.allCases {
            for hash in SignatureHash.allCases {
                #expect(all.contains { $0.keyType == type && $0.hash == hash }, "no vector of \(type) with \(hash)")
            }
        }
    }

    @Test func aFlippedBitOfTheDataIsNoticed() throws {
        for signed in try SignedData.all() {
            for index in stride(from: 0, to: signed.data.count, by: 3) {
                #expect(try !signed.isValid(data: signed.data.flipped(at: index)), "\(signed.name), byte \(index)")
            }
            #expect(try !signed.isValid(data: signed.data + [0]))
            #expect(try !signed.isValid(data: []))
        }
    }

    @Test func aFlippedBitOfTheSignatureIsNoticed() throws {
        for signed in try SignedData.all() {
            let length = signed.signature.count
            for index in Set([0, 1, 2, 3, length - 1] + stride(from: 4, to: length, by: 11)).sorted() {
                let flipped = signed.signature.flipped(at: index)
                #expect(try !signed.isValid(signature: flipped), "\(signed.name), byte \(index)")
            }
            #expect(try !signed.isValid(signature: signed.signature.dropLast()))
            #expect(try !signed.isValid(signature: signed.signature + [0]))
        }
    }

    /// A bit of the key: the certificate does not parse or the signature is not valid; but the first byte of a key on
    /// a curve is the form in which its point is written. Any other bit: it does not parse, or it is not the same
    /// certificate any more, which its issuer's signature tells (CertificateChainTests).
    @Test func aFlippedBitOfTheCertificateIsNoticed() throws {
        var seen: Set<[UInt8]> = []
        for signed in try SignedData.all() where seen.insert(signed.certificate).inserted {
            let whole = try SigningCertificate(signed.certificate)
            for index in signed.certificate.indices {
                let flipped = signed.certificate.flipped(at: index)
                guard let certificate = try? SigningCertificate(flipped) else { continue }
                #expect(certificate.fingerprintSHA256 != whole.fingerprintSHA256 && certificate != whole)
                if signed.keyBits.dropFirst().contains(index) {
                    let isValid = (try? signed.isValid(certificate: flipped)) ?? false
                    #expect(!isValid, "\(signed.name), byte \(index)")
                }
            }
        }
    }

    @Test func aSignatureIsOfItsHashAndItsKeyAlone() throws {
        let all = try SignedData.all()
        let signed = try #require(all.first { $0.keyType == .rsaPSS && $0.hash == .sha256 })
        let signature = Data(signed.signature).base64EncodedString()
        for hash in SignatureHash.allCases {
            let made = try ImageSignature(
                signatureBase64: signature, hash: hash, keyType: .rsaPSS,
                certificate: SigningCertificate(signed.certificate))
            for digest in DigestAlgorithm.allCases {
                let isRight = hash == .sha256 && digest == .sha256
                #expect(made.isValid(forDigest: Digest.of(signed.data, digest)) == isRight)
            }
            #expect(!made.isValid(forDigest: []))
        }
        for other in all where other.keyType == .rsaPSS && other.certificate != signed.certificate {
            #expect(try !signed.isValid(certificate: other.certificate))
        }
    }

    @Test func theCertificateMustBeOfTheFamily() throws {
        let families: [SignatureKeyType: String] = [.rsaPSS: "RSA", .dsa: "DSA"]
        let all = try SignedData.all()
        for signed in all {
            let certificate = try SigningCertificate(signed.certificate)
            for type in SignatureKeyType.allCases {
                let (has, needs) = (families[signed.keyType] ?? "EC", families[type] ?? "EC")
                let refusal = SignatureVectors.refusal {
                    _ = try ImageSignature(
                        signatureBase64: "AAAA", hash: signed.hash, keyType: type, certificate: certificate)
                }
                #expect(
                    refusal
                        == (has == needs
                            ? "nothing was refused"
                            : "the certificate's public key is \(has), but signatures of type \(type.rawValue) need "
                                + needs))
            }
        }
    }

    @Test func whatIsNoSignatureIsRefused() throws {
        let certificate = try SigningCertificate(#require(SignedData.all().first).certificate)
        func refusal(_ text: String) -> String {
            SignatureVectors.refusal {
                _ = try ImageSignature(signatureBase64: text, hash: .sha256, keyType: .rsaPSS, certificate: certificate)
            }
        }
        for text in ["a", "ab", "abc", "ab=", "abcd=", "abc*", "äöü=", "====", "ab==cd=="] {
            #expect(refusal(text) == "the signature is not base64", "\(text)")
        }
        for text in ["", " \n"] { #expect(refusal(text) == "the signature is empty") }
        let longest = String(repeating: "A", count: ImageSignature.maxCharacters)
        #expect(refusal(longest) == "nothing was refused")
        #expect(refusal(longest + "AAAA") == "the signature has more than 65536 characters")
    }

    @Test func whiteSpaceInTheSignatureDoesNotMatter() throws {
        let signed = try #require(SignedData.all().first)
        let wrapped = Data(signed.signature).base64EncodedString(options: [
            .lineLength64Characters, .endLineWithCarriageReturn, .endLineWithLineFeed,
        ])
        let made = try ImageSignature(
            signatureBase64: " \(wrapped)\n", hash: signed.hash, keyType: signed.keyType,
            certificate: SigningCertificate(signed.certificate))
        #expect(made.isValid(forDigest: Digest.of(signed.data, signed.hash.digest)))
        #expect(made.bytes == signed.signature)
    }

    @Test func namesAreTakenLetterForLetter() throws {
        for hash in SignatureHash.allCases { #expect(try SignatureHash.named(hash.rawValue) == hash) }
        for type in SignatureKeyType.allCases { #expect(try SignatureKeyType.named(type.rawValue) == type) }
        let word = String(repeating: "x", count: 100)
        for name in ["sha-256", "SHA256", "SHA-1", "MD5", "", " SHA-256", word] {
            #expect(
                SignatureVectors.refusal { _ = try SignatureHash.named(name) }
                    == "signature hash method \"\(name.prefix(40))\" is unknown; there are SHA-224, SHA-256, "
                    + "SHA-384, SHA-512")
        }
        let refusal = SignatureVectors.refusal { _ = try SignatureKeyType.named("ECC_SECP256R1") }
        #expect(refusal.contains("\"ECC_SECP256R1\" is unknown") && refusal.hasSuffix("ECC_SECP384R1"))
    }
}

/// What a certificate says, and what is none.
@Suite struct SigningCertificateTests {
    @Test func certificatesSayWhatOpenSSLSaysOfThem() throws {
        for record in try Vectors("signatures/certificates.txt").records {
            let certificate = try SigningCertificate(SignatureVectors.bytes(record, "CERTIFICATE"))
            #expect(certificate.subject == record["SUBJECT"])
            #expect(certificate.issuer == record["ISSUER"])
            #expect(certificate.serial == record["SERIAL"])
            #expect(Hex.encode(certificate.fingerprintSHA256) == record["FINGERPRINT"])
            #expect(String(certificate.notBefore) == record["NOT_BEFORE"])
            #expect(String(certificate.notAfter) == record["NOT_AFTER"])
        }
    }

    @Test func pemAndDERAreTheSame() throws {
        for (name, der) in try SignatureVectors.certificates("signatures") {
            let fromDER = try SigningCertificate(der)
            for newline in ["\n", "\r\n"] {
                let text = SignatureVectors.pem(der, newline: newline)
                let fromPEM = try SigningCertificate(Array("subject = \(name)\n".utf8) + text + Array("\n-- \n".utf8))
                #expect(fromPEM == fromDER && fromPEM.der == der)
                #expect(fromDER.pem == SignatureVectors.pem(der))
            }
        }
    }

    @Test func whatIsNoCertificateIsRefused() throws {
        let der = try #require(SignatureVectors.certificates("signatures")["openssl-secp384r1"])
        func refusal(_ bytes: [UInt8]) -> String { SignatureVectors.refusal { _ = try SigningCertificate(bytes) } }
        for count in 2..<der.count {
            #expect(refusal(Array(der.prefix(count))) == "the certificate is not X.509 in DER", "\(count) bytes")
        }
        #expect(refusal(der + [0]) == "the certificate is not X.509 in DER")
        for text in ["", "0", "MIIB", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            #expect(refusal(Array(text.utf8)) == "the certificate is neither in DER nor in PEM")
        }
        let pem = SignatureVectors.pem(der)
        #expect(refusal(pem + pem) == "there are 2 certificates; there may be one")
        #expect(refusal(pem.dropLast(10)) == "the certificate's PEM is damaged")
        let damaged = String(decoding: pem, as: UTF8.self).replacingOccurrences(of: "\nMII", with: "\nM*I")
        #expect(refusal(Array(damaged.utf8)) == "the certificate's PEM is damaged")
        let other = Array("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".utf8)
        #expect(refusal(other) == "the certificate is not X.509 in DER")
        let tooLong = [UInt8](repeating: 0x30, count: SigningCertificate.maxBytes + 1)
        #expect(refusal(tooLong) == "the certificate has more than 65536 bytes")
    }

    /// The same numbers in an encoding that DER does not have: a length in more bytes than it needs.
    @Test func otherEncodingsThanDERAreRefused() throws {
        let der = try #require(SignatureVectors.certificates("signatures")["openssl-secp384r1"])
        try #require(der[0] == 0x30 && der[1] == 0x82)
        #expect(throws: SignatureError.self) { try SigningCertificate([0x30, 0x83, 0] + der.dropFirst(2)) }
    }
}
