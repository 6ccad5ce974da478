/// Where the packed bytes of one file are in a stream, and how they are packed.
package struct PackedContent: Sendable, Equatable {
    enum Coding: Sendable, Equatable {
        case gzip, xz, zstd, deflate, stored
    }
    /// What an archive promises of the file inside.
    struct Promise: Sendable, Equatable {
        let sizeBytes: Int64
        let crc32: UInt32
    }

    package let format: PackedFormat
    /// The bytes to hand to an `Unpacker`.
    package let range: Range<Int64>
    let coding: Coding
    let promise: Promise?

    /// Looks at the first bytes of a stream, and at an archive's directory. What comes out is not looked at: an
    /// archive in an archive is that archive.
    /// - Parameters:
    ///   - read: the bytes at an offset, exactly as many as asked for.
    /// - Returns: nil when the stream is not packed.
    /// - Throws: `UnpackError`, and what `read` throws.
    package static func find(
        sizeBytes: Int64, read: @Sendable (_ offset: Int64, _ count: Int) async throws -> [UInt8]
    ) async throws -> PackedContent? {
        let beginning = try await read(0, Int(min(sizeBytes, Int64(PackedFormat.beginningBytes))))
        guard let format = PackedFormat(beginning: beginning) else { return nil }
        let whole = 0..<sizeBytes
        switch format {
        case .gzip: return PackedContent(format: format, range: whole, coding: .gzip, promise: nil)
        case .xz: return PackedContent(format: format, range: whole, coding: .xz, promise: nil)
        case .zstd: return PackedContent(format: format, range: whole, coding: .zstd, promise: nil)
        case .zip: return try await ZipDirectory.onlyFile(sizeBytes: sizeBytes, read: read)
        case .lha: throw UnpackError(.unsupported, "lha archives cannot be unpacked; use gzip, xz, zstd or zip")
        }
    }
}
