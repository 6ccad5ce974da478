/// VirtualBox's format, version 1.1 (QEMU, `block/vdi.c`; VirtualBox, `VDICore.h`). Numbers are little-endian.
///
/// ```
///  64 signature   68 version   72 header length, from there on   76 type   340 block map, 344 data offset
/// 360 sector size   368 virtual size   376 block size   380 extra bytes of a block   384 blocks
/// 388 allocated blocks   424 UUID of the image this one is linked to   440 UUID of its parent
/// ```
struct VDI: FormatParser {
    static let format = DiskFormat.vdi
    static let headerBytes = 512

    private(set) var virtualSize = VirtualSize.unknown
    private(set) var claims: [Claim] = []

    static func recognises(_ start: Window) -> Bool {
        start.count >= headerBytes && start.littleEndian(at: 64, as: UInt32.self) == 0xbeda_107f
    }

    mutating func read(_ window: Window) throws(FormatFinding) -> Appetite {
        let header = fields(window)
        let version = try header.little32(68)
        try header.require(
            version == 0x1_0001, "version", at: 68, "version \(version >> 16).\(version & 0xffff) is not 1.1")
        let type = try header.little32(76)
        try header.require(type != 3 && type != 4, "parent", at: 76, "an undo or differencing image needs another file")
        try header.require(type == 1 || type == 2, "image_type", at: 76, "image type \(type)")
        try header.require(window.isZero(at: 424, count: 16), "parent", at: 424, "the image is linked to another")
        try header.require(window.isZero(at: 440, count: 16), "parent", at: 440, "the image has a parent")
        let sectorBytes = try header.little32(360)
        try header.require(sectorBytes == 512, "sector_size", at: 360, "sectors of \(sectorBytes) bytes")
        let size = try header.little64(368)
        virtualSize = .bytes(try header.size(size, at: 368))
        try readBlocks(header, sizeBytes: size)
        return .nothing
    }

    private mutating func readBlocks(_ header: Fields, sizeBytes: UInt64) throws(FormatFinding) {
        let blockBytes = UInt64(try header.little32(376))
        try header.require(
            blockBytes.isPowerOfTwo && (4096...(256 << 20)).contains(blockBytes), "block_size", at: 376,
            "blocks of \(blockBytes) bytes")
        let extra = UInt64(try header.little32(380))
        try header.require(extra == 0, "block_size", at: 380, "\(extra) extra bytes in each block")
        let blocks = UInt64(try header.little32(384))
        let allocated = UInt64(try header.little32(388))
        try header.require(
            blocks <= 0x3fff_ffff && blocks >= Checked.quotientUp(sizeBytes, blockBytes) ?? .max, "blocks", at: 384,
            "\(blocks) blocks for \(sizeBytes) bytes")
        try header.require(allocated <= blocks, "blocks", at: 388, "\(allocated) of \(blocks) blocks are allocated")
        let map = UInt64(try header.little32(340))
        let data = UInt64(try header.little32(344))
        try header.require(
            map % 512 == 0 && map >= UInt64(Self.headerBytes), "block_map", at: 340, "the block map is at \(map)")
        let mapEnd = map + blocks * 4
        try header.require(
            data % 512 == 0 && data >= mapEnd, "block_map", at: 344, "data at \(data), in front of the block map's end")
        claims.append(Claim(what: "the block map", fieldBytes: 340, endBytes: mapEnd))
        let dataEnd = Checked.product(allocated, blockBytes).flatMap { Checked.sum(data, $0) }
        // QEMU does not write a last block to its end.
        let least = allocated == 0 ? mapEnd : dataEnd.map { $0 - blockBytes + 1 }
        claims.append(Claim(what: "the last allocated block", fieldBytes: 388, endBytes: least))
    }
}
