/// The metadata of a VHDX (MS-VHDX 2.6): a table of items, and the items that tell the disk's size.
///
/// ```
/// 0 "metadata"   10 entries; 32 entries of 32 bytes:
///   0 GUID   16 offset in the region   20 length   24 flags: 1 user, 2 of the virtual disk, 4 required
/// ```
struct VHDXMetadata: Sendable {
    /// The items that are read.
    enum Kind: Sendable, CaseIterable {
        /// Block size, and flags: 1 leave blocks allocated, 2 has a parent.
        case fileParameters
        case virtualDiskSize
        case logicalSectorSize
        case physicalSectorSize

        var lengthBytes: Int {
            switch self {
            case .fileParameters, .virtualDiskSize: 8
            case .logicalSectorSize, .physicalSectorSize: 4
            }
        }

        fileprivate var guid: [UInt8] {
            switch self {
            case .fileParameters:
                [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b]
            case .virtualDiskSize:
                [0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8]
            case .logicalSectorSize:
                [0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f]
            case .physicalSectorSize:
                [0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56]
            }
        }
    }

    struct Item: Sendable {
        let kind: Kind
        let offset: UInt32
    }

    private static let page83: [UInt8] = [
        0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46,
    ]
    private static let parentLocator: [UInt8] = [
        0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c,
    ]

    /// Still to be read, the last one first.
    private var remaining: [Item] = []
    private var blockBytes: UInt64 = 0
    private var sizeBytes: UInt64 = 0
    private var sectorBytes: UInt64 = 0

    /// - Parameter lengthBytes: how long the metadata region is.
    init(table: Fields, lengthBytes: Int) throws(FormatFinding) {
        try table.require(table.window.has("metadata", at: 0), "metadata_table", at: 0, "there is no metadata table")
        let count = try table.little16(10)
        try table.require(count <= 2047, "metadata_table", at: 10, "\(count) items")
        var used: [Range<Int>] = []
        for index in 0..<Int(count) {
            let place = 32 + 32 * index
            let range = try Self.range(table, at: place, lengthBytes: lengthBytes)
            try table.require(
                !used.contains { $0.overlaps(range) }, "metadata_item", at: place, "item \(index) overlaps another")
            if !range.isEmpty { used.append(range) }
            try note(table, at: place, range)
        }
        remaining.sort { $0.offset > $1.offset }
        try table.require(
            remaining.count == Kind.allCases.count, "metadata_table", at: 10,
            "block size, disk size or sector sizes are missing")
    }

    private static func range(_ table: Fields, at place: Int, lengthBytes: Int) throws(FormatFinding) -> Range<Int> {
        let offset = Int(try table.little32(place + 16))
        let length = Int(try table.little32(place + 20))
        if length == 0 && offset == 0 { return 0..<0 }
        try table.require(
            offset >= VHDX.tableBytes && length > 0 && length <= 1 << 20 && offset + length <= lengthBytes,
            "metadata_item", at: place + 16, "an item of \(length) bytes at \(offset) of the region")
        return offset..<(offset + length)
    }

    private mutating func note(_ table: Fields, at place: Int, _ range: Range<Int>) throws(FormatFinding) {
        let guid = try table.bytes(place, count: 16)
        try table.require(!guid.elementsEqual(Self.parentLocator), "parent", at: place, "the disk has a parent")
        guard let kind = Kind.allCases.first(where: { guid.elementsEqual($0.guid) }) else {
            let flags = try table.little32(place + 24)
            let isKnown = guid.elementsEqual(Self.page83) || flags & 4 == 0
            return try table.require(isKnown, "metadata_item", at: place, "a required item is not known")
        }
        try table.require(
            !remaining.contains { $0.kind == kind }, "metadata_item", at: place, "an item is there twice")
        try table.require(
            range.count == kind.lengthBytes, "metadata_item", at: place + 20, "an item of \(range.count) bytes")
        remaining.append(Item(kind: kind, offset: UInt32(range.lowerBound)))
    }

    /// The item that is read next: the first of the rest in the file.
    var nextItem: Item? { remaining.last }

    /// Reads the bytes of `nextItem`.
    mutating func read(_ item: Fields) throws(FormatFinding) {
        switch remaining.popLast()?.kind {
        case .fileParameters:
            let flags = try item.little32(4)
            try item.require(flags & 2 == 0, "parent", at: 4, "the disk has a parent")
            blockBytes = UInt64(try item.little32(0))
            try item.require(
                blockBytes.isPowerOfTwo && (VHDX.mebibyte...(256 * VHDX.mebibyte)).contains(blockBytes), "block_size",
                at: 0, "blocks of \(blockBytes) bytes")
        case .virtualDiskSize:
            sizeBytes = UInt64(try item.size(try item.little64(0), at: 0))
            try item.require(sizeBytes <= 64 << 40, "virtual_size", at: 0, "a disk of \(sizeBytes) bytes")
        case .logicalSectorSize:
            sectorBytes = UInt64(try item.little32(0))
            try item.require(
                [512, 4096].contains(sectorBytes), "sector_size", at: 0, "sectors of \(sectorBytes) bytes")
        case .physicalSectorSize:
            let size = try item.little32(0)
            try item.require([512, 4096].contains(size), "sector_size", at: 0, "physical sectors of \(size) bytes")
        case nil: break
        }
    }

    /// The disk's size, when the block allocation table has room for it: an entry for each block, and one for each
    /// chunk, the blocks whose sectors one bitmap block of a mebibyte stands for (MS-VHDX 2.5).
    func checkedSize(blockTableBytes: UInt64, at metadataBytes: UInt64) throws(FormatFinding) -> Int64 {
        func finding(_ check: String, _ message: String) -> FormatFinding {
            FormatFinding(format: .vhdx, check: check, offsetBytes: Int64(clamping: metadataBytes), message: message)
        }
        guard sectorBytes > 0, sizeBytes % sectorBytes == 0 else {
            throw finding("virtual_size", "\(sizeBytes) bytes are no whole sectors")
        }
        guard blockBytes > 0, let blocks = Checked.quotientUp(sizeBytes, blockBytes) else {
            throw finding("block_size", "blocks of no size")
        }
        let chunkBlocks = max(1, (sectorBytes << 23) / blockBytes)
        let entries = blocks == 0 ? 0 : blocks + (blocks - 1) / chunkBlocks
        guard entries * 8 <= blockTableBytes else {
            throw finding("block_table", "the block allocation table has no room for \(sizeBytes) bytes")
        }
        return Int64(sizeBytes)
    }
}
