import CCrypt
import COpenSSL
import Glibc

/// A password or secret as it is stored. Read:
///
///     $scrypt$ln=16,r=8,p=1$<salt>$<hash>   scrypt (RFC 7914); base64url without padding
///     $sha256$<hash>                        one SHA-256, for secrets of 256 random bits alone
///     $2b$…                                 bcrypt, as Keystone writes it
///
/// Written: the first for what a person chose, the second for what `Secret` made.
package struct PasswordHash: Sendable, Hashable {
    /// The longest password taken, in bytes of UTF-8: hashing more would be work for an attacker's sake.
    package static let maxPasswordBytes = 4096

    package let encoded: String

    package init(encoded: String) { self.encoded = encoded }

    /// Hashes a password with scrypt, r = 8, p = 1.
    /// - Parameters:
    ///   - costLog2: log2 of N. 16 takes 64 MiB and some 200 ms.
    ///   - salt: at least 16 random bytes.
    package init(password: String, costLog2: Int, salt: [UInt8]) {
        precondition((4...20).contains(costLog2) && salt.count >= 16)
        let parameters = Scrypt(costLog2: costLog2, blockSize: 8, parallelism: 1)
        guard let hash = parameters.derive(password, salt: salt) else {
            preconditionFailure("scrypt refused parameters of our own")
        }
        encoded = "$scrypt$\(parameters)$\(Secret.base64URL(salt))$\(Secret.base64URL(hash))"
    }

    /// Hashes a secret that `Secret` made: it cannot be guessed, so a fast hash keeps it.
    package init(randomSecret: String) {
        encoded = "$sha256$" + Secret.base64URL(Digest.of(Array(randomSecret.utf8), .sha256))
    }

    /// Whether matching takes no work worth queueing for.
    package var isQuick: Bool { encoded.hasPrefix("$sha256$") }

    /// Whether this hash was made with less than what new ones are made with.
    package func needsRehash(costLog2: Int) -> Bool {
        guard !isQuick else { return false }
        return !encoded.hasPrefix("$scrypt$\(Scrypt(costLog2: costLog2, blockSize: 8, parallelism: 1))$")
    }

    /// Takes as long as hashing did; call it on a thread that may block. False also for a hash that
    /// cannot be read.
    package func matches(_ password: String) -> Bool {
        guard password.utf8.count <= Self.maxPasswordBytes else { return false }
        let parts = encoded.split(separator: "$", omittingEmptySubsequences: false).dropFirst()
        switch parts.first {
        case "scrypt":
            guard parts.count == 4, let parameters = Scrypt(parts[2]), let salt = Secret.decodeBase64URL(parts[3]),
                let expected = Secret.decodeBase64URL(parts[4]), let hash = parameters.derive(password, salt: salt)
            else { return false }
            return ConstantTime.equal(hash, expected)
        case "sha256":
            guard parts.count == 2, let expected = Secret.decodeBase64URL(parts[2]) else { return false }
            return ConstantTime.equal(Digest.of(Array(password.utf8), .sha256), expected)
        case "2a", "2b", "2y":
            return matchesBcrypt(password)
        default:
            return false
        }
    }

    /// bcrypt sees 72 bytes and ends at a NUL. Keystone cuts what is longer, so its hashes need the same cut.
    private func matchesBcrypt(_ password: String) -> Bool {
        guard !password.utf8.contains(0) else { return false }
        let state = UnsafeMutablePointer<crypt_data>.allocate(capacity: 1)
        state.initialize(to: crypt_data())
        defer {
            OPENSSL_cleanse(state, MemoryLayout<crypt_data>.size)
            state.deallocate()
        }
        let cut = password.utf8.prefix(72).map { CChar(bitPattern: $0) } + [0]
        guard let result = crypt_r(cut, encoded, state) else { return false }
        let hash = UnsafeBufferPointer(start: result, count: strlen(result)).map { UInt8(bitPattern: $0) }
        return ConstantTime.equal(hash, Array(encoded.utf8))
    }
}

/// scrypt's parameters (RFC 7914 section 2).
private struct Scrypt: CustomStringConvertible {
    static let hashBytes = 32

    let costLog2: Int
    let blockSize: Int
    let parallelism: Int

    init(costLog2: Int, blockSize: Int, parallelism: Int) {
        self.costLog2 = costLog2
        self.blockSize = blockSize
        self.parallelism = parallelism
    }

    /// Reads `ln=16,r=8,p=1`. Bounds keep a forged row from asking for all memory.
    init?(_ text: Substring) {
        let fields = text.split(separator: ",")
        func number(_ index: Int, _ name: String, _ range: ClosedRange<Int>) -> Int? {
            guard fields[index].hasPrefix(name), let value = Int(fields[index].dropFirst(name.count)),
                range.contains(value)
            else { return nil }
            return value
        }
        guard fields.count == 3, let cost = number(0, "ln=", 4...20), let size = number(1, "r=", 1...16),
            let lanes = number(2, "p=", 1...4)
        else { return nil }
        self.init(costLog2: cost, blockSize: size, parallelism: lanes)
    }

    var description: String { "ln=\(costLog2),r=\(blockSize),p=\(parallelism)" }

    func derive(_ password: String, salt: [UInt8]) -> [UInt8]? {
        var out = [UInt8](repeating: 0, count: Self.hashBytes)
        let cost = UInt64(1) << UInt64(costLog2)
        let memory = 128 * UInt64(blockSize) * (cost + UInt64(parallelism) + 2) + 65536
        var secret = Array(password.utf8)
        let result = secret.withUnsafeMutableBytes { bytes in
            let done = EVP_PBE_scrypt(
                bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count, salt, salt.count, cost,
                UInt64(blockSize), UInt64(parallelism), memory, &out, out.count)
            if let start = bytes.baseAddress { OPENSSL_cleanse(start, bytes.count) }
            return done
        }
        return result == 1 ? out : nil
    }
}
