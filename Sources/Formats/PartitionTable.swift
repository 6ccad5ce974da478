/// Partition tables: the master boot record, and the GUID partition table it can stand in front of (UEFI 2.10,
/// chapter 5). Numbers are little-endian.
///
/// ```
/// master boot record: 446 four entries of 16 bytes, 510 signature
///   entry: 0 boot flag   1 first sector as cylinder, head, sector   4 type   8 first sector   12 sectors
/// GPT header, in the second sector: 0 "EFI PART"   8 revision   12 its length   16 checksum   24 own sector
///   40 first, 48 last usable sector   72 first sector of the entries   80 their number   84 their length
/// ```
struct PartitionTable: FormatParser {
    static let format = DiskFormat.gpt
    let virtualSize = VirtualSize.streamFrom(0)

    private enum Phase: Sendable {
        case masterBootRecord
        /// The header of the table is in the second sector, and sectors have 512 or 4096 bytes.
        case header(sectorBytes: Int)
    }

    private var phase = Phase.masterBootRecord

    /// The boot sector of a file system without a partition table has the same signature: it is told by FAT's two
    /// tables on a fixed disk, as upstream does, or by the name of NTFS or exFAT.
    static func recognises(_ start: Window) -> Bool {
        guard start.littleEndian(at: 510, as: UInt16.self) == 0xaa55 else { return false }
        let isFAT = start.byte(at: 16) == 2 && start.byte(at: 21) == 0xf8
        return !isFAT && !start.has("NTFS    ", at: 3) && !start.has("EXFAT   ", at: 3)
    }

    mutating func read(_ window: Window) throws(FormatFinding) -> Appetite {
        switch phase {
        case .masterBootRecord:
            guard try readMasterBootRecord(fields(window)) else { return .nothing }
            return header(after: window, sectorBytes: 512)
        case .header(let sectorBytes):
            if window.has("EFI PART", at: 0) {
                try readHeader(fields(window), sectorBytes: UInt64(sectorBytes))
                return .nothing
            }
            return sectorBytes == 512 ? header(after: window, sectorBytes: 4096) : .nothing
        }
    }

    private mutating func header(after window: Window, sectorBytes: Int) -> Appetite {
        phase = .header(sectorBytes: sectorBytes)
        return window.following(offsetBytes: UInt64(sectorBytes), count: 512).map { .bytes($0) } ?? .nothing
    }

    /// - Returns: whether it stands in front of a GUID partition table.
    private func readMasterBootRecord(_ record: Fields) throws(FormatFinding) -> Bool {
        var used: [Int] = []
        var isProtective = false
        for index in 0..<4 {
            let place = 446 + 16 * index
            let flag = try record.byte(place)
            try record.require(
                flag == 0 || flag == 0x80, "mbr", at: place, "partition \(index + 1) has boot flag \(flag)")
            let type = try record.byte(place + 4)
            if type != 0 { used.append(index) }
            guard type == 0xee else { continue }
            isProtective = true
            let first = try record.bytes(place + 1, count: 3)
            try record.require(
                first.elementsEqual([0, 2, 0]), "mbr", at: place + 1, "the protective partition begins elsewhere")
            try record.require(
                try record.little32(place + 8) == 1, "mbr", at: place + 8, "the protective partition begins elsewhere")
        }
        try record.require(!used.isEmpty, "mbr", at: 446, "there are no partitions")
        try record.require(
            !isProtective || used == [0], "mbr", at: 446, "there are other partitions beside the protective one")
        return isProtective
    }

    private func readHeader(_ header: Fields, sectorBytes: UInt64) throws(FormatFinding) {
        let revision = try header.little32(8)
        try header.require(revision == 0x1_0000, "gpt", at: 8, "revision \(revision >> 16).\(revision & 0xffff)")
        let length = try header.little32(12)
        try header.require((92...512).contains(length), "gpt", at: 12, "a header of \(length) bytes")
        let checksum = CRC32.iso.checksum(of: try header.bytes(0, count: Int(length)), hole: 16)
        try header.require(try header.little32(16) == checksum, "gpt", at: 16, "the header's checksum is wrong")
        let own = try header.little64(24)
        try header.require(own == 1, "gpt", at: 24, "the header says that it is in sector \(own)")
        let usable = try (first: header.little64(40), last: header.little64(48))
        try header.require(
            usable.first <= usable.last && usable.last < UInt64(Int64.max) / sectorBytes, "gpt", at: 40,
            "usable sectors from \(usable.first) to \(usable.last)")
        let entries = try (first: header.little64(72), count: header.little32(80), length: header.little32(84))
        try header.require(
            entries.length.isPowerOfTwo && (128...4096).contains(entries.length), "gpt", at: 84,
            "entries of \(entries.length) bytes")
        let bytes = UInt64(entries.count) * UInt64(entries.length)
        try header.require((1...(1 << 20)).contains(bytes), "gpt", at: 80, "\(entries.count) entries")
        let end = Checked.sum(entries.first, (bytes + sectorBytes - 1) / sectorBytes) ?? .max
        try header.require(
            entries.first >= 2 && end <= usable.first, "gpt", at: 72, "entries in sector \(entries.first)")
    }

    /// A disk of one sector is strange and harmless.
    mutating func cutShort(_ partial: Window) throws(FormatFinding) {}
}
