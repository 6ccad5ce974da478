/// The Virtual Hard Disk format of Connectix and Microsoft ("Virtual Hard Disk Image Format Specification" 1.0),
/// QEMU's `vpc`. Numbers are big-endian.
///
/// A dynamic disk begins with a copy of the footer that it ends with. A fixed disk has its footer at the end alone:
/// it is the raw disk with a sector behind it, and counts as raw. A differencing disk names its parent, another
/// file, and is refused.
///
/// ```
///  0 "conectix"   12 version   16 offset of the dynamic header   40 original, 48 current size
/// 60 type   64 checksum          the dynamic header:
///  0 "cxsparse"   16 offset of the block allocation table   24 version   28 its entries   32 block size
/// 36 checksum
/// ```
struct VHD: FormatParser {
    static let format = DiskFormat.vhd
    static let footerBytes = 512
    static let dynamicHeaderBytes = 1024
    /// 2040 GiB, rounded up.
    static let maximumDiskBytes = UInt64(1) << 41

    private enum Phase: Sendable {
        case footerCopy
        case dynamicHeader(footer: Window)
        case footer(copy: Window)
    }

    private var phase = Phase.footerCopy
    private(set) var virtualSize = VirtualSize.unknown
    private(set) var claims: [Claim] = []
    var mayWantTail: Bool { true }

    static func recognises(_ start: Window) -> Bool {
        start.count >= footerBytes && start.has("conectix", at: 0)
    }

    mutating func read(_ window: Window) throws(FormatFinding) -> Appetite {
        switch phase {
        case .footerCopy:
            phase = .dynamicHeader(footer: window)
            return .bytes(try readFooter(fields(window)))
        case .dynamicHeader(let footer):
            try readDynamicHeader(fields(window), footer: fields(footer))
            phase = .footer(copy: footer)
            return .tail
        case .footer: return .tail
        }
    }

    private mutating func readFooter(_ footer: Fields) throws(FormatFinding) -> ByteRange {
        let version = try footer.big32(12)
        try footer.require(version == 0x1_0000, "version", at: 12, "file format version \(version >> 16)")
        let type = try footer.big32(60)
        try footer.require(type != 4, "parent", at: 60, "a differencing disk needs another file")
        try footer.require(type == 3, "disk_type", at: 60, "type \(type) with a footer at the beginning")
        let size = try footer.big64(48)
        virtualSize = .bytes(try footer.size(size, at: 48))
        try footer.require(size <= Self.maximumDiskBytes, "virtual_size", at: 48, "a disk of \(size) bytes")
        try requireChecksum(footer, at: 64)
        let offset = try footer.big64(16)
        guard offset % 512 == 0,
            let range = footer.window.following(offsetBytes: offset, count: Self.dynamicHeaderBytes)
        else { throw footer.finding("dynamic_header", at: 16, "the dynamic header is at \(offset)") }
        return range
    }

    private mutating func readDynamicHeader(_ header: Fields, footer: Fields) throws(FormatFinding) {
        try header.require(header.window.has("cxsparse", at: 0), "dynamic_header", at: 0, "there is no dynamic header")
        let version = try header.big32(24)
        try header.require(version == 0x1_0000, "version", at: 24, "dynamic header version \(version >> 16)")
        try requireChecksum(header, at: 36)
        let blockBytes = try header.big32(32)
        try header.require(
            blockBytes.isPowerOfTwo && blockBytes >= 512, "block_size", at: 32, "blocks of \(blockBytes) bytes")
        let entries = UInt64(try header.big32(28))
        let needed = Checked.quotientUp(try footer.big64(48), UInt64(blockBytes)) ?? .max
        let room = Checked.product(entries, UInt64(blockBytes)) ?? .max
        try header.require(
            entries >= needed && room <= 2 * Self.maximumDiskBytes, "block_table", at: 28,
            "a block allocation table of \(entries) entries")
        let offset = try header.big64(16)
        let end = Checked.sum(offset, entries * 4)
        let overlaps = offset < UInt64(header.window.endBytes) && end ?? .max > UInt64(header.window.offsetBytes)
        try header.require(
            offset % 512 == 0 && offset >= UInt64(Self.footerBytes) && !overlaps, "block_table", at: 16,
            "the block allocation table is at \(offset)")
        claims.append(
            Claim(what: "the block allocation table", fieldBytes: header.window.offsetBytes + 16, endBytes: end))
    }

    /// The two must say the same, or what the disk is depends on which one is read.
    mutating func end(tail: Window) throws(FormatFinding) {
        guard case .footer(let copy) = phase else { return }
        let end = fields(tail)
        let place = tail.count - Self.footerBytes
        try end.require(
            tail.endBytes >= copy.endBytes + Int64(Self.footerBytes) && tail.has("conectix", at: place), "footer",
            at: max(0, place), "the stream does not end with a footer")
        for (field, count, what) in [(16, 8, "dynamic header offset"), (48, 8, "size"), (60, 4, "type")] {
            let isSame = tail.bytes(at: place + field, count: count) == copy.bytes(at: field, count: count)
            try end.require(isSame, "footer", at: place + field, "footer and copy have another \(what)")
        }
    }

    /// The ones' complement of the sum of all bytes but the checksum's own.
    private func requireChecksum(_ structure: Fields, at place: Int) throws(FormatFinding) {
        let window = structure.window
        let all = try structure.bytes(0, count: window.count)
        let own = try structure.bytes(place, count: 4)
        let sum = all.reduce(UInt32(0)) { $0 &+ UInt32($1) } &- own.reduce(UInt32(0)) { $0 &+ UInt32($1) }
        try structure.require(try structure.big32(place) == ~sum, "checksum", at: place, "the checksum is wrong")
    }
}
