import Foundation
import Glibc
import Testing
import Trust

/// The PEM texts are read by the `openssl` command, as a user of the keys would.
@Suite struct KeyPairsTests {
    private struct Output {
        let status: Int32
        let text: String
    }

    /// Foundation's `Process` crashes now and then when several are started while many files are open.
    private func openssl(_ arguments: [String], input: [UInt8]) throws -> Output {
        let base = NSTemporaryDirectory() + "openssl-" + UUID().uuidString
        let (inputPath, outputPath) = (base + ".in", base + ".out")
        defer {
            unlink(inputPath)
            unlink(outputPath)
        }
        try Data(input).write(to: URL(filePath: inputPath))
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, inputPath, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, outputPath, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var words: [UnsafeMutablePointer<CChar>?] = (["openssl"] + arguments).map { strdup($0) } + [nil]
        var environment: [UnsafeMutablePointer<CChar>?] = [strdup("PATH=/usr/bin:/bin"), nil]
        defer { for word in words + environment { free(word) } }
        var child: pid_t = 0
        try #require(posix_spawn(&child, "/usr/bin/openssl", &actions, nil, &words, &environment) == 0)
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 { try #require(errno == EINTR) }
        let text = String(decoding: try Data(contentsOf: URL(filePath: outputPath)), as: UTF8.self)
        return Output(status: status, text: text)
    }

    /// Away from the threads that other tests need: parameters of DSA take seconds.
    private func make(
        _ algorithm: KeyPairs.Algorithm, bits: Int, passphrase: SecretBytes?
    ) async throws -> KeyPairs.Pair {
        try await withCheckedThrowingContinuation { made in
            DispatchQueue.global().async {
                made.resume(with: Result { try KeyPairs.make(algorithm, bits: bits, passphrase: passphrase) })
            }
        }
    }

    private func bytes(_ secret: SecretBytes) -> [UInt8] { secret.withUnsafeBytes { Array($0) } }

    /// How `openssl pkey -text` begins.
    @Test(arguments: [
        (KeyPairs.Algorithm.rsa, 1024, "Private-Key: (1024 bit, 2 primes)"),
        (.rsa, 2048, "Private-Key: (2048 bit, 2 primes)"), (.dsa, 1024, "Private-Key: (1024 bit)"),
        (.dsa, 2048, "Private-Key: (2048 bit)"), (.ec, 256, "NIST CURVE: P-256"), (.ec, 384, "NIST CURVE: P-384"),
        (.ec, 521, "NIST CURVE: P-521"),
    ])
    func pairsOpenWithOpenSSL(_ algorithm: KeyPairs.Algorithm, _ bits: Int, _ says: String) async throws {
        let pair = try await make(algorithm, bits: bits, passphrase: nil)
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
    func aPassphraseLocksThePrivateKey(_ algorithm: KeyPairs.Algorithm, _ bits: Int) async throws {
        let passphrase = SecretBytes(copying: Array("päss phrase".utf8))
        let pair = try await make(algorithm, bits: bits, passphrase: passphrase)
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
