/// VMware's sparse format with an embedded descriptor ("VMware Virtual Disk Format 5.0"): `monolithicSparse` and
/// `streamOptimized`. Numbers are little-endian, offsets count sectors of 512 bytes.
///
/// The danger of the format is its descriptor, which names the files that the disk consists of (CVE-2022-47951): all
/// forms that need another file are refused, as is a descriptor that is a file of its own (`DescriptorScan`).
///
/// ```
///  0 "KDMV"   4 version   8 flags   12 capacity   20 grain   28 descriptor offset, 36 its length
/// 44 entries of a grain table   48 redundant grain directory   56 grain directory   64 overhead
/// 72 unclean   73 "\n \r\n"   77 compression
/// ```
///
/// Where the grain directory is at 2⁶⁴ - 1, the file ends with a marker of the footer, the footer (another header,
/// which counts) and a marker of the end, each a sector.
struct VMDK: FormatParser {
    static let format = DiskFormat.vmdk
    static let sectorBytes = 512
    /// QEMU reads no more of a descriptor.
    static let maximumDescriptorBytes = 1 << 20
    private static let directoryAtEnd = UInt64.max

    private enum Phase: Sendable {
        case header
        case descriptor(header: Window)
        case footer(header: Window)
    }

    private var phase = Phase.header
    private(set) var mayWantTail = true
    private(set) var virtualSize = VirtualSize.unknown
    private(set) var claims: [Claim] = []

    /// `COWD` begins the sparse files of ESX, which QEMU reads too.
    static func recognises(_ start: Window) -> Bool { start.has("KDMV", at: 0) || start.has("COWD", at: 0) }

    mutating func read(_ window: Window) throws(FormatFinding) -> Appetite {
        switch phase {
        case .header:
            let descriptor = try readHeader(fields(window))
            phase = .descriptor(header: window)
            return .bytes(descriptor)
        case .descriptor(let header):
            try VMDKDescriptor.check(fields(window), header: fields(header))
            phase = .footer(header: header)
            return mayWantTail ? .tail : .nothing
        case .footer: return .tail
        }
    }

    private mutating func readHeader(_ header: Fields) throws(FormatFinding) -> ByteRange {
        try header.require(
            header.window.has("KDMV", at: 0), "subformat", at: 0, "a sparse file of ESX is no image of its own")
        try header.require(
            header.window.count == Self.sectorBytes, "truncated", at: header.window.count,
            "the stream ends inside the header")
        let version = try header.little32(4)
        try header.require((1...3).contains(version), "version", at: 4, "version \(version)")
        if try header.little32(8) & 1 != 0 {
            try header.require(header.window.has("\n \r\n", at: 73), "line_ends", at: 73, "a transfer as text broke it")
        }
        let capacity = try header.little64(12)
        try header.require(capacity > 0, "virtual_size", at: 12, "a disk of no sectors")
        virtualSize = .bytes(try header.size(Checked.product(capacity, 512) ?? .max, at: 12))
        if try header.little64(56) == Self.directoryAtEnd {
            try readGrains(header, hasDirectory: false)
        } else {
            mayWantTail = false
            try readGrains(header, hasDirectory: true)
        }
        let offset = try header.little64(28)
        try header.require(offset == 1, "descriptor_offset", at: 28, "the descriptor is in sector \(offset)")
        let sectors = try header.little64(36)
        let length = Checked.product(sectors, 512) ?? .max
        try header.require(
            sectors > 0 && length <= UInt64(Self.maximumDescriptorBytes), "descriptor_size", at: 36,
            "a descriptor of \(sectors) sectors")
        guard let range = header.window.following(offsetBytes: 512, count: Int(length)) else {
            throw header.finding("truncated", at: header.window.count, "the stream ends inside the header")
        }
        return range
    }

    /// - Parameter hasDirectory: whether the header says where the grain directory is.
    private mutating func readGrains(_ header: Fields, hasDirectory: Bool) throws(FormatFinding) {
        let grain = try header.little64(20)
        try header.require(
            grain.isPowerOfTwo && (1...0x20_0000).contains(grain), "grain_size", at: 20, "grains of \(grain) sectors")
        let perTable = UInt64(try header.little32(44))
        try header.require((1...512).contains(perTable), "grain_table", at: 44, "grain tables of \(perTable) entries")
        let tables = Checked.quotientUp(try header.little64(12), grain * perTable) ?? .max
        try header.require(tables <= 32 << 20, "grain_directory", at: 12, "a grain directory of \(tables) entries")
        func claim(_ what: String, at place: Int) throws(FormatFinding) {
            let sector = try header.little64(place)
            try header.require(sector > 0, "grain_directory", at: place, "\(what) is in the header's sector")
            let end = Checked.product(sector, 512).flatMap { Checked.sum($0, tables * 4) }
            claims.append(Claim(what: what, fieldBytes: header.window.offsetBytes + Int64(place), endBytes: end))
        }
        if hasDirectory { try claim("the grain directory", at: 56) }
        let isRedundant = try header.little32(8) & 2 != 0
        if hasDirectory && isRedundant { try claim("the redundant grain directory", at: 48) }
        claims.append(
            Claim(
                what: "the metadata", fieldBytes: header.window.offsetBytes + 64,
                endBytes: Checked.product(try header.little64(64), 512)))
    }

    /// The footer counts instead of the header: it may differ in nothing but the grain directory's place.
    mutating func end(tail: Window) throws(FormatFinding) {
        guard case .footer(let header) = phase else { return }
        let fields = fields(tail)
        try fields.require(
            tail.count == 3 * Self.sectorBytes && tail.endBytes % Int64(Self.sectorBytes) == 0, "footer", at: 0,
            "the stream does not end with a footer")
        try requireMarker(fields, at: 0, type: 3)
        try requireMarker(fields, at: 1024, type: 0)
        try fields.require(tail.isZero(at: 1024, count: 8), "footer", at: 1024, "the mark of the end has a size")
        for (place, count, what) in [
            (0, 8, "signature or version"), (8, 4, "flags"), (12, 8, "capacity"), (20, 8, "grain size"),
            (28, 16, "descriptor"), (44, 4, "grain table size"), (73, 6, "compression"),
        ] {
            let isSame = tail.bytes(at: 512 + place, count: count) == header.bytes(at: place, count: count)
            try fields.require(isSame, "footer", at: 512 + place, "header and footer have another \(what)")
        }
        guard
            let window = tail.bytes(at: 512, count: 512).map({
                Window(offsetBytes: tail.offsetBytes + 512, bytes: Array($0))
            })
        else { return }
        let footer = self.fields(window)
        try footer.require(
            try footer.little64(56) != Self.directoryAtEnd, "footer", at: 56, "the footer points to another footer")
        try readGrains(footer, hasDirectory: true)
    }

    private func requireMarker(_ fields: Fields, at place: Int, type: UInt32) throws(FormatFinding) {
        let marker = try (size: fields.little32(place + 8), type: fields.little32(place + 12))
        let isMarker = marker.size == 0 && marker.type == type
        try fields.require(
            isMarker && fields.window.isZero(at: place + 16, count: 496), "footer", at: place,
            "there is no marker of type \(type)")
    }
}
