/// Hyper-V's format (MS-VHDX: "Virtual Hard Disk v2 File Format"). Numbers are little-endian.
///
/// ```
///   0 KiB  "vhdxfile"
///  64 KiB  header, 128 KiB its other copy: 0 "head"   4 checksum   8 sequence number   48 log GUID   66 version
///          68 log length   72 log offset; the valid one with the higher number counts
/// 192 KiB  region table, 256 KiB its copy: 0 "regi"   4 checksum   8 entries; 16 entries of 32 bytes:
///          0 GUID   16 offset   24 length   28 required
///   1 MiB  from here on, in any order: log, block allocation table, metadata
/// ```
///
/// Everything is read forwards, once: metadata in front of the tables that point to it is refused, and with it any
/// structure that contains itself.
struct VHDX: FormatParser {
    static let format = DiskFormat.vhdx
    static let mebibyte = UInt64(1) << 20
    static let tableBytes = 64 << 10

    enum Phase: Sendable {
        case identifier
        case header(first: Header?)
        case regions
        case regionsCopy(of: Window, Regions)
        case metadata(Regions)
        case items(VHDXMetadata, Regions)
    }

    /// What is needed of a header whose checksum is right.
    struct Header: Sendable {
        let sequence: UInt64
        let window: Window
    }

    struct Regions: Sendable {
        let blockTable: Range<UInt64>
        let metadata: Range<UInt64>
    }

    private var phase = Phase.identifier
    private var log: Range<UInt64> = 0..<0
    private(set) var virtualSize = VirtualSize.unknown
    private(set) var claims: [Claim] = []

    static func recognises(_ start: Window) -> Bool { start.has("vhdxfile", at: 0) }

    mutating func read(_ window: Window) throws(FormatFinding) -> Appetite {
        switch phase {
        case .identifier:
            phase = .header(first: nil)
            return try next(after: window, offsetBytes: 64 << 10, count: 4096)
        case .header(let first):
            return try readHeader(window, first: first)
        case .regions:
            let regions = try VHDXRegionTable.read(fields(window), log: log)
            phase = .regionsCopy(of: window, regions)
            return try next(after: window, offsetBytes: 256 << 10, count: Self.tableBytes)
        case .regionsCopy(let table, let regions):
            try fields(window).require(
                table.bytes(at: 0, count: table.count) == window.bytes(at: 0, count: table.count), "region_table",
                at: 0,
                "the two copies of the region table differ")
            phase = .metadata(regions)
            claims.append(
                Claim(
                    what: "the block allocation table", fieldBytes: 192 << 10, endBytes: regions.blockTable.upperBound))
            return try next(
                after: window, offsetBytes: regions.metadata.lowerBound, count: Self.tableBytes, "metadata_region")
        case .metadata(let regions):
            let metadata = try VHDXMetadata(table: fields(window), lengthBytes: regions.metadata.count)
            return try collect(metadata, after: window, regions)
        case .items(var metadata, let regions):
            try metadata.read(fields(window))
            return try collect(metadata, after: window, regions)
        }
    }

    /// - Parameter first: the header at 64 KiB, when it has been read and is valid.
    private mutating func readHeader(_ window: Window, first: Header?) throws(FormatFinding) -> Appetite {
        let header = try parse(fields(window))
        if window.offsetBytes == 64 << 10 {
            phase = .header(first: header)
            return try next(after: window, offsetBytes: 128 << 10, count: 4096)
        }
        let valid = [first, header].compactMap { $0 }.sorted { $0.sequence < $1.sequence }
        guard let current = valid.last else {
            throw fields(window).finding("header", at: 0, "neither header is valid")
        }
        log = try readLog(fields(current.window))
        phase = .regions
        return try next(after: window, offsetBytes: 192 << 10, count: Self.tableBytes)
    }

    /// - Returns: nil when it is not a valid header: the other one counts then.
    private func parse(_ header: Fields) throws(FormatFinding) -> Header? {
        guard header.window.has("head", at: 0),
            try header.little32(4) == CRC32.castagnoli.checksum(of: try header.bytes(0, count: 4096), hole: 4),
            try header.little16(66) == 1
        else { return nil }
        return Header(sequence: try header.little64(8), window: header.window)
    }

    /// Where the log is. It must be empty: what waits in it is written over the structures when the file is opened
    /// next, so that these would not be what was checked.
    private func readLog(_ header: Fields) throws(FormatFinding) -> Range<UInt64> {
        try header.require(
            header.window.isZero(at: 48, count: 16), "log", at: 48, "the file was not closed: its log is not empty")
        let offset = try header.little64(72)
        let length = UInt64(try header.little32(68))
        if length == 0 { return 0..<0 }
        guard offset % Self.mebibyte == 0, offset >= Self.mebibyte, length % Self.mebibyte == 0,
            let end = Checked.sum(offset, length)
        else { throw header.finding("log", at: 72, "a log of \(length) bytes at \(offset)") }
        return offset..<end
    }

    private mutating func collect(
        _ metadata: VHDXMetadata, after window: Window, _ regions: Regions
    ) throws(FormatFinding) -> Appetite {
        guard let item = metadata.nextItem else {
            virtualSize = .bytes(
                try metadata.checkedSize(
                    blockTableBytes: UInt64(regions.blockTable.count), at: regions.metadata.lowerBound))
            return .nothing
        }
        phase = .items(metadata, regions)
        let offset = Checked.sum(regions.metadata.lowerBound, UInt64(item.offset)) ?? .max
        return try next(after: window, offsetBytes: offset, count: item.kind.lengthBytes, "metadata_item")
    }

    private func next(
        after window: Window, offsetBytes: UInt64, count: Int, _ check: String = "header"
    ) throws(FormatFinding) -> Appetite {
        guard let range = window.following(offsetBytes: offsetBytes, count: count) else {
            throw fields(window).finding(check, at: 0, "what is to follow is at \(offsetBytes), which is past already")
        }
        return .bytes(range)
    }
}

/// The region table: which parts the file has, and where (MS-VHDX 2.2.3).
enum VHDXRegionTable {
    private static let blockTable: [UInt8] = [
        0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08,
    ]
    private static let metadata: [UInt8] = [
        0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
    ]

    /// - Parameter log: where the log is, which no region may touch.
    static func read(_ table: Fields, log: Range<UInt64>) throws(FormatFinding) -> VHDX.Regions {
        try table.require(table.window.has("regi", at: 0), "region_table", at: 0, "there is no region table")
        let checksum = CRC32.castagnoli.checksum(of: try table.bytes(0, count: VHDX.tableBytes), hole: 4)
        try table.require(try table.little32(4) == checksum, "region_table", at: 4, "the checksum is wrong")
        let count = try table.little32(8)
        try table.require(count <= 2047, "region_table", at: 8, "\(count) regions")
        var found: [Range<UInt64>] = log.isEmpty ? [] : [log]
        var (blocks, metadata): (Range<UInt64>?, Range<UInt64>?)
        for index in 0..<Int(count) {
            let place = 16 + 32 * index
            let range = try region(table, at: place)
            try table.require(
                !found.contains { $0.overlaps(range) }, "region_table", at: place, "region \(index) overlaps another")
            found.append(range)
            let guid = try table.bytes(place, count: 16)
            if guid.elementsEqual(Self.blockTable), blocks == nil {
                blocks = range
            } else if guid.elementsEqual(Self.metadata), metadata == nil {
                metadata = range
            } else {
                throw table.finding("region_table", at: place, "region \(index) is unknown, or there twice")
            }
        }
        guard let blocks, let metadata else {
            throw table.finding("region_table", at: 8, "block allocation table or metadata are missing")
        }
        return VHDX.Regions(blockTable: blocks, metadata: metadata)
    }

    private static func region(_ table: Fields, at place: Int) throws(FormatFinding) -> Range<UInt64> {
        let offset = try table.little64(place + 16)
        let length = UInt64(try table.little32(place + 24))
        guard offset >= VHDX.mebibyte, offset % VHDX.mebibyte == 0, length > 0, length % VHDX.mebibyte == 0,
            let end = Checked.sum(offset, length), end <= UInt64(Int64.max)
        else { throw table.finding("region_table", at: place + 16, "a region of \(length) bytes at \(offset)") }
        return offset..<end
    }
}
