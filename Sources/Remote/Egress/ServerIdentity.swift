import Core
import NIOSSL

/// Whether a certificate is the asked server's. What NIOSSL checks by itself is not enough: it is also content with a
/// certificate for the *address* the connection went to, when a name was asked for, and then whoever gets hold of an
/// address could answer for every name that leads to it.
enum ServerIdentity {
    /// The host as NIOSSL wants it for SNI, which knows no addresses (RFC 6066 section 3).
    static func serverName(_ host: EgressHost) -> String? {
        switch host {
        case .name(let name): name
        case .address: nil
        }
    }

    static func isProven(_ host: EgressHost, by certificate: NIOSSLCertificate) -> Bool {
        certificate._subjectAlternativeNames().contains { entry in
            switch host {
            case .name(let name): entry.nameType == .dnsName && covers(Array(entry.contents), name)
            case .address(let address): entry.nameType == .ipAddress && Array(entry.contents) == bytes(of: address)
            }
        }
    }

    /// RFC 9525 section 6.3: equal without regard to case, or a first label `*` that stands for exactly one. One that
    /// would stand for everything below a top-level domain stands for nothing.
    static func covers(_ pattern: [UInt8], _ name: String) -> Bool {
        let pattern = pattern.map(lowercase)
        let name = name.utf8.map(lowercase)
        if pattern == name { return true }
        let dot = UInt8(ascii: ".")
        guard pattern.starts(with: "*.".utf8), let end = name.firstIndex(of: dot), end > 0 else { return false }
        let rest = pattern.dropFirst()
        return rest.dropFirst().contains(dot) && rest.elementsEqual(name[end...])
    }

    private static func lowercase(_ byte: UInt8) -> UInt8 { (0x41...0x5a).contains(byte) ? byte | 0x20 : byte }

    private static func bytes(of address: NetworkAddress) -> [UInt8] {
        switch address {
        case .v4(let value): withUnsafeBytes(of: value.bigEndian) { Array($0) }
        case .v6(let value): withUnsafeBytes(of: value.bigEndian) { Array($0) }
        }
    }
}
