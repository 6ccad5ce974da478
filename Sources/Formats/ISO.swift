/// ISO 9660 volumes (ECMA-119), and volumes whose sector 16 has the mark of UDF (ECMA-167).
///
/// From byte 32768 on there are volume descriptors of 2048 bytes: a type, `CD001` and a version. The primary one
/// (type 1) has the size, as blocks at 80 and their length at 128, both in either byte order; as other readers do,
/// the little-endian half alone is read, since some writers leave the other one empty. Type 255 ends the list.
struct ISO: FormatParser {
    static let format = DiskFormat.iso
    static let first = ByteRange(offsetBytes: 32_768, count: descriptorBytes).map { Appetite.bytes($0) } ?? .nothing
    private static let descriptorBytes = 2048
    private static let maximumDescriptors = 64

    private var descriptors = 0
    private(set) var isRecognised = false
    private(set) var virtualSize = VirtualSize.unknown

    mutating func read(_ window: Window) throws(FormatFinding) -> Appetite {
        descriptors += 1
        let descriptor = fields(window)
        if descriptors == 1 {
            isRecognised = Self.isMarked(window)
            if !window.has("CD001", at: 1) { return .nothing }
        }
        try descriptor.require(window.has("CD001", at: 1), "descriptor", at: 1, "the volume descriptors break off")
        switch try descriptor.byte(0) {
        case 1:
            try readPrimary(descriptor)
            return .nothing
        case 255: throw descriptor.finding("descriptor", at: 0, "there is no primary volume descriptor")
        default: break
        }
        guard descriptors < Self.maximumDescriptors,
            let next = window.following(offsetBytes: UInt64(window.endBytes), count: Self.descriptorBytes)
        else { throw descriptor.finding("descriptor", at: 0, "there is no end of volume descriptors") }
        return .bytes(next)
    }

    private mutating func readPrimary(_ descriptor: Fields) throws(FormatFinding) {
        let version = try descriptor.byte(6)
        try descriptor.require(version == 1, "version", at: 6, "volume descriptor version \(version)")
        let blocks = Int64(try descriptor.little32(80))
        let blockBytes = Int64(try descriptor.little16(128))
        try descriptor.require(
            [512, 1024, 2048].contains(blockBytes), "block_size", at: 128, "blocks of \(blockBytes) bytes")
        virtualSize = .bytes(blocks * blockBytes)
    }

    mutating func cutShort(_ partial: Window) throws(FormatFinding) {
        guard isRecognised || Self.isMarked(partial) else { return }
        throw FormatFinding(
            format: Self.format, check: "truncated", offsetBytes: partial.endBytes,
            message: "the stream ends inside the volume descriptors")
    }

    private static func isMarked(_ window: Window) -> Bool {
        window.has("CD001", at: 1) || window.has("NSR02", at: 1) || window.has("NSR03", at: 1)
    }
}
