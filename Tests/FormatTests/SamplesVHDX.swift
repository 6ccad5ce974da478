/// Honest VHDX files, and the ways to bend them.
extension Samples {
    static let metadataPlace = 1 << 20
    static let regionTablePlace = 192 << 10

    private static let blockTableGUID: [UInt8] = [
        0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08,
    ]
    private static let metadataGUID: [UInt8] = [
        0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
    ]
    /// File parameters, disk size, logical and physical sector size, page 83 data, parent locator.
    static let itemGUIDs: [[UInt8]] = [
        [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b],
        [0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8],
        [0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f],
        [0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56],
        [0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46],
        [0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c],
    ]

    static let vhdx = vhdx { _ in }

    /// Metadata at 1 MiB, block allocation table at 2 MiB, log at 3 MiB.
    ///
    /// - Parameters:
    ///   - afterwards: changes what has its checksums already.
    ///   - change: changes the rest. The second header and region table are made from the first ones.
    static func vhdx(afterwards: (inout Bytes) -> Void = { _ in }, _ change: (inout Bytes) -> Void) -> Bytes {
        Bytes(count: 4 << 20).changed {
            $0.text("vhdxfile", at: 0)
            $0.text("head", at: 65_536)
            $0.little(UInt64(7), at: 65_544)
            $0.little(UInt16(1), at: 65_602)
            $0.little(UInt32(1 << 20), at: 65_604)
            $0.little(UInt64(3 << 20), at: 65_608)
            $0.text("regi", at: regionTablePlace)
            $0.little(UInt32(2), at: regionTablePlace + 8)
            region(&$0, 0, blockTableGUID, offset: 2 << 20, length: 1 << 20)
            region(&$0, 1, metadataGUID, offset: 1 << 20, length: 1 << 20)
            $0.text("metadata", at: metadataPlace)
            $0.little(UInt16(5), at: metadataPlace + 10)
            for (index, length) in [8, 8, 4, 4, 16].enumerated() {
                item(&$0, index, itemGUIDs[index], offset: UInt32(65_536 + 32 * index), length: UInt32(length))
            }
            $0.little(UInt32(32 << 20), at: metadataPlace + 65_536)
            $0.little(diskBytes, at: metadataPlace + 65_568)
            $0.little(UInt32(512), at: metadataPlace + 65_600)
            $0.little(UInt32(4096), at: metadataPlace + 65_632)
            change(&$0)
            $0.bytes(Array($0.all[65_536..<(65_536 + 80)]), at: 131_072)
            $0.little(UInt64(8), at: 131_080)
            sumVHDX(&$0, from: 65_536, count: 4096)
            sumVHDX(&$0, from: 131_072, count: 4096)
            sumVHDX(&$0, from: regionTablePlace, count: 65_536)
            let table = regionTablePlace..<(regionTablePlace + 65_536)
            $0.all.replaceSubrange((256 << 10)..<(320 << 10), with: $0.all[table])
            afterwards(&$0)
        }
    }

    static func sumVHDX(_ bytes: inout Bytes, from: Int, count: Int) {
        bytes.little(UInt32(0), at: from + 4)
        bytes.little(slowCRC(bytes.all[from..<(from + count)], polynomial: 0x82f6_3b78), at: from + 4)
    }

    static func region(_ bytes: inout Bytes, _ index: Int, _ guid: [UInt8], offset: UInt64, length: UInt32) {
        let place = regionTablePlace + 16 + 32 * index
        bytes.bytes(guid, at: place)
        bytes.little(offset, at: place + 16)
        bytes.little(length, at: place + 24)
        bytes.little(UInt32(1), at: place + 28)
    }

    static func item(_ bytes: inout Bytes, _ index: Int, _ guid: [UInt8], offset: UInt32, length: UInt32) {
        let place = metadataPlace + 32 + 32 * index
        bytes.bytes(guid, at: place)
        bytes.little(offset, at: place + 16)
        bytes.little(length, at: place + 20)
        bytes.little(UInt32(4), at: place + 24)
    }
}
