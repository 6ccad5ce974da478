/// A format that packs files, told by its first bytes and never by a name.
package enum PackedFormat: String, Sendable, CaseIterable {
    case gzip, xz, zstd, zip, lha

    /// How many bytes tell.
    package static let beginningBytes = 7

    /// - Parameter beginning: the first bytes, as many as there are of `beginningBytes`.
    package init?(beginning: [UInt8]) {
        if beginning.starts(with: [0x1f, 0x8b, 0x08]) {
            self = .gzip
        } else if beginning.starts(with: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) {
            self = .xz
        } else if beginning.count >= 4, ZstdCodec.isFrame(beginning) {
            self = .zstd
        } else if beginning.starts(with: [0x50, 0x4b, 0x03, 0x04]) {
            self = .zip
        } else if beginning.count >= 7, beginning[2...3].elementsEqual("-l".utf8), beginning[6] == UInt8(ascii: "-") {
            self = .lha
        } else {
            return nil
        }
    }
}
