import COpenSSL

/// An X.509 certificate (RFC 5280): of who signs images, or of who vouches for them.
///
/// Its dates, issuer and extensions are read and mean nothing here; `TrustedCertificates` judges by them.
package final class SigningCertificate: @unchecked Sendable, Equatable {
    /// Of PEM as of DER. Real ones have two thousand at most.
    package static let maxBytes = 65536

    package let der: [UInt8]
    /// RFC 2253, in ASCII: what is not, is escaped. It may be empty.
    package let subject: String
    /// RFC 2253, as `subject`.
    package let issuer: String
    /// Of `der`: what `openssl x509 -fingerprint -sha256` prints.
    package let fingerprintSHA256: [UInt8]
    /// In seconds since 1970; the certificate is valid at both moments and between.
    package let notBefore: Int64
    package let notAfter: Int64
    /// Lower-case hexadecimal.
    package let serial: String

    let key: AsymmetricKey
    /// An X509 that nothing changes any more, so tasks may share it.
    let x509: OpaquePointer

    /// - Parameter bytes: one certificate, in DER or PEM.
    /// - Throws: `SignatureError`.
    package convenience init(_ bytes: [UInt8]) throws(SignatureError) {
        guard bytes.count <= Self.maxBytes else {
            throw SignatureError("the certificate has more than \(Self.maxBytes) bytes")
        }
        // A SEQUENCE, which no text begins with.
        if bytes.first == 0x30, bytes.dropFirst().first ?? 0 >= 0x80 {
            try self.init(der: bytes)
            return
        }
        let blocks = PEMBlocks.certificates(in: bytes)
        guard let first = blocks.first else { throw SignatureError("the certificate is neither in DER nor in PEM") }
        guard blocks.count == 1 else {
            throw SignatureError("there are \(blocks.count) certificates; there may be one")
        }
        guard let der = first else { throw SignatureError("the certificate's PEM is damaged") }
        try self.init(der: der)
    }

    /// - Throws: `SignatureError`.
    init(der: [UInt8]) throws(SignatureError) {
        defer { ERR_clear_error() }
        guard let x509 = Self.parse(der) else { throw SignatureError("the certificate is not X.509 in DER") }
        var isKept = false
        defer { if !isKept { X509_free(x509) } }
        guard let key = X509_get_pubkey(x509) else {
            throw SignatureError("the certificate's public key cannot be read")
        }
        self.key = AsymmetricKey(owned: key)
        guard let notBefore = Self.seconds(X509_get0_notBefore(x509)),
            let notAfter = Self.seconds(X509_get0_notAfter(x509))
        else { throw SignatureError("the certificate's dates cannot be read") }
        guard let subject = Self.text(X509_get_subject_name(x509)), let issuer = Self.text(X509_get_issuer_name(x509))
        else { throw SignatureError("the certificate's names cannot be read") }
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.subject = subject
        self.issuer = issuer
        self.der = der
        fingerprintSHA256 = Digest.of(der, .sha256)
        serial = Self.serial(x509)
        // Has the extensions read now, and not by the first of several tasks.
        _ = X509_check_purpose(x509, -1, 0)
        self.x509 = x509
        isKept = true
    }

    deinit { X509_free(x509) }

    /// RFC 7468: lines of 64 characters.
    package var pem: [UInt8] {
        let text = Base64.encode(SecretBytes(copying: der))
        var out = Array("-----BEGIN CERTIFICATE-----\n".utf8)
        for start in stride(from: 0, to: text.count, by: 64) {
            out += text[start..<min(start + 64, text.count)] + [UInt8(ascii: "\n")]
        }
        return out + Array("-----END CERTIFICATE-----\n".utf8)
    }

    /// Whether the two are the same, byte for byte.
    package static func == (one: SigningCertificate, other: SigningCertificate) -> Bool { one.der == other.der }

    /// Nil for what is not one whole certificate in DER: two encodings of one certificate would be two fingerprints.
    private static func parse(_ der: [UInt8]) -> OpaquePointer? {
        der.withUnsafeBufferPointer { bytes in
            var cursor = bytes.baseAddress
            guard let x509 = d2i_X509(nil, &cursor, bytes.count) else { return nil }
            guard encode(x509, count: bytes.count) == der else {
                X509_free(x509)
                return nil
            }
            return x509
        }
    }

    /// Nil if that takes another number of bytes.
    private static func encode(_ x509: OpaquePointer, count: Int) -> [UInt8]? {
        guard i2d_X509(x509, nil) == count else { return nil }
        return [UInt8](unsafeUninitializedCapacity: count) { out, written in
            var cursor = out.baseAddress
            written = Int(max(0, i2d_X509(x509, &cursor)))
        }
    }

    private static func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64? {
        guard let time, let epoch = ASN1_TIME_set(nil, 0) else { return nil }
        defer { ASN1_STRING_free(epoch) }
        var days: Int32 = 0
        var seconds: Int32 = 0
        guard ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else { return nil }
        return Int64(days) * 86400 + Int64(seconds)
    }

    private static func text(_ name: OpaquePointer?) -> String? {
        guard let name, let out = BIO_new(BIO_s_mem()) else { return nil }
        defer { BIO_free(out) }
        let characters =
            ASN1_STRFLGS_ESC_2253 | ASN1_STRFLGS_ESC_CTRL | ASN1_STRFLGS_ESC_MSB
            | ASN1_STRFLGS_UTF8_CONVERT | ASN1_STRFLGS_DUMP_UNKNOWN | ASN1_STRFLGS_DUMP_DER
        let parts = XN_FLAG_SEP_COMMA_PLUS | XN_FLAG_DN_REV | XN_FLAG_FN_SN | XN_FLAG_DUMP_UNKNOWN_FIELDS
        guard X509_NAME_print_ex(out, name, 0, UInt(characters | parts)) >= 0 else { return nil }
        var start: UnsafeMutableRawPointer?
        let count = BIO_ctrl(out, BIO_CTRL_INFO, 0, &start)
        return String(decoding: UnsafeRawBufferPointer(start: start, count: max(0, count)), as: UTF8.self)
    }

    private static func serial(_ x509: OpaquePointer) -> String {
        let number = X509_get0_serialNumber(x509)
        return Hex.encode(
            UnsafeBufferPointer(start: ASN1_STRING_get0_data(number), count: Int(ASN1_STRING_length(number))))
    }
}
