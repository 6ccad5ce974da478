import Foundation
import Testing
import Trust

/// The chains of `Tests/Vectors/chains`, each at the moment it names.
@Suite struct CertificateChainTests {
    private struct Case {
        let name: String
        let signer: SigningCertificate
        let trusted: TrustedCertificates
        let at: Int64
        let result: String
        let chain: [SigningCertificate]
    }

    private func cases() throws -> [Case] {
        let certificates = try SignatureVectors.certificates("chains").mapValues { try SigningCertificate($0) }
        func named(_ list: String?) throws -> [SigningCertificate] {
            try (list ?? "").split(separator: " ").map { try #require(certificates[String($0)]) }
        }
        return try Vectors("chains/cases.txt").records.map { record in
            Case(
                name: try #require(record["CASE"]), signer: try #require(named(record["SIGNER"]).first),
                trusted: TrustedCertificates(try named(record["TRUSTED"])),
                at: try #require(record["AT"].flatMap { Int64($0) }), result: try #require(record["RESULT"]),
                chain: try named(record["CHAIN"]))
        }
    }

    @Test func everyChainIsJudgedAsItsVectorSays() throws {
        var codes: Set<String> = []
        for each in try cases() {
            codes.insert(each.result)
            switch each.trusted.chain(of: each.signer, atUnixSeconds: each.at) {
            case .success(let chain):
                #expect(each.result == "ok", "\(each.name) was accepted")
                #expect(chain == each.chain, "\(each.name): \(chain.map(\.subject))")
            case .failure(let error):
                #expect(error.code == each.result, "\(each.name): \(error)")
            }
        }
        #expect(codes.count == 17, "every error has a vector")
    }

    @Test func aFlippedBitOfAnyCertificateBreaksTheChain() throws {
        let whole = try #require(cases().first { $0.name == "three links" })
        for place in 0..<3 {
            let der = whole.chain[place].der
            for index in der.indices {
                guard let flipped = try? SigningCertificate(der.flipped(at: index)) else { continue }
                var links = whole.chain
                links[place] = flipped
                let trusted = TrustedCertificates(Array(links.dropFirst()))
                let result = trusted.chain(of: links[0], atUnixSeconds: whole.at)
                #expect(throws: ChainError.self, "link \(place), byte \(index)") { try result.get() }
            }
        }
    }

    /// Of three that may be in the list, in every order, with other certificates between.
    @Test func theOrderOfTheListNeverMatters() throws {
        let all = try cases()
        let others = all.filter { $0.name == "another authority" || $0.name.hasPrefix("a root of that name") }
            .flatMap { $0.trusted.certificates }
        for each in all where each.result == "ok" {
            let list = each.trusted.certificates + others
            for shift in list.indices {
                let turned = TrustedCertificates(Array(list[shift...] + list[..<shift]))
                #expect(throws: Never.self, "\(each.name), turned by \(shift)") {
                    try turned.chain(of: each.signer, atUnixSeconds: each.at).get()
                }
            }
        }
    }

    @Test func errorsNameTheCertificateAndTheMoment() throws {
        func text(_ name: String) throws -> String {
            let each = try #require(cases().first { $0.name == name })
            do throws(ChainError) {
                _ = try each.trusted.chain(of: each.signer, atUnixSeconds: each.at).get()
                return "accepted"
            } catch {
                return error.description
            }
        }
        #expect(
            try text("after the last moment")
                == #"the signing certificate "CN=short,O=Test" expired on 2035-01-01 00:00:00 UTC"#)
        #expect(
            try text("the root is missing")
                == #"no trusted certificate is "CN=Root,O=Test", the issuer of "CN=Intermediate,O=Test""#)
        #expect(
            try text("two intermediates, 1 allowed")
                == #""CN=Top 1,O=Test" allows a path of 1 intermediate certificates below it, and there are 2"#)
    }

    @Test func aBundleIsReadInItsOrder() throws {
        let list = try #require(cases().first { $0.name == "three links" }).chain
        let text = list.map { "# \($0.subject)\n" + String(decoding: SignatureVectors.pem($0.der), as: UTF8.self) }
        #expect(try TrustedCertificates(pem: Array(text.joined().utf8)).certificates == list)
        let twice = Array((text + text).joined().utf8)
        #expect(try TrustedCertificates(pem: twice).certificates == list)
    }

    @Test func aBadBundleSaysWhichCertificateItIs() throws {
        let list = try #require(cases().first { $0.name == "three links" }).chain.map { SignatureVectors.pem($0.der) }
        func refusal(_ pem: [UInt8]) -> String { SignatureVectors.refusal { _ = try TrustedCertificates(pem: pem) } }
        let foreign = Array("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".utf8)
        #expect(
            refusal(list[0] + foreign + list[2]) == "certificate 2 of 3: the certificate is not X.509 in DER")
        #expect(refusal(list[0] + list[1].dropLast(26) + list[2]) == "certificate 2 of 3: its PEM is damaged")
        #expect(refusal(list[0] + list[1].dropLast(26)) == "certificate 2 of 2: its PEM is damaged")
        for text in ["", "\n", "no certificate"] {
            #expect(refusal(Array(text.utf8)) == "there is no certificate in PEM")
        }
        let long = [UInt8](repeating: 10, count: TrustedCertificates.maxBytes + 1)
        #expect(refusal(long) == "the trusted certificates have more than 4194304 bytes")
    }
}
