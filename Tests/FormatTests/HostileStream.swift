import Formats
import Testing

/// A stream that must not be stored, and why.
struct Hostile: Sendable, CustomTestStringConvertible {
    let name: String
    /// What it claims to be.
    let declared: String
    /// The check that stops it.
    let check: String
    let bytes: Bytes

    init(_ name: String, _ declared: DiskFormat, _ check: String, _ bytes: Bytes) {
        (self.name, self.declared, self.check, self.bytes) = (
            "\(declared.rawValue): \(name)", declared.rawValue, check, bytes
        )
    }

    var testDescription: String { name }
}
