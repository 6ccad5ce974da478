import Foundation
import Testing
import Trust

/// The PEM texts are read by the `openssl` command, as a user of the keys would.
@Suite struct KeyPairsTests {
    private struct Output {
        let status: Int32
        let text: String
    }

    private func openssl(_ arguments: [String], input: [UInt8]) throws -> Output {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/openssl")
        process.arguments = arguments
        let (input, output) = (Self.pipe(holding: input), Pipe())
        process.standardInput = input
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return Output(status: process.terminationStatus, text: String(decoding: text, as: UTF8.self))
    }

    /// A key's few kilobytes fit into a pipe's buffer.
    private static func pipe(holding bytes: [UInt8]) -> Pipe {
        let pipe = Pipe()
        pipe.fileHandleForWriting.write(Data(bytes))
        pipe.fileHandleForWriting.closeFile()
        return pipe
    }

    private func bytes(_ secret: SecretBytes) -> [UInt8] { secret.withUnsafeBytes { Array($0) } }

    /// How `openssl pkey -text` begins.
    @Test(arguments: [
        (KeyPairs.Algorithm.rsa, 1024, "Private-Key: (1024 bit, 2 primes)"),
        (.rsa, 2048, "Private-Key: (2048 bit, 2 primes)"), (.dsa, 1024, "Private-Key: (1024 bit)"),
        (.dsa, 2048, "Private-Key: (2048 bit)"), (.ec, 256, "NIST CURVE: P-256"), (.ec, 384, "NIST CURVE: P-384"),
        (.ec, 521, "NIST CURVE: P-521"),
    ])
    func pairsOpenWithOpenSSL(_ algorithm: KeyPairs.Algorithm, _ bits: Int, _ says: String) throws {
        let pair = try KeyPairs.make(algorithm, bits: bits, passphrase: nil)
        let privateKey = bytes(pair.privateKey)
        #expect(String(decoding: privateKey, as: UTF8.self).hasPrefix("-----BEGIN PRIVATE KEY-----\n"))
        #expect(String(decoding: privateKey, as: UTF8.self).hasSuffix("-----END PRIVATE KEY-----\n"))
        let read = try openssl(["pkey", "-check", "-noout", "-text"], input: privateKey)
        #expect(read.status == 0 && read.text.contains("Key is valid") && read.text.contains(says), "\(read.text)")
        let derived = try openssl(["pkey", "-pubout"], input: privateKey)
        #expect(derived.text == String(decoding: pair.publicKey, as: UTF8.self))
        let publicRead = try openssl(["pkey", "-pubin", "-pubcheck", "-noout"], input: pair.publicKey)
        #expect(publicRead.status == 0 && publicRead.text.contains("Key is valid"), "\(publicRead.text)")
    }

    @Test(arguments: [(KeyPairs.Algorithm.rsa, 2048), (.dsa, 1024), (.ec, 256)])
    func aPassphraseLocksThePrivateKey(_ algorithm: KeyPairs.Algorithm, _ bits: Int) throws {
        let passphrase = SecretBytes(copying: Array("päss phrase".utf8))
        let pair = try KeyPairs.make(algorithm, bits: bits, passphrase: passphrase)
        let privateKey = bytes(pair.privateKey)
        #expect(String(decoding: privateKey, as: UTF8.self).hasPrefix("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"))
        let opened = try openssl(["pkey", "-passin", "pass:päss phrase", "-pubout"], input: privateKey)
        #expect(opened.status == 0 && opened.text == String(decoding: pair.publicKey, as: UTF8.self))
        let refused = try openssl(["pkey", "-passin", "pass:pass phrase", "-noout"], input: privateKey)
        #expect(refused.status != 0)
        let form = try openssl(["asn1parse", "-i"], input: privateKey).text
        for part in ["PBES2", "PBKDF2", ":0927C0", "hmacWithSHA256", "aes-256-cbc"] {
            #expect(form.contains(part), "\(form)")
        }
    }

    @Test func aLongPassphraseOpensToo() throws {
        let text = String(repeating: "x", count: KeyPairs.maxPassphraseBytes)
        let pair = try KeyPairs.make(.ec, bits: 256, passphrase: SecretBytes(copying: Array(text.utf8)))
        let opened = try openssl(["pkey", "-passin", "pass:\(text)", "-noout"], input: bytes(pair.privateKey))
        #expect(opened.status == 0, "\(opened.text)")
        let longer = SecretBytes(copying: Array((text + "x").utf8))
        #expect(throws: KeyPairs.Unsupported.self) { try KeyPairs.make(.ec, bits: 256, passphrase: longer) }
    }

    @Test func anEmptyPassphraseIsNone() throws {
        let pair = try KeyPairs.make(.ec, bits: 256, passphrase: SecretBytes(copying: []))
        #expect(String(decoding: bytes(pair.privateKey), as: UTF8.self).hasPrefix("-----BEGIN PRIVATE KEY-----\n"))
    }

    @Test func otherSizesAreRefusedWithAWordOnWhichAreTaken() {
        for algorithm in KeyPairs.Algorithm.allCases {
            for bits in [-1, 0, 8, 512, 1023, 1025, 8192, 16384, .max] {
                do {
                    _ = try KeyPairs.make(algorithm, bits: bits, passphrase: nil)
                    #expect(Bool(false), "\(algorithm) of \(bits) bits was made")
                } catch {
                    #expect(error is KeyPairs.Unsupported)
                    for allowed in algorithm.allowedBits { #expect("\(error)".contains("\(allowed)")) }
                }
            }
        }
    }

    @Test func everyPairIsAnother() throws {
        let first = try KeyPairs.make(.ec, bits: 256, passphrase: nil)
        let second = try KeyPairs.make(.ec, bits: 256, passphrase: nil)
        #expect(first.publicKey != second.publicKey && !first.privateKey.isEqual(to: second.privateKey))
        #expect("\(first)".contains("<secret>"))
    }
}
