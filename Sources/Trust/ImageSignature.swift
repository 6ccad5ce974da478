/// What the four signature properties of an image say together, ready to check its bytes.
///
/// A signature covers the bytes of the image themselves. What is checked here is their digest, which whoever stores
/// or downloads an image computes on the way.
package struct ImageSignature: Sendable {
    /// Of the base64 text. A signature of RSA with 16384 bits, the longest that OpenSSL checks, takes 2732.
    package static let maxCharacters = 65536

    package let bytes: [UInt8]
    package let hash: SignatureHash
    package let keyType: SignatureKeyType
    package let certificate: SigningCertificate

    /// - Parameter signatureBase64: white space in it does not matter, as for cursive.
    /// - Throws: `SignatureError` if that is no base64, or if the certificate's public key is not of the key type's
    ///   family; which curve it is on is not compared.
    package init(
        signatureBase64: String, hash: SignatureHash, keyType: SignatureKeyType, certificate: SigningCertificate
    ) throws(SignatureError) {
        guard signatureBase64.utf8.count <= Self.maxCharacters else {
            throw SignatureError("the signature has more than \(Self.maxCharacters) characters")
        }
        guard let decoded = Array(signatureBase64.utf8).withUnsafeBytes({ Base64.decode($0) }) else {
            throw SignatureError("the signature is not base64")
        }
        guard decoded.count > 0 else { throw SignatureError("the signature is empty") }
        guard certificate.key.family == keyType.family else {
            throw SignatureError(
                "the certificate's public key is \(certificate.key.familyName), but signatures of type "
                    + "\(keyType.rawValue) need \(keyType.family.rawValue)")
        }
        bytes = decoded.withUnsafeBytes { Array($0) }
        self.hash = hash
        self.keyType = keyType
        self.certificate = certificate
    }

    /// What `img_signature` is of these bytes: base64 in one line.
    package static func base64(_ signature: [UInt8]) -> String {
        String(decoding: Base64.encode(SecretBytes(copying: signature)), as: UTF8.self)
    }

    /// Whether the certificate's key signed these bytes. It takes a millisecond or so of a core.
    /// - Parameter digest: of the image's bytes, by `hash`; a digest of another length is not valid.
    package func isValid(forDigest digest: [UInt8]) -> Bool {
        certificate.key.verifies(bytes, of: digest, by: hash)
    }
}
