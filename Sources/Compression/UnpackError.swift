/// Why packed bytes are not unpacked.
package struct UnpackError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Code: String, Sendable, CaseIterable {
        /// Not what the format allows, or a checksum that does not fit.
        case damaged
        /// The bytes end before the packed content does.
        case cutShort
        /// Something follows the packed content.
        case trailingBytes
        /// Allowed by the format, and not taken here.
        case unsupported
        /// So much comes out of so little that it is a trap rather than an image.
        case tooDense
        /// Unpacking would need more memory than it may have.
        case tooMuchMemory
        /// There is no memory now: no fault of the bytes.
        case noMemory
    }
    package let code: Code
    /// For whoever sent the bytes.
    package let message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { "\(code.rawValue): \(message)" }
}
