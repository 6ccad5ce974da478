import COpenSSL

/// AES-256-GCM (NIST SP 800-38D) with bound context, by OpenSSL. A sealed value:
///
///     1 byte     the format's version, 1
///     12 bytes   nonce
///     n bytes    ciphertext, as long as the plaintext
///     16 bytes   tag, over the context and the ciphertext
///
/// A key and a nonce must not meet twice with different plaintexts: that would give both away. Nonces are
/// random, so a key seals fewer than 2^32 times (SP 800-38D section 8.3).
package enum Sealing {
    package static let keyBytes = 32
    package static let nonceBytes = 12
    /// How much longer than the plaintext a sealed value is.
    package static let overheadBytes = 1 + nonceBytes + tagBytes

    static let version: UInt8 = 1
    private static let tagBytes = 16

    /// Wrong key, wrong context, or changed bytes. Which of them is for nobody to know.
    package struct Broken: Error {}

    /// - Parameters:
    ///   - nonce: 12 random bytes, never used before with this key.
    ///   - context: what the value is bound to, `SealContext.bytes`. It is needed again to open.
    package static func seal(_ plaintext: SecretBytes, with key: SecretBytes, nonce: [UInt8], context: [UInt8])
        -> [UInt8]
    {
        precondition(key.count == keyBytes && nonce.count == nonceBytes, "a key or nonce of another length")
        var sealed = [UInt8](repeating: 0, count: overheadBytes + plaintext.count)
        sealed.withUnsafeMutableBytes { out in
            out[0] = version
            UnsafeMutableRawBufferPointer(rebasing: out[1...nonceBytes]).copyBytes(from: nonce)
            let isDone = plaintext.withUnsafeBytes {
                run(
                    .seal, key: key, nonce: UnsafeRawBufferPointer(rebasing: out[1...nonceBytes]), context: context,
                    input: $0,
                    output: UnsafeMutableRawBufferPointer(rebasing: out[(1 + nonceBytes)...].dropLast(tagBytes)),
                    tag: UnsafeMutableRawBufferPointer(rebasing: out.suffix(tagBytes)))
            }
            precondition(isDone, "OpenSSL refuses to seal")
        }
        return sealed
    }

    /// What was sealed. Nothing decrypted outlives a failure.
    package static func open(_ sealed: [UInt8], with key: SecretBytes, context: [UInt8]) throws(Broken) -> SecretBytes {
        guard sealed.count >= overheadBytes, sealed.count <= Int32.max, sealed[0] == version, key.count == keyBytes
        else { throw Broken() }
        // OpenSSL takes the tag it compares with by a pointer it could write through.
        var tag = Array(sealed.suffix(tagBytes))
        do {
            return try SecretBytes(count: sealed.count - overheadBytes) { output in
                let isDone = sealed.withUnsafeBytes { sealed in
                    tag.withUnsafeMutableBytes { tag in
                        run(
                            .open, key: key, nonce: UnsafeRawBufferPointer(rebasing: sealed[1...nonceBytes]),
                            context: context,
                            input: UnsafeRawBufferPointer(rebasing: sealed[(1 + nonceBytes)...].dropLast(tagBytes)),
                            output: output, tag: tag)
                    }
                }
                guard isDone else { throw Broken() }
            }
        } catch {
            throw Broken()
        }
    }

    /// OpenSSL's numbers for the two.
    private enum Direction: Int32 {
        case open = 0
        case seal = 1
    }

    /// One run of the cipher; `output` is as long as `input`. False when opening and the tag is another:
    /// what stands in `output` is then to be wiped.
    private static func run(
        _ direction: Direction, key: SecretBytes, nonce: UnsafeRawBufferPointer, context: [UInt8],
        input: UnsafeRawBufferPointer, output: UnsafeMutableRawBufferPointer, tag: UnsafeMutableRawBufferPointer
    ) -> Bool {
        guard let cipher = EVP_CIPHER_CTX_new() else { preconditionFailure("no memory for a cipher") }
        defer {
            EVP_CIPHER_CTX_free(cipher)  // wipes the key's schedule
            ERR_clear_error()
        }
        func start(_ bytes: UnsafeRawBufferPointer) -> UnsafePointer<UInt8>? {
            bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        }
        let out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        var count: Int32 = 0
        let isReady = key.withUnsafeBytes {
            EVP_CipherInit_ex(cipher, EVP_aes_256_gcm(), nil, start($0), start(nonce), direction.rawValue) == 1
        }
        guard isReady,
            context.isEmpty || EVP_CipherUpdate(cipher, nil, &count, context, Int32(context.count)) == 1,
            input.isEmpty || EVP_CipherUpdate(cipher, out, &count, start(input), Int32(input.count)) == 1,
            direction == .seal || control(cipher, EVP_CTRL_AEAD_SET_TAG, tag)
        else { return false }
        // GCM has no last block; OpenSSL wants a place for one all the same.
        var none = [UInt8](repeating: 0, count: 16)
        guard EVP_CipherFinal_ex(cipher, &none, &count) == 1 else { return false }
        return direction == .open || control(cipher, EVP_CTRL_AEAD_GET_TAG, tag)
    }

    private static func control(_ cipher: OpaquePointer, _ command: Int32, _ tag: UnsafeMutableRawBufferPointer) -> Bool
    {
        EVP_CIPHER_CTX_ctrl(cipher, command, Int32(tag.count), tag.baseAddress) == 1
    }
}
